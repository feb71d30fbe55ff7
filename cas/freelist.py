"""The free list of an LMDB data file, read without LMDB.

LMDB keeps the numbers of free pages in a B-tree of its own: key = transaction number, value = a
count followed by that many page numbers, all 8 bytes in the machine's byte order. Only what is
needed to judge a file before LMDB sees it is read here, and the file must be expected to be
damaged: every read is checked, and every page is visited once.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["free_pages_from", "newest_record"]

_NO_PAGE = (1 << 64) - 1
_HEADER_BYTES = 16
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
_BIG_DATA = 0x01
_NUMBER_BYTES = 8
_NODE_HEADER_BYTES = 8
_HEADER = struct.Struct("=QHHHH")
_NODE = struct.Struct("=HHHH")


class _DamagedError(Exception):
    """The tree cannot be read."""


class _FreeTree:
    """A walk over the pages of the free list's tree."""

    def __init__(self, descriptor: int, page_bytes: int) -> None:
        self._descriptor = descriptor
        self._page_bytes = page_bytes
        self._seen: set[int] = set()

    def _read(self, page: int, size: int) -> bytes:
        if page in self._seen:
            raise _DamagedError(f"page {page} occurs twice")
        self._seen.add(page)
        data = os.pread(self._descriptor, size, page * self._page_bytes)
        if len(data) != size or _HEADER.unpack_from(data)[0] != page:
            raise _DamagedError(f"page {page} cannot be read")
        return data

    def _overflow(self, page: int, size: int) -> bytes:
        data = self._read(page, _HEADER_BYTES + size)
        if not _HEADER.unpack_from(data)[2] & _OVERFLOW:
            raise _DamagedError(f"page {page} is no overflow page")
        return data[_HEADER_BYTES:]

    def _value(self, page: bytes, offset: int) -> bytes:
        low, high, flags, key_bytes = _NODE.unpack_from(page, offset)
        size = low | high << 16
        start = offset + _NODE_HEADER_BYTES + key_bytes
        if flags & _BIG_DATA:
            return self._overflow(int.from_bytes(page[start : start + 8], sys.byteorder), size)
        if start + size > len(page):
            raise _DamagedError("a value leaves its page")
        return page[start : start + size]

    def newest_key(self, page_number: int) -> int:
        """Return the highest key of the tree below ``page_number``."""
        page = self._read(page_number, self._page_bytes)
        _, _, flags, lower, _ = _HEADER.unpack_from(page)
        if not _HEADER_BYTES + 2 <= lower <= self._page_bytes:
            raise _DamagedError(f"page {page_number} has impossible bounds")
        offset = int.from_bytes(page[lower - 2 : lower], sys.byteorder)
        if not _HEADER_BYTES <= offset <= self._page_bytes - _NODE_HEADER_BYTES - _NUMBER_BYTES:
            raise _DamagedError(f"page {page_number} has an impossible node")
        low, high, top, key_bytes = _NODE.unpack_from(page, offset)
        if flags & _BRANCH:
            return self.newest_key(low | high << 16 | top << 32)
        start = offset + _NODE_HEADER_BYTES
        if not flags & _LEAF or key_bytes != _NUMBER_BYTES:
            raise _DamagedError(f"page {page_number} is of no known kind")
        return int.from_bytes(page[start : start + _NUMBER_BYTES], sys.byteorder)

    def values(self, page_number: int) -> Iterator[bytes]:
        """Yield every value of the tree below ``page_number``."""
        page = self._read(page_number, self._page_bytes)
        _, _, flags, lower, _ = _HEADER.unpack_from(page)
        if lower < _HEADER_BYTES or lower > self._page_bytes:
            raise _DamagedError(f"page {page_number} has impossible bounds")
        for place in range(_HEADER_BYTES, lower, 2):
            offset = int.from_bytes(page[place : place + 2], sys.byteorder)
            if not _HEADER_BYTES <= offset <= self._page_bytes - _NODE_HEADER_BYTES:
                raise _DamagedError(f"page {page_number} has an impossible node")
            if flags & _BRANCH:
                low, high, top, _ = _NODE.unpack_from(page, offset)
                yield from self.values(low | high << 16 | top << 32)
            elif flags & _LEAF:
                yield self._value(page, offset)
            else:
                raise _DamagedError(f"page {page_number} is of no known kind")


def newest_record(descriptor: int, root: int, page_bytes: int) -> int | None:
    """Return the number of the last transaction that freed pages.

    Returns:
        The number; 0 for an empty list, and ``None`` when the list cannot be read.
    """
    if root == _NO_PAGE:
        return 0
    try:
        return _FreeTree(descriptor, page_bytes).newest_key(root)
    except (_DamagedError, RecursionError):
        return None


def free_pages_from(
    descriptor: int, root: int, page_bytes: int, first_page: int
) -> set[int] | None:
    """Return the free pages numbered ``first_page`` (inclusive) or more.

    Args:
        descriptor: The open data file.
        root: The root page of the free list, from a meta page.
        page_bytes: The size of a page.
        first_page: The lowest page number of interest.

    Returns:
        The page numbers, or ``None`` when the list cannot be read.
    """
    found: set[int] = set()
    if root == _NO_PAGE:
        return found
    try:
        for value in _FreeTree(descriptor, page_bytes).values(root):
            numbers = array("Q")
            numbers.frombytes(value[: len(value) // _NUMBER_BYTES * _NUMBER_BYTES])
            if not numbers or numbers[0] >= len(numbers):
                raise _DamagedError("a record of the list is cut off")
            found.update(n for n in numbers[1 : numbers[0] + 1] if n >= first_page)
    except (_DamagedError, RecursionError):
        return None
    return found
