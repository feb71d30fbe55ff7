"""The lines of a timeline: which checkpoint of a run was made from which, as places to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from manifests import Footprint

__all__ = ["MOST_LANES", "Lanes", "lanes_of"]

MOST_LANES: Final = 8
"""Lines drawn side by side; further branches share the last one."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """What is drawn beside one checkpoint of a timeline, newest first.

    ``own`` is its lane, counted from 0. ``above`` and ``below`` are pairs of lanes that a line
    joins: from the upper edge to the middle, and from the middle to the lower edge.
    """

    own: int
    above: tuple[tuple[int, int], ...]
    below: tuple[tuple[int, int], ...]

    @property
    def rightmost(self) -> int:
        """The rightmost lane that is drawn in."""
        return max(self.own, *(max(pair) for pair in (*self.above, *self.below, (0, 0))))


def lanes_of(footprints: Sequence[Footprint]) -> list[Lanes]:
    """Return the lanes of a run's checkpoints, which stand newest first."""
    waiting: list[int] = []  # for each lane, the sequence that its line leads down to; 0: free
    drawn = []
    for footprint in footprints:
        # A line to a checkpoint that was forgotten meanwhile ends where that would stand.
        waiting = [0 if wanted > footprint.sequence else wanted for wanted in waiting]
        before = list(waiting)
        ends = [lane for lane, wanted in enumerate(waiting) if wanted == footprint.sequence]
        own = ends[0] if ends else _free(waiting)
        for lane in ends:
            waiting[lane] = 0
        _occupy(waiting, own, footprint.parent)
        above = [(lane, own if lane in ends else lane) for lane, w in enumerate(before) if w]
        below = [(lane, lane) for lane, wanted in enumerate(waiting) if wanted]
        drawn.append(Lanes(_shown(own), _pairs(above), _pairs(below)))
    return drawn


def _free(waiting: list[int]) -> int:
    return waiting.index(0) if 0 in waiting else len(waiting)


def _occupy(waiting: list[int], lane: int, parent: int) -> None:
    if lane == len(waiting):
        waiting.append(0)
    waiting[lane] = parent
    while waiting and not waiting[-1]:
        waiting.pop()


def _shown(lane: int) -> int:
    return min(lane, MOST_LANES - 1)


def _pairs(lanes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple(dict.fromkeys((_shown(upper), _shown(lower)) for upper, lower in lanes))
