"""``hive log``: the checkpoints of a run as a graph, what each changed and what it cost."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hive.cli.describe import checkpoint_json, shown_path, tags_by_id
from hive.cli.failures import say
from hive.cli.lanes import Lanes
from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_read
from hive.cli.output import Column, line, table, write_json
from hive.cli.progress import shown_progress
from hive.cli.text import age, size

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.cli.shapes import LogJson, TouchedJson
    from manifests import Checkpoint, Repository, Touched

__all__ = ["log"]

SHOWN: Final = 50
BATCH: Final = 200
"""Checkpoints compared between two steps of the progress bar."""
PARTS_SHOWN: Final = 6
_SIGNS: Final = {"added": "+", "removed": "-", "changed": ""}
_COLUMNS: Final = (
    Column(title=""),
    Column(title="SEQ", right=True),
    Column(title="ID", spare=3),
    Column(title="KIND", spare=1),
    Column(title="NODE", shrinks=True),
    Column(title="AGE", right=True, spare=2),
    Column(title="NEW", right=True),
    Column(title="CHANGED", shrinks=True),
    Column(title="NAMES", shrinks=True),
)


def log(
    run: RunArgument,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=1, metavar="N", help="The N newest."),
    ] = SHOWN,
    everything: Annotated[
        bool, typer.Option("--all", help="All of them, however many there are.")
    ] = False,
    before: Annotated[
        int | None,
        typer.Option(
            "--before",
            min=1,
            metavar="SEQ",
            help="Only those before this sequence, to page backwards.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the checkpoints of a run, and what each changed.

    The newest stands first. NEW is what storing it added. CHANGED counts places: `messages +2`
    gained two items, `plan -1 ~3` lost one and changed three, `+x` is a new key, `-x` one that
    is gone, and a name alone one whose value was replaced. Lines on the left join a checkpoint
    to the one it was made from.
    """
    with open_to_read(home) as repo:
        found = repo.log(run, limit=None if everything else limit + 1, below=before)
        shown = found if everything else found[:limit]
        more = len(found) > len(shown)
        touched = _touched(repo, shown)
        tags = tags_by_id(repo)
        forks = _forks(repo, run)
    if as_json:
        write_json(_as_json(shown, touched, tags, forks))
        if more:
            say(f"there are older ones than {shown[-1].sequence}; --limit or --all lists them")
        return
    if not shown:
        line(f"no checkpoint before {before}")
        return
    names = [", ".join(_names(checkpoint, tags, forks)) for checkpoint in shown]
    table(_COLUMNS, _rows(shown, touched, names))
    if more:
        line(f"... older ones: --before {shown[-1].sequence}, --limit N or --all")


def _rows(
    shown: Sequence[Checkpoint],
    touched: Sequence[Sequence[Touched] | None],
    names: Sequence[str],
) -> list[list[str]]:
    """Return what the table has of each checkpoint, and rows for the lines between them."""
    from manifests.clock import system_clock

    moment = system_clock()
    rows: list[list[str]] = []
    lanes = Lanes()
    for checkpoint, parts, called in zip(shown, touched, names, strict=True):
        joins, own = lanes.draw(checkpoint.id, checkpoint.parent)
        rows += [[graph, *[""] * (len(_COLUMNS) - 1)] for graph in joins]
        rows.append(
            [
                own,
                str(checkpoint.sequence),
                checkpoint.id.short,
                checkpoint.kind,
                checkpoint.node or "-",
                age(moment - checkpoint.created_at),
                size(checkpoint.new_bytes),
                _changed(parts),
                called,
            ]
        )
    return rows


def _touched(repo: Repository, shown: Sequence[Checkpoint]) -> list[list[Touched] | None]:
    from cas.upkeep import Progress

    found: list[list[Touched] | None] = []
    with shown_progress() if len(shown) > BATCH else contextlib.nullcontext() as progress:
        for start in range(0, len(shown), BATCH):
            found += repo.touched(shown[start : start + BATCH])
            if progress is not None:
                progress(Progress("compare", len(found), len(shown)))
    return found


def _forks(repo: Repository, run: str) -> dict[int, list[str]]:
    """Return the runs that begin at checkpoints of this one, by sequence.

    All runs are looked at for that, and damage of another one shall not hide this one.
    """
    from cas.errors import CorruptionError

    forks: dict[int, list[str]] = {}
    try:
        for branch in repo.branches(run):
            forks.setdefault(branch.sequence, []).append(branch.run)
    except CorruptionError as error:
        say(f"not looked which runs were forked here: {error}")
    return forks


def _changed(parts: Sequence[Touched] | None) -> str:
    """Say in a few words what a checkpoint changed."""
    if parts is None:
        return "(its parent was forgotten)"
    words = [_part(part) for part in parts[:PARTS_SHOWN]]
    if len(parts) > PARTS_SHOWN:
        words.append(f"and {len(parts) - PARTS_SHOWN:,} more")
    return ", ".join(words)


def _part(part: Touched) -> str:
    name = _SIGNS[part.kind] + (shown_path(part.path) or "state")
    counts = (("+", part.added), ("-", part.removed), ("~", part.changed))
    return " ".join([name, *(f"{sign}{number:,}" for sign, number in counts if number)])


def _names(
    checkpoint: Checkpoint,
    tags: Mapping[Digest, list[str]],
    forks: Mapping[int, list[str]],
) -> list[str]:
    """Return the tags of a checkpoint, where it came from, and the runs that begin at it."""
    names = [f"tag {name}" for name in tags.get(checkpoint.id, ())]
    if (checkpoint.origin_run, checkpoint.origin_sequence) != (checkpoint.run, checkpoint.sequence):
        names.append(f"from {checkpoint.origin_run}@{checkpoint.origin_sequence}")
    names += [f"fork {name}" for name in forks.get(checkpoint.sequence, ())]
    return names


def _as_json(
    shown: Sequence[Checkpoint],
    touched: Sequence[Sequence[Touched] | None],
    tags: Mapping[Digest, list[str]],
    forks: Mapping[int, list[str]],
) -> list[LogJson]:
    rows: list[LogJson] = []
    for checkpoint, parts in zip(shown, touched, strict=True):
        row: Any = checkpoint_json(checkpoint, tags.get(checkpoint.id, ()))
        row["forks"] = forks.get(checkpoint.sequence, [])
        row["changed"] = None if parts is None else list(map(_touched_json, parts))
        rows.append(row)
    return rows


def _touched_json(part: Touched) -> TouchedJson:
    return {
        "kind": part.kind,
        "path": part.path,
        "added": part.added,
        "removed": part.removed,
        "changed": part.changed,
    }
