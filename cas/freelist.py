"""The free list of an LMDB data file, read without LMDB.

LMDB keeps the numbers of free pages in a B-tree of its own: key = transaction number, value = a
count followed by that many page numbers, all 8 bytes in the machine's byte order. Only what is
needed to judge a file before LMDB sees it is read here, and the file must be expected to be
damaged: every read is checked, and every page is visited once.
"""

from __future__ import annotations

import os
import sys
from array import array
from typing import TYPE_CHECKING

from cas.rawpage import (
    BIG,
    BRANCH,
    HEADER,
    LEAF,
    NO_PAGE,
    NODE,
    OVERFLOW,
    WORD,
    DamagedPageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["free_pages_from", "newest_record"]


class _FreeTree:
    """A walk over the pages of the free list's tree."""

    def __init__(self, descriptor: int, page_bytes: int) -> None:
        self._descriptor = descriptor
        self._page_bytes = page_bytes
        self._seen: set[int] = set()

    def _read(self, page: int, size: int) -> bytes:
        if page in self._seen:
            raise DamagedPageError(f"page {page} occurs twice")
        self._seen.add(page)
        data = os.pread(self._descriptor, size, page * self._page_bytes)
        if len(data) != size or HEADER.unpack_from(data)[0] != page:
            raise DamagedPageError(f"page {page} cannot be read")
        return data

    def _overflow(self, page: int, size: int) -> bytes:
        data = self._read(page, HEADER.size + size)
        if not HEADER.unpack_from(data)[2] & OVERFLOW:
            raise DamagedPageError(f"page {page} is no overflow page")
        return data[HEADER.size :]

    def _value(self, page: bytes, offset: int) -> bytes:
        low, high, flags, key_bytes = NODE.unpack_from(page, offset)
        size = low | high << 16
        start = offset + NODE.size + key_bytes
        if flags & BIG:
            return self._overflow(int.from_bytes(page[start : start + 8], sys.byteorder), size)
        if start + size > len(page):
            raise DamagedPageError("a value leaves its page")
        return page[start : start + size]

    def newest_key(self, page_number: int) -> int:
        """Return the highest key of the tree below ``page_number``."""
        page = self._read(page_number, self._page_bytes)
        _, _, flags, lower, _ = HEADER.unpack_from(page)
        if not HEADER.size + 2 <= lower <= self._page_bytes:
            raise DamagedPageError(f"page {page_number} has impossible bounds")
        offset = int.from_bytes(page[lower - 2 : lower], sys.byteorder)
        if not HEADER.size <= offset <= self._page_bytes - NODE.size - WORD:
            raise DamagedPageError(f"page {page_number} has an impossible node")
        low, high, top, key_bytes = NODE.unpack_from(page, offset)
        if flags & BRANCH:
            return self.newest_key(low | high << 16 | top << 32)
        start = offset + NODE.size
        if not flags & LEAF or key_bytes != WORD:
            raise DamagedPageError(f"page {page_number} is of no known kind")
        return int.from_bytes(page[start : start + WORD], sys.byteorder)

    def values(self, page_number: int) -> Iterator[bytes]:
        """Yield every value of the tree below ``page_number``."""
        page = self._read(page_number, self._page_bytes)
        _, _, flags, lower, _ = HEADER.unpack_from(page)
        if lower < HEADER.size or lower > self._page_bytes:
            raise DamagedPageError(f"page {page_number} has impossible bounds")
        for place in range(HEADER.size, lower, 2):
            offset = int.from_bytes(page[place : place + 2], sys.byteorder)
            if not HEADER.size <= offset <= self._page_bytes - NODE.size:
                raise DamagedPageError(f"page {page_number} has an impossible node")
            if flags & BRANCH:
                low, high, top, _ = NODE.unpack_from(page, offset)
                yield from self.values(low | high << 16 | top << 32)
            elif flags & LEAF:
                yield self._value(page, offset)
            else:
                raise DamagedPageError(f"page {page_number} is of no known kind")


def newest_record(descriptor: int, root: int, page_bytes: int) -> int | None:
    """Return the number of the last transaction that freed pages.

    Returns:
        The number; 0 for an empty list, and ``None`` when the list cannot be read.
    """
    if root == NO_PAGE:
        return 0
    try:
        return _FreeTree(descriptor, page_bytes).newest_key(root)
    except (DamagedPageError, RecursionError):
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
    if root == NO_PAGE:
        return found
    try:
        for value in _FreeTree(descriptor, page_bytes).values(root):
            numbers = array("Q")
            numbers.frombytes(value[: len(value) // WORD * WORD])
            if not numbers or numbers[0] >= len(numbers):
                raise DamagedPageError("a record of the list is cut off")
            found.update(n for n in numbers[1 : numbers[0] + 1] if n >= first_page)
    except (DamagedPageError, RecursionError):
        return None
    return found
