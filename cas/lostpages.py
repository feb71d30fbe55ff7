"""What stands in pages that no tree led to: rows, and to which table each belongs.

A row of a checked table is told by its checksum, which covers the table's name. A row of a pack has
a key of eight bytes that is a record number of this store; so has, almost never, one of the index.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cas.errors import CorruptStoreError
from cas.rawfile import RawFile
from cas.rawpage import (
    BIG,
    BRANCH,
    FIRST_PAGE,
    HEADER,
    OVERFLOW,
    PAGES,
    PAGES_AT,
    TABLE,
    DamagedPageError,
    RawNode,
    branch_nodes,
    leaf_nodes,
    loose_nodes,
)
from cas.rawtree import Loss
from cas.records import OBJECTS, RECORD_KEY_BYTES, record_place
from cas.stamp import STAMP_KEY
from cas.table import Table
from cas.upkeep import OnProgress, Progress

__all__ = ["FoundPage", "LostPages", "is_sealed"]

_LIKELY_NUMBERS: Final = 1 << 40
"""Record numbers of stores are below it; a key of the index hardly ever is, read as one."""
_MOST_INDEX_BYTES: Final = 48
"""A longer row is of a pack, also where a damaged key gives it a number that no record has."""
_PROGRESS_PAGES: Final = 4_096
_MOST_READS: Final = 8
"""How often a value that begins in one page is read: versions of a row may share it."""


@dataclass(slots=True)
class FoundPage:
    """What one page holds.

    Attributes:
        rows: (table, key, row as stored) of what is surely a row of a checked table, or may be one
            of a pack.
        odd: Rows like these that stand beside rows of one checked table, and do not fit it.
        is_sound: Whether all is told that it held.
        pages: How many pages it takes: a large value has several.
    """

    rows: list[tuple[Table, bytes, bytes]] = field(default_factory=list)
    odd: list[tuple[Table, bytes, bytes]] = field(default_factory=list)
    is_sound: bool = True
    pages: int = 1

    def keep_of(self, loss: Loss) -> None:
        """Keep only what can be of the part of a tree that the page should be.

        Of a damaged page the rows are guessed. LMDB leaves there what stood in the page before it
        became that one: a branch page had rows of any table, which were dropped long ago.
        """
        self.rows, self.odd = (
            [row for row in rows if loss.is_leaf and row[0].name == loss.tree]
            for rows in (self.rows, self.odd)
        )


class LostPages:
    """Looks at pages of a file by themselves."""

    def __init__(self, file: RawFile, checked: Mapping[str, Table], progress: OnProgress) -> None:
        """Prepare for looking. ``checked`` are the checked tables by name."""
        self.numbers_below = _LIKELY_NUMBERS
        self._file = file
        self._checked = checked
        self._progress = progress
        self._reads: Counter[int] = Counter()

    def pages(self, wanted: Callable[[int], bool]) -> Iterator[tuple[int, FoundPage]]:
        """Yield (number, content) of all wanted pages."""
        page, pages = FIRST_PAGE, self._file.pages
        while page < pages:
            if page % _PROGRESS_PAGES == 0:
                self._progress(Progress("scan", page, pages))
            count = 1
            if wanted(page):
                found = self._look(page)
                count = found.pages
                yield page, found
            page += count

    def table_of(self, key: bytes, row: bytes) -> Table | None:
        """Return the checked table to which a row belongs."""
        return next((each for each in self._checked.values() if is_sealed(each, key, row)), None)

    def _look(self, page: int) -> FoundPage:
        try:
            data = self._file.page(page)
        except DamagedPageError:
            return FoundPage(is_sound=False)
        number, _, flags, _, _ = HEADER.unpack_from(data)
        (count,) = PAGES.unpack_from(data, PAGES_AT)
        if (number, flags) == (page, OVERFLOW) and 0 < count <= self._file.pages - page:
            return FoundPage(pages=count)
        is_sound = True
        try:
            if flags == BRANCH:
                branch_nodes(data, page, "a table")
                return FoundPage()
            nodes = leaf_nodes(data, page, "a table")
        except DamagedPageError:
            is_sound = False
            nodes = list(loose_nodes(data))
        found = FoundPage(is_sound=is_sound)
        others = [row for node in nodes if (row := self._sorted(node, found)) is not None]
        tables = {table.name: table for table, _key, _row in found.rows}
        if len(tables) == 1:
            (table,) = tables.values()
            found.odd = [(table, key, row) for key, row in others]
            found.is_sound = found.is_sound and not others
        elif not tables:
            # A row of a pack, or of the index; on a whole page, all are of the same.
            is_of_packs = is_sound and any(len(row) > _MOST_INDEX_BYTES for _key, row in others)
            found.rows = [
                (OBJECTS, key, row)
                for key, row in others
                if len(key) == RECORD_KEY_BYTES
                and (
                    is_of_packs
                    or record_place(key)[0] < self.numbers_below
                    or len(row) > _MOST_INDEX_BYTES
                )
            ]
            found.is_sound = found.is_sound and all(
                len(key) == RECORD_KEY_BYTES for key, _row in others
            )
        return found

    def _sorted(self, node: RawNode, found: FoundPage) -> tuple[bytes, bytes] | None:
        """Put a row of a checked table to the others; return another one, if it can be one."""
        row = node.value
        if node.flags & BIG:
            page = int.from_bytes(row, sys.byteorder)
            self._reads[page] += 1
            try:
                if self._reads[page] > _MOST_READS:
                    raise DamagedPageError(f"the value in page {page} is named too often")
                row = self._file.overflow(page, node.size)[0]
            except DamagedPageError:
                found.is_sound = False
                return None
        table = self.table_of(node.key, row)
        if table is not None:
            found.rows.append((table, node.key, row))
            return None
        is_of_list = node.key == STAMP_KEY or node.flags & TABLE
        return None if is_of_list else (node.key, row)


def is_sealed(table: Table, key: bytes, row: bytes) -> bool:
    """Whether a row as stored carries the checksum of its bytes."""
    try:
        table.unseal(key, row)
    except CorruptStoreError:
        return False
    return True
