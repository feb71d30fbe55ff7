"""Checkpoints and runs in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from hive.cli.failures import say

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.cli.shapes import CheckpointJson, Status
    from manifests import Checkpoint, Repository

__all__ = ["STATUSES", "checkpoint_json", "shown_path", "status", "tags_by_id"]

STATUSES: Final[tuple[Status, ...]] = (
    "done",
    "failed",
    "paused",
    "running",
    "interrupted",
    "unfinished",
    "abandoned",
)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def status(repo: Repository, head: Checkpoint) -> Status:
    """Say how a run stands, from its last checkpoint and from who executes it.

    What ``hive run`` or ``hive resume`` executes is ``running``, also before it saved anything.
    """
    from hive.cli.launches import is_executing
    from hive.graph.standing import standing_of

    return "running" if is_executing(repo.home, head.run) else standing_of(repo, head)


def checkpoint_json(checkpoint: Checkpoint, tags: Iterable[str] = ()) -> CheckpointJson:
    """Return a checkpoint in the JSON shape that docs/cli.md documents."""
    return {
        "id": str(checkpoint.id),
        "run": checkpoint.run,
        "sequence": checkpoint.sequence,
        "parent": None if checkpoint.parent is None else str(checkpoint.parent),
        "kind": checkpoint.kind,
        "node": checkpoint.node,
        "next_nodes": list(checkpoint.next_nodes),
        "created_at": checkpoint.created_at.isoformat(),
        "graph": checkpoint.graph,
        "labels": dict(checkpoint.labels),
        "logical_bytes": checkpoint.logical_bytes,
        "new_bytes": checkpoint.new_bytes,
        "new_objects": checkpoint.new_objects,
        "origin_run": checkpoint.origin_run,
        "origin_sequence": checkpoint.origin_sequence,
        "tags": list(tags),
    }


def tags_by_id(repo: Repository) -> Mapping[Digest, list[str]]:
    """Return the tags of each tagged checkpoint, in the order of their names.

    Damage of one of them hides no run: it is said on the error stream, and none is returned.
    """
    from cas.errors import CorruptionError

    try:
        return repo.tagged()
    except CorruptionError as error:
        say(f"tags are not shown: {error}")
        return {}


def shown_path(path: str) -> str:
    """Return a path such as ``['messages'][3].x`` as people type it: ``messages[3].x``."""
    from cas.errors import InvalidInputError
    from manifests.places import parse_path

    try:
        steps = parse_path(path.removeprefix("."))
    except InvalidInputError:
        return path  # a long key was cut off
    out = ""
    for step in steps:
        if isinstance(step, str) and _PLAIN_NAME.fullmatch(step):
            out += f".{step}" if out else step
        else:
            out += f"[{step!r}]"
    return out
