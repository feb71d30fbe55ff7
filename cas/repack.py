"""Writing records anew into an empty LMDB environment: renumbered, in full packs and full pages."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cas.database import Database, MapLimits, create_database
from cas.digest import Digest
from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError, StoreFullError
from cas.filling import PageFiller
from cas.packs import (
    FRAGMENT_BYTES,
    MAX_PACK_BYTES,
    MAX_PACK_LINKS,
    MAX_PACK_RECORDS,
    NewRecord,
    Pack,
)
from cas.packwalk import packs_up
from cas.records import (
    INDEX,
    NUMBER_BYTES,
    OBJECTS,
    PackCache,
    Record,
    RecordReader,
    index_key,
    record_key,
)
from cas.transactions import MapFullSignal

__all__ = ["Draft"]

_TRANSACTION_BYTES: Final = 8 << 20
LEAST_PACK_BYTES: Final = 32 * 1024
"""Payload bytes below which a pack also takes what comes next, whatever it belongs to."""


class Draft:
    """A new LMDB environment under construction. Nobody else knows it.

    Records must be added children first. Their numbers are given out from 1 on, in that order.
    """

    def __init__(
        self,
        directory: Path,
        tables: Iterable[Table],
        *,
        map_bytes: int,
        pack_bytes: int = MAX_PACK_BYTES,
        least_bytes: int = LEAST_PACK_BYTES,
    ) -> None:
        """Create the environment in ``directory``, which must not exist.

        Raises:
            HiveError: The place cannot be written.
        """
        self.directory = directory
        self.next_record = 1
        self.payload_bytes = 0
        self.stored_bytes = 0
        self._pack_bytes = pack_bytes
        self._least_bytes = least_bytes
        self._filler = PageFiller()
        self._database: Database | None = create_database(
            directory, tables, MapLimits(map_bytes, None)
        )
        self._transaction: WriteTransaction | None = None
        self._unsaved_bytes = 0
        self._numbers = array("Q")
        self._index: list[bytes] | None = []
        self._pending: list[NewRecord] = []
        self._pending_bytes = 0
        self._pending_links = 0

    # -- records ---------------------------------------------------------------------------

    def knows(self, number: int) -> bool:
        """Whether the record that had this number was added."""
        return number < len(self._numbers) and self._numbers[number] > 0

    def new_number(self, number: int) -> int:
        """Return the number that a record has now.

        Raises:
            CorruptStoreError: It was not added.
        """
        if not self.knows(number):
            raise CorruptStoreError(
                f"record {number} is named but was not found to be reachable; the store was left "
                "as it is; run check"
            )
        return self._numbers[number]

    def add(self, record: Record) -> None:
        """Add a record, unless it was added before."""
        if self.knows(record.number):
            return
        number, payload = self.next_record, record.payload
        links = [self.new_number(link) for link in record.links]
        self.next_record += 1
        self.payload_bytes += len(payload)
        if self._pending and (
            len(self._pending) == MAX_PACK_RECORDS
            or self._pending_bytes + len(payload) > self._pack_bytes
            or self._pending_links + len(links) > MAX_PACK_LINKS
        ):
            self.flush()
        digest = Digest(record.digest)
        self._pending.append(NewRecord(number, digest, links, payload))
        self._pending_bytes += len(payload)
        self._pending_links += len(links)
        if record.number >= len(self._numbers):
            self._numbers.extend(bytes(record.number + 1 - len(self._numbers)))
        self._numbers[record.number] = number
        entry = index_key(digest) + number.to_bytes(NUMBER_BYTES, "big")
        if self._index is not None:
            self._index.append(entry)
        else:
            self._put_in_index(entry)

    def end_layer(self) -> None:
        """Close the pack that is being filled, unless it is too small to compress well alone.

        What follows is read at other times.
        """
        if self._pending_bytes >= self._least_bytes:
            self.flush()

    def flush(self) -> None:
        """Close the pack that is being filled."""
        if not self._pending:
            return
        base = self._pending[0].number
        rows = Pack.encode(self._pending, FRAGMENT_BYTES, cut=self._filler.cut, thorough=True)
        for fragment, row in enumerate(rows):
            self.append(OBJECTS, record_key(base, fragment), row)
            self.stored_bytes += len(row)
        self._pending = []
        self._pending_bytes = 0
        self._pending_links = 0

    def write_index(self) -> None:
        """Write the index of all records added so far, in its own order, so that pages are full."""
        index, self._index = self._index or [], None
        self.append_index(index)

    def append_index(self, index: list[bytes]) -> None:
        """Write a whole index, given (key, number) of each record as bytes; uses the list up."""
        size = len(index_key(bytes(32)))
        index.sort(reverse=True)
        while index:
            entry = index.pop()
            key, numbers = entry[:size], entry[size:]
            while index and index[-1][:size] == key:
                numbers += index.pop()[size:]
            self.append(INDEX, key, numbers)

    def _put_in_index(self, entry: bytes) -> None:
        size = len(index_key(bytes(32)))
        key, number = entry[:size], entry[size:]
        others = self._writing().get(INDEX, key) or b""
        self._writing().put(INDEX, key, number + others)

    # -- rows ------------------------------------------------------------------------------

    def append(self, table: Table, key: bytes, row: bytes) -> None:
        """Write a row behind all others of its table.

        Raises:
            StoreFullError: There is no room.
        """
        self._guarded(lambda: self._writing().append(table, key, row))
        self._unsaved_bytes += len(key) + len(row)
        if self._unsaved_bytes > _TRANSACTION_BYTES:
            self.save()

    def put(self, work: Callable[[WriteTransaction], None], *, size: int = 0) -> None:
        """Run ``work``, which writes about ``size`` bytes, in the transaction being written."""
        self._guarded(lambda: work(self._writing()))
        self._unsaved_bytes += size
        if self._unsaved_bytes > _TRANSACTION_BYTES:
            self.save()

    def save(self) -> None:
        """Make durable what was written so far."""
        transaction, self._transaction = self._transaction, None
        self._unsaved_bytes = 0
        if transaction is not None:
            try:
                self._guarded(transaction.commit)
            finally:
                transaction.abort()

    def _writing(self) -> WriteTransaction:
        if self._transaction is None:
            database = self._opened()
            view = WriteTransaction(database.databases, self.directory, generation=0)
            view.begin(database.lmdb)
            self._transaction = view
        return self._transaction

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except MapFullSignal as error:
            raise StoreFullError(
                f"the copy in {self.directory} takes more room than expected; the store was left "
                "as it is; run check"
            ) from error

    def _opened(self) -> Database:
        if self._database is None:
            raise CorruptStoreError(f"the draft {self.directory} is closed")
        return self._database

    # -- looking at what was written -------------------------------------------------------

    def verify(self, start: int) -> Iterator[int]:
        """Read all records from the number ``start`` on as they are on disk, and hash them.

        Yields the number of the last record of each pack.

        Raises:
            CorruptionError: One is not what it should be.
        """
        self.flush()
        with self.view() as view:
            reader = RecordReader(view, PackCache(), set())
            for base, data in packs_up(view, start, self.next_record):
                numbers = Pack(base, data).numbers
                reader.read_all(numbers)
                yield numbers[-1]

    @contextmanager
    def view(self) -> Iterator[ReadTransaction]:
        """Save, and look at what was saved; what is written meanwhile is not seen."""
        self.save()
        database = self._opened()
        view = ReadTransaction(database.databases, self.directory, generation=0)
        view.begin(database.lmdb)
        try:
            yield view
        finally:
            view.abort()

    def close(self) -> None:
        """Close the environment; what was not saved is lost. Idempotent."""
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None
        if self._database is not None:
            self._database.close()
            self._database = None
