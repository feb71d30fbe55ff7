"""``Counters``: what a store counts, in one row."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cas.environment import ReadTransaction, WriteTransaction
from cas.errors import CorruptStoreError
from cas.records import STORE

__all__ = ["COUNTERS_KEY", "Counters"]

COUNTERS_KEY: Final = b"counters"
_COUNTERS: Final = struct.Struct(">7Q")
_MOST_UNUSED: Final = 1 << 28
"""More records than this were never removed behind the last one. Compaction numbers them anew, and
a collector takes a byte for each number."""


@dataclass(slots=True)
class Counters:
    """The store's counters, one checksummed row changed with every transaction that writes.

    ``next_record`` is never lowered, so record numbers are never reused; ``sweeps`` counts sweeps
    of garbage; ``root_epoch`` counts changes of the roots, ``fresh_roots`` those among them that
    named a record of their own transaction; the others add up what is stored.
    """

    next_record: int = 1
    sweeps: int = 0
    root_epoch: int = 0
    objects: int = 0
    payload_bytes: int = 0
    stored_bytes: int = 0
    fresh_roots: int = 0

    @classmethod
    def load(cls, transaction: ReadTransaction) -> Counters:
        """Read the counters; ``CorruptStoreError`` if the row is missing or odd."""
        counters = cls.of_row(transaction.get(STORE, COUNTERS_KEY) or b"")
        if counters is None:
            raise CorruptStoreError("the store has no counters; restore a copy, or salvage it")
        return counters

    @classmethod
    def of_row(cls, row: bytes) -> Counters | None:
        """Return the counters in a row, None if it holds none."""
        return cls(*_COUNTERS.unpack(row)) if len(row) == _COUNTERS.size else None

    def fit(self, first_free: int) -> bool:
        """Whether the next record can have its number, given the one behind the last record."""
        return first_free <= self.next_record <= first_free + _MOST_UNUSED

    def misfit(self) -> CorruptStoreError:
        """Return the error for counters that give the next record a number it cannot have."""
        return CorruptStoreError(
            "the store's counters give its next record a number that it cannot have; repair the "
            "store (hive check --repair)"
        )

    def save(self, transaction: WriteTransaction) -> None:
        """Write the counters."""
        fields = (self.next_record, self.sweeps, self.root_epoch)
        sizes = (self.objects, self.payload_bytes, self.stored_bytes)
        row = _COUNTERS.pack(*fields, *sizes, self.fresh_roots)
        transaction.put(STORE, COUNTERS_KEY, row)
