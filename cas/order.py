"""The order in which compaction writes records: what is read together stands together.

Records are taken a group of roots at a time (the checkpoints of a run), oldest first. Of a group
come first the new records without links (texts, messages, chunks), which a restore of any of its
states reads from one end to the other; then the inner nodes of trees; then the roots themselves,
which listing a history reads.

Within each class stand the versions of one thing behind each other, in the order in which the
things were first used: an edited file differs from what it was before by a few lines, and
compressed beside it the rest costs nothing. Children stand before parents all the same, because
lower nodes come before higher ones.

A restore wants one version of each thing and decompresses its neighbours with it. So a group is
cut into stretches of time, in which all versions together are at most ``MOST_VERSIONS`` times as
large as the first of everything.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from cas.records import RecordReader
from cas.versions import older_versions

__all__ = ["MOST_VERSIONS", "Grouping"]

MOST_VERSIONS: Final = 4
"""How many times the bytes that it needs a restore may have to decompress for the versions."""
_LEAST_STRETCH_BYTES: Final = 1 << 20
"""Payloads below which a group is not cut: decompressing them takes a millisecond."""

_FAMILY_BITS: Final = 32
_FAMILY: Final = (1 << _FAMILY_BITS) - 1
_NONE: Final = 0


class Grouping:
    """Collects the records below the roots of one group after the other.

    ``seen`` has a byte for each record number, 0 where the record is still to be taken.
    """

    def __init__(self, seen: bytearray) -> None:
        self._seen = seen
        # For each record taken its height, the most links from it down to one without, and its
        # family, which is what the versions of one thing have in common.
        self._places = array("Q", bytes(8 * len(seen)))
        self._families = 0
        self._stack: list[tuple[int, int, bool]] = []
        self._begin(())

    def begin(self, roots: Iterable[int]) -> None:
        """Take the next group: its roots, oldest first."""
        self._begin([number for number in dict.fromkeys(roots) if not self._seen[number]])

    def _begin(self, roots: Sequence[int]) -> None:
        self._roots = set(roots)
        older = (_NONE, *roots)
        self._stack = [(*pair, False) for pair in zip(reversed(roots), older[-2::-1], strict=True)]
        self._order: list[int] = []
        self._is_layered = True
        self._cuts: list[int] = []
        self._cut()

    def walk(self, reader: RecordReader, end: float) -> bool:
        """Go down until ``end`` (of ``time.perf_counter``); returns whether there is more."""
        seen, stack = self._seen, self._stack
        while stack:
            if time.perf_counter() > end:
                return True
            number, older, is_done = stack.pop()
            if is_done:
                self._emit(number, older, reader)
            elif not seen[number]:
                seen[number] = 1
                stack.append((number, older, True))
                links = reader.links_of(number)
                olds = older_versions(links, reader.links_of(older) if older else ())
                stack.extend(
                    (link, old, False)
                    for link, old in zip(reversed(links), reversed(olds), strict=True)
                    if not seen[link]
                )
        return False

    def _emit(self, number: int, older: int, reader: RecordReader) -> None:
        links = reader.links_of(number)
        # Roots stand behind everything else, so nothing else may link to them.
        self._is_layered = self._is_layered and self._roots.isdisjoint(links)
        self._order.append(number)
        if number in self._roots:
            return
        places = self._places
        height = 1 + max(places[link] >> _FAMILY_BITS for link in links) if links else 0
        family = places[older] & _FAMILY
        size = reader.size_of(number)
        self._bytes += size
        if family < self._first_family:
            self._families += 1
            family = self._families
            self._first_bytes += size
        places[number] = height << _FAMILY_BITS | family
        if self._bytes > max(_LEAST_STRETCH_BYTES, MOST_VERSIONS * self._first_bytes):
            self._cut()

    def _cut(self) -> None:
        """End a stretch of time: what follows begins families of its own."""
        self._cuts.append(len(self._order))
        self._first_family = self._families + 1
        self._bytes = self._first_bytes = 0

    def layers(self) -> list[list[int]]:
        """Return the group's records in the order to write them, each layer in packs of its own."""
        if not self._is_layered:
            return [self._order]
        layers: list[list[int]] = []
        roots: list[int] = []
        places = self._places
        for start, stop in pairwise((*self._cuts, len(self._order))):
            stretch = self._order[start:stop]
            roots += [number for number in stretch if number in self._roots]
            below = [number for number in stretch if number not in self._roots]
            below.sort(key=places.__getitem__)
            inner = sum(not places[number] >> _FAMILY_BITS for number in below)
            layers += [below[:inner], below[inner:]]
        return [*layers, roots]
