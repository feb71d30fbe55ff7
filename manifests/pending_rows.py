"""The rows of pending writes: what each task wrote, by run and checkpoint, and their bytes.

One row holds what one task wrote: it is complete or not there, also after a repair.

A row's key is ``run number (u32) || anchor || slot (16)``. The anchor is the checkpoint: ``00`` and
its sequence (u32), or, if it has a key, ``02`` and the 16 bytes of that UUID or ``01``, the key's
length (u8) and the key. The slot is the beginning of a digest of path and task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import cbor2
from blake3 import blake3

from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError
from cas.roots import RootTable
from cas.shape import Shape, odd_row, shaped
from cas.writer import RecordWriter
from manifests.bodies import StoredBody, body_fields, body_of, records_of, renumbered
from manifests.names import MAX_NAME_BYTES
from manifests.packed import packed, unpacked
from manifests.rows import behind_run, run_of, run_part, run_range

__all__ = [
    "PENDING",
    "PENDING_ROOTS",
    "Anchor",
    "PendingRow",
    "anchor_prefix",
    "copy_pending",
    "drop_pending",
    "has_pending",
    "known_row",
    "pending_anchors",
    "pending_place",
    "pending_records",
    "pending_row",
    "pending_rows",
    "put_row",
    "row_key",
]

PENDING: Final = Table("pending")

Anchor = int | str
"""A checkpoint of a run: its sequence, or its key if it has one."""

_SEQUENCE_BYTES: Final = 4
_SEQUENCE: Final = b"\x00"
_TEXT: Final = b"\x01"
_UUID: Final = b"\x02"
_SLOT_BYTES: Final = 16
_SHAPES: Final[frozenset[Shape]] = frozenset(
    (str, task, list, *stray) for task in (str, bytes) for stray in ((), (bool,))
)


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


def pending_rows(
    transaction: ReadTransaction, run: int, anchor: Anchor
) -> Iterator[tuple[bytes, PendingRow]]:
    """Yield (key, row) of each task that wrote something at a checkpoint."""
    prefix = anchor_prefix(run, anchor)
    stop = prefix + b"\xff" * (_SLOT_BYTES + 1)
    for key, row in transaction.items(PENDING, prefix, stop):
        yield key, pending_row(row)
    transaction.look_beside(PENDING, prefix, stop)


def known_row(transaction: ReadTransaction, key: bytes) -> PendingRow | None:
    """Return the row of a key, None if there is none."""
    row = transaction.get(PENDING, key)
    if row is None:
        transaction.look_beside(PENDING, key, key)
        return None
    return pending_row(row)


def pending_records(transaction: ReadTransaction, run: int) -> list[int]:
    """Return the records that the pending writes of a run lead to, by its number."""
    rows = transaction.items(PENDING, *run_range(run))
    return [record for _key, row in rows for record in records_of(pending_row(row).bodies)]


def pending_anchors(transaction: ReadTransaction, run: int) -> list[Anchor]:
    """Return the anchors at which a run has pending writes, by its number."""
    rows = transaction.items(PENDING, *run_range(run))
    return list(dict.fromkeys(pending_place(key)[1] for key, _row in rows))


def has_pending(transaction: ReadTransaction, run: int, anchor: Anchor) -> bool:
    """Whether a checkpoint has pending writes, by run number and anchor."""
    prefix = anchor_prefix(run, anchor)
    found = transaction.first_at_or_after(PENDING, prefix)
    if found is not None and found[0].startswith(prefix):
        return True
    transaction.look_beside(PENDING, prefix, prefix)  # else the checkpoint might be forgotten
    return False


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
        rows = transaction.items(PENDING, *run_range(run))
        found = [(key, pending_row(row)) for key, row in rows]
    else:
        found = [pair for anchor in anchors for pair in pending_rows(transaction, run, anchor)]
    for key, row in found:
        transaction.delete(PENDING, key)
        records += records_of(row.bodies)
    return records


def put_row(
    transaction: WriteTransaction, key: bytes, row: PendingRow, *, stray: bool = False
) -> None:
    """Write a row, as one that waits for its checkpoint or as a stray."""
    transaction.put(PENDING, key, _row_bytes(row, stray=stray))


def pending_place(key: bytes) -> tuple[int, Anchor]:
    """Return (run number, anchor) of a row's key; ``CorruptStoreError`` if it is none."""
    run, place = run_of(key), behind_run(key)
    kind, rest = place[:1], place[1:-_SLOT_BYTES]
    if kind == _SEQUENCE and len(rest) == _SEQUENCE_BYTES:
        return run, int.from_bytes(rest, "big")
    if kind == _UUID:
        return run, unpacked(rest)
    if kind == _TEXT and rest and rest[0] == len(rest) - 1:
        return run, rest[1:].decode()
    raise CorruptStoreError("a row of pending writes has a key that is none; check the store")


def pending_row(row: bytes) -> PendingRow:
    """Read a row of ``pending``. ``CorruptStoreError`` if it is none."""
    path, task, flat, *rest = shaped(row, _SHAPES)
    indexes, names = flat[::3], flat[1::3]
    if len(path) > MAX_NAME_BYTES or len(flat) % 3:
        raise odd_row()
    if not {*map(type, indexes)} <= {int} or not {*map(type, names)} <= {str}:
        raise odd_row()
    writes = {
        index: (name, body_of(body))
        for index, name, body in zip(indexes, names, flat[2::3], strict=True)
    }
    return PendingRow(path, unpacked(task), writes, stray=rest == [True])


def _row_bytes(row: PendingRow, *, stray: bool) -> bytes:
    flat: list[Any] = []
    for index in sorted(row.writes):
        name, body = row.writes[index]
        flat += (index, name, body_fields(body))
    rest = [True] if stray else []
    return cbor2.dumps([row.path, packed(row.task), flat, *rest])


@lru_cache(maxsize=4_096)
def anchor_prefix(run: int, anchor: Anchor) -> bytes:
    """Return what the keys of all rows of a checkpoint begin with, by run number and anchor."""
    if isinstance(anchor, int):
        place = _SEQUENCE + anchor.to_bytes(_SEQUENCE_BYTES, "big")
    else:
        short = packed(anchor)
        if isinstance(short, bytes):
            place = _UUID + short
        else:
            data = short.encode()
            place = _TEXT + len(data).to_bytes(1, "big") + data
    return run_part(run) + place


def row_key(run: int, anchor: Anchor, path: str, task: str) -> bytes:
    """Return the key of what a task wrote at a checkpoint of a run (by number)."""
    start = path.encode()
    slot = blake3(len(start).to_bytes(2, "big") + start + task.encode())
    return anchor_prefix(run, anchor) + slot.digest(length=_SLOT_BYTES)


def _numbers(_key: bytes, row: bytes) -> Iterable[int]:
    return records_of(pending_row(row).bodies)


def _renumbered(_key: bytes, row: bytes, new: Callable[[int], int]) -> bytes:
    found = pending_row(row)
    writes = {index: (name, renumbered(body, new)) for index, (name, body) in found.writes.items()}
    return _row_bytes(replace(found, writes=writes), stray=found.stray)


PENDING_ROOTS: Final = RootTable("pending writes", PENDING, _numbers, _renumbered, group=run_of)
