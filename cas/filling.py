"""Cutting packs into rows that fill LMDB's pages to the end, given that all rows are appended.

Rows of one size leave a fifth of the pages empty: where packs end, in the middle of one.
"""

from __future__ import annotations

from typing import Final

from cas.packs import FRAGMENT_BYTES
from cas.records import record_key

__all__ = ["PAGE_ROOM", "PageFiller", "taken_by"]

PAGE_ROOM: Final = 4096 - 16
"""What an empty page has for rows."""
_ROW_OVERHEAD: Final = 2 + 8 + len(record_key(0))
_LEAST_ROW: Final = 128


class PageFiller:
    """Keeps account of the room in the last page of the table of records.

    Nothing depends on it but how full pages are: where the account is wrong, a row that was meant
    to fill a page begins the next one.
    """

    def __init__(self, room: int | None = PAGE_ROOM) -> None:
        """Begin with so many bytes of room; None: unknown, until a row is seen to begin a page."""
        self.room = room

    def cut(self, size: int) -> list[int]:
        """Return the sizes of the rows for a pack of ``size`` bytes."""
        if self.room is None:
            full, rest = divmod(size, FRAGMENT_BYTES)
            return [FRAGMENT_BYTES] * full + [rest] * (rest > 0)
        cuts: list[int] = []
        while size:
            room = (self.room - _ROW_OVERHEAD) // 2 * 2
            if room < min(size, _LEAST_ROW):
                self.room = PAGE_ROOM
                continue
            row = min(size, room, FRAGMENT_BYTES)
            cuts.append(row)
            size -= row
            self._take(row)
        return cuts

    def saw(self, row: int, *, began_page: bool) -> None:
        """Learn where a row of that size went."""
        if began_page:
            self.room = PAGE_ROOM
        self._take(row)
        if self.room is not None and self.room < 0:
            self.room = None  # it went where there was no room for it: the account was wrong

    def _take(self, row: int) -> None:
        if self.room is not None:
            self.room -= taken_by(row)


def taken_by(row: int) -> int:
    """Return what a row of that size takes of its page."""
    return _ROW_OVERHEAD + (row + 1) // 2 * 2
