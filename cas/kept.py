"""Objects that this process has read or written lately, kept in memory as they were verified.

A framework loads a run's state at the start of every turn, and nearly all of it is what the last
turn loaded or stored. Objects do not change, so their bytes need not be fetched, decompressed and
hashed again: that is more than half of a restore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from cas.mutex import Mutex

__all__ = ["KEPT_BYTES", "Kept", "KeptByNumber", "KeptRecords"]

T = TypeVar("T")

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Payload bytes that a store keeps in memory by default, at most."""

_OVERHEAD: Final = 256
"""What a record takes beside its payload, about."""


class Kept(NamedTuple):
    """A verified record: its digest, the numbers of the records it links to, its payload."""

    digest: bytes
    links: Sequence[int]
    payload: bytes


class KeptByNumber(ABC, Generic[T]):
    """What belongs to records of one generation of the file; that not used lately is dropped.

    There are two halves: what is used moves to the younger one, and when that is full it becomes
    the older one, whose items are dropped. Safe to share by threads.
    """

    def __init__(self, most_bytes: int) -> None:
        """Keep at most about ``most_bytes``; 0 keeps nothing."""
        self.most_bytes = most_bytes
        self._lock = Mutex()
        self._generation = -1
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._young: dict[int, T] = {}
        self._old: dict[int, T] = {}
        self._bytes = 0

    def of(self, generation: int, numbers: Iterable[int]) -> dict[int, T]:
        """Return what is kept of those records."""
        with self._lock:
            if generation != self._generation:
                return {}
            young, old = self._young, self._old
            found = {number: young[number] for number in numbers if number in young}
            if old:
                missed = [number for number in numbers if number not in found and number in old]
                again = {number: old[number] for number in missed}
                found.update(again)
            else:
                again = {}
        if again:
            self.keep(generation, again)
        return found

    def keep(self, generation: int, items: Mapping[int, T]) -> None:
        """Keep items of a generation; those of an earlier one are dropped."""
        size = self.size_of(items.values())
        most = self.most_bytes // 2
        if size > most:
            return
        with self._lock:
            if generation != self._generation:
                if generation < self._generation:
                    return
                self.clear()
                self._generation = generation
            if self._bytes + size > most:
                self._old, self._young, self._bytes = self._young, {}, 0
            self._young.update(items)
            self._bytes += size

    @abstractmethod
    def size_of(self, items: Iterable[T]) -> int:
        """Return how many bytes some items take, about."""


class KeptRecords(KeptByNumber[Kept]):
    """Verified records by number."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        """Keep at most about ``most_bytes``; 0 keeps nothing."""
        super().__init__(most_bytes)

    def size_of(self, items: Iterable[Kept]) -> int:
        """Return how many bytes some records take, about."""
        sizes = [len(kept.payload) + _OVERHEAD for kept in items]
        return sum(sizes)
