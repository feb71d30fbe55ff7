"""Which ancestors a checkpoint is rebuilt from, told by what each of them holds.

A row says that a checkpoint cannot be used without its parent, not what for. With two keys that are
stored whole at different steps, each parent then needs its own in turn, and nothing of a run can
go. Here each key is followed by itself: back over those ancestors at which it was written, to the
nearest one whose state has it. What lies between them is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from cas.closure import read_known
from cas.kept import KeptRecords
from cas.records import RecordReader
from manifests.bare import BareRegistry
from manifests.catalogue import Catalogue
from manifests.decoder import StoredObject
from manifests.forms import Forms
from manifests.manifest import ManifestReader
from manifests.pending import anchor_of, pending_bodies
from manifests.reading import StoreReader
from manifests.rows import CheckpointRow

__all__ = ["Needs", "Rebuilt", "Rows", "read_needs"]

Rebuilt = Callable[[Mapping[str, Any]], Collection[str] | None]
"""Returns which keys of a state may be rebuilt from what lies behind, by the execution record.

Classes in the record are not those of the application. None if it cannot be told.
"""

_MOST_AT_ONCE: Final = 256
"""Checkpoints of which one transaction reads manifest and pending rows, at most."""

Rows = dict[int, CheckpointRow]
"""Rows of a run by sequence."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What a checkpoint holds: keys that may be rebuilt, keys of its state, and what was written.

    ``written`` are the names of the writes that are pending there: they belong to the next step.
    """

    rebuilt: frozenset[str]
    state: frozenset[Any]
    written: frozenset[str]


class Needs:
    """What the checkpoints of a run are rebuilt from.

    Attributes:
        run: The run.
        rebuilt: Tells which keys may be rebuilt.
        rows: The rows of the run by sequence, as they were when it was looked at.
    """

    def __init__(self, run: str, rebuilt: Rebuilt, rows: Rows, held: Mapping[int, _Held]) -> None:
        """Follow each key. ``held`` has those that need their parents, and all these lead to."""
        self.run = run
        self.rebuilt = rebuilt
        self.rows = rows
        self._held = held
        names = frozenset[str]().union(*(each.rebuilt for each in held.values()))
        self._counted: dict[int, dict[str, int]] = {}
        self._nearest: dict[int, dict[str, int]] = {}
        for sequence in sorted(held):
            counted, nearest = dict.fromkeys(held[sequence].rebuilt, sequence), {}
            above = _needed_parent(rows[sequence])
            if above:
                # Also what only its ancestors counted: the next graph may have that key again.
                counted = {**self._counted[above], **counted}
                there = held[above]
                touched = dict.fromkeys(names & (there.state | there.written), above)
                nearest = self._nearest[above] | touched
            self._counted[sequence], self._nearest[sequence] = counted, nearest

    def of(self, sequence: int) -> list[int]:
        """Return the sequences of the ancestors that a checkpoint is rebuilt from, newest first."""
        held = self._held.get(sequence)
        if held is None:
            return []
        found: set[int] = set()
        for name, counting in self._counted[sequence].items():
            at = 0 if name in held.state else self._nearest[sequence].get(name, 0)
            if at and counting != sequence:
                found.add(counting)  # without it, nothing would tell the next look of the key
            while at:
                found.add(at)
                at = 0 if name in self._held[at].state else self._nearest[at].get(name, 0)
        return sorted(found, reverse=True)

    def links(self, listed: Collection[int]) -> dict[int, int]:
        """Return what stays if just these are listed, each with the parent it needs; 0: none.

        Each leads to the nearest ancestor that stays.
        """
        needed = {at: self.of(at) for at in listed if at in self.rows}
        oldest = {at: found[-1] for at, found in needed.items() if found}
        staying = {*needed, *(at for found in needed.values() for at in found)}
        above = self._nearest_of(staying)
        links: dict[int, int] = {}
        reach: dict[int, int] = {}
        for at in sorted({*staying, *self._held}, reverse=True):
            if at not in staying:
                continue
            end, parent = min(oldest.get(at, at), reach.get(at, at)), 0
            if end < at:
                parent = above[at]
                if at in needed and parent in needed and parent != self.rows[at].parent:
                    # What is listed must not seem to be the parent of what it is not: the true one,
                    # out of sight, stands between them.
                    parent = self.rows[at].parent
                    staying.add(parent)
                reach[parent] = min(end, reach.get(parent, end))
            links[at] = parent
        return links

    def relinked(self) -> Rows:
        """Return the rows that are to change so that only what listed ones need is needed."""
        changed: Rows = {}
        listed = [at for at, row in self.rows.items() if not row.hidden]
        for at, parent in self.links(listed).items():
            row = self.rows[at]
            now = replace(row, parent=parent or row.parent, needs_parent=bool(parent))
            if now != row:
                changed[at] = now
        return changed

    def _nearest_of(self, staying: Collection[int]) -> dict[int, int]:
        """Return, for each checkpoint that needs its parent, the nearest ancestor among some."""
        above: dict[int, int] = {}
        for at in sorted(self._held):
            parent = _needed_parent(self.rows[at])
            above[at] = parent if parent in staying else above.get(parent, 0)
        return above


def read_needs(reader: StoreReader, run: str, rebuilt: Rebuilt) -> Needs | None:
    """Look at what the checkpoints of a run are rebuilt from.

    Returns:
        None if that cannot be told, so that everything is needed; or if nothing needs its parent.

    Raises:
        NotFoundError: There is no such run.
        CorruptionError: A checkpoint that others need is damaged.
    """
    number, rows = reader.run(partial(_rows_of, name=run))
    chained = _chained(rows)
    if not chained:
        return None
    held: dict[int, _Held] = {}
    forms = Forms(BareRegistry(), reader.load, reader.gather)
    manifests = ManifestReader(reader.load)
    for start in range(0, len(chained), _MOST_AT_ONCE):
        some = [(at, rows[at]) for at in chained[start : start + _MOST_AT_ONCE]]
        read = reader.run(partial(_read, kept=reader.kept, run=number, rows=some))
        parts = [manifests.read(manifest) for manifest, _written in read]
        states = forms.follow_each([part.state for part in parts])
        records = forms.follow_each([part.execution for part in parts])
        for (at, _row), (_manifest, written), state, record in zip(
            some, read, states, records, strict=True
        ):
            names = rebuilt(forms.value(record) or {})
            if names is None:
                return None
            held[at] = _Held(frozenset(names), frozenset(forms.names(state)), written)
    return Needs(run, rebuilt, rows, held)


def _rows_of(records: RecordReader, name: str) -> tuple[int, Rows]:
    catalogue = Catalogue(records.transaction)
    run = catalogue.need_run(name)
    return run.number, dict(catalogue.oldest(run.number))


def _needed_parent(row: CheckpointRow) -> int:
    return row.parent if row.needs_parent else 0


def _chained(rows: Rows) -> list[int]:
    """Return the listed ones that need their parents, and all that they lead to.

    Nothing if one of these is missing: then the run is damaged, and nothing is known for sure.
    """
    found: set[int] = set()
    for at in [at for at, row in rows.items() if row.needs_parent and not row.hidden]:
        below = at
        while below not in found:
            row = rows.get(below)
            if row is None or (row.needs_parent and not 0 < row.parent < below):
                return []
            found.add(below)
            if not row.needs_parent:
                break
            below = row.parent
    return sorted(found)


def _read(
    records: RecordReader, kept: KeptRecords, run: int, rows: Sequence[tuple[int, CheckpointRow]]
) -> list[tuple[StoredObject, frozenset[str]]]:
    """Return manifest and names of the pending writes of some checkpoints."""
    manifests = read_known(records, kept, {row.record: row.id for _at, row in rows})
    written = pending_bodies(records.transaction, run, [anchor_of(at, row) for at, row in rows])
    return [
        (manifests[row.record], frozenset(write.name for write in writes))
        for (_at, row), writes in zip(rows, written, strict=True)
    ]
