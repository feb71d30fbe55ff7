"""Damage done to a store that nobody has open, as a bad disk would do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
from blake3 import blake3

from cas.digest import DIGEST_BYTES
from cas.records import index_key, record_key, row_numbers
from cas.stamp import put_stamp

__all__ = ["PAGE_BYTES", "Vandal", "data_file", "flip"]

PAGE_BYTES = 4096


def data_file(store: Path) -> Path:
    """The data file of a store's first generation."""
    return store / "g1" / "data.mdb"


def flip(data: bytes, at: int, bit: int = 0) -> bytes:
    """Return `data` with one bit of one byte turned over; `at` may count from the end."""
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


class Vandal:
    """Reads and changes the rows of a closed store behind its back."""

    def __init__(self, store: Path) -> None:
        self.store = store

    @contextmanager
    def _open(
        self, table: str, *, write: bool = True
    ) -> Iterator[tuple[lmdb.Transaction[bytes], lmdb._Database]]:
        environment = lmdb.open(str(self.store / "g1"), max_dbs=64, map_size=1 << 30)
        try:
            database = environment.open_db(table.encode(), create=False)
            with environment.begin(write=write) as transaction:
                yield transaction, database
                if write:
                    put_stamp(transaction)
        finally:
            environment.close()

    def rows(self, table: str) -> dict[bytes, bytes]:
        """All rows of a table."""
        with self._open(table, write=False) as (transaction, database):
            return dict(transaction.cursor(database))

    def row(self, table: str, key: bytes) -> bytes:
        """One row of a table."""
        return self.rows(table)[key]

    def put(self, table: str, key: bytes, row: bytes) -> None:
        """Write a row as it is."""
        with self._open(table) as (transaction, database):
            transaction.put(key, row, db=database)

    def put_checked(self, table: str, key: bytes, value: bytes) -> None:
        """Write a row with the checksum that makes it believed."""
        name = table.encode()
        framed = b"".join((bytes([len(name)]), name, len(key).to_bytes(2, "big"), key, value))
        self.put(table, key, blake3(framed).digest(length=4) + value)

    def change(self, table: str, key: bytes, work: Callable[[bytes], bytes]) -> None:
        """Write a row as `work` makes it of what it was."""
        self.put(table, key, work(self.row(table, key)))

    def delete(self, table: str, key: bytes) -> None:
        """Remove a row, which must be there."""
        with self._open(table) as (transaction, database):
            assert transaction.delete(key, db=database)

    def number(self, digest: bytes) -> int:
        """The number under which the index knows an object."""
        (number,) = row_numbers(self.row("index", index_key(digest)))
        return number

    def pack_key(self, number: int) -> bytes:
        """The key of the first row of the pack that holds a record."""
        keys = self.rows("objects")
        return max(key for key in keys if key <= record_key(number) and key[-2:] == b"\0\0")

    def digest_at(self, number: int) -> int:
        """Where in the first row of its pack the digest of a record stands."""
        base = int.from_bytes(self.pack_key(number)[:6], "big")
        return 6 + (number - base) * DIGEST_BYTES
