"""Taking what verifies out of a data file that LMDB must not open, row by row, into a new one.

First the trees of the last commit are walked. Where a part of one cannot be read, its rows are
looked for in all pages that no tree led to. As long as LMDB's free list can be read, it tells them
apart: a page that is neither reached nor free is one that was lost, and its rows are as current as
those in the trees. Free pages hold what rows were before; such a row counts only where a part of
its table is gone for good, and whether it may come back is for the upper layer to decide.

Which table a row belongs to is told by its checksum; a pack is known by fitting together. Record
numbers stay what they are. The index is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from cas.check import Damage
from cas.counters import COUNTERS_KEY, Counters
from cas.environment import ReadTransaction, WriteTransaction
from cas.failures import MAX_KEY_BYTES
from cas.holes import Hole, Holes
from cas.lostpages import LostPages, is_sealed
from cas.onebit import OneBit
from cas.piecing import PackTaker, complete, piece_packs
from cas.rawfile import RawFile
from cas.rawpage import TABLE, TREE, RawNode
from cas.rawroots import find_last_commit
from cas.rawtree import Loss, RawRow, Tree
from cas.records import INDEX, OBJECTS, RECORD_KEY_BYTES, STORE, record_key
from cas.repack import Draft
from cas.sieve import CURRENT, Sieve, Version
from cas.stamp import STAMP_KEY
from cas.store import HEADER_KEY
from cas.table import CHECKSUM_BYTES, Table
from cas.upkeep import OnProgress, Progress

__all__ = ["Salvage"]

_PROGRESS_LEAVES: Final = 1_024


class Salvage:
    """One salvage of one data file.

    ``read`` and ``scan`` fill the draft, ``older`` offers what may come back besides, ``finish``
    completes it. ``damage`` says what is wrong with the file, ``holes`` where rows may be lost.
    """

    def __init__(
        self,
        file: RawFile,
        draft: Draft,
        sieve: Sieve,
        *,
        carried: Iterable[Table],
        others: Iterable[Table],
        progress: OnProgress,
    ) -> None:
        """Prepare for it.

        Args:
            file: The damaged file.
            draft: Where the rows go.
            sieve: Where they are sorted.
            carried: The checked tables to take over.
            others: Checked tables that a new store begins without.
            progress: Is told how far it is.
        """
        self.damage: list[Damage] = []
        self.holes = Holes()
        self._file = file
        self._draft = draft
        self._sieve = sieve
        self._carried = {table.name: table for table in carried}
        self._wanted = {*self._carried, OBJECTS.name}
        self._checked = {**self._carried, **{table.name: table for table in others}}
        self._twins = {name: table.sealed for name, table in self._checked.items()}
        self._progress = progress
        self._one_bit = OneBit()
        self._packs = PackTaker(draft, sieve)
        self._pages = LostPages(file, self._checked, progress)
        self._commit = find_last_commit(file)
        self._walk = self._commit.walk
        self._trees: dict[str, Tree] = {}
        self._list_is_whole = False
        self._of_list: list[Loss] = []
        """What of the lists of free pages and of tables could not be read."""
        self._missing: dict[str, int] = {}
        self._last: dict[str, bytes] = {}
        self._loose: list[Loss] = []
        """Where single rows are not what they should be."""
        self._mended: list[tuple[Table, bytes, bytes]] = []
        self._found = 0

    @property
    def is_last(self) -> bool:
        """Whether it is certain that what was found is the last commit."""
        return self._commit.is_last

    # -- what the trees have -----------------------------------------------------------------

    def read(self) -> None:
        """Take over what the trees of the last commit lead to."""
        for text in self._commit.damage:
            self._tell(text)
        self._find_trees()
        self._of_list, self._walk.losses = self._walk.losses, []
        # Packs have no checksum that would tell a wrong page, so other tables come first.
        for table in (*self._checked.values(), INDEX, OBJECTS):
            tree = self._trees.get(table.name)
            if tree is None:
                continue
            leaves = self._told(self._walk.leaves(tree, self._accepts(table)))
            if table is OBJECTS:
                self._learn_numbers()
                self._packs.take(leaves)
                continue
            for leaf in leaves:
                if table.name in self._carried:
                    self._take_leaf(table, leaf)
            while self._mended:  # not among the others, which come in the order of their keys
                self._put_if_better(*self._mended.pop())
        self._found += self._packs.rows
        self._loose += self._packs.losses
        for loss in self._walk.losses:
            self._tell(loss.text, loss.tree)

    def _tell(self, text: str, table: str | None = None) -> None:
        self.damage.append(Damage("structure", text, table=table))

    def _told(self, leaves: Iterator[list[RawRow]]) -> Iterator[list[RawRow]]:
        pages = self._file.pages
        for done, leaf in enumerate(leaves):
            if done % _PROGRESS_LEAVES == 0:
                self._progress(Progress("read", self._walk.used.count(1), pages))
            yield leaf

    def _find_trees(self) -> None:
        """Learn where the trees of the tables are."""
        known = {*self._checked, INDEX.name, OBJECTS.name}
        unknown = []
        for row in self._commit.tables:
            name = row.key.decode(errors="replace")
            if row.key == STAMP_KEY or row.value is None:
                continue
            if name in known and row.flags & TABLE and len(row.value) == TREE.size:
                self._trees[name] = Tree.of_record(name, row.value)
            else:
                unknown.append(name)
                self._tell(f"a table {name!r} is not known here and was left behind", name)
        self._list_is_whole = bool(self._trees) and not unknown and not self._walk.losses

    def _accepts(self, table: Table) -> Callable[[Sequence[RawNode]], bool]:
        """Return what tells whether the rows of a page can be of a table."""

        def packs(nodes: Sequence[RawNode]) -> bool:
            return all(len(node.key) == RECORD_KEY_BYTES for node in nodes)

        def checked(nodes: Sequence[RawNode]) -> bool:
            whole = [node for node in nodes if not node.flags]
            if any(is_sealed(table, node.key, node.value) for node in whole):
                return True
            return not any(self._pages.table_of(node.key, node.value) for node in whole)

        return checked if table.checked else packs

    def _take_leaf(self, table: Table, leaf: list[RawRow]) -> None:
        for place, row in enumerate(leaf):
            if row.value is None or not self._is_carried(table, row.key):
                continue
            last = self._last.get(table.name, b"")
            if not is_sealed(table, row.key, row.value):
                mended = self._one_bit.mended(table, row.key, row.value)
                if mended is not None:
                    self._tell(
                        f"a bit of a row of table {table.name!r} was turned over", table.name
                    )
                    self._mended.append((table, *mended))
                    continue
                if not row.is_placed:
                    continue
                # It may still prove itself, or be another one whose key was damaged.
                high = leaf[place + 1].key if place + 1 < len(leaf) else row.key + b"\0"
                text = f"a row of table {table.name!r} is damaged"
                self._loose.append(Loss(table.name, 0, last + b"\0", high, text, is_leaf=True))
            self._found += 1
            twin = self._twins[table.name]
            if row.key > last:
                self._last[table.name] = row.key
                self._draft.append(twin, row.key, row.value)

    def _is_carried(self, table: Table, key: bytes) -> bool:
        if table == STORE and key not in (HEADER_KEY, COUNTERS_KEY):
            return False  # how far a collection was; the next one looks at everything
        return table.name in self._carried and 0 < len(key) <= MAX_KEY_BYTES

    # -- what no tree leads to ---------------------------------------------------------------

    def scan(self) -> None:
        """Look for the rows of what could not be read in all other pages."""
        with self._draft.view() as view:
            self.holes = self._find_holes(view)
        if self.holes and self._walk.free.complete:
            self._close_holes(self._scan_lost())
        if self.holes:
            self._scan_others()
        with self._draft.view() as view:
            self._compare(view)

    def _learn_numbers(self) -> None:
        with self._draft.view() as view:
            row = view.get(self._twins[STORE.name], COUNTERS_KEY)
        if row is not None and is_sealed(STORE, COUNTERS_KEY, row):
            counters = Counters.of_row(row[CHECKSUM_BYTES:])
            if counters is not None:
                self._pages.numbers_below = self._packs.below = counters.next_record

    def _find_holes(self, view: ReadTransaction) -> Holes:
        holes = [
            Hole(loss.tree, loss.low, loss.high)
            for loss in (*self._walk.losses, *self._loose)
            if loss.tree in self._wanted
        ]
        for name in self._wanted:
            tree = self._trees.get(name)
            if tree is None:
                is_lost = not self._list_is_whole
            else:
                # Rows of these are not all taken over.
                is_counted = name not in (OBJECTS.name, STORE.name)
                is_lost = is_counted and tree.rows != view.count(self._twins[name])
            if is_lost and not any(hole.table == name for hole in holes):
                holes.append(Hole(name, b"", None))
        return Holes(holes)

    def _scan_lost(self) -> set[int]:
        """Take over the rows of pages that are in use and were not reached.

        Returns the pages of which something cannot be read.
        """
        bad = set(self._walk.torn)
        used, free = self._walk.used, self._walk.free
        claims = {loss.page: loss for loss in self._walk.losses}
        for page, found in self._pages.pages(lambda page: not used[page] and not free.moment(page)):
            if not found.is_sound:
                bad.add(page)
                if page in claims:
                    found.keep_of(claims[page])
            for table, key, row in found.rows:
                self._found += 1
                if table == OBJECTS:
                    self._sieve.add(OBJECTS, key, row, CURRENT)
                elif self._is_carried(table, key):
                    self._put_if_better(table, key, row)
            mended = [self._one_bit.mended(*each) for each in found.odd]
            for (table, _key, _row), pair in zip(found.odd, mended, strict=True):
                if pair is not None and self._is_carried(table, pair[0]):
                    self._put_if_better(table, *pair)
        return bad

    def _put_if_better(self, table: Table, key: bytes, row: bytes) -> None:
        """Write a sound row, as stored, unless there is one of that key."""
        twin = self._twins[table.name]

        def work(writing: WriteTransaction) -> None:
            present = writing.get(twin, key)
            if present is None or not is_sealed(table, key, present):
                writing.put(twin, key, row)

        self._draft.put(work, size=len(key) + len(row))

    def _close_holes(self, bad: set[int]) -> None:
        """Keep only those holes whose rows were on pages that cannot be read.

        All pages in use were looked at. So what a damaged branch page led to was found, unless that
        is damaged as well.
        """
        losses, pages = self._walk.losses, self._file.pages
        claimed = {loss.page for loss in (*losses, *self._of_list)}
        missing = self._commit.last_page + 1 - pages - self._walk.free.behind_end
        if missing > sum(page >= pages for page in claimed) or not bad <= claimed:
            return
        gone = [
            loss for loss in losses if loss.is_leaf and (loss.page in bad or loss.page >= pages)
        ]
        self.holes = Holes(
            Hole(loss.tree, loss.low, loss.high)
            for loss in (*gone, *self._loose)
            if loss.tree in self._wanted
        )

    def _scan_others(self) -> None:
        """Sort the rows of all other pages that fall into a hole."""
        used, free = self._walk.used, self._walk.free
        for page, found in self._pages.pages(
            lambda page: not used[page] and (free.moment(page) > 0 or not free.complete)
        ):
            for table, key, row in found.rows:
                if self.holes.covers(table.name, key) and (
                    table == OBJECTS or self._is_carried(table, key)
                ):
                    self._found += 1
                    value = row if table == OBJECTS else row[CHECKSUM_BYTES:]
                    self._sieve.add(table, key, value, free.moment(page))

    def _compare(self, view: ReadTransaction) -> None:
        """Find out which tables should have more rows than there are."""
        for name, table in self._carried.items():
            tree = self._trees.get(name)
            if tree is None or tree.rows is None or table == STORE:
                continue
            count = view.count(self._twins[name])
            if self.holes.of(name):
                count = sum(is_sealed(table, *row) for row in view.items(self._twins[name]))
                self._missing[name] = max(0, tree.rows - count)
            elif tree.rows != count:
                self._tell(f"table {name!r} counts {tree.rows} rows, and has {count}", name)

    # -- what the upper layer decides --------------------------------------------------------

    def older(self, table: Table, *, absent: bool = False) -> Iterator[tuple[bytes, list[Version]]]:
        """Yield (key, versions, the newest first) of rows that the last commit does not show.

        Of each, that its table once had it is certain, and that it was still there is not. If
        ``absent``, rows are left out of which there is a damaged one.
        """
        twin = self._twins[table.name]
        with self._draft.view() as view:
            for key, versions in self._sieve.rows(table):
                present = view.get(twin, key)
                if present is None or not (absent or is_sealed(table, key, present)):
                    yield key, versions

    def missing(self, table: Table) -> int | None:
        """Return how many rows of a table the last commit had and does not show; None: unknown."""
        if not self.holes.of(table.name):
            return 0
        return self._missing.get(table.name)

    def absent(self, table: Table) -> int | None:
        """Return how many rows of a table are not there by now, damaged or not; None: unknown."""
        tree = self._trees.get(table.name)
        if not self.holes.of(table.name):
            return 0
        if tree is None or tree.rows is None:
            return None
        with self._draft.view() as view:
            return max(0, tree.rows - view.count(self._twins[table.name]))

    def rows(self, table: Table) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (key, value) of all rows that were taken over so far, None for a damaged value."""
        with self._draft.view() as view:
            for key, row in view.items(self._twins[table.name]):
                yield key, row[CHECKSUM_BYTES:] if is_sealed(table, key, row) else None

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row, unless there is a sound one of that key."""
        self._put_if_better(table, key, table.seal(key, value))

    def has(self, table: Table, key: bytes) -> bool:
        """Whether there is a sound row of that key now."""
        found: list[bytes | None] = []
        self._draft.put(lambda writing: found.append(writing.get(self._twins[table.name], key)))
        return found[0] is not None and is_sealed(table, key, found[0])

    def replace(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row in the place of one that may be there."""
        self._draft.put(lambda writing: writing.put(table, key, value), size=len(value))

    def save(self) -> None:
        """Make durable what was written so far."""
        self._draft.save()

    # -- completing it -----------------------------------------------------------------------

    def finish(self) -> None:
        """Piece together what packs can be, make index and counters.

        Raises:
            CorruptStoreError: Nothing at all was found.
            UnsupportedFormatError: The same, since another kind of machine wrote the file.
        """
        if not self._found:
            raise self._file.nothing_found()
        left = piece_packs(self._sieve, self._draft, self._packs.below)
        for base in self._packs.bases - left:
            self._tell(f"the pack at record {base} was put together anew", OBJECTS.name)
        for base in sorted(left):
            text = f"the pack at record {base} lacks a part, and with it all its records"
            self.damage.append(Damage("pack", text, table=OBJECTS.name, key=record_key(base)))
        complete(self._draft)
