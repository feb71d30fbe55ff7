"""Finding the last commit of a data file of which anything may be damaged, the meta pages too.

What a commit left is known from its meta page, by the roots of LMDB's free list and of its list of
tables. A meta page has no checksum, but every commit writes its number into the list of tables as
well (``cas.stamp``): the number found there is the one that counts. Where a meta page is damaged,
the list of tables with the highest number is looked for in all pages.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from cas.counters import COUNTERS_KEY, Counters
from cas.datafile import Meta
from cas.errors import CorruptStoreError
from cas.rawfile import RawFile
from cas.rawpage import (
    BRANCH,
    FIRST_PAGE,
    FREE_AT,
    HEADER,
    LEAF,
    MAIN_AT,
    OVERFLOW,
    PAGES,
    PAGES_AT,
    TREE,
    DamagedPageError,
    RawNode,
    loose_nodes,
)
from cas.rawtree import FreePages, RawRow, Tree, TreeWalk
from cas.records import STORE
from cas.stamp import STAMP_KEY, stamped_number

__all__ = ["LastCommit", "find_last_commit"]

_TABLES: Final = "the list of tables"
_FEW_PAGES: Final = 8
"""More than the table of the counters has."""
_MOST_LISTS: Final = 1_000
"""Most lists of tables that are compared: a file has as many old ones as it has free pages."""


@dataclass(frozen=True, slots=True)
class LastCommit:
    """The last commit that can be found.

    Attributes:
        number: Its number; 0 if none was found.
        tables: The rows of the list of tables.
        walk: A walk that has read the free list and the list of tables.
        last_page: The number of the last page, as far as a meta page says it.
        damage: What is wrong, for people.
        is_last: Whether it is certain that there was none after it.
    """

    number: int
    tables: Sequence[RawRow]
    walk: TreeWalk
    last_page: int
    damage: tuple[str, ...]
    is_last: bool = True


def find_last_commit(file: RawFile) -> LastCommit:
    """Find the last commit; whatever is damaged, something is returned."""
    metas = [file.meta(slot) for slot in (0, 1)]
    found = [_of_meta(file, *meta) for meta in metas if meta is not None]
    damage = [f"meta page {slot} is damaged" for slot in (0, 1) if metas[slot] is None]
    numbers = [meta[0].transaction for meta in metas if meta is not None]
    if len(numbers) == 2 and abs(numbers[0] - numbers[1]) > 1:
        damage.append(f"the meta pages are of transactions {numbers[0]} and {numbers[1]}")
    best = max(found, key=lambda commit: commit.number, default=None)
    known = best.number if best is not None else 0
    for number, commit in zip(numbers, found, strict=True):
        if not commit.number and number > known:
            damage += [*commit.damage, f"commit {number} cannot be read"]
    is_last = not damage
    if damage or not known:
        stamps = _Stamps(file, known + 1 if known else None)
        best = stamps.best or best
        other = {file.meta_number(slot) for slot in (0, 1) if metas[slot] is None}
        # The older of the two meta pages is the damaged one; or else a newer commit would have left
        # its list of tables.
        is_last = stamps.every_page_is_sound or (known > 0 and other == {known - 1})
        is_last = is_last or (known > 0 and best is stamps.best)
    if best is None:
        walk = TreeWalk(file, _no_free_pages(file))
        best = LastCommit(0, (), walk, file.pages - 1, ("no commit can be found",))
    return replace(best, damage=(*damage, *best.damage), is_last=is_last)


def _of_meta(file: RawFile, meta: Meta, data: bytes) -> LastCommit:
    """Return the commit that a meta page leads to, with its number if that is proven, else 0."""
    walk = TreeWalk(file, _no_free_pages(file))
    walk.read_free_list(data[FREE_AT : FREE_AT + TREE.size], meta.transaction)
    rows = _rows(walk, Tree.of_record(_TABLES, data[MAIN_AT : MAIN_AT + TREE.size]))
    stamps = [
        number for row in rows if (number := stamped_number(row.key, row.value or b"")) is not None
    ]
    damage = [loss.text for loss in walk.losses]
    if stamps and meta.transaction > 1:
        number = stamps[0]
        if number != meta.transaction:
            damage.append(f"a meta page names transaction {meta.transaction}, not {number}")
    else:
        number = meta.transaction if walk.free.complete else 0
    return LastCommit(number, rows, walk, meta.last_page, tuple(damage))


class _Stamps:
    """Looks for lists of tables in all pages.

    ``best`` is the commit of the wanted number, or else the last one: that with the highest
    counters. A copy of a store begins anew with its numbers, and the list of tables of its original
    may still stand in a free page of it.
    """

    def __init__(self, file: RawFile, wanted: int | None) -> None:
        self.best: LastCommit | None = None
        self.every_page_is_sound = True
        self._file = file
        self._wanted = wanted
        self._highest = (-1, -1, -1)
        self._left = _MOST_LISTS
        page = FIRST_PAGE
        while page < file.pages:
            page += self._look(page)

    def _look(self, page: int) -> int:
        """Look at a page; returns how many belong together."""
        try:
            data = self._file.page(page)
        except DamagedPageError:
            self.every_page_is_sound = False
            return 1
        number, _, flags, _, _ = HEADER.unpack_from(data)
        if STAMP_KEY in data:
            for node in loose_nodes(data):
                stamped = stamped_number(node.key, node.value)
                if stamped is not None and self._wanted in (None, stamped) and self._left:
                    self._left -= 1
                    self._consider(page, stamped)
        if number != page or flags not in (BRANCH, LEAF, OVERFLOW):
            self.every_page_is_sound = False
        elif flags == OVERFLOW:
            return max(1, int(PAGES.unpack_from(data, PAGES_AT)[0]))
        return 1

    def _consider(self, page: int, number: int) -> None:
        file = self._file
        walk = TreeWalk(file, _no_free_pages(file))
        rows = _rows(walk, Tree(_TABLES, page, 1, None))
        rank = (*_counted(file, rows), number)
        if rank > self._highest:
            self._highest = rank
            damage = f"commit {number} is found by its list of tables alone"
            self.best = LastCommit(number, rows, walk, file.pages - 1, (damage,))


def _counted(file: RawFile, tables: Sequence[RawRow]) -> tuple[int, int]:
    """Return root epoch and next record number as a list of tables leads to them, else zeros."""
    walk = TreeWalk(file, _no_free_pages(file), _FEW_PAGES)
    for row in _store_rows(walk, tables):
        if row.key == COUNTERS_KEY:
            with suppress(CorruptStoreError):
                counters = Counters.of_row(STORE.unseal(row.key, row.value or b""))
                if counters is not None:
                    return counters.root_epoch, counters.next_record
    return 0, 0


def _store_rows(walk: TreeWalk, tables: Sequence[RawRow]) -> Iterator[RawRow]:
    """Yield the rows of the table that holds the counters, wherever a list of tables has it."""
    for row in tables:
        if row.key == STORE.name.encode() and row.value is not None and len(row.value) == TREE.size:
            for leaf in walk.leaves(Tree.of_record(STORE.name, row.value), lambda _nodes: True):
                yield from leaf


def _rows(walk: TreeWalk, tree: Tree) -> list[RawRow]:
    return [row for leaf in walk.leaves(tree, _is_list_of_tables) for row in leaf]


def _is_list_of_tables(nodes: Sequence[RawNode]) -> bool:
    return any(node.key == STAMP_KEY or node.size == TREE.size for node in nodes)


def _no_free_pages(file: RawFile) -> FreePages:
    return FreePages(array("Q", bytes(8 * file.pages)))
