"""Pending writes: results that belong to a checkpoint but are not part of its state yet.

The tasks of a step finish one by one. What each returned is stored beside the checkpoint that the
step began at, so that a crash, or a pause for a person, repeats only those that had not finished.
One row holds what one task wrote: it is complete or not there, also after a repair.

A row's key is ``run number (u32) || anchor || slot (16)``. The anchor is the checkpoint: ``00`` and
its sequence (u32), or, if it has a key, ``02`` and the 16 bytes of that UUID or ``01``, the key's
length (u8) and the key. The slot is the beginning of a digest of path and task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import cbor2
from blake3 import blake3

from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError, InvalidInputError, NotFoundError
from cas.records import RecordReader
from cas.roots import RootTable
from cas.writer import RecordWriter
from manifests.bodies import (
    EncodedValues,
    StoredBody,
    body_fields,
    body_of,
    records_of,
    renumbered,
    values_of,
)
from manifests.catalogue import Catalogue, CatalogueWriter, CheckpointRow, RunRow
from manifests.kept import KeptValues
from manifests.names import check_key, check_place
from manifests.packed import packed, unpacked
from manifests.reading import StoreReader

__all__ = [
    "PENDING",
    "PENDING_ROOTS",
    "Anchor",
    "PendingBody",
    "PendingRow",
    "PendingWrite",
    "PreparedWrites",
    "anchor_of",
    "check_anchor",
    "check_writes",
    "copy_pending",
    "drop_pending",
    "has_pending",
    "is_unresolved",
    "known_row",
    "pending_anchors",
    "pending_bodies",
    "pending_place",
    "pending_records",
    "pending_row",
    "pending_rows",
    "pending_writes",
    "put_row",
    "read_pending",
    "row_key",
]

PENDING: Final = Table("pending")

Anchor = int | str
"""A checkpoint of a run: its sequence, or its key if it has one."""

_RUN_BYTES: Final = 4
_SEQUENCE: Final = b"\x00"
_TEXT: Final = b"\x01"
_UUID: Final = b"\x02"
_SLOT_BYTES: Final = 16
_MOST_SEQUENCE: Final = 0xFFFF_FFFF
_AFTER: Final = b"\xff"
"""Behind a run number: above every anchor."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """One result that belongs to a checkpoint but is not part of its state yet.

    Attributes:
        task: The id of the task that wrote it.
        index: Its place among the writes of the task; below zero for special ones, as the
            framework likes (-2^31 to 2^31 - 1).
        name: What is written, a channel or key of the state.
        value: The value.
        path: Where the task stands among the others of its step; writes are ordered by it first.
    """

    task: str
    index: int
    name: str
    value: Any
    path: str = ""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """What one task wrote: (name, value) by index. ``stray`` if a whole gc found it so."""

    path: str
    task: str
    writes: dict[int, tuple[str, StoredBody]] = field(default_factory=dict)
    stray: bool = False

    @property
    def bodies(self) -> list[StoredBody]:
        """The values."""
        return [body for _name, body in self.writes.values()]


def check_writes(anchor: Anchor, writes: Sequence[PendingWrite]) -> None:
    """Refuse writes that cannot be stored under their names, or two for one place.

    Raises:
        InvalidInputError: The anchor is none, a name is no name, an index no index, or a place
            occurs twice.
    """
    check_anchor(anchor)
    places = set()
    if not all(isinstance(write, PendingWrite) for write in writes):
        raise InvalidInputError("writes is a list of PendingWrite")
    for write in writes:
        check_place(write.path, write.task, {write.index: (write.name, None)})
        places.add((write.path, write.task, write.index))
    if len(places) != len(writes):
        raise InvalidInputError("two writes have the same path, task and index")


def check_anchor(anchor: Anchor) -> None:
    """Refuse what can be no checkpoint's sequence or key."""
    if isinstance(anchor, str):
        check_key(anchor)
    elif type(anchor) is not int or not 0 < anchor <= _MOST_SEQUENCE:
        raise InvalidInputError("a checkpoint is named by its sequence, from 1, or by its key")


@dataclass(frozen=True, slots=True)
class PreparedWrites:
    """Encoded pending writes that are not stored yet, for the group committer."""

    run: str
    anchor: Anchor
    writes: Sequence[PendingWrite]
    encoded: EncodedValues
    created_us: int
    replace: bool
    by_task: bool = False

    @property
    def object_bytes(self) -> int:
        """The payload bytes of their objects."""
        return self.encoded.object_bytes

    def apply(self, writer: RecordWriter) -> int:
        """Store them in the writer's transaction; returns how many were not there already."""
        catalogue = CatalogueWriter(writer.writing)
        run = catalogue.run(self.run)
        anchor = self.anchor if run is None else _canonical(catalogue, run, self.anchor)
        bodies = self.encoded.store(writer, self.run)
        if run is None:
            # Its first checkpoint may be on its way; until then the run lists nothing.
            run = catalogue.new_run(self.run, self.created_us)
            catalogue.put_run(run)
        rows: dict[tuple[str, str], tuple[bytes, PendingRow]] = {}
        added: list[StoredBody] = []
        dropped: list[StoredBody] = []
        for write, body in zip(self.writes, bodies, strict=True):
            place = write.path, write.task
            if place not in rows:
                rows[place] = self._row_of(writer.transaction, run.number, anchor, place)
            written = rows[place][1].writes
            there = written.get(write.index)
            if there is not None and not self.replace:
                continue
            if there is not None:
                dropped.append(there[1])
            written[write.index] = write.name, body
            added.append(body)
        for key, row in rows.values():
            put_row(writer.writing, key, row)  # also if nothing is new: it is no stray then
        if not added:
            return 0
        if dropped:
            writer.unroot(*records_of(dropped))
        writer.root(*records_of(added))
        return len(added)

    def _row_of(
        self, transaction: ReadTransaction, run: int, anchor: Anchor, place: tuple[str, str]
    ) -> tuple[bytes, PendingRow]:
        """Return (key, row) for a path and task: what is there, or a new row."""
        key = row_key(run, anchor, *place)
        row = known_row(transaction, key)
        if row is None and self.by_task:
            for other, found in pending_rows(transaction, run, anchor):
                if found.task == place[1]:
                    return other, found
        return key, row or PendingRow(*place)


def anchor_of(sequence: int, row: CheckpointRow) -> Anchor:
    """Return the anchor of a listed checkpoint."""
    return sequence if row.key is None else row.key


def _canonical(catalogue: Catalogue, run: RunRow, anchor: Anchor) -> Anchor:
    """Return the anchor under which a checkpoint's writes are kept; it need not be listed yet."""
    head = catalogue.head(run)
    if isinstance(anchor, str):
        if head is not None and head.key is None:
            raise InvalidInputError(f"checkpoints of run {run.name!r} have no keys")
        return anchor
    row = catalogue.checkpoint(run.number, anchor)
    if row is not None:
        return anchor_of(anchor, row)
    if anchor <= run.last:
        raise NotFoundError(f"checkpoint {anchor} of run {run.name!r} was forgotten")
    if head is not None and head.key is not None:
        raise NotFoundError(f"run {run.name!r} has no checkpoint {anchor}; name it by its key")
    return anchor


def has_pending(transaction: ReadTransaction, run: int, anchor: Anchor) -> bool:
    """Whether a checkpoint has pending writes, by run number and anchor."""
    prefix = _prefix(run, anchor)
    found = transaction.first_at_or_after(PENDING, prefix)
    return found is not None and found[0].startswith(prefix)


def is_unresolved(
    transaction: ReadTransaction, run: RunRow, sequence: int, row: CheckpointRow
) -> bool:
    """Whether a checkpoint has pending writes and no other was built on it."""
    if not Catalogue(transaction).is_open(run, sequence, row):
        return False
    return has_pending(transaction, run.number, anchor_of(sequence, row))


def pending_rows(
    transaction: ReadTransaction, run: int, anchor: Anchor
) -> Iterator[tuple[bytes, PendingRow]]:
    """Yield (key, row) of each task that wrote something at a checkpoint."""
    prefix = _prefix(run, anchor)
    for key, row in transaction.items(PENDING, prefix, prefix + b"\xff" * (_SLOT_BYTES + 1)):
        yield key, pending_row(row)


def known_row(transaction: ReadTransaction, key: bytes) -> PendingRow | None:
    """Return the row of a key, None if there is none."""
    row = transaction.get(PENDING, key)
    return None if row is None else pending_row(row)


def pending_records(transaction: ReadTransaction, run: int) -> list[int]:
    """Return the records that the pending writes of a run lead to, by its number."""
    start = run.to_bytes(_RUN_BYTES, "big")
    rows = transaction.items(PENDING, start, start + _AFTER)
    return [record for _key, row in rows for record in records_of(pending_row(row).bodies)]


def pending_anchors(transaction: ReadTransaction, run: int) -> list[Anchor]:
    """Return the anchors at which a run has pending writes, by its number."""
    start = run.to_bytes(_RUN_BYTES, "big")
    rows = transaction.items(PENDING, start, start + _AFTER)
    return list(dict.fromkeys(pending_place(key)[1] for key, _row in rows))


@dataclass(frozen=True, slots=True)
class PendingBody:
    """A pending write as a row keeps it."""

    path: str
    task: str
    index: int
    name: str
    body: StoredBody

    def with_value(self, value: Any) -> PendingWrite:
        """Return the write, given its value."""
        return PendingWrite(self.task, self.index, self.name, value, self.path)


def pending_bodies(
    transaction: ReadTransaction, run: int, anchors: Sequence[Anchor]
) -> list[list[PendingBody]]:
    """Return the writes of each of some checkpoints, ordered by (path, task, index)."""
    prefixes = [_prefix(run, anchor) for anchor in anchors]
    rows = transaction.groups(PENDING, prefixes)
    return [_ordered(rows[prefix]) for prefix in prefixes]


def _ordered(rows: Sequence[bytes]) -> list[PendingBody]:
    bodies: list[PendingBody] = []
    for row in rows:
        bodies += _remembered_bodies(row) if len(row) <= _REMEMBERED_BYTES else _bodies_of(row)
    return bodies if len(rows) < 2 else sorted(bodies, key=attrgetter("path", "task"))


def _bodies_of(row: bytes) -> Sequence[PendingBody]:
    found = pending_row(row)
    return tuple(
        PendingBody(found.path, found.task, index, name, body)
        for index, (name, body) in sorted(found.writes.items())
    )


# Those on the way back from a head are read again at every turn.
_remembered_bodies = lru_cache(maxsize=4_096)(_bodies_of)
_REMEMBERED_BYTES: Final = 1_024


def pending_writes(
    bodies: Sequence[PendingBody], reader: StoreReader, kept: KeptValues
) -> list[PendingWrite]:
    """Return writes with their values, read and decoded together."""
    values = values_of([found.body for found in bodies], reader, kept)
    return [found.with_value(value) for found, value in zip(bodies, values, strict=True)]


def read_pending(
    reader: StoreReader, kept: KeptValues, name: str, anchor: Anchor
) -> list[PendingWrite]:
    """Return the pending writes of a checkpoint, ordered by (path, task, index)."""

    def look_up(records: RecordReader) -> list[PendingBody]:
        catalogue = Catalogue(records.transaction)
        run = catalogue.run(name)
        if run is None:
            return []
        found = _canonical(catalogue, run, anchor)
        return pending_bodies(records.transaction, run.number, [found])[0]

    return pending_writes(reader.run(look_up), reader, kept)


def put_row(
    transaction: WriteTransaction, key: bytes, row: PendingRow, *, stray: bool = False
) -> None:
    """Write a row, as one that waits for its checkpoint or as a stray."""
    transaction.put(PENDING, key, _row_bytes(row, stray=stray))


def copy_pending(
    writer: RecordWriter, source: tuple[int, Anchor], target: tuple[int, Anchor]
) -> list[int]:
    """Copy the writes of a checkpoint, by run number and anchor; returns their records."""
    records = []
    rows = [row for _key, row in pending_rows(writer.transaction, *source)]
    for row in rows:
        put_row(writer.writing, row_key(*target, row.path, row.task), row)
        records += records_of(row.bodies)
    return records


def drop_pending(
    transaction: WriteTransaction, run: int, anchors: Iterable[Anchor] | None
) -> list[int]:
    """Remove the writes of checkpoints, or all of a run; returns the records they led to.

    The caller notes that (``writer.unroot``).
    """
    records = []
    if anchors is None:
        start = run.to_bytes(_RUN_BYTES, "big")
        rows = transaction.items(PENDING, start, start + _AFTER)
        found = [(key, pending_row(row)) for key, row in rows]
    else:
        found = [pair for anchor in anchors for pair in pending_rows(transaction, run, anchor)]
    for key, row in found:
        transaction.delete(PENDING, key)
        records += records_of(row.bodies)
    return records


def pending_place(key: bytes) -> tuple[int, Anchor]:
    """Return (run number, anchor) of a row's key; ``CorruptStoreError`` if it is none."""
    run = int.from_bytes(key[:_RUN_BYTES], "big")
    kind, rest = key[_RUN_BYTES : _RUN_BYTES + 1], key[_RUN_BYTES + 1 : -_SLOT_BYTES]
    if kind == _SEQUENCE and len(rest) == _RUN_BYTES:
        return run, int.from_bytes(rest, "big")
    if kind == _UUID:
        return run, unpacked(rest)
    if kind == _TEXT and rest and rest[0] == len(rest) - 1:
        return run, rest[1:].decode()
    raise CorruptStoreError("a row of pending writes has a key that is none; check the store")


def pending_row(row: bytes) -> PendingRow:
    """Read a row of ``pending``."""
    path, task, flat, *rest = cbor2.loads(row)
    writes = {
        index: (name, body_of(body))
        for index, name, body in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    }
    return PendingRow(path, unpacked(task), writes, stray=bool(rest and rest[0]))


def _row_bytes(row: PendingRow, *, stray: bool) -> bytes:
    flat: list[Any] = []
    for index in sorted(row.writes):
        name, body = row.writes[index]
        flat += (index, name, body_fields(body))
    rest = [True] if stray else []
    return cbor2.dumps([row.path, packed(row.task), flat, *rest])


@lru_cache(maxsize=4_096)
def _prefix(run: int, anchor: Anchor) -> bytes:
    if isinstance(anchor, int):
        place = _SEQUENCE + anchor.to_bytes(_RUN_BYTES, "big")
    else:
        short = packed(anchor)
        if isinstance(short, bytes):
            place = _UUID + short
        else:
            data = short.encode()
            place = _TEXT + len(data).to_bytes(1, "big") + data
    return run.to_bytes(_RUN_BYTES, "big") + place


def row_key(run: int, anchor: Anchor, path: str, task: str) -> bytes:
    """Return the key of what a task wrote at a checkpoint of a run (by number)."""
    start = path.encode()
    slot = blake3(len(start).to_bytes(2, "big") + start + task.encode())
    return _prefix(run, anchor) + slot.digest(length=_SLOT_BYTES)


def _numbers(_key: bytes, row: bytes) -> Iterable[int]:
    return records_of(pending_row(row).bodies)


def _renumbered(_key: bytes, row: bytes, new: Callable[[int], int]) -> bytes:
    found = pending_row(row)
    writes = {index: (name, renumbered(body, new)) for index, (name, body) in found.writes.items()}
    return _row_bytes(replace(found, writes=writes), stray=found.stray)


PENDING_ROOTS: Final = RootTable(
    "pending writes", PENDING, _numbers, _renumbered, group=lambda key: key[:_RUN_BYTES]
)
