"""Transactions over named tables: what ``Environment.read`` and ``write`` hand to a function.

These methods run thousands of times per restore, so each is one call into LMDB plus the row's
checksum: there is one cursor per table and transaction, found by the table's name.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import lmdb

from cas.errors import CorruptStoreError, HiveError, InvalidInputError
from cas.failures import translate
from cas.stamp import put_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from cas.table import Table

    Transaction = lmdb.Transaction[bytes]
    Cursor = lmdb.Cursor[bytes]

__all__ = ["MapFullSignal", "ReadTransaction", "WriteTransaction"]

_ENDED: Final = "this transaction has ended; use it only inside the function it was handed to"


class MapFullSignal(Exception):  # noqa: N818 - a signal to the retry loop, which no caller sees
    """The map has no room for this transaction: abort, let the map grow, run it again."""


class ReadTransaction:
    """A consistent view of the store. It ends with the function it was handed to.

    Every method may raise:
        InvalidInputError: The transaction has ended, or the store was opened without that table.
        CorruptStoreError: A row's checksum does not match, or LMDB finds its file damaged.
    """

    writes: ClassVar[bool] = False

    def __init__(
        self, databases: Mapping[str, lmdb._Database | None], path: Path, generation: int
    ) -> None:
        """Make a transaction that has not begun; only the handle of a store does this."""
        self.generation = generation
        self._transaction: Transaction | None = None
        self._databases = databases
        self._path = path
        self._cursors: dict[str, Cursor] = {}
        self._iterating: set[Cursor] = set()
        self.failure: Exception | None = None

    def begin(self, environment: lmdb.Environment) -> None:
        """Begin the LMDB transaction.

        No variable ever holds it but this object: an interrupt would leave it alive in the frame
        of a traceback, and with it LMDB's write lock.

        Raises:
            lmdb.Error: It cannot begin.
        """
        self._transaction = environment.begin(write=self.writes)

    def end(self) -> None:
        """Forget the LMDB transaction; using this object afterwards is an error.

        Nothing here may keep the LMDB transaction alive: a forked child must be able to drop it.
        """
        for cursor in (*self._cursors.values(), *self._iterating):
            cursor.close()
        self._cursors = {}
        self._iterating = set()
        self._transaction = None

    def abort(self) -> None:
        """End the transaction; what a writer changed is gone. May be repeated."""
        if self._transaction is not None:
            # It may be over: an interrupt can come right after a commit.
            with suppress(lmdb.Error):
                self._transaction.abort()
        self.end()

    def nested(self) -> ReadTransaction:
        """Return another view of the same snapshot, to be ended before this one."""
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        view = ReadTransaction(self._databases, self._path, self.generation)
        view._transaction = self._transaction
        return view

    def _database(self, table: Table) -> lmdb._Database | None:
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        try:
            return self._databases[table.name]
        except KeyError:
            raise InvalidInputError(
                f"the store was opened without the table {table.name!r}"
            ) from None

    def _new_cursor(self, table: Table) -> Cursor | None:
        database = self._database(table)
        if database is None or self._transaction is None:
            return None
        try:
            return self._transaction.cursor(database)
        except lmdb.Error as error:
            raise self._failed(error) from error

    def _cursor(self, table: Table) -> Cursor | None:
        """Return the table's cursor; ``None`` for a table that a read-only store lacks."""
        cursor = self._new_cursor(table)
        if cursor is not None:
            self._cursors[table.name] = cursor
        return cursor

    def _failed(self, error: lmdb.Error) -> Exception:
        """Return what to raise for ``error``."""
        if self._transaction is None:
            return InvalidInputError(_ENDED)
        failure: HiveError | MapFullSignal
        if isinstance(error, lmdb.MapFullError):
            failure = MapFullSignal()
        elif isinstance(error, lmdb.BadTxnError) and self.failure is not None:
            return self.failure
        else:
            failure = translate(error, self._path)
        # An oversized key is refused before anything is touched; anything else ends the attempt,
        # also when the function catches the exception and goes on.
        if not isinstance(error, lmdb.BadValsizeError):
            self.failure = failure
        return failure

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value of ``key``, or ``None`` if there is none."""
        cursor = self._cursors.get(table.name) or self._cursor(table)
        if cursor is None:
            return None
        try:
            row = cursor.get(key)
        except lmdb.Error as error:
            raise self._failed(error) from error
        return row if row is None or not table.checked else table.unseal(key, row)

    def first_at_or_after(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the first row whose key is ``key`` or above, or ``None``."""
        cursor = self._cursors.get(table.name) or self._cursor(table)
        if cursor is None:
            return None
        try:
            if not cursor.set_range(key):
                return None
            found, row = cursor.item()
        except lmdb.Error as error:
            raise self._failed(error) from error
        return found, table.unseal(found, row)

    def last_at_or_before(self, table: Table, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row whose key is ``key`` or below, or ``None``."""
        cursor = self._cursors.get(table.name) or self._cursor(table)
        if cursor is None:
            return None
        try:
            if cursor.set_range(key):
                if cursor.key() != key and not cursor.prev():
                    return None
            elif not cursor.last():
                return None
            found, row = cursor.item()
        except lmdb.Error as error:
            raise self._failed(error) from error
        return found, table.unseal(found, row)

    def look_beside(self, table: Table, start: bytes, stop: bytes) -> None:
        """Verify the rows in front of a range of keys and behind it (``stop`` is exclusive).

        A row whose key was damaged is not found where it belongs. Keys are in order, so it stands
        next to that place, where its checksum is wrong.
        """
        self.last_at_or_before(table, start)
        self.first_at_or_after(table, stop)

    def rows(self, table: Table, key: bytes, most: int) -> list[bytes]:
        """Return the values of ``key`` and of the rows behind it, ``most`` in all if there are."""
        cursor = self._cursors.get(table.name) or self._cursor(table)
        try:
            if cursor is None or not cursor.set_key(key):
                return []
            if not table.checked:
                # One call into the library, where a step for each row takes most of the time.
                return list(islice(cursor.iternext(keys=False, values=True), most))
            return [table.unseal(found, row) for found, row in islice(cursor.iternext(), most)]
        except lmdb.Error as error:
            raise self._failed(error) from error

    def items(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from ``start`` (inclusive) to ``stop`` (exclusive), in key order.

        Args:
            table: The table to read.
            start: The lowest key.
            stop: The key to stop before; ``None`` means the end of the table.
            reverse: Begin with the highest key.
        """
        cursor = self._new_cursor(table)
        if cursor is None:
            return
        self._iterating.add(cursor)
        try:
            if reverse:
                yield from self._downwards(cursor, table, start, stop)
            else:
                yield from self._upwards(cursor, table, start, stop)
        except lmdb.Error as error:
            raise self._failed(error) from error
        finally:
            self._iterating.discard(cursor)
            cursor.close()

    def groups(self, table: Table, prefixes: Iterable[bytes]) -> dict[bytes, list[bytes]]:
        """Return the rows whose keys begin with each of some prefixes, in key order.

        One cursor goes over them all: where they are neighbours, it need not be placed anew. No
        prefix may begin with another. The rows beside them are verified, as by ``look_beside``.
        """
        wanted = sorted(prefixes)
        found: dict[bytes, list[bytes]] = {prefix: [] for prefix in wanted}
        cursor = self._new_cursor(table)
        if cursor is None:
            return found
        try:
            present, key = True, b""
            for prefix in wanted:
                if key < prefix and present:
                    if key:
                        table.unseal(key, cursor.value())
                    if cursor.prev() if cursor.set_range(prefix) else cursor.last():
                        table.unseal(*cursor.item())
                    present = cursor.set_range(prefix)
                    key = cursor.key()
                while present and key.startswith(prefix):
                    found[prefix].append(table.unseal(key, cursor.value()))
                    present = cursor.next()
                    key = cursor.key()
            if present and key:
                table.unseal(key, cursor.value())
        except lmdb.Error as error:
            raise self._failed(error) from error
        finally:
            cursor.close()
        return found

    def _upwards(
        self, cursor: Cursor, table: Table, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        present = cursor.set_range(start)
        while present:
            key, row = cursor.item()
            if stop is not None and key >= stop:
                return
            yield key, table.unseal(key, row)
            present = self._step(cursor, key, forward=True)

    def _downwards(
        self, cursor: Cursor, table: Table, start: bytes, stop: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        above = stop is not None and cursor.set_range(stop)
        present = cursor.prev() if above else cursor.last()
        while present:
            key, row = cursor.item()
            if key < start:
                return
            yield key, table.unseal(key, row)
            present = self._step(cursor, key, forward=False)

    def _step(self, cursor: Cursor, key: bytes, *, forward: bool) -> bool:
        """Move from ``key`` to its neighbour, and return whether there is one."""
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        return cursor.next() if forward else cursor.prev()

    def copy_to(self, environment: lmdb.Environment, descriptor: int, *, compact: bool) -> None:
        """Copy the file of ``environment``, this transaction's, as ``Environment.copy`` says.

        Raises:
            lmdb.Error: It cannot be written. Only the caller knows where to.
        """
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        if compact:
            environment.copyfd(descriptor, compact=True, txn=self._transaction)
        else:
            environment.copyfd(descriptor)

    def table_names(self) -> list[str]:
        """Return the names of all tables in the store, also of those it was opened without."""
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        try:
            with self._transaction.cursor() as cursor:
                names = list(cursor.iternext(values=False))
        except lmdb.Error as error:
            raise self._failed(error) from error
        # LMDB's own table also holds the stamp of the last commit, whose key begins with NUL.
        return [name.decode() for name in names if not name.startswith(b"\0")]

    def count(self, table: Table) -> int:
        """Return the number of rows of ``table``."""
        return self._stat(table, "entries")

    def pages(self, table: Table) -> int:
        """Return the number of pages that hold the rows of ``table`` (up to 2,038 bytes each)."""
        return self._stat(table, "leaf_pages")

    def bytes_in_use(self) -> int:
        """Return the bytes of the pages that hold the rows of all tables; free pages are left out.

        Of tables that the store was opened without, nothing is known.
        """
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        total = 0
        try:
            for database in self._databases.values():
                if database is not None:
                    found = self._transaction.stat(database)
                    pages = found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
                    total += pages * found["psize"]
        except lmdb.Error as error:
            raise self._failed(error) from error
        return total

    def _stat(self, table: Table, what: Literal["entries", "leaf_pages"]) -> int:
        database = self._database(table)
        if database is None or self._transaction is None:
            return 0
        try:
            return self._transaction.stat(database)[what]
        except lmdb.Error as error:
            raise self._failed(error) from error


class WriteTransaction(ReadTransaction):
    """The view of the store that one writer changes. All of it becomes visible at once, or none.

    An iteration over ``items`` sees changes made meanwhile behind the place where it is.
    """

    writes = True
    # A transaction that changed nothing is not stamped: it commits without touching the disk.
    _changed = False

    def _step(self, cursor: Cursor, key: bytes, *, forward: bool) -> bool:
        # A deletion moves other cursors by itself, so one more step would skip a row: look the
        # last key up again instead.
        if self._transaction is None:
            raise InvalidInputError(_ENDED)
        if forward:
            present = cursor.set_range(key) and (cursor.key() != key or cursor.next())
        else:
            present = cursor.prev() if cursor.set_range(key) else cursor.last()
        if present and (cursor.key() > key) != forward:
            # Damaged keys; a walk that looks them up might never end.
            raise CorruptStoreError("the keys of a table are out of order; check the store")
        return present

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``, in place of what was there.

        Raises:
            LimitError: The key is empty or longer than 511 bytes.
            StoreFullError: There is no room left.
        """
        cursor = self._cursors.get(table.name) or self._writable(table)
        self._changed = True
        try:
            cursor.put(key, table.seal(key, value))
        except lmdb.Error as error:
            raise self._failed(error) from error

    def append(self, table: Table, key: bytes, value: bytes) -> None:
        """Store ``value`` under ``key``, which must be above every key present.

        Appended rows fill their pages completely, which ``put`` leaves half empty.

        Raises:
            InvalidInputError: A key at or above ``key`` is present.
            LimitError: The key is empty or longer than 511 bytes.
            StoreFullError: There is no room left.
        """
        cursor = self._cursors.get(table.name) or self._writable(table)
        self._changed = True
        try:
            done = cursor.put(key, table.seal(key, value), append=True)
        except lmdb.Error as error:
            raise self._failed(error) from error
        if not done:
            raise InvalidInputError(
                f"the key {key.hex()} cannot be appended to table {table.name!r}: an equal or "
                "higher one is present"
            )

    def delete(self, table: Table, key: bytes) -> bool:
        """Remove ``key`` and its value, and return whether it was there."""
        cursor = self._cursors.get(table.name) or self._writable(table)
        self._changed = True
        try:
            if not cursor.set_key(key):
                return False
            return cursor.delete()
        except lmdb.Error as error:
            raise self._failed(error) from error

    def commit(self) -> None:
        """Make the changes durable and visible.

        Raises:
            InvalidInputError: This process was forked inside the transaction, which belongs to
                the parent.
            MapFullSignal: The map must grow first.
            HiveError: The commit failed, and nothing of it is visible.
        """
        if self._transaction is None:
            raise InvalidInputError(
                "this process was forked inside a write transaction: only the parent can commit it"
            )
        try:
            if self._changed:
                put_stamp(self._transaction)
            self._transaction.commit()
        except lmdb.MapFullError as error:
            self.failure = MapFullSignal()
            raise self.failure from error
        except lmdb.Error as error:
            self.failure = translate(error, self._path)
            raise self.failure from error
        self.end()

    def _writable(self, table: Table) -> Cursor:
        cursor = self._cursor(table)
        if cursor is None:
            raise InvalidInputError(f"the store was opened without the table {table.name!r}")
        return cursor
