"""Rows of checked tables in which a single bit was turned over: found again by their checksum.

That is what a failing memory cell or a cosmic ray does, and the damage that is likeliest. The
checksum has 32 bits, so that of 10,000 tries on a row that is damaged otherwise, one in 400,000
takes a wrong one for right.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cas.environment import WriteTransaction
from cas.lostpages import is_sealed
from cas.table import CHECKSUM_BYTES, Table

__all__ = ["OneBit", "mend_rows"]

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


def _checksum(row: bytes) -> int:
    return int.from_bytes(row[:CHECKSUM_BYTES], "big")
