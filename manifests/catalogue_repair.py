"""Repair of the catalogue: runs, their checkpoints and heads, tags and pins. Part of a repair.

What proves itself is kept: a row whose checksum is wrong may still name a whole checkpoint by
number and id. The rest is taken from the source, or dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from cas.digest import Digest
from cas.environment import Table, WriteTransaction
from cas.table import CHECKSUM_BYTES
from manifests.catalogue import CatalogueWriter
from manifests.check import OPAQUE, parsed, raw_rows
from manifests.healing import Healer
from manifests.manifest import ManifestReader, microseconds
from manifests.mending import Notes, known_keys
from manifests.names import name_key
from manifests.rows import (
    CHECKPOINTS,
    NEXT_RUN,
    NUMBERS,
    PINS,
    RUNS,
    TAGS,
    CheckpointRow,
    PinRow,
    RunRow,
    TagRow,
    checkpoint_key,
    checkpoint_place,
    checkpoint_range,
    checkpoint_row,
    pin_row,
    run_row,
    tag_row,
)

__all__ = ["CatalogueRepair", "named_states"]

T = TypeVar("T")


def named_states(transaction: WriteTransaction) -> set[Digest]:
    """Return the ids of the checkpoints that tags and pins lead to."""
    found: set[Digest] = set()
    for table, parse in ((TAGS, tag_row), (PINS, pin_row)):
        for key, sealed in raw_rows(transaction, table):
            row: Any = parsed(partial(_sound, table, parse, key, sealed))
            if row is not None:
                found.add(row.id)
    return found


class CatalogueRepair:
    """What one repair does about the catalogue, in its transaction.

    ``hit`` names the checkpoints (``run@12``) that the check found damaged.
    """

    def __init__(
        self, transaction: WriteTransaction, healer: Healer, hit: Collection[str], notes: Notes
    ) -> None:
        self._transaction = transaction
        self._catalogue = CatalogueWriter(transaction)
        self._healer = healer
        self._hit = hit
        self._notes = notes

    def states(self) -> list[RunRow]:
        """Put runs and their checkpoints right; returns the runs as they were listed before."""
        runs = self._runs()
        for run in runs:
            self._checkpoints(run)
        return runs

    def names(self) -> None:
        """Let tags and pins lead to whole checkpoints; drop those that cannot."""
        self._named(TAGS, tag_row, lambda tag: f"tag:{tag.name}")
        self._named(PINS, pin_row, lambda pin: f"pin:{pin.run}@{pin.sequence}")

    def opaque(self, runs: list[RunRow]) -> None:
        """Make rows anew that can be, and remove those that only save work."""
        for table in OPAQUE:
            for key, sealed in list(raw_rows(self._transaction, table)):
                if parsed(partial(table.unseal, key, sealed)) is not None:
                    continue
                self._transaction.delete(table, key)
                self._notes.fixed.append(f"a row of {table.name}")
        if runs and self._transaction.get(NUMBERS.sealed, NEXT_RUN) is None:
            self._catalogue.put_next_run(max(run.number for run in runs) + 1)
            self._notes.fixed.append("the number of the next run")

    def _runs(self) -> list[RunRow]:
        """Return all runs; those whose rows are damaged are known again by what they list."""
        runs: dict[int, RunRow] = {}
        damaged: dict[bytes, bytes] = {}
        for key, sealed in list(raw_rows(self._transaction, RUNS)):
            run = parsed(partial(_sound, RUNS, run_row, key, sealed))
            if run is None or name_key(run.name, "run name") != key or run.number in runs:
                damaged[key] = sealed
            else:
                runs[run.number] = run
        for key in damaged:
            self._transaction.delete(RUNS, key)
        numbers, homeless = set[int](), list[bytes]()
        for key, _row in raw_rows(self._transaction, CHECKPOINTS):
            number, sequence = checkpoint_place(key)
            if number or sequence:
                numbers.add(number)
            else:
                homeless.append(key)
        for key in homeless:  # of no run, whatever its damaged key was
            self._transaction.delete(CHECKPOINTS, key)
            self._notes.dropped.append("a row of checkpoints")
        orphans = sorted(numbers - runs.keys())
        for number in orphans:
            name = _name_of(number, damaged, alone=len(orphans) == 1)
            run = self._known_again(number, name)
            if run is not None:
                runs[number] = run
        return list(runs.values())

    def _known_again(self, number: int, name: str | None) -> RunRow | None:
        """Write the row of a run anew, by what its checkpoints say of it."""
        reader = self._healer.reader
        rows = self._rows(number)
        for key, sealed in rows:
            sequence = checkpoint_place(key)[1]
            row = self._believable(key, sealed, sequence)
            if row is None:
                continue
            manifest = ManifestReader(reader.read_all).read(reader.read_as(row.record, row.id))
            name = name or manifest.origin_run
            if self._catalogue.run(name) is not None:
                name = f"{name} (recovered {number})"
            last = checkpoint_place(rows[-1][0])[1]
            created = microseconds(manifest.created_at)
            run = RunRow(number, name, last, last, len(rows), created)
            self._catalogue.put_run(run)
            self._notes.fixed.append(f"the entry of run {name!r}")
            return run
        for key, _sealed in rows:
            self._transaction.delete(CHECKPOINTS, key)
            self._notes.dropped.append(f"run number {number}@{checkpoint_place(key)[1]}")
        return None

    def _believable(self, key: bytes, sealed: bytes, sequence: int) -> CheckpointRow | None:
        """Return a row that proves itself: it names a whole checkpoint by number and id."""
        parse = partial(checkpoint_row, sequence=sequence)
        row = parsed(partial(_sound, CHECKPOINTS, parse, key, sealed))
        if row is None:
            row = parsed(partial(parse, sealed[CHECKSUM_BYTES:], damaged=True))
        number = None if row is None else self._healer.place(row.record, row.id)
        return None if row is None or number is None else replace(row, record=number)

    def _checkpoints(self, run: RunRow) -> None:
        """Keep what can be restored, drop the rest, and let the head be one that is kept."""
        kept: dict[int, CheckpointRow] = {}
        parents: dict[int, int] = {}
        keys = known_keys(self._transaction, run.number)
        for key, sealed in self._rows(run.number):
            sequence = checkpoint_place(key)[1]
            place = f"{run.name}@{sequence}"
            parse = partial(checkpoint_row, sequence=sequence)
            sound = parsed(partial(_sound, CHECKPOINTS, parse, key, sealed))
            if sound is not None:
                parents[sequence] = sound.parent
            row = self._believable(key, sealed, sequence) or self._from_source(run, sequence)
            if row is not None and sound is None and sequence in keys:
                row = replace(row, key=keys[sequence])
            if row is None or _is_out_of_reach(row, keys, kept):
                self._transaction.delete(CHECKPOINTS, key)
                self._notes.dropped.append(place)
                continue
            kept[sequence] = row
            if row != sound:
                self._catalogue.put_checkpoint(run.number, sequence, row)
            if row != sound or place in self._hit:
                self._notes.restored.append(place)
        self._head(run, kept, parents)

    def _rows(self, run: int) -> list[tuple[bytes, bytes]]:
        """Return the rows of a run's checkpoints as they stand there, by its number."""
        return list(self._transaction.items(CHECKPOINTS.sealed, *checkpoint_range(run)))

    def _from_source(self, run: RunRow, sequence: int) -> CheckpointRow | None:
        """Return the row of a checkpoint of which only the place is known."""
        source = self._healer.source
        digest = None if source is None else source.find(run.name, sequence)
        number = None if digest is None else self._healer.place(0, digest)
        if digest is None or number is None:
            return None
        return CheckpointRow(number, digest, parent=0, new_objects=0, new_bytes=0)

    def _head(self, run: RunRow, kept: dict[int, CheckpointRow], parents: dict[int, int]) -> None:
        """Let the head be the newest checkpoint that is left of those it was built on."""
        if not kept and not run.last:
            return  # its first checkpoint is yet to come
        if all(row.hidden for row in kept.values()):
            for sequence in kept:
                self._transaction.delete(CHECKPOINTS, checkpoint_key(run.number, sequence))
            self._transaction.delete(RUNS, name_key(run.name, "run name"))
            self._notes.fixed.append(f"run {run.name!r}, of which nothing is left, was removed")
            return
        head = run.head
        while head and head not in kept:
            head = parents.get(head, 0)
        listed = {sequence: row for sequence, row in kept.items() if not row.hidden}
        right = replace(run, last=max(run.last, *kept), kept=len(listed))
        if any(row.key is not None for row in listed.values()):
            newest = max(listed, key=lambda sequence: listed[sequence].key or "")
            if newest != run.head:
                self._notes.moved.append((run.name, run.head, newest))
            if replace(right, head=newest) != run:
                self._catalogue.put_run(replace(right, head=newest))
            return
        if head != run.head or run.head != right.last:
            # A head is what was listed last, which commits rely on: list the ancestor once more.
            head = head or max(kept)
            self._notes.moved.append((run.name, run.head, head))
            self._catalogue.append(
                right, replace(kept[head], tip=False, new_objects=0, new_bytes=0)
            )
        elif right != run:
            self._catalogue.put_run(right)

    def _named(
        self, table: Table, parse: Callable[[bytes], Any], name: Callable[[Any], str]
    ) -> None:
        """Let tags or pins lead to whole checkpoints; drop those that cannot."""
        for key, sealed in list(raw_rows(self._transaction, table)):
            sound = parsed(partial(_sound, table, parse, key, sealed))
            row: Any = sound or parsed(partial(parse, sealed[CHECKSUM_BYTES:]))
            if sound is None and row is not None and _key_of(row) != key:
                row = None  # its name may be what is damaged, and no object proves that
            number = None if row is None else self._healer.place(row.record, row.id)
            if number is None:
                self._transaction.delete(table, key)
                self._notes.dropped.append(f"a row of {table.name}" if row is None else name(row))
            elif sound is None or number != sound.record:
                row = replace(row, record=number)
                if table is TAGS:
                    self._catalogue.put_tag(row)
                else:
                    self._catalogue.put_pin(row)
                self._notes.restored.append(name(row))


def _is_out_of_reach(row: CheckpointRow, keys: Collection[int], kept: Collection[int]) -> bool:
    """Whether no key of the run leads to a checkpoint, or it needs a parent that is gone."""
    return bool(keys and row.key is None) or (row.needs_parent and row.parent not in kept)


def _key_of(row: TagRow | PinRow) -> bytes | None:
    if isinstance(row, PinRow):
        return bytes(row.id)
    return parsed(partial(name_key, row.name, "tag"))


def _name_of(number: int, damaged: dict[bytes, bytes], *, alone: bool) -> str | None:
    """Return the name of a run that one of the damaged rows was, if that can be told."""
    for key, sealed in damaged.items():
        row = parsed(partial(run_row, sealed[CHECKSUM_BYTES:]))
        proven = row is not None and row.number == number and row.name.encode() == key
        if proven or (alone and len(damaged) == 1):
            try:
                return key.decode()
            except UnicodeDecodeError:
                return None  # a name too long for its key
    return None


def _sound(table: Table, parse: Callable[[bytes], T], key: bytes, sealed: bytes) -> T:
    return parse(table.unseal(key, sealed))
