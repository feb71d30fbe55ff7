"""How a run stands, told from its last checkpoint and from the last claim on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from hive import errors
from hive.threads import failure_of_thread, is_thread, standing_of_thread

if TYPE_CHECKING:
    from manifests import Checkpoint, Repository

__all__ = ["ABANDONED", "Standing", "failure_of", "standing_of"]

Standing = Literal["done", "failed", "paused", "abandoned", "running", "interrupted", "unfinished"]

ABANDONED: Final = "abandoned"
"""The kind of the checkpoint that says that nobody will go on with a run."""

_OF_KIND: Final[dict[str, Standing]] = {
    "final": "done",
    "failed": "failed",
    "paused": "paused",
    ABANDONED: "abandoned",
}


def standing_of(repository: Repository, head: Checkpoint) -> Standing:
    """Say how the run with that head stands.

    ``done``, ``failed`` and ``paused`` are what an executor noted, ``abandoned`` is what a person
    said. Else it is ``running`` while the process that claimed it lives and goes on with it, and
    ``interrupted`` afterwards. A run that nobody ever claimed, since a program committed to it by
    itself, is ``unfinished``: whether that program goes on is not known. Of a thread of LangGraph
    more can be told, see :mod:`hive.threads`.
    """
    claim = repository.claim_of(head.run)
    stopped = _OF_KIND.get(head.kind)
    # Claimed where it had stopped: somebody resumed it, and has not saved anything since.
    if stopped is not None and (claim is None or claim.at != head.sequence):
        return stopped
    if claim is None:
        return standing_of_thread(repository, head) if is_thread(head) else "unfinished"
    return "running" if claim.is_held else "interrupted"


def failure_of(repository: Repository, checkpoint: Checkpoint) -> str:
    """Return why a run failed there, if its executor noted that; else an empty text."""
    if is_thread(checkpoint):
        return failure_of_thread(repository, checkpoint)
    if checkpoint.kind != "failed":
        return ""
    for name in ("error", "feedback"):  # a plan that a person or a judge stopped has the latter
        try:
            found = repository.execution_outline(checkpoint, [name]).value
        except errors.NotFoundError:
            continue
        if isinstance(found, str) and found:
            return found
    return ""
