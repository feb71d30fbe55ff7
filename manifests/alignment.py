"""Where one sequence of objects differs from another, found by identity.

States change at their end (an appended message), at their beginning (a trimmed history) and at
some places in the middle (replaced fields). What lies between is found in C, a stretch at a time;
only the differences cost Python.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from itertools import compress, count, repeat
from typing import Any, Final, NamedTuple, TypeVar

from manifests.identity import same_end, same_start

__all__ = ["Edit", "differences", "narrowed", "splice"]

_NEAR: Final = 64
"""How far ahead is looked, in either sequence, before places are looked up in an index."""
_FEW: Final = 8
"""So many edits are made in place: each moves what is behind it."""

Item = TypeVar("Item")


class Edit(NamedTuple):
    """Items [old_start, old_stop) of the old sequence were replaced by [start, stop) of the new."""

    old_start: int
    old_stop: int
    start: int
    stop: int

    @property
    def old_places(self) -> range:
        """The places in the old sequence."""
        return range(self.old_start, self.old_stop)

    @property
    def places(self) -> range:
        """The places in the new sequence."""
        return range(self.start, self.stop)


def differences(old: Sequence[Any], new: Sequence[Any]) -> list[Edit]:
    """Return edits, ascending, that make ``new`` of ``old``; outside them the objects are the same.

    They are not always the fewest: what moved far ahead is one removal and one addition.
    """
    shorter = min(len(old), len(new))
    prefix = same_start(old, new)
    if prefix == shorter:
        return [] if len(old) == len(new) else [Edit(prefix, len(old), prefix, len(new))]
    suffix = min(same_end(old, new), shorter - prefix)
    return _Middle(old, new, len(old) - suffix, len(new) - suffix).edits(prefix)


def splice(items: list[Item], edits: Sequence[Edit], added: Sequence[Item]) -> list[Item]:
    """Return the items with edits made; the list may be used up. ``added`` are those of all edits.

    So one edit after the other takes its new items from the beginning of what is left of them.
    """
    if len(edits) == 1:  # nearly always
        edit = edits[0]
        items[edit.old_start : edit.old_stop] = added
        return items
    end = len(added)
    if len(edits) <= _FEW:
        for edit in reversed(edits):
            first = end - (edit.stop - edit.start)
            items[edit.old_start : edit.old_stop] = added[first:end]
            end = first
        return items
    out: list[Item] = []
    kept = used = 0
    for edit in edits:
        last = used + edit.stop - edit.start
        out += items[kept : edit.old_start]
        out += added[used:last]
        kept, used = edit.old_stop, last
    out += items[kept:]
    return out


def narrowed(edits: Sequence[Edit], sources: Mapping[int, int]) -> list[Edit]:
    """Return the edits without the items that turned out to be old ones.

    ``sources`` gives the old place of a new one. What also changed its place remains in the edit.
    """
    found = []
    for edit in edits:
        old_at, at = edit.old_start, edit.start
        for place in range(edit.start, edit.stop):
            source = sources.get(place, -1)
            if old_at <= source < edit.old_stop:
                if source > old_at or place > at:
                    found.append(Edit(old_at, source, at, place))
                old_at, at = source + 1, place + 1
        if old_at < edit.old_stop or at < edit.stop:
            found.append(Edit(old_at, edit.old_stop, at, edit.stop))
    return found


class _Middle:
    """What lies between the common beginning and the common end of two sequences."""

    def __init__(self, old: Sequence[Any], new: Sequence[Any], old_stop: int, stop: int) -> None:
        self._old = old
        self._new = new
        self._old_stop = old_stop
        self._stop = stop
        self._index: dict[int, int] = {}

    def edits(self, prefix: int) -> list[Edit]:
        found = []
        old_at = at = prefix
        while old_at < self._old_stop or at < self._stop:
            old_next, following = self._meeting(old_at, at)
            found.append(Edit(old_at, old_next, at, following))
            same = self._common(old_next, following)
            old_at, at = old_next + same, following + same
        return found

    def _meeting(self, old_at: int, at: int) -> tuple[int, int]:
        """Return the next places at which both have the same object, or both ends."""
        old, new = self._old, self._new
        old_stop, stop = self._old_stop, self._stop
        if old_at == old_stop or at == stop:
            return old_stop, stop
        if old_at + 1 < old_stop and at + 1 < stop and old[old_at + 1] is new[at + 1]:
            return old_at + 1, at + 1
        near = _place(old[old_at + 1 : min(old_at + _NEAR, old_stop)], new[at])
        if near is not None:
            return old_at + 1 + near, at
        near = _place(new[at + 1 : min(at + _NEAR, stop)], old[old_at])
        if near is not None:
            return old_at, at + 1 + near
        if not self._index:
            # Of an object that occurs more than once, the first place.
            ids = map(id, reversed(old[old_at:old_stop]))
            self._index = dict(zip(ids, range(old_stop - 1, old_at - 1, -1), strict=True))
        for following in range(at, stop):
            place = self._index.get(id(new[following]), -1)
            if place >= old_at:
                return place, following
        return old_stop, stop

    def _common(self, old_at: int, at: int) -> int:
        """Return how many objects from two places on are the same."""
        # In growing steps, or each of very many differences would cost a copy of what follows.
        most = min(self._old_stop - old_at, self._stop - at)
        done, step = 0, 16
        while done < most:
            old = self._old[old_at + done : old_at + min(done + step, most)]
            new = self._new[at + done : at + min(done + step, most)]
            same = same_start(old, new)
            if same < len(old):
                return done + same
            done, step = done + step, 4 * step
        return most


def _place(items: Sequence[Any], wanted: Any) -> int | None:
    return next(compress(count(), map(operator.is_, items, repeat(wanted))), None)
