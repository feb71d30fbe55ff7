"""Compaction: a new data file that holds what is alive, packed densely, in the place of the old.

Everything but the end happens beside live readers and writers, in short read transactions:

1. mark what the roots reach;
2. copy it into a draft, in an order in which neighbours are read together, and verify the draft;
3. repeat for what was committed meanwhile, until that is little;
4. with everybody else kept out: copy the rest, and all rows of names with their new record
   numbers; put the draft in place and make it the current generation.

Whoever has the store open opens the new file at the next transaction. Until the generation file is
written, a crash leaves the old store and a draft; afterwards the new store and an old directory.
Both kinds of leftovers are removed by the next opening or compaction.

The draft is never taken on trust: every record is hashed when it is read from the old file, and
again as it stands in the new one. Nothing is replaced if a single one is wrong.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cas.counters import Counters
from cas.database import DATA_FILE
from cas.datafile import check_data_file
from cas.environment import Environment, ReadTransaction, WriteTransaction
from cas.epochs import Moment, changes_since
from cas.errors import CorruptStoreError, StoreFullError
from cas.failures import translate
from cas.filesystem import sync_directory
from cas.late import LateMarks
from cas.leftovers import DRAFT_PREFIX, clear_leftovers
from cas.marking import Marker
from cas.markpass import ALIVE, Marked
from cas.order import Grouping
from cas.packs import MAX_PACK_BYTES, Pack
from cas.packwalk import packs_up
from cas.records import STORE, GenerationChangedError, PackCache, RecordReader
from cas.repack import Draft
from cas.roots import OWN_TABLES, Layout, RootTable
from cas.store import HEADER_KEY
from cas.upkeep import SLICE_SECONDS, OnProgress, Progress, silent, upkeep_lock

__all__ = ["Compaction", "Compactor"]

_MOST_ROUNDS: Final = 8
_FEW_RECORDS: Final = 2_000
"""What may be left to copy while others wait: some tens of milliseconds."""
_TRIES: Final = 4
_SPARE_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    Attributes:
        objects: The objects that were copied.
        objects_left_out: Garbage that was not.
        bytes_before: Allocated on disk before, without the ballast.
        bytes_after: Likewise, afterwards.
        waited_seconds: For how long others were kept out.
    """

    objects: int
    objects_left_out: int
    bytes_before: int
    bytes_after: int
    waited_seconds: float


class Compactor:
    """Compacts one store. ``pack_bytes`` is the most payload that is compressed as one."""

    def __init__(
        self, environment: Environment, layout: Layout, *, pack_bytes: int = MAX_PACK_BYTES
    ) -> None:
        self._environment = environment
        self._layout = layout
        self._pack_bytes = pack_bytes

    def compact(self, *, progress: OnProgress | None = None) -> Compaction:
        """Replace the data file by a dense copy of what is alive.

        Args:
            progress: Called between steps, and never while others are kept out.

        Raises:
            CorruptionError: Something that is alive is damaged; nothing was replaced.
            StoreFullError: The disk has no room for the copy; nothing was replaced.
            UnsupportedFormatError: A newer version of Hive added tables that this one would lose.
        """
        store = self._environment.path
        with upkeep_lock(store, None):
            for _ in range(_TRIES):
                try:
                    return self._compact(store, progress or silent)
                except GenerationChangedError:
                    continue  # A tool without the upkeep lock swept or replaced the file.
                except OSError as error:
                    raise translate(error, store) from error
        raise CorruptStoreError(f"the store {store} is swept again and again; stop that and repeat")

    def _compact(self, store: Path, progress: OnProgress) -> Compaction:
        clear_leftovers(store)
        self._environment.read(self._layout.refuse_unknown)
        before = self._environment.disk_bytes()
        # A copy is packed more densely than what it is made of.
        self._refuse_full_disk(store, self._environment.read(ReadTransaction.bytes_in_use))
        marked = Marker(self._environment, self._layout.roots, progress=progress).mark(whole=True)
        if marked is None:
            raise AssertionError("a whole mark always has a result")
        layout = self._layout
        tables = (*OWN_TABLES, *layout.plain, *(root.table for root in layout.roots))
        directory = store / f"{DRAFT_PREFIX}{os.getpid()}.{secrets.token_hex(4)}"
        try:
            # Address space alone: a map that were too small would have to be made anew.
            draft = Draft(
                directory,
                tables,
                map_bytes=4 * before + (1 << 30),
                pack_bytes=self._pack_bytes,
            )
            try:
                copy = _Copy(self._environment, layout, marked, draft, progress)
                copy.bulk()
                copy.catch_up()
                waited = self._switch(copy)
            finally:
                draft.close()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            # What was replaced; or the draft under its new name, if it could not become current.
            with suppress(OSError):
                clear_leftovers(store)
        return Compaction(
            objects=draft.next_record - 1,
            objects_left_out=marked.dead_records,
            bytes_before=before,
            bytes_after=self._environment.disk_bytes(),
            waited_seconds=waited,
        )

    def _switch(self, copy: _Copy) -> float:
        waited = 0.0

        def finish(transaction: ReadTransaction) -> Path:
            nonlocal waited
            begun = time.perf_counter()
            directory = copy.finish(transaction)
            waited = time.perf_counter() - begun
            return directory

        self._environment.replace(finish)
        return waited

    def _refuse_full_disk(self, store: Path, size: int) -> None:
        try:
            space = os.statvfs(store)
        except OSError as error:
            raise translate(error, store) from error
        free = space.f_bavail * space.f_frsize
        if free < size + _SPARE_BYTES:
            raise StoreFullError(
                f"compacting needs up to {size + _SPARE_BYTES} bytes for the copy, and the disk of "
                f"{store} has {free}; free some (forget more), or run gc first, which needs none"
            )


class _Copy:
    """One attempt at copying."""

    def __init__(
        self,
        environment: Environment,
        layout: Layout,
        marked: Marked,
        draft: Draft,
        progress: OnProgress,
    ) -> None:
        self._environment = environment
        self._layout = layout
        self._marked = marked
        self._draft = draft
        self._progress = progress
        self._late = LateMarks(marked, layout.roots)
        self._cache = PackCache()
        self._sweeps = environment.read(Counters.load).sweeps
        self._copied_to = marked.moment.next_record
        self._verified_to = 1

    # -- beside others ---------------------------------------------------------------------

    def bulk(self) -> None:
        """Copy everything that was alive at the mark, and verify it."""
        seen = bytearray(mark != ALIVE for mark in self._marked.marks)
        grouping = Grouping(seen)
        for roots in self._groups():
            grouping.begin(number for number in roots if number < len(seen))
            while self._slice(grouping.walk):
                self._tell()
            for layer in grouping.layers():
                self._copy_layer(layer)
            self._tell()
        self._draft.write_index()
        self._verify(self._progress)

    def _groups(self) -> Iterator[list[int]]:
        """Yield the record numbers that consecutive rows of one group name."""
        for table in self._layout.roots:
            key: bytes | None = b""
            group: object = None
            numbers = list[int]()
            while key is not None:
                rows, key = self._environment.read(_RootRows(table, key, self._marked.generation))
                for found, row in rows:
                    if table.group(found) != group:
                        yield numbers
                        group, numbers = table.group(found), []
                    numbers.extend(row)
            yield numbers

    def _copy_layer(self, numbers: list[int]) -> None:
        place = 0

        def work(reader: RecordReader, end: float) -> bool:
            nonlocal place
            while place < len(numbers):
                if time.perf_counter() > end:
                    return True
                self._draft.add(reader.read(numbers[place]))
                place += 1
            return False

        while self._slice(work):
            self._tell()
        self._draft.end_layer()

    def catch_up(self) -> None:
        """Copy what was committed meanwhile, a few times or until that is little."""
        for _ in range(_MOST_ROUNDS):
            left = self._environment.read(self._left)
            if left <= _FEW_RECORDS:
                break
            self._environment.read(self._copy_new)
        self._verify(self._progress)

    def _left(self, transaction: ReadTransaction) -> int:
        return Counters.load(transaction).next_record - self._copied_to

    def _verify(self, progress: OnProgress) -> None:
        for number in self._draft.verify(self._verified_to):
            progress(Progress("verify", number, self._draft.next_record))
            self._verified_to = number + 1

    def _tell(self) -> None:
        done, total = self._draft.next_record - 1, self._marked.live_records
        self._progress(Progress("copy", min(done, total), total))

    def _slice(self, work: Callable[[RecordReader, float], bool]) -> bool:
        def attempt(transaction: ReadTransaction) -> bool:
            reader = RecordReader(transaction, self._cache, set())
            self._require_unswept(transaction)
            return work(reader, time.perf_counter() + SLICE_SECONDS)

        self._cache.enter(self._marked.generation)
        return self._environment.read(attempt)

    def _require_unswept(self, transaction: ReadTransaction) -> Counters:
        """Begin again if what was found alive may be gone, or has other numbers."""
        counters = Counters.load(transaction)
        if transaction.generation != self._marked.generation or counters.sweeps != self._sweeps:
            raise GenerationChangedError
        return counters

    def _copy_new(self, transaction: ReadTransaction) -> Counters:
        """Copy the records stored since the last time, and older ones that live after all."""
        counters = self._require_unswept(transaction)
        self._late.update(transaction, counters, None)
        reader = RecordReader(transaction, self._cache, set())
        # In the order of their old numbers, which has children before parents too.
        for number in sorted(self._late.met):
            self._add(reader, number)
        self._late.met.clear()
        for base, data in packs_up(transaction, self._copied_to, counters.next_record):
            for number in Pack(base, data).numbers:
                self._add(reader, number)
            self._draft.end_layer()
        self._copied_to = counters.next_record
        return counters

    def _add(self, reader: RecordReader, number: int) -> None:
        """Copy a record, and whatever below it was not.

        That is what only a name led to that was dropped between the mark and the copy, if a new
        record or name leads there again: for the marks it was alive all the time.
        """
        stack = [number]
        while stack:
            record = reader.read(stack[-1])
            missing = [link for link in record.links if not self._draft.knows(link)]
            if missing:
                stack += missing
            else:
                self._draft.add(record)
                stack.pop()

    # -- with everybody else kept out ------------------------------------------------------

    def finish(self, transaction: ReadTransaction) -> Path:
        """Copy the rest and all rows of names; return the complete directory."""
        counters = self._copy_new(transaction)
        draft, reader = self._draft, RecordReader(transaction, self._cache, set())
        for root in self._layout.roots:
            for key, row in transaction.items(root.table):
                for number in root.numbers(key, row):
                    if not draft.knows(number):
                        self._add(reader, number)
                draft.append(root.table, key, root.renumbered(key, row, draft.new_number))
        self._verify(silent)
        for table in self._layout.plain:
            for key, row in transaction.items(table):
                draft.append(table, key, row)
        draft.put(lambda writing: self._write_store(transaction, writing, counters))
        draft.save()
        draft.close()
        try:
            check_data_file(draft.directory / DATA_FILE)
            sync_directory(draft.directory)
        except OSError as error:
            raise translate(error, draft.directory) from error
        return draft.directory

    def _write_store(
        self, transaction: ReadTransaction, writing: WriteTransaction, old: Counters
    ) -> None:
        draft = self._draft
        new = Counters(
            next_record=draft.next_record,
            sweeps=old.sweeps,
            root_epoch=old.root_epoch,
            fresh_roots=old.fresh_roots,
            objects=draft.next_record - 1,
            payload_bytes=draft.payload_bytes,
            stored_bytes=draft.stored_bytes,
        )
        header = transaction.get(STORE, HEADER_KEY)
        if header is None:
            raise CorruptStoreError("the store has no header; restore a copy, or salvage it")
        writing.put(STORE, HEADER_KEY, header)
        new.save(writing)
        if self._holds_no_garbage(transaction, old):
            Moment.of(new).save_as_collected(writing)

    def _holds_no_garbage(self, transaction: ReadTransaction, counters: Counters) -> bool:
        """Whether everything that was copied has a name now, and the next gc need not look."""
        changes = changes_since(transaction, self._marked.moment, Moment.of(counters))
        return (
            changes.complete
            and not changes.dropped
            and self._copied_to == self._marked.moment.next_record
            and not any(transaction.count(root.table) for root in self._layout.transient)
        )


class _RootRows:
    """Reads the record numbers in rows of a table, from a key on, for a while."""

    def __init__(self, table: RootTable, start: bytes, generation: int) -> None:
        self._table = table
        self._start = start
        self._generation = generation

    def __call__(
        self, transaction: ReadTransaction
    ) -> tuple[list[tuple[bytes, list[int]]], bytes | None]:
        """Return (key, record numbers) of rows, and the key to go on from, None at the end."""
        if transaction.generation != self._generation:
            raise GenerationChangedError
        end = time.perf_counter() + SLICE_SECONDS
        rows: list[tuple[bytes, list[int]]] = []
        for key, row in transaction.items(self._table.table, self._start):
            if rows and time.perf_counter() > end:
                return rows, key
            rows.append((key, list(self._table.numbers(key, row))))
        return rows, None
