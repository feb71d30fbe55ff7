"""How wide the columns of a table are on a terminal, and which have room at all. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["GAP", "LEAST", "Column", "fit"]

GAP: Final = 2
"""Spaces between two columns."""
LEAST: Final = 14
"""To how many characters a column may be shortened."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    """Numbers stand to the right."""
    shrinks: bool = False
    """Shortened with an ellipsis when the terminal is too narrow; other columns never are."""
    spare: int = 0
    """When even that is too wide, columns are left out: the highest first, those with 0 never."""


def fit(columns: Sequence[Column], natural: Sequence[int], room: int) -> dict[int, int]:
    """Return the widths of the columns that are shown, by their places.

    Args:
        columns: All of them.
        natural: How wide each would be.
        room: How wide the terminal is. Only columns that neither shrink nor can be spared may take
            more.
    """
    least = [
        min(width, LEAST) if column.shrinks else width
        for column, width in zip(columns, natural, strict=True)
    ]
    shown = list(range(len(columns)))
    while _total([least[at] for at in shown]) > room:
        spare = max(shown, key=lambda at: columns[at].spare)
        if not columns[spare].spare:
            break
        shown.remove(spare)
    widths = {at: natural[at] for at in shown}
    while (excess := _total(list(widths.values())) - room) > 0:
        wide = [at for at in shown if widths[at] > least[at]]
        if not wide:
            break
        widest = max(wide, key=widths.__getitem__)
        next_width = max((widths[at] for at in wide if at != widest), default=0)
        widths[widest] -= min(excess, max(widths[widest] - max(next_width, least[widest]), 1))
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
