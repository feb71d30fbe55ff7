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

__all__ = ["ROOT_LOG", "RootTable", "cut_log", "log_roots", "logged_since"]

ROOT_LOG: Final = Table("root-log")
_ADDED: Final = b"+"
_DROPPED: Final = b"-"
_EPOCH_BYTES: Final = 8
_NUMBER_BYTES: Final = 6


@dataclass(frozen=True)
class RootTable:
    """A table whose rows keep records from being collected.

    Attributes:
        kind: What its rows are, for reports.
        table: The table.
        numbers: The record numbers that a row (its key, its value) names.
        renumbered: The value with every record number replaced, for compaction.
    """

    kind: str
    table: Table
    numbers: Callable[[bytes, bytes], Iterable[int]]
    renumbered: Callable[[bytes, bytes, Callable[[int], int]], bytes]


def log_roots(
    transaction: WriteTransaction, epoch: int, numbers: Iterable[int], *, added: bool
) -> None:
    """Note under the epoch that a change made which older records it named, or dropped."""
    row = b"".join([number.to_bytes(_NUMBER_BYTES, "big") for number in numbers])
    transaction.put(ROOT_LOG, _epoch_key(epoch), (_ADDED if added else _DROPPED) + row)


def logged_since(transaction: ReadTransaction, epoch: int) -> Iterator[tuple[bool, list[int]]]:
    """Yield (added, record numbers) for each row of the log above ``epoch``."""
    for _key, row in transaction.items(ROOT_LOG, _epoch_key(epoch + 1)):
        numbers = [
            int.from_bytes(row[at : at + _NUMBER_BYTES], "big")
            for at in range(1, len(row), _NUMBER_BYTES)
        ]
        yield row[:1] == _ADDED, numbers


def cut_log(transaction: WriteTransaction, epoch: int) -> None:
    """Remove the rows of the log up to ``epoch`` (inclusive)."""
    for key, _row in transaction.items(ROOT_LOG, b"", _epoch_key(epoch + 1)):
        transaction.delete(ROOT_LOG, key)


def _epoch_key(epoch: int) -> bytes:
    return epoch.to_bytes(_EPOCH_BYTES, "big")
