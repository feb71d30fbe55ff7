"""Walking over the packs of a store in either direction, as (base number, bytes), or as rows.

The bytes are those that a ``Pack`` is made of; it refuses them if they are damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cas.environment import ReadTransaction
from cas.errors import CorruptionError, CorruptObjectError
from cas.packs import Pack
from cas.records import NUMBER_BYTES, OBJECTS, UNREADABLE, record_key, record_place

__all__ = ["pack_base", "pack_rows", "pack_start", "packs_down", "packs_up", "whole_pack"]


def packs_down(transaction: ReadTransaction, upper: int) -> Iterator[tuple[int, bytes]]:
    """Yield the packs with base numbers below ``upper``, the highest first.

    Raises:
        CorruptObjectError: There is a row that belongs to no pack.
    """
    parts: list[tuple[bytes, bytes]] = []
    for key, row in transaction.items(OBJECTS, b"", record_key(upper), reverse=True):
        base, fragment = record_place(key)
        parts.append((key, row))
        if fragment == 0:
            parts.reverse()
            yield base, _joined(base, parts)
            parts = []
    if parts:
        raise CorruptObjectError("a pack in the table of records has no first row")


def packs_up(transaction: ReadTransaction, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the packs with base numbers from ``start`` (inclusive) to ``stop`` (exclusive).

    Raises:
        CorruptObjectError: There is a row that belongs to no pack.
    """
    base, parts = start, list[tuple[bytes, bytes]]()
    for key, row in transaction.items(OBJECTS, record_key(start), record_key(stop)):
        number, fragment = record_place(key)
        if fragment == 0:
            if parts:
                yield base, _joined(base, parts)
            base, parts = number, []
        elif not parts:
            raise CorruptObjectError("a pack in the table of records has no first row")
        parts.append((key, row))
    if parts:
        yield base, _joined(base, parts)


def pack_rows(
    transaction: ReadTransaction, start: bytes
) -> Iterator[tuple[int, list[tuple[bytes, bytes]], bytes | None]]:
    """Yield (base, rows, first key behind them) of each pack, damaged keys apart."""
    group: list[tuple[bytes, bytes]] = []
    base = -1
    for key, row in transaction.items(OBJECTS, start):
        place = pack_base(key)
        if group and (place != base or key == record_key(place)):
            yield base, group, key
            group = []
        base = place
        group.append((key, row))
    if group:
        yield base, group, None


def pack_base(key: bytes) -> int:
    """Return the base number in the key of a row; of a damaged key, one that sorts as it does."""
    return int.from_bytes(key[:NUMBER_BYTES].ljust(NUMBER_BYTES, b"\0"), "big")


def whole_pack(base: int, rows: Sequence[tuple[bytes, bytes]]) -> Pack:
    """Return the pack of some rows, which must be all of its rows.

    Raises:
        CorruptionError: They are not, or are no pack.
        UnsupportedFormatError: It is of a codec that is not known here.
    """
    if [key for key, _row in rows] != [record_key(base, at) for at in range(len(rows))]:
        raise CorruptionError("its rows are not numbered as they should be")
    if Pack.fragments(rows[0][1]) != len(rows):
        raise CorruptionError(f"it has {len(rows)} rows, not as many as it says")
    return Pack(base, b"".join([row for _key, row in rows]))


def pack_start(transaction: ReadTransaction, key: bytes) -> bytes:
    """Return where to go on with the pack that began at a key, and may be part of another now."""
    if not key or transaction.get(OBJECTS, key) is not None:
        return key
    before = transaction.last_at_or_before(OBJECTS, key)
    if before is None or {len(before[0]), len(key)} != {len(record_key(0))}:
        return key
    start = record_key(record_place(before[0])[0])
    for base, rows, _after in pack_rows(transaction, start):
        try:
            pack = Pack(base, b"".join([row for _key, row in rows]))
        except UNREADABLE:
            break  # it was reported
        return start if pack.numbers[-1] >= record_place(key)[0] else key
    return key


def _joined(base: int, rows: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of a pack, none if rows are missing, too many, or of another pack."""
    keys = [record_key(base, fragment) for fragment in range(Pack.fragments(rows[0][1]))]
    return b"".join([row for _key, row in rows]) if [key for key, _row in rows] == keys else b""
