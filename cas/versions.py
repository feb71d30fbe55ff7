"""Which older object each child of a new version of an object takes the place of.

A checkpoint differs from the one before in a path from its root to what changed. Walking both down
side by side finds for every new object the one that it replaced, without a look at any payload: a
new link stands where an older one stood, between neighbours that did not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["older_versions"]

_NONE: Final = 0


def older_versions(links: Sequence[int], older: Sequence[int]) -> list[int]:
    """Return for each of ``links`` which one of ``older`` it replaces; 0: none.

    Both are the record numbers that two versions of one object link to, each without repetition. A
    link that both have replaces itself. Those between two such are paired in order, and what is
    left over goes with the last of the other side: one node may become two.
    """
    kept = {*links} & {*older}
    gaps: dict[int, list[int]] = {}
    before = _NONE
    for link in older:
        if link in kept:
            before = link
        else:
            gaps.setdefault(before, []).append(link)
    replaced: list[int] = []
    gap: list[int] = gaps.get(_NONE, [])
    place = 0
    for link in links:
        if link in kept:
            replaced.append(link)
            gap, place = gaps.get(link, []), 0
        else:
            replaced.append(gap[min(place, len(gap) - 1)] if gap else _NONE)
            place += 1
    return replaced
