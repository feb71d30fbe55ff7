"""What a single bit that was turned over makes unreadable: rows of checked tables, codecs of packs.

That is what a failing memory cell or a cosmic ray does, and the damage that is likeliest. The
checksum of a row has 32 bits, so that of 10,000 tries on a row that is damaged otherwise, one in
400,000 takes a wrong one for right. Which codec a pack has, its records prove by their digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cas.environment import ReadTransaction, WriteTransaction
from cas.errors import CorruptionError, UnsupportedFormatError
from cas.lostpages import is_sealed
from cas.packs import Pack
from cas.packwalk import pack_rows, whole_pack
from cas.records import OBJECTS, UNREADABLE, PackCache, RecordReader
from cas.table import CHECKSUM_BYTES, Table

__all__ = ["OneBit", "mend_codecs", "mend_rows", "right_codec"]

_MOST_BYTES: Final = 2_048
_MOST_TRIES: Final = 2_000_000
"""Tries for one file (some seconds), however many rows are damaged."""


class OneBit:
    """Turns bits over until rows fit their checksums, for as long as the tries last."""

    def __init__(self, most_tries: int = _MOST_TRIES) -> None:
        self._left = most_tries

    def mended(self, table: Table, key: bytes, row: bytes) -> tuple[bytes, bytes] | None:
        """Return the key and the row, as stored, of which one bit differs and which fit each other.

        Returns:
            None if there are none, or no tries are left.
        """
        size = len(key) + len(row)
        if len(row) < CHECKSUM_BYTES or size > _MOST_BYTES or self._left <= 0:
            return None
        right = table.seal(key, row[CHECKSUM_BYTES:])
        if (_checksum(right) ^ _checksum(row)).bit_count() == 1:
            return key, right
        data = bytearray(key + row)
        for at in range(size):
            if len(key) <= at < len(key) + CHECKSUM_BYTES:
                continue
            for bit in range(8):
                data[at] ^= 1 << bit
                found = bytes(data[: len(key)]), bytes(data[len(key) :])
                if is_sealed(table, *found):
                    return found
                data[at] ^= 1 << bit
        self._left -= 8 * size
        return None


def mend_rows(transaction: WriteTransaction, tables: Iterable[Table]) -> int:
    """Put rows right in which one bit was turned over, in their keys as well; returns how many."""
    one_bit, count = OneBit(), 0
    for table in tables:
        damaged = [
            (key, row)
            for key, row in transaction.items(table.sealed)
            if not is_sealed(table, key, row)
        ]
        for key, row in damaged:
            right = one_bit.mended(table, key, row)
            if right is None:
                continue
            if right[0] != key:
                if transaction.get(table.sealed, right[0]) is not None:
                    continue  # it was written anew since
                transaction.delete(table, key)
            transaction.put(table.sealed, *right)
            count += 1
    return count


def right_codec(
    transaction: ReadTransaction, base: int, rows: Sequence[tuple[bytes, bytes]]
) -> bytes | None:
    """Return the first byte that a pack had before one bit of it was turned over.

    Returns:
        None if no record proves any: it was written by a later version, or is damaged otherwise.
    """
    data = b"".join([row for _key, row in rows])
    for bit in range(8):
        codec = bytes([data[0] ^ 1 << bit])
        reader = RecordReader(transaction, PackCache(), set())
        try:
            pack = Pack(base, codec + data[1:])
        except UNREADABLE:
            continue
        reader.cache.add(pack, {})
        if any(map(reader.is_sound, pack.numbers)):
            return codec
    return None


def mend_codecs(transaction: WriteTransaction, keys: Iterable[bytes]) -> int:
    """Put the codecs of damaged packs right, by the keys of their first rows; returns how many."""
    count = 0
    for key in keys:
        group = next(pack_rows(transaction, key), None)
        if group is None:
            continue
        base, rows, _after = group
        try:
            whole_pack(base, rows)
        except UnsupportedFormatError:
            codec = right_codec(transaction, base, rows)
            if codec is not None:
                transaction.put(OBJECTS, rows[0][0], codec + rows[0][1][1:])
                count += 1
        except CorruptionError:
            continue  # it is damaged otherwise
    return count


def _checksum(row: bytes) -> int:
    return int.from_bytes(row[:CHECKSUM_BYTES], "big")
