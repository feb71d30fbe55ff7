"""A data file read page by page with plain reads, whatever state it is in.

What cannot be read is a ``DamagedPageError`` for that page alone, also where it is the disk that
fails: everything else may still be sound.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from cas.closing import Closing
from cas.datafile import PAGE_SIZES, DamagedMetaError, Meta, parse_meta, refuse_other_format
from cas.errors import CorruptStoreError, HiveError, UnsupportedFormatError
from cas.failures import translate
from cas.rawpage import (
    BRANCH,
    HEADER,
    LEAF,
    META_BYTES,
    OVERFLOW,
    PAGES,
    PAGES_AT,
    WORD,
    DamagedPageError,
)

__all__ = ["RawFile"]

_SAMPLE: Final = 64
"""How many pages are looked at to tell the size of a page where no meta page does."""
_MOST_VALUE_BYTES: Final = 64 << 20
"""Largest value that is read: no row of a store comes near it, and a damaged one may say 4 GiB."""


class RawFile(Closing):
    """An open data file. ``pages`` counts those of which anything is there."""

    def __init__(self, path: Path) -> None:
        """Open the file for reading.

        Raises:
            CorruptStoreError: It is no regular file.
            HiveError: It cannot be opened.
        """
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise translate(error, path) from error
        try:
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise CorruptStoreError(f"{path} is no regular file", path=path)
            self.size = status.st_size
            self.page_bytes = self._find_page_size()
        except BaseException:
            self.close()
            raise
        self.pages = -(-self.size // self.page_bytes)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _read(self, at: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, at)
        except OSError:
            return b""  # a sector that the disk cannot read any more

    def page(self, number: int) -> bytes:
        """Return a page.

        Raises:
            DamagedPageError: It is behind the end of the file, or the disk cannot read it.
        """
        data = b""
        if 0 <= number < self.pages:
            data = self._read(number * self.page_bytes, self.page_bytes)
        if len(data) != self.page_bytes:
            where = "cannot be read" if number < self.pages else "is behind the end of the file"
            raise DamagedPageError(f"page {number} {where}")
        return data

    def overflow(self, page: int, size: int) -> tuple[bytes, int]:
        """Return a value of ``size`` bytes that begins in a page, and how many pages it has.

        Raises:
            DamagedPageError: No such value begins there.
        """
        head = self.page(page)
        number, _, flags, _, _ = HEADER.unpack_from(head)
        (count,) = PAGES.unpack_from(head, PAGES_AT)
        fits = HEADER.size + size <= min(count * self.page_bytes, _MOST_VALUE_BYTES)
        if (number, flags) != (page, OVERFLOW) or not fits or page + count > self.pages:
            raise DamagedPageError(f"page {page} is not the first one of a value")
        value = self._read(page * self.page_bytes + HEADER.size, size)
        if len(value) != size:
            raise DamagedPageError(f"page {page} begins a value that is cut off")
        return value, count

    def meta(self, slot: int) -> tuple[Meta, bytes] | None:
        """Return a meta page (0 or 1), parsed and as it is, or None if it makes no sense."""
        data = self._read(slot * self.page_bytes, META_BYTES)
        try:
            meta = parse_meta(data, slot)
        except (DamagedMetaError, UnsupportedFormatError):
            return None
        is_sound = meta.page_bytes == self.page_bytes and meta.has_possible_roots
        return (meta, data) if is_sound else None

    def meta_number(self, slot: int) -> int:
        """Return the transaction number that stands in a meta page, whatever it is worth."""
        data = self._read(slot * self.page_bytes + META_BYTES - WORD, WORD)
        return int.from_bytes(data, sys.byteorder)

    def nothing_found(self) -> HiveError:
        """Return the error for a file in which there is nothing of a store."""
        try:
            refuse_other_format(self._read(0, META_BYTES))
        except UnsupportedFormatError as error:
            return UnsupportedFormatError(f"{self.path}: {error}; salvage it on such a machine")
        return CorruptStoreError(f"{self.path} holds nothing of a Hive store", path=self.path)

    def _find_page_size(self) -> int:
        for slot, sizes in ((0, (0,)), (1, _SIZES)):
            for size in sizes:
                with suppress(DamagedMetaError, UnsupportedFormatError):
                    found = parse_meta(self._read(slot * size, META_BYTES), slot).page_bytes
                    if slot == 0 or found == size:
                        return found
        # Every page says which one it is.
        votes: Counter[int] = Counter()
        for size in _SIZES:
            for page in range(2, 2 + _SAMPLE):
                head = self._read(page * size, HEADER.size)
                if len(head) == HEADER.size:
                    number, _, flags, *_ = HEADER.unpack(head)
                    votes[size] += number == page and flags in (BRANCH, LEAF, OVERFLOW)
        return max(_SIZES, key=lambda size: votes[size])


_SIZES: Final = (4_096, *(size for size in PAGE_SIZES if size != 4_096))
"""Sizes of pages, the usual one first."""
