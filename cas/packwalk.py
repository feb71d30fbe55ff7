"""Walking over the packs of a store in either direction, as (base number, bytes).

The bytes are those that a ``Pack`` is made of; it refuses them if they are damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cas.environment import ReadTransaction
from cas.errors import CorruptObjectError
from cas.packs import Pack
from cas.records import OBJECTS, record_key, record_place

__all__ = ["packs_down", "packs_up"]


def packs_down(transaction: ReadTransaction, upper: int) -> Iterator[tuple[int, bytes]]:
    """Yield the packs with base numbers below ``upper``, the highest first.

    Raises:
        CorruptObjectError: There is a row that belongs to no pack.
    """
    parts: list[bytes] = []
    for key, row in transaction.items(OBJECTS, b"", record_key(upper), reverse=True):
        base, fragment = record_place(key)
        parts.append(row)
        if fragment == 0:
            parts.reverse()
            yield base, _joined(parts)
            parts = []
    if parts:
        raise CorruptObjectError("a pack in the table of records has no first row")


def packs_up(transaction: ReadTransaction, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the packs with base numbers from ``start`` (inclusive) to ``stop`` (exclusive).

    Raises:
        CorruptObjectError: There is a row that belongs to no pack.
    """
    base, parts = start, list[bytes]()
    for key, row in transaction.items(OBJECTS, record_key(start), record_key(stop)):
        number, fragment = record_place(key)
        if fragment == 0:
            if parts:
                yield base, _joined(parts)
            base, parts = number, []
        elif not parts:
            raise CorruptObjectError("a pack in the table of records has no first row")
        parts.append(row)
    if parts:
        yield base, _joined(parts)


def _joined(parts: Sequence[bytes]) -> bytes:
    """Return the bytes of a pack, none if rows are missing or too many: readers refuse it too."""
    return b"".join(parts) if Pack.fragments(parts[0]) == len(parts) else b""
