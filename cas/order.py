"""The order in which compaction writes records: what is read together stands together.

Records are taken a group of roots at a time (the checkpoints of a run), oldest first. Of a group
come first the new records without links (texts, messages, chunks), which a restore of any of its
states reads from one end to the other; then the inner nodes of trees; then the roots themselves,
which listing a history reads. Within each class they stand in the order of first use, children
before parents. Neighbours are alike, so they compress well together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from cas.records import RecordReader

__all__ = ["Grouping"]


_LEAF: Final = 0
_INNER: Final = 1
_ROOT: Final = 2


class Grouping:
    """Collects the records below the roots of one group after the other.

    ``seen`` has a byte for each record number, 0 where the record is still to be taken.
    """

    def __init__(self, seen: bytearray) -> None:
        self._seen = seen
        self._stack: list[tuple[int, bool]] = []
        self._roots: set[int] = set()
        self._order: list[int] = []
        self._kinds = bytearray()
        self._is_layered = True

    def begin(self, roots: Iterable[int]) -> None:
        """Take the next group: its roots, oldest first."""
        fresh = [number for number in dict.fromkeys(roots) if not self._seen[number]]
        self._roots = set(fresh)
        self._stack = [(number, False) for number in reversed(fresh)]
        self._order = []
        self._kinds = bytearray()
        self._is_layered = True

    def walk(self, reader: RecordReader, end: float) -> bool:
        """Go down until ``end`` (of ``time.perf_counter``); returns whether there is more."""
        seen, stack = self._seen, self._stack
        while stack:
            if time.perf_counter() > end:
                return True
            number, is_done = stack.pop()
            if is_done:
                self._emit(number, reader.links_of(number))
            elif not seen[number]:
                seen[number] = 1
                stack.append((number, True))
                links = reader.links_of(number)
                stack.extend((link, False) for link in reversed(links) if not seen[link])
        return False

    def _emit(self, number: int, links: Sequence[int]) -> None:
        # Roots stand behind everything else, so nothing else may link to them.
        self._is_layered = self._is_layered and self._roots.isdisjoint(links)
        self._order.append(number)
        self._kinds.append(_ROOT if number in self._roots else _INNER if links else _LEAF)

    def layers(self) -> list[list[int]]:
        """Return the group's records in the order to write them, each layer in packs of its own."""
        if not self._is_layered:
            return [self._order]
        return [
            [
                number
                for number, found in zip(self._order, self._kinds, strict=True)
                if found == kind
            ]
            for kind in (_LEAF, _INNER, _ROOT)
        ]
