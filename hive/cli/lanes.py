r"""The lines beside a list of checkpoints that show which was made from which.

Newest first, as git draws it: ``*`` a checkpoint, ``|`` a line on the way to an older one, ``|/``
where two lines meet because both were made from the checkpoint below.
"""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Lanes"]


class Lanes:
    """Draws one checkpoint after the other, from the newest on."""

    def __init__(self) -> None:
        self._waiting: list[Hashable] = []
        """For each line, the checkpoint that it leads to."""

    def draw(self, name: Hashable, parent: Hashable | None) -> tuple[list[str], str]:
        """Return the lines that join others before this checkpoint, and its own.

        Names are whatever identifies a checkpoint; ``parent`` is None for one made from nothing.
        """
        joins = []
        while self._waiting.count(name) > 1:
            last = len(self._waiting) - 1 - self._waiting[::-1].index(name)
            joins.append(self._join(last))
            del self._waiting[last]
        if name not in self._waiting:
            self._waiting.append(name)
        place = self._waiting.index(name)
        own = " ".join("*" if at == place else "|" for at in range(len(self._waiting)))
        if parent is None:
            del self._waiting[place]
        else:
            self._waiting[place] = parent
        return joins, own

    def _join(self, lane: int) -> str:
        """Draw how a line goes to the left, where another leads to the same checkpoint."""
        target = self._waiting.index(self._waiting[lane])
        cells = ["|" for _ in self._waiting]
        gaps = [" " for _ in self._waiting]
        cells[lane] = " "
        gaps[lane - 1] = "/"
        for between in range(target, lane - 1):
            gaps[between] = "_"
        return "".join(cell + gap for cell, gap in zip(cells, gaps, strict=True)).rstrip()
