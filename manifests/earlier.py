"""The items of a list or dict as an earlier commit saw them: the unchanged are taken over."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import compress, count
from typing import Any, Final

from manifests.likeness import PLAIN, Likeness
from manifests.memo import Node, Segment
from manifests.together import ATOMS

__all__ = ["Earlier", "same_keys"]

_TOGETHER: Final = 64
"""Items that are compared and then watched as one: if one of them changes in place, all are encoded
again. 64 messages take 2 ms."""


class Earlier:
    """The items of a node as they were, of which those that are unchanged are taken over.

    ``stale`` are the positions of those that may have changed inside. What is returned for an item
    is what has to be watched below it, or None if it has to be encoded.
    """

    def __init__(self, node: Node, likeness: Likeness | None, *, trust_identity: bool) -> None:
        self.stale = node.stale(trust_identity=trust_identity)
        self._changed_inside = None if trust_identity else self.stale
        self._node = node
        self._likeness = likeness
        self._hopeless = False

    def taken(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment | None]:
        """Look at values that stand for the items at some places, as many as there are places."""
        found: list[Segment | None] = []
        for start in range(0, len(places), _TOGETHER):
            stop = start + _TOGETHER
            found += self._some(places[start:stop], values[start:stop])
        return found

    def taken_at_ends(
        self, values: Sequence[Any], prefix: int, suffix: int
    ) -> tuple[list[Segment], list[Segment]]:
        """Look for items beside those that are known to be taken over.

        They are as many as possible behind the first ``prefix`` items, and then before the last
        ``suffix`` ones, in their order.
        """
        old = len(self._node.values)
        room = min(len(values), old) - prefix - suffix
        head = self._run(range(prefix, prefix + room), values[prefix : prefix + room])
        room -= len(head)
        ahead = range(old - suffix - 1, old - suffix - 1 - room, -1)
        stop = len(values) - suffix
        tail = self._run(ahead, values[stop - room : stop][::-1])
        return head, tail[::-1]

    def taken_entries(
        self, keys: Sequence[Any], values: Sequence[Any], *, aligned: bool
    ) -> tuple[list[int], list[Segment | None]]:
        """Look at the entries of a dict; also returns where each was, -1 if nowhere."""
        node = self._node
        if aligned:
            taken: list[Segment | None] = [*node.watch.segments]
            others = compress(count(), map(operator.is_not, values, node.values))
            places = sorted({*others, *self.stale})
            olds = [*range(len(keys))]
        else:
            before = {key: place for place, key in enumerate(node.keys)}
            olds = [before.get(key, -1) for key in keys]
            taken = [None] * len(keys)
            places = [
                place
                for place, (key, old) in enumerate(zip(keys, olds, strict=True))
                if old >= 0 and same_keys((key,), (node.keys[old],))
            ]
        found = self.taken([olds[place] for place in places], [values[place] for place in places])
        for place, segment in zip(places, found, strict=True):
            taken[place] = segment
        return olds, taken

    def _run(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment]:
        """Look at values from the first one on, until one has to be encoded."""
        run: list[Segment] = []
        while len(run) < len(places):
            stop = len(run) + _TOGETHER
            for segment in self._some(places[len(run) : stop], values[len(run) : stop]):
                if segment is None:
                    return run
                run.append(segment)
        return run

    def _some(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment | None]:
        """Look at a few values, all at once if that will do."""
        olds = [self._node.values[place] for place in places]
        if all(map(operator.is_, values, olds)) or (self._hopeless and _are_atoms(values)):
            return self._same_objects(places, values, olds)
        together = self._together(places, values, olds)
        if together is not None:
            self._hopeless = False
            return [together] * len(places)
        if self._hopeless:
            return self._same_objects(places, values, olds)
        found = self._narrowed(places, values, olds)
        self._hopeless = not any(found)
        return found

    def _narrowed(
        self, places: Sequence[int], values: Sequence[Any], olds: Sequence[Any]
    ) -> list[Segment | None]:
        """Look for the one among some values that has to be encoded.

        If there is one in each half, there may be many, and comparing would be for nothing.
        """
        half = len(places) // 2
        first, last = slice(half), slice(half, None)
        if not half or _are_atoms(values):  # one by one, atoms are encoded as fast
            return self._same_objects(places, values, olds)
        before = self._together(places[first], values[first], olds[first])
        behind = self._together(places[last], values[last], olds[last])
        if before is not None:
            narrowed = self._narrowed(places[last], values[last], olds[last])
            return [before] * half + narrowed
        if behind is not None:
            narrowed = self._narrowed(places[first], values[first], olds[first])
            return narrowed + [behind] * (len(places) - half)
        return self._same_objects(places, values, olds)

    def _same_objects(
        self, places: Sequence[int], values: Sequence[Any], olds: Sequence[Any]
    ) -> list[Segment | None]:
        segments = self._node.watch.segments
        return [
            segments[place] if value is old and place not in self.stale else None
            for place, value, old in zip(places, values, olds, strict=True)
        ]

    def _together(
        self, places: Sequence[int], values: Sequence[Any], olds: Sequence[Any]
    ) -> Segment | None:
        if self._likeness is None:
            return None
        if self._changed_inside is None:
            # The promise is about items that are the same objects. These are others, and the old
            # ones say what was encoded only if they are still as they were.
            self._changed_inside = self._node.stale(trust_identity=False)
        if not self._changed_inside.isdisjoint(places):
            return None
        return self._likeness.of(values, olds)


def _are_atoms(values: Sequence[Any]) -> bool:
    return ATOMS.issuperset(map(type, values))


def same_keys(keys: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether keys are encoded as those before: 1, 1.0 and True find each other in a dict."""
    if len(keys) != len(before):
        return False
    if all(map(operator.is_, keys, before)):
        return True
    types = [*map(type, keys)]
    same = types == [*map(type, before)] and PLAIN.issuperset(types)
    return same and [*keys] == [*before]
