"""Holes: parts of tables whose rows could not be read, as ranges of keys."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Hole", "Holes"]


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of a table: keys from ``low`` (inclusive) to ``high`` (exclusive; None: the end)."""

    table: str
    low: bytes
    high: bytes | None


class Holes:
    """The holes of all tables; those that overlap count as one."""

    def __init__(self, holes: Iterable[Hole] = ()) -> None:
        self._ranges: dict[str, list[tuple[bytes, bytes | None]]] = {}
        for hole in sorted(holes, key=lambda hole: hole.low):
            self._add(self._ranges.setdefault(hole.table, []), hole)

    def _add(self, ranges: list[tuple[bytes, bytes | None]], hole: Hole) -> None:
        low, high = ranges[-1] if ranges else (b"", b"")
        if not ranges or (high is not None and high < hole.low):
            ranges.append((hole.low, hole.high))
        elif high is not None and (hole.high is None or hole.high > high):
            ranges[-1] = low, hole.high

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def of(self, table: str) -> list[tuple[bytes, bytes | None]]:
        """Return the holes of a table in order."""
        return self._ranges.get(table, [])

    def covers(self, table: str, key: bytes) -> bool:
        """Whether a row of that key may have been in a hole of a table."""
        ranges = self.of(table)
        place = bisect_right(ranges, key, key=lambda each: each[0]) - 1
        if place < 0:
            return False
        high = ranges[place][1]
        return high is None or key < high
