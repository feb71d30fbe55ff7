"""What a collector knows about a moment: where the roots stood, and what changed since."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from cas.counters import Counters
from cas.environment import ReadTransaction, WriteTransaction
from cas.records import STORE
from cas.roots import cut_log, logged_since

__all__ = ["Moment", "RootChanges", "changes_since", "forget_collected", "last_collected"]

_COLLECTED_KEY: Final = b"collected"
_COLLECTED: Final = struct.Struct(">3Q")


@dataclass(frozen=True)
class Moment:
    """Where the roots and the records stood: root epoch, fresh roots, next record number."""

    root_epoch: int
    fresh_roots: int
    next_record: int

    @classmethod
    def of(cls, counters: Counters) -> Self:
        """Return the moment that the counters of a transaction stand for."""
        return cls(counters.root_epoch, counters.fresh_roots, counters.next_record)

    def save_as_collected(self, transaction: WriteTransaction) -> None:
        """Note that every record below ``next_record`` was reachable from this moment's roots.

        The log before is of no more use.
        """
        fields = (self.root_epoch, self.fresh_roots, self.next_record)
        transaction.put(STORE, _COLLECTED_KEY, _COLLECTED.pack(*fields))
        cut_log(transaction, self.root_epoch)


@dataclass(frozen=True)
class RootChanges:
    """What happened to the roots between two moments.

    ``complete`` is false if there were changes of which the log says nothing.
    """

    added: frozenset[int]
    dropped: frozenset[int]
    complete: bool


def last_collected(transaction: ReadTransaction) -> Moment | None:
    """Return the moment of the last collection that left no garbage, None if there is none."""
    row = transaction.get(STORE, _COLLECTED_KEY)
    return None if row is None or len(row) != _COLLECTED.size else Moment(*_COLLECTED.unpack(row))


def forget_collected(transaction: WriteTransaction) -> None:
    """Have the next collection look at everything."""
    transaction.delete(STORE, _COLLECTED_KEY)


def changes_since(transaction: ReadTransaction, since: Moment, now: Moment) -> RootChanges:
    """Return what happened to the roots after ``since`` up to ``now``, the transaction's moment."""
    added: set[int] = set()
    dropped: set[int] = set()
    rows = 0
    for is_added, numbers in logged_since(transaction, since.root_epoch):
        rows += 1
        (added if is_added else dropped).update(numbers)
    explained = rows + now.fresh_roots - since.fresh_roots
    complete = explained == now.root_epoch - since.root_epoch
    return RootChanges(frozenset(added), frozenset(dropped), complete)
