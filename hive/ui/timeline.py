"""``Timeline``: a window of a run's checkpoints, with the lines that join them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from cas.digest import Digest
from hive.errors import CorruptionError, NotFoundError
from hive.ui.chart import Chart, chart_of
from hive.ui.lanes import Lanes, lanes_of
from manifests import Checkpoint, Footprint, Repository

__all__ = [
    "STEPS",
    "Timeline",
    "TimelineRow",
    "checkpoints_of",
    "despite_damage",
    "neighbours",
    "timeline_of",
    "window_of",
]

STEPS: Final = 50
"""Checkpoints shown at a time."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One checkpoint: its lines, its tags, and the runs that were forked from it.

    ``share`` is what it added, in hundredths of the most that one in the window added.
    """

    checkpoint: Checkpoint
    lanes: Lanes
    share: float
    tags: Sequence[str]
    forks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A window of a run, newest first.

    ``newer``, ``older`` and ``oldest`` are where other windows start (exclusive), None where there
    are none. ``width`` is how many lanes the lines take. ``unread`` says what could not be read
    beside the run.
    """

    rows: Sequence[TimelineRow]
    kept: int
    width: int
    newer: int | None
    older: int | None
    oldest: int | None
    first: Checkpoint
    chart: Chart | None
    unread: Sequence[str]


def timeline_of(repository: Repository, run: str, below: int | None) -> Timeline:
    """Return the window that starts under a sequence, by default at the newest checkpoint.

    Of checkpoints outside the window only the rows of the catalogue are read.

    Raises:
        NotFoundError: There is no such run, or nothing of it under that sequence.
    """
    prints = repository.footprints(run)
    at = next((at for at, each in enumerate(prints) if _is_below(each, below)), None)
    if at is None:
        raise NotFoundError(f"run {run!r} keeps no step before {below}; look at its newest ones")
    window = prints[at : at + STEPS]
    upper = prints[: at + STEPS]
    lanes = dict(zip([each.sequence for each in upper], lanes_of(upper), strict=True))
    unread: list[str] = []
    rows = _rows(repository, run, window, lanes, unread)
    last = (len(prints) - 1) // STEPS * STEPS
    return Timeline(
        rows=rows,
        kept=len(prints),
        width=1 + max((row.lanes.rightmost for row in rows), default=0),
        newer=prints[max(at - STEPS, 0)].sequence + 1 if at else None,
        older=window[-1].sequence if at + STEPS < len(prints) else None,
        oldest=prints[last].sequence + 1 if at < last else None,
        first=repository.resolve((run, prints[-1].sequence)),
        chart=chart_of(prints, lambda sequence: _full_bytes(repository, run, sequence)),
        unread=unread,
    )


@contextmanager
def despite_damage(unread: list[str], what: str) -> Iterator[None]:
    """Note damage of what stands beside a run, such as tags of others, so that it hides no page."""
    try:
        yield
    except CorruptionError as error:
        unread.append(f"{what}: {error}")


def _is_below(footprint: Footprint, below: int | None) -> bool:
    return below is None or footprint.sequence < below


def window_of(prints: Sequence[Footprint], below: int | None) -> Sequence[Footprint]:
    """Return the steps of the window that starts under a sequence."""
    at = next((at for at, each in enumerate(prints) if _is_below(each, below)), len(prints))
    return prints[at : at + STEPS]


def checkpoints_of(
    repository: Repository, run: str, window: Sequence[Footprint]
) -> list[Checkpoint]:
    """Return the checkpoints of a window, without those that were forgotten since."""
    found = []
    for each in window:
        with suppress(NotFoundError):
            found.append(repository.resolve((run, each.sequence)))
    return found


def neighbours(
    repository: Repository, checkpoint: Checkpoint
) -> tuple[int | None, int | None, Checkpoint | None]:
    """Return the sequences before and behind a checkpoint in its run, and its parent."""
    prints = repository.footprints(checkpoint.run)
    sequences = [each.sequence for each in prints]
    at = sequences.index(checkpoint.sequence) if checkpoint.sequence in sequences else None
    if at is None:  # only a tag keeps it
        return None, None, _parent(repository, checkpoint, 0)
    older = sequences[at + 1] if at + 1 < len(sequences) else None
    newer = sequences[at - 1] if at else None
    return older, newer, _parent(repository, checkpoint, prints[at].parent)


def _parent(repository: Repository, checkpoint: Checkpoint, sequence: int) -> Checkpoint | None:
    if checkpoint.parent is None:
        return None
    try:
        if sequence:
            return repository.resolve((checkpoint.run, sequence))
        return repository.resolve(checkpoint.parent)
    except NotFoundError:
        return None  # forgotten


def _rows(
    repository: Repository,
    run: str,
    window: Sequence[Footprint],
    lanes: dict[int, Lanes],
    unread: list[str],
) -> list[TimelineRow]:
    most = max(each.new_bytes for each in window) or 1
    tags: dict[Digest, list[str]] = {}
    forks: dict[int, list[str]] = {}
    with despite_damage(unread, "tags"):
        tags = repository.tagged()
    with despite_damage(unread, "forks"):
        for branch in repository.branches(run):
            forks.setdefault(branch.sequence, []).append(branch.run)
    found = checkpoints_of(repository, run, window)
    return [
        TimelineRow(
            checkpoint=each,
            lanes=lanes[each.sequence],
            share=round(100 * each.new_bytes / most, 1),
            tags=tags.get(each.id, ()),
            forks=forks.get(each.sequence, ()),
        )
        for each in found
        if each.sequence in lanes
    ]


def _full_bytes(repository: Repository, run: str, sequence: int) -> int:
    try:
        return repository.resolve((run, sequence)).logical_bytes
    except NotFoundError:
        return 0  # forgotten since the list was read
