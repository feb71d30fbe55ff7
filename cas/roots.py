"""Roots: where names lead to records, and the log of what changed about them.

The upper layer registers a ``RootTable`` for each of its tables whose rows name records. What
changed since a moment is known from three things, all written in the transaction of the change:

- every change raises ``Counters.root_epoch``;
- a name for a record of the same transaction (an ordinary commit) also raises
  ``Counters.fresh_roots``: the record itself shows that it is new, so nothing is written down;
- a name for an *older* record (a fork, a tag, an import) and every name that was dropped leave a
  row in ``root-log``, under the epoch they made.

So ``epochs passed = fresh roots + rows``; where that does not hold, somebody changed roots without
saying which, and the collector looks at all of them again. The log can be incomplete, but not
misleading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import UnsupportedFormatError
from cas.records import INDEX, OBJECTS, REPAIRS, STORE, number_row, row_numbers

__all__ = ["OWN_TABLES", "ROOT_LOG", "Layout", "RootTable", "cut_log", "log_roots", "logged_since"]

ROOT_LOG: Final = Table("root-log")
OWN_TABLES: Final = (OBJECTS, INDEX, REPAIRS, ROOT_LOG, STORE)
"""The tables that hold the objects themselves."""
_ADDED: Final = b"+"
_DROPPED: Final = b"-"
_EPOCH_BYTES: Final = 8


@dataclass(frozen=True)
class RootTable:
    """A table whose rows keep records from being collected.

    Attributes:
        kind: What its rows are, for reports.
        table: The table.
        numbers: The record numbers that a row (its key, its value) names.
        renumbered: The value with every record number replaced, for compaction.
        group: What rows that are next to each other and belong together have in common (of the
            key); compaction keeps what they name together.
    """

    kind: str
    table: Table
    numbers: Callable[[bytes, bytes], Iterable[int]]
    renumbered: Callable[[bytes, bytes, Callable[[int], int]], bytes]
    group: Callable[[bytes], object] = bytes


@dataclass(frozen=True)
class Layout:
    """The tables of the upper layer, all of them.

    Attributes:
        roots: Those whose rows name records.
        plain: The others.
        transient: Those among ``roots`` whose rows go without a note in the log of roots.
    """

    roots: tuple[RootTable, ...]
    plain: tuple[Table, ...] = ()
    transient: tuple[RootTable, ...] = ()

    def refuse_unknown(self, transaction: ReadTransaction) -> None:
        """Refuse a store with tables that may hold roots which are not known here.

        Raises:
            UnsupportedFormatError: There is such a table.
        """
        known = {table.name for table in (*OWN_TABLES, *self.plain)}
        known.update(root.table.name for root in self.roots)
        unknown = sorted(set(transaction.table_names()) - known)
        if unknown:
            raise UnsupportedFormatError(
                f"the store has tables that are not known here ({', '.join(unknown)}) and may name "
                "objects; upgrade Hive before you free space in it"
            )


def log_roots(
    transaction: WriteTransaction, epoch: int, numbers: Iterable[int], *, added: bool
) -> None:
    """Note under the epoch that a change made which older records it named, or dropped."""
    sign = _ADDED if added else _DROPPED
    transaction.put(ROOT_LOG, _epoch_key(epoch), sign + number_row(numbers))


def logged_since(transaction: ReadTransaction, epoch: int) -> Iterator[tuple[bool, list[int]]]:
    """Yield (added, record numbers) for each row of the log above ``epoch``."""
    for _key, row in transaction.items(ROOT_LOG, _epoch_key(epoch + 1)):
        yield row[:1] == _ADDED, row_numbers(row[1:])


def cut_log(transaction: WriteTransaction, epoch: int) -> None:
    """Remove the rows of the log up to ``epoch`` (inclusive)."""
    for key, _row in transaction.items(ROOT_LOG, b"", _epoch_key(epoch + 1)):
        transaction.delete(ROOT_LOG, key)


def _epoch_key(epoch: int) -> bytes:
    return epoch.to_bytes(_EPOCH_BYTES, "big")
