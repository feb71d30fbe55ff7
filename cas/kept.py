"""Objects that this process has read or written lately, kept in memory as they were verified.

A framework loads a run's state at the start of every turn, and nearly all of it is what the last
turn loaded or stored. Objects do not change, so their bytes need not be fetched, decompressed and
hashed again: that is more than half of a restore.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cas.mutex import Mutex

__all__ = ["KEPT_BYTES", "Kept", "KeptRecords"]

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Payload bytes that a store keeps in memory by default, at most."""

_OVERHEAD: Final = 256
"""What a record takes beside its payload, about."""


class Kept(NamedTuple):
    """A verified record: its digest, the numbers of the records it links to, its payload."""

    digest: bytes
    links: Sequence[int]
    payload: bytes


class KeptRecords:
    """Verified records of one generation of the file by number; those not used lately are dropped.

    There are two halves: what is used moves to the younger one, and when that is full it becomes
    the older one, whose records are dropped. Safe to share by threads.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        """Keep at most about ``most_bytes``; 0 keeps nothing."""
        self._most_bytes = most_bytes // 2
        self._lock = Mutex()
        self._generation = -1
        self._clear()

    def _clear(self) -> None:
        self._young: dict[int, Kept] = {}
        self._old: dict[int, Kept] = {}
        self._bytes = 0

    def of(self, generation: int, numbers: Iterable[int]) -> dict[int, Kept]:
        """Return those of the records that are kept."""
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

    def keep(self, generation: int, records: dict[int, Kept]) -> None:
        """Keep verified records of a generation; those of an earlier one are dropped."""
        size = sum([len(kept.payload) for kept in records.values()]) + _OVERHEAD * len(records)
        if size > self._most_bytes:
            return
        with self._lock:
            if generation != self._generation:
                if generation < self._generation:
                    return
                self._clear()
                self._generation = generation
            if self._bytes + size > self._most_bytes:
                self._old, self._young, self._bytes = self._young, {}, 0
            self._young.update(records)
            self._bytes += size
