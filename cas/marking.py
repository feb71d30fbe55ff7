"""Marking: which records the roots reach, in one pass down over the packs.

A record links only to records with lower numbers, so when the pass arrives at one, everything that
could link to it has been seen. Only the heads of packs are looked at; nothing is decompressed.

The pass takes many short transactions. It fixes a moment first: records stored later are not its
business, and what later names lead to is marked by the sweep, in the transactions that remove.

If the last collection left no garbage and the log of roots is complete since, only two kinds of
records can be garbage: those stored since, and those below a root that was dropped since. For
whatever else is stored is still reached from the root that reached it then. All others are taken
for reachable unseen, and the pass ends at the lowest record in question.

Marking fails closed: if it meets a damaged pack that something reachable may be in, or misses a
record that something links to, nothing is swept.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from cas.counters import Counters
from cas.environment import Environment, ReadTransaction
from cas.epochs import Moment, changes_since, last_collected
from cas.errors import CorruptStoreError, MissingObjectError
from cas.markpass import ALIVE, DEAD, PRESUMED, Marked, MarkPass
from cas.records import UNREADABLE, PackCache, RecordReader
from cas.repairs import repair_links
from cas.roots import RootTable
from cas.upkeep import SLICE_SECONDS, OnProgress, Progress

__all__ = ["Marker"]

T = TypeVar("T")

_MOST_DROPPED: Final = 256
_LEAST_SHARE: Final = 4


class Marker:
    """One marking. Use it once."""

    def __init__(
        self,
        environment: Environment,
        roots: Sequence[RootTable],
        *,
        progress: OnProgress,
    ) -> None:
        self._environment = environment
        self._roots = roots
        self._progress = progress
        self._cache = PackCache()
        self._repairs: dict[int, list[int]] = {}
        self._named = array("Q")

    def mark(self, *, whole: bool) -> Marked | None:
        """Mark, and return what was found; None if nothing has changed since the last collection.

        ``whole`` looks at all records, whatever is known of earlier collections.

        Raises:
            CorruptionError: Something that may be reachable cannot be read.
            GenerationChangedError: The file was replaced meanwhile: begin again.
        """
        start = self._environment.read(_Start)
        since = None if whole or start.dropped is None else start.since
        self._cache.enter(start.generation)
        if start.nothing_changed and not whole:
            return None
        self._repairs = start.repairs
        result = Marked(
            start.generation,
            start.moment,
            whole=since is None,
            marks=bytearray(start.moment.next_record),
        )
        self._list_roots(start.moment.next_record)
        floor = 0
        if since is not None:
            floor = self._narrow(result, since, start.dropped or frozenset())
        for number in self._named:
            result.marks[number] = ALIVE
        self._pass(result, floor)
        return result

    # -- roots -----------------------------------------------------------------------------

    def _list_roots(self, limit: int) -> None:
        """Collect the records that names lead to, of those below ``limit``."""
        for table in self._roots:
            rows = _RootRows(table, limit, self._named)
            while self._read(rows):
                pass
        self._named = array("Q", sorted(set(self._named)))

    # -- what can be garbage ---------------------------------------------------------------

    def _narrow(self, result: Marked, since: Moment, dropped: frozenset[int]) -> int:
        """Mark what is reachable beyond doubt; return the lowest record in question.

        The pass looks at everything if the question is as large as the store.
        """
        marks = result.marks
        limit = since.next_record
        marks[:limit] = bytes([PRESUMED]) * limit
        budget = len(marks) // _LEAST_SHARE
        if len(dropped) <= _MOST_DROPPED:
            # Most of what a dropped checkpoint reached, its neighbours reach too, and records with
            # numbers close to each other are mostly of neighbours. Looking at those first saves
            # the pass from going down to the oldest record that they share.
            seen = self._reach(self._neighbours(dropped), marks, budget, becomes=ALIVE)
            if seen is not None:
                found = self._reach(self._stored(dropped), marks, budget, becomes=DEAD)
                if found is not None:
                    return min(found, default=limit)  # newer ones were not marked before
        result.whole = True
        marks[:] = bytes(len(marks))
        return 0

    def _stored(self, dropped: Iterable[int]) -> list[int]:
        """Return those of the dropped roots that are in the store.

        If one was dropped while the last collection listed the names, it was garbage to that one
        already, and is gone with all that it alone reached.
        """

        def work(transaction: ReadTransaction) -> list[int]:
            reader = RecordReader(transaction, self._cache, set())
            found = []
            for number in dropped:
                with suppress(MissingObjectError):
                    reader.locate(number)
                    found.append(number)
            return found

        return self._read(work)

    def _neighbours(self, dropped: Iterable[int]) -> set[int]:
        named = self._named
        found: set[int] = set()
        for number in dropped:
            place = bisect_left(named, number)
            found.update(named[max(0, place - 1) : place + 2])
        return found

    def _reach(
        self, roots: Iterable[int], marks: bytearray, budget: int, *, becomes: int
    ) -> list[int] | None:
        """Mark everything below ``roots`` that is not marked alive; None if that is too much."""
        found: list[int] = []
        stack = [number for number in roots if number < len(marks)]

        def work(transaction: ReadTransaction) -> bool:
            reader = RecordReader(transaction, self._cache, set())
            end = time.perf_counter() + SLICE_SECONDS
            while stack and time.perf_counter() < end:
                number = stack.pop()
                if marks[number] in (ALIVE, becomes):
                    continue
                marks[number] = becomes
                found.append(number)
                stack.extend(reader.links_of(number))
            return bool(stack)

        while self._read(work):
            if len(found) > budget:
                return None
        return found

    # -- the pass --------------------------------------------------------------------------

    def _pass(self, result: Marked, floor: int) -> None:
        top = len(result.marks)
        walk = MarkPass(result, self._repairs, floor)
        while self._read(walk):
            self._progress(Progress("mark", top - walk.upper, top - floor))
        self._progress(Progress("mark", top - floor, top - floor))

    def _read(self, work: Callable[[ReadTransaction], T]) -> T:
        def checked(transaction: ReadTransaction) -> T:
            self._cache.enter(transaction.generation)
            return work(transaction)

        return self._environment.read(checked)


class _Start:
    """The moment at which a marking begins, and what is known of the time before."""

    def __init__(self, transaction: ReadTransaction) -> None:
        self.generation = transaction.generation
        counters = Counters.load(transaction)
        try:
            first_free = RecordReader(transaction, PackCache(), set()).first_free()
        except UNREADABLE:
            first_free = counters.next_record  # the pass meets the damaged pack, if it matters
        if not counters.fit(first_free):
            raise counters.misfit()
        self.moment = Moment.of(counters)
        since = last_collected(transaction)
        is_past = since is not None and since.next_record <= self.moment.next_record
        self.since = since if is_past else None
        self.repairs = repair_links(transaction)
        self.nothing_changed = self.since == self.moment
        # The roots that were dropped since; None if that is not known for certain. A healed record
        # may link to other records than before, and then what was reachable once says nothing.
        self.dropped: frozenset[int] | None = None
        if self.since is not None and not self.repairs:
            changes = changes_since(transaction, self.since, self.moment)
            self.dropped = changes.dropped if changes.complete else None


class _RootRows:
    """Collects the records that the rows of a table name; call it until it returns False."""

    def __init__(self, table: RootTable, limit: int, found: array[int]) -> None:
        self._table = table
        self._key = b""
        self._limit = limit
        self._found = found
        self._rows = 0
        self._begun: Moment | None = None

    def __call__(self, transaction: ReadTransaction) -> bool:
        """Look at rows for one slice of time; return whether there are more.

        Raises:
            CorruptStoreError: The table says that it has other rows: what they name would be swept.
        """
        now = Moment.of(Counters.load(transaction))
        self._begun = self._begun or now  # the rows are as they were while no name came or went
        end = time.perf_counter() + SLICE_SECONDS
        table, rows = self._table.table, self._rows
        for key, row in transaction.items(table, self._key):
            if key != self._key and time.perf_counter() > end:
                self._key, self._rows = key, rows
                return True
            for number in self._table.numbers(key, row):
                if number < self._limit:
                    self._found.append(number)
            rows += 1
        count = transaction.count(table)
        if self._begun == now and rows != count:
            raise CorruptStoreError(
                f"table {table.name!r} counts {count} rows, and has {rows}; nothing was swept; "
                "take what it has into a new store (hive salvage)"
            )
        return False
