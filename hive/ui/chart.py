"""Bytes per step as a picture: where its bars, its line and its scale stand.

The scale is logarithmic, because the first checkpoint of a run adds a thousand times what the
others do. Positions are hundredths of the width and height.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hive.text import count, size
from manifests import Footprint

__all__ = ["MOST_BARS", "Bar", "Chart", "chart_of"]

MOST_BARS: Final = 120
_GAP: Final = 0.2
"""Part of a bar's room that stays empty."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What one or several steps added. ``last`` is the newest of them, ``text`` says it all."""

    left: float
    width: float
    height: float
    last: int
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The picture: bars of bytes added, a line of full copies, and marks of the scale.

    Attributes:
        bars: Oldest first.
        line: Points (x, y) of the size of a full copy, y from the upper edge.
        marks: Heights from the lower edge, with their words.
        steps: How many steps a bar stands for.
        text: What the picture shows, in a sentence.
    """

    bars: tuple[Bar, ...]
    line: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, str], ...]
    steps: int
    text: str


def chart_of(footprints: Sequence[Footprint], full_bytes: Callable[[int], int]) -> Chart | None:
    """Return the picture of a run whose checkpoints stand newest first; None if it has none.

    Args:
        footprints: Of all checkpoints of the run.
        full_bytes: Returns the size of a checkpoint's state as a full copy, by its sequence. It is
            asked once for every bar.
    """
    if not footprints:
        return None
    oldest = list(footprints[::-1])
    steps = math.ceil(len(oldest) / MOST_BARS)
    groups = [oldest[at : at + steps] for at in range(0, len(oldest), steps)]
    added = [sum(each.new_bytes for each in group) for group in groups]
    full = [full_bytes(group[-1].sequence) for group in groups]
    top = max(2.0, math.log10(max(1, *added, *full)))
    room = 100 / len(groups)
    bars = tuple(
        Bar(
            left=round((at + _GAP / 2) * room, 3),
            width=round((1 - _GAP) * room, 3),
            height=round(_height(value, top), 2),
            last=group[-1].sequence,
            text=_text(group, value, whole),
        )
        for at, (group, value, whole) in enumerate(zip(groups, added, full, strict=True))
    )
    line = tuple(
        (round((at + 0.5) * room, 3), round(100 - _height(value, top), 2))
        for at, value in enumerate(full)
    )
    marks = tuple(
        (round(_height(10**power, top), 2), size(10**power))
        for power in range(2, math.floor(top) + 1)
        if power % 2 == 0 or top < 5
    )
    total = sum(added)
    text = (
        f"{count(len(oldest), 'step')} added {size(total)} in all. "
        f"A full copy of the last state has {size(full[-1])}."
    )
    return Chart(bars, line, marks, steps, text)


def _height(value: int, top: float) -> float:
    """Place a number of bytes on the scale: 10 bytes and less at the lower edge."""
    return 0.0 if value <= 10 else 92 * (math.log10(value) - 1) / (top - 1)


def _text(group: Sequence[Footprint], added: int, full: int) -> str:
    first, last = group[0].sequence, group[-1].sequence
    steps = f"step {last}" if first == last else f"steps {first} to {last}"
    return f"{steps}: {size(added)} added, {size(full)} as a full copy"
