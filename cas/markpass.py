"""The pass down over the packs in which records are marked, a slice for each read transaction."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from cas.environment import ReadTransaction
from cas.epochs import Moment
from cas.errors import CorruptObjectError, MissingObjectError
from cas.packs import Pack
from cas.packwalk import packs_down
from cas.records import UNREADABLE
from cas.upkeep import SLICE_SECONDS

__all__ = ["ALIVE", "DEAD", "PRESUMED", "MarkPass", "Marked"]

DEAD: Final = 0
ALIVE: Final = 1
PRESUMED: Final = 2
"""Reachable because it was at the last collection, and no dropped root is above it."""


@dataclass
class Marked:
    """What a pass found: a byte for each record number, and the packs with garbage.

    ``packs`` holds the base numbers of those packs in descending order. ``dead_stored_bytes`` is
    an estimate where a pack holds both. The figures count what was looked at: if ``whole`` is
    false, there are more live records.
    """

    generation: int
    moment: Moment
    whole: bool
    marks: bytearray
    packs: array[int] = field(default_factory=lambda: array("Q"))
    live_records: int = 0
    dead_records: int = 0
    dead_payload_bytes: int = 0
    dead_stored_bytes: int = 0


class MarkPass:
    """Call it in one read transaction after the other until it returns False."""

    def __init__(
        self,
        result: Marked,
        repairs: Mapping[int, Sequence[int]],
        floor: int,
    ) -> None:
        """Prepare a pass. It ends at the record ``floor``: none below it is in question."""
        self._result = result
        self._repairs = repairs
        self._floor = floor
        self.upper = len(result.marks)
        """Everything from this record number on is done."""

    def __call__(self, transaction: ReadTransaction) -> bool:
        """Look at packs for one slice of time; return whether there are more."""
        end = time.perf_counter() + SLICE_SECONDS
        for base, data in packs_down(transaction, self.upper):
            self._pack(base, data)
            self.upper = base
            if base <= self._floor:
                return False
            if time.perf_counter() > end:
                return True
        self._refuse_missing(0, self.upper)
        return False

    def _pack(self, base: int, data: bytes) -> None:
        """Mark what the live records of a pack link to, and note the dead ones."""
        result, upper = self._result, self.upper
        marks = result.marks
        repairs = [n for n in self._repairs if base <= n < upper] if self._repairs else []
        try:
            pack = Pack(base, data)
            numbers = pack.numbers
            below = pack.distances()
            if numbers[-1] >= upper or not _ascends(numbers, base):
                raise CorruptObjectError(f"the pack at record {base} is damaged")
        except UNREADABLE:
            # What it links to is unknown. That matters to nobody if good bytes stand in for each
            # record of it that is reachable; and the pack is left as it is.
            if not repairs:
                raise
            self._follow_repairs(repairs)
            self._refuse_missing(base, upper, repairs)
            return
        if repairs:
            self._follow_mixed(numbers, below, repairs)
            self._refuse_missing(base, upper, {*numbers, *repairs})
        else:
            for number, distances in zip(reversed(numbers), reversed(below), strict=True):
                if marks[number]:
                    for distance in distances:
                        marks[number - distance] = ALIVE
            if marks.count(ALIVE, base, upper):
                self._refuse_missing(base, upper, numbers)
        dead: list[int] = []
        if marks.count(DEAD, base, numbers[-1] + 1):
            dead = [place for place, number in enumerate(numbers) if marks[number] == DEAD]
        result.live_records += len(numbers) - len(dead)
        if dead:
            self._note_dead(pack, dead, len(data))

    def _follow_mixed(
        self, numbers: Sequence[int], below: Sequence[Sequence[int]], repairs: Sequence[int]
    ) -> None:
        """Follow the links of a pack's records and of what stands in for some of them."""
        links: dict[int, list[int]] = {number: [*self._repairs[number]] for number in repairs}
        for number, distances in zip(numbers, below, strict=True):
            links.setdefault(number, []).extend(number - distance for distance in distances)
        marks = self._result.marks
        for number in sorted(links, reverse=True):
            if marks[number]:
                for link in links[number]:
                    marks[link] = ALIVE

    def _follow_repairs(self, repairs: Sequence[int]) -> None:
        self._follow_mixed((), (), repairs)

    def _refuse_missing(
        self, start: int, stop: int, present: Sequence[int] | set[int] = ()
    ) -> None:
        """Fail if a record in the range is linked to but not ``present``."""
        marks = self._result.marks
        if isinstance(present, range) and present:
            gaps = marks.count(ALIVE, start, present[0]) + marks.count(ALIVE, present[-1] + 1, stop)
        else:
            found = sum(marks[number] == ALIVE for number in present)
            gaps = marks.count(ALIVE, start, stop) - found
        if gaps:
            known = {*present}
            lost = next(n for n in range(start, stop) if marks[n] == ALIVE and n not in known)
            raise MissingObjectError(
                f"record {lost} is not in the store, but something reachable links to it; nothing "
                "was swept; run check"
            )

    def _note_dead(self, pack: Pack, dead: Sequence[int], pack_bytes: int) -> None:
        result = self._result
        payload = sum(pack.size(place) for place in dead)
        whole = sum(pack.size(place) for place in range(len(pack.numbers)))
        share = payload / whole if whole else len(dead) / len(pack.numbers)
        result.packs.append(pack.base)
        result.dead_records += len(dead)
        result.dead_payload_bytes += payload
        result.dead_stored_bytes += (
            pack_bytes if len(dead) == len(pack.numbers) else int(pack_bytes * share)
        )


def _ascends(numbers: Sequence[int], base: int) -> bool:
    return isinstance(numbers, range) or (
        numbers[0] >= base and all(a < b for a, b in pairwise(numbers))
    )
