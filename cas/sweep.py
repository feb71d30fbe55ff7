"""Garbage collection: mark what the roots reach, then sweep the rest, beside live writers.

It knows nothing of checkpoints; whoever calls it names the tables that hold roots.

What makes it safe, at every boundary between two transactions:

- *Every record that the index or a root leads to has all records below it.* Garbage is removed in
  descending order of record numbers, parents before children, so what a writer finds by its digest
  and links to is whole, even if it is garbage that will not live for long.
- *Nothing that a writer made reachable again is removed.* A transaction that removes looks first
  at what changed since the mark (the root epoch tells whether anything did): it marks what new
  records link to, and what older records were given a name. No clock is asked.
- *No writer takes for stored what was removed.* The transaction also raises the sweep counter, for
  which writers look before they believe what they remember; and a dead record leaves the index
  with its bytes.

The index is a table in random order, and removing from it with each record would rewrite a page a
record. So where much is garbage, the index follows at the end, in its own order. Until then it
names records that are gone, which readers and writers take for absent (``INDEX_BEHIND`` tells
them that nothing is to be healed there).

A collection that is interrupted, or whose time is up, leaves garbage behind and nothing else. Each
transaction takes a few milliseconds, and between two of them others get to write.
"""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from cas.counters import Counters
from cas.environment import Environment, ReadTransaction, WriteTransaction
from cas.epochs import Moment, forget_collected, last_collected
from cas.errors import StoreFullError
from cas.late import LateMarks, OutOfTimeSignal
from cas.marking import Marker
from cas.markpass import Marked
from cas.pace import Pace
from cas.records import INDEX, INDEX_BEHIND, STORE, GenerationChangedError
from cas.removal import sweep_index, sweep_pack, sweep_stray_repairs
from cas.roots import Layout
from cas.upkeep import SLICE_SECONDS, OnProgress, Progress, deadline_of, silent, upkeep_lock

__all__ = ["Collector", "Sweep"]

_BATCH_SECONDS: Final = 0.005
"""The most that a transaction that removes may take before its commit, about: a writer waits."""
_LATE_SECONDS: Final = 0.003
"""What marking may take inside such a transaction, before it is rather done outside."""
_LATE_TRIES: Final = 20
_PATIENCE_SECONDS: Final = 0.5
_GENERATION_TRIES: Final = 8
_INDEX_SHARE: Final = 32
"""The index follows at the end if more than one in so many of its records is garbage."""
_NOTED_RECORDS: Final = 10_000
_NOTED_CHANGES: Final = 100
"""So much may be looked at once more, if noting that it was would hold up others for a sync."""


Scope = Literal["nothing", "changes", "everything"]


@dataclass(frozen=True)
class Sweep:
    """What a collection did.

    Attributes:
        complete: Whether no garbage is left that was there when it began.
        scope: ``nothing`` (nothing had changed), ``changes`` (what changed since the last
            collection was looked at) or ``everything``.
        objects_removed: Objects removed, or that would be.
        payload_bytes_removed: Their payloads.
        stored_bytes_removed: What that freed inside the file; LMDB uses it again. Estimated if
            nothing was removed yet (a dry run).
        objects_kept: The objects in the store afterwards.
        batches: Transactions that removed something.
    """

    complete: bool
    scope: Scope
    objects_removed: int = 0
    payload_bytes_removed: int = 0
    stored_bytes_removed: int = 0
    objects_kept: int = 0
    batches: int = 0


class Collector:
    """Collects the garbage of one store.

    ``batch_seconds`` is what a transaction that removes may take before its commit, about.
    """

    def __init__(
        self, environment: Environment, layout: Layout, *, batch_seconds: float = _BATCH_SECONDS
    ) -> None:
        self._environment = environment
        self._layout = layout
        self._batch_seconds = batch_seconds

    def collect(
        self,
        *,
        dry_run: bool = False,
        whole: bool = False,
        time_budget: float | None = None,
        progress: OnProgress | None = None,
    ) -> Sweep:
        """Remove what no root reaches.

        Args:
            dry_run: Only say what would be removed; so the store may be open for reading only.
            whole: Look at everything, whatever is known of the last collection.
            time_budget: Seconds after which no further batch begins. Marking is not cut short, and
                one batch is swept in any case, so that repeated calls come to an end.
            progress: Called between transactions.

        Raises:
            CorruptionError: Something that may be reachable cannot be read. What was removed
                before was garbage.
            ConflictError: Another collection or compaction outlasted the ``time_budget``,
                and half a second.
            StoreFullError: There is no room even with the ballast given up.
            UnsupportedFormatError: A newer version of Hive added tables that may hold roots.
        """
        deadline = deadline_of(time_budget)
        self._environment.read(self._layout.refuse_unknown)
        # However little time there is: a commit that merges packs has the lock for a moment.
        patience = None if deadline is None else max(deadline, time.monotonic() + _PATIENCE_SECONDS)
        read_only = self._environment.read_only
        with upkeep_lock(self._environment.path, patience, read_only=read_only):
            for _ in range(_GENERATION_TRIES):
                try:
                    return self._collect(
                        dry_run=dry_run,
                        whole=whole,
                        deadline=deadline,
                        progress=progress or silent,
                    )
                except GenerationChangedError:
                    continue  # A tool without the upkeep lock replaced the file.
        raise AssertionError("compaction takes the upkeep lock")

    def _collect(
        self, *, dry_run: bool, whole: bool, deadline: float | None, progress: OnProgress
    ) -> Sweep:
        marked = Marker(self._environment, self._layout.roots, progress=progress).mark(whole=whole)
        if marked is None:
            return Sweep(True, "nothing", objects_kept=self._counters().objects)
        scope: Scope = "everything" if marked.whole else "changes"
        if dry_run:
            return Sweep(
                complete=not marked.packs,
                scope=scope,
                objects_removed=marked.dead_records,
                payload_bytes_removed=marked.dead_payload_bytes,
                stored_bytes_removed=marked.dead_stored_bytes,
                objects_kept=self._counters().objects - marked.dead_records,
            )
        work = _Sweeping(self._environment, self._layout, marked, self._batch_seconds)
        complete = work.run(deadline, progress) and work.sweep_index(deadline, progress)
        if complete:
            work.finish()
        return replace(
            work.report, complete=complete, scope=scope, objects_kept=self._counters().objects
        )

    def _counters(self) -> Counters:
        return self._environment.read(Counters.load)


class _Sweeping:
    """One sweep: batches of removals in descending order of the packs."""

    def __init__(
        self,
        environment: Environment,
        layout: Layout,
        marked: Marked,
        batch_seconds: float,
    ) -> None:
        self._environment = environment
        self._layout = layout
        self._marked = marked
        self._late = LateMarks(marked, layout.roots)
        self._pace = Pace(batch_seconds)
        behind, rows = environment.read(_index_state)
        self._index_later = behind or marked.dead_records > rows // _INDEX_SHARE
        self._next = 0
        self._most_packs = len(marked.packs)
        self._tried = 0
        self._is_tight = False
        self.report = Sweep(False, "everything")

    def run(self, deadline: float | None, progress: OnProgress) -> bool:
        """Remove until all is done or the deadline has passed; returns whether all is done."""
        packs = self._marked.packs
        while self._next < len(packs):
            moment = self._late.moment
            try:
                self._next = self._batch(packs)
            except StoreFullError:
                if self._tried <= 1:
                    raise
                # What a transaction frees, the next but one can use: less at once needs less room.
                self._most_packs = self._tried // 2
                continue
            progress(Progress("sweep", self._next, len(packs)))
            if deadline is not None and time.monotonic() >= deadline:
                return self._next == len(packs)
            self._pace.rest(others_wrote=self._late.moment != moment)
        return True

    def _batch(self, packs: array[int]) -> int:
        """Remove some packs' dead records in one transaction; returns the place to go on from."""
        for attempt in range(_LATE_TRIES):
            # What can be marked outside is, so that the write lock is held for less.
            self._mark_late()
            patient = attempt == _LATE_TRIES - 1

            def work(transaction: WriteTransaction, patient: bool = patient) -> tuple[int, Sweep]:
                return self._remove(transaction, packs, patient=patient)

            try:
                place, self.report = self._environment.write(work, frees_space=True)
            except OutOfTimeSignal:
                continue
            return place
        raise AssertionError("the last attempt takes the time it needs")

    def _mark_late(self) -> None:
        def work(transaction: ReadTransaction) -> None:
            end = time.perf_counter() + SLICE_SECONDS
            self._late.update(transaction, Counters.load(transaction), end)

        while True:
            try:
                return self._environment.read(work)
            except OutOfTimeSignal:
                continue

    def _remove(
        self, transaction: WriteTransaction, packs: array[int], *, patient: bool
    ) -> tuple[int, Sweep]:
        """Do one transaction. It may be repeated, so nothing but marks changes outside of it."""
        self._pace.begin()
        counters = Counters.load(transaction)
        begun = time.perf_counter()
        self._late.update(transaction, counters, None if patient else begun + _LATE_SECONDS)
        objects, payload = counters.objects, counters.payload_bytes
        stored = counters.stored_bytes
        end = time.perf_counter() + self._pace.seconds
        place = self._next
        most = min(len(packs), place + self._most_packs)
        while place < most and (place == self._next or time.perf_counter() < end):
            self._tried = place + 1 - self._next
            sweep_pack(
                transaction,
                packs[place],
                self._marked.marks,
                counters,
                index_later=self._index_later,
            )
            place += 1
        report = self.report
        if counters.objects != objects:
            self._seal(transaction, counters)
            report = replace(
                report,
                objects_removed=report.objects_removed + objects - counters.objects,
                payload_bytes_removed=report.payload_bytes_removed
                + payload
                - counters.payload_bytes,
                stored_bytes_removed=report.stored_bytes_removed + stored - counters.stored_bytes,
                batches=report.batches + 1,
            )
        return place, report

    def _seal(self, transaction: WriteTransaction, counters: Counters) -> None:
        """Let everybody know that something was removed."""
        # Writers believe what they know to be stored only for the sweep that they learned it in.
        counters.sweeps += 1
        counters.save(transaction)
        # Until this collection is complete there are garbage records without a dropped root above
        # them: the next one has to look at everything.
        forget_collected(transaction)
        if self._index_later:
            transaction.put(STORE, INDEX_BEHIND, b"\1")

    def sweep_index(self, deadline: float | None, progress: OnProgress) -> bool:
        """Let the index follow, after ``run``; returns whether all is done."""
        key: bytes | None = b"" if self._index_later else None
        seen = self._late.moment
        while key is not None:
            work = partial(self._sweep_index, start=key)
            try:
                key, moment = self._environment.write(work, frees_space=True)
            except StoreFullError:
                if self._is_tight:
                    raise
                self._is_tight = True  # as few rows at once as can be
                continue
            place = 1 << 16 if key is None else int.from_bytes(key[:2].ljust(2, b"\0"), "big")
            progress(Progress("index", place, 1 << 16))
            if key is not None and deadline is not None and time.monotonic() >= deadline:
                return False
            self._pace.rest(others_wrote=moment != seen)
            seen = moment
        return True

    def _sweep_index(
        self, transaction: WriteTransaction, start: bytes
    ) -> tuple[bytes | None, Moment]:
        """Return the key to go on from, None when done, and the moment of the transaction."""
        if transaction.generation != self._marked.generation:
            raise GenerationChangedError
        self._pace.begin()
        end = time.perf_counter() + (0 if self._is_tight else self._pace.seconds)
        key = sweep_index(transaction, start, self._marked.marks, end)
        if key is None:
            transaction.delete(STORE, INDEX_BEHIND)
        return key, Moment.of(Counters.load(transaction))

    def finish(self) -> None:
        """Note that the collection is complete, if the next one may rely on that.

        Not if a new record saved garbage by a link to it: both may be without a root again by
        then, and no log says so. And not while there are roots that go without a note. While
        others write, it is left to a later collection if nothing was removed and little is new.
        """
        if not self.report.batches and self._environment.read(self._is_better_left):
            return

        def work(transaction: WriteTransaction) -> None:
            counters = Counters.load(transaction)
            if transaction.generation != self._marked.generation:
                raise GenerationChangedError
            stored = counters.stored_bytes
            if self._late.moment == Moment.of(counters):
                sweep_stray_repairs(transaction, self._marked.marks, counters)
            if counters.stored_bytes != stored:
                counters.sweeps += 1
                counters.save(transaction)
            transient = self._layout.transient
            if not self._late.saved and not any(transaction.count(t.table) for t in transient):
                self._marked.moment.save_as_collected(transaction)

        self._environment.write(work, frees_space=True)

    def _is_better_left(self, transaction: ReadTransaction) -> bool:
        since, found = last_collected(transaction), self._marked.moment
        return (
            since is not None
            and Moment.of(Counters.load(transaction)) != found
            and found.next_record - since.next_record < _NOTED_RECORDS
            and found.root_epoch - since.root_epoch < _NOTED_CHANGES
        )


def _index_state(transaction: ReadTransaction) -> tuple[bool, int]:
    """Return whether an earlier collection left the index behind, and how many rows it has."""
    return transaction.get(STORE, INDEX_BEHIND) is not None, transaction.count(INDEX)
