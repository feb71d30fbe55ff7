"""Late marks: what became reachable again after the mark, found in the transactions that remove.

Three things can make a record live that the mark left for dead, and each leaves a trace:

- a new record links to it, because a writer stored the same object again: new records have the
  numbers from the marked moment on;
- an older record above it was given a name (a fork, a tag): the log of roots tells which one. If
  the root epoch moved and the log does not say by what, all roots are listed again;
- a damaged record was replaced by good bytes whose links lead there: those are few, so all are
  looked at again.

What is found is followed down to what is marked already.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from cas.counters import Counters
from cas.environment import ReadTransaction
from cas.epochs import Moment, changes_since
from cas.markpass import ALIVE, DEAD, Marked
from cas.packs import Pack
from cas.packwalk import packs_up
from cas.records import GenerationChangedError, PackCache, RecordReader
from cas.repairs import repair_links
from cas.roots import RootTable

__all__ = ["LateMarks", "OutOfTimeSignal"]


class OutOfTimeSignal(Exception):  # noqa: N818 - a signal to the collector, which no caller sees
    """There is more to mark than one transaction may take; what was marked stays marked."""


class LateMarks:
    """Keeps the marks of one collection up to date with the transactions since.

    ``moment`` is up to when they are. ``met`` lists the records that were dead at the mark and are
    reachable after all; ``saved`` counts those that a link of a new record led to directly.
    """

    def __init__(self, marked: Marked, roots: Sequence[RootTable]) -> None:
        self.moment = marked.moment
        self.saved = 0
        self.met: list[int] = []
        self._marked = marked
        self._marks = marked.marks
        self._roots = roots
        self._stack: list[int] = []
        self._scanned = marked.moment.next_record

    def update(self, transaction: ReadTransaction, counters: Counters, end: float | None) -> None:
        """Mark what became reachable up to this transaction.

        Args:
            transaction: One that reads, or the one that is about to remove.
            counters: Its counters.
            end: When to give up (of ``time.perf_counter``), None: never. Another call goes on
                where this one stopped.

        Raises:
            OutOfTimeSignal: It took longer. Nothing may be removed in this transaction.
            GenerationChangedError: The file was replaced: the marks are void.
            CorruptionError: Something that is reachable cannot be read.
        """
        if transaction.generation != self._marked.generation:
            raise GenerationChangedError
        now = Moment.of(counters)
        repaired = repair_links(transaction)
        if now == self.moment and not repaired:
            return
        # A cache for each call: a sweep rewrites packs, and drops some.
        reader = RecordReader(transaction, PackCache(), set())
        self._scan(reader, now.next_record, end)
        changes = changes_since(transaction, self.moment, now)
        self._meet(changes.added)
        if not changes.complete:
            for table in self._roots:
                for key, row in transaction.items(table.table):
                    self._meet(table.numbers(key, row))
        for links in repaired.values():
            self._meet(links)
        self._follow(reader, end)
        self.moment = now

    def _scan(self, reader: RecordReader, stop: int, end: float | None) -> None:
        """Meet what the records from the last scanned one to ``stop`` (exclusive) link to."""
        for base, data in packs_up(reader.transaction, self._scanned, stop):
            pack = Pack(base, data)
            for place in range(len(pack.numbers)):
                self.saved += self._meet(pack.links(place))
            self._scanned = pack.numbers[-1] + 1
            self._follow(reader, end)
        self._scanned = stop

    def _meet(self, numbers: Iterable[int]) -> int:
        """Mark records that are reachable; returns how many of them were not marked."""
        marks, met = self._marks, 0
        for number in numbers:
            # What is newer than the mark is not swept by this collection at all.
            if number < len(marks) and marks[number] == DEAD:
                marks[number] = ALIVE
                self._stack.append(number)
                self.met.append(number)
                met += 1
        return met

    def _follow(self, reader: RecordReader, end: float | None) -> None:
        """Mark everything below the records that were met."""
        while self._stack:
            if end is not None and time.perf_counter() > end:
                raise OutOfTimeSignal
            self._meet(reader.links_of(self._stack.pop()))
