"""The items of a list or dict as an earlier commit saw them: the unchanged are taken over."""

from __future__ import annotations

import operator
from collections.abc import Collection, Container, Sequence
from itertools import chain, compress, repeat
from typing import Any

from manifests.alignment import Edit
from manifests.identity import differing, same_objects
from manifests.likeness import PLAIN, Likeness
from manifests.memo import Node
from manifests.segments import CONSTANT, MOST_AS_ONE, Segment
from manifests.together import ATOMS

__all__ = ["Earlier", "EarlierFields", "entry_edits", "same_keys"]


class Earlier:
    """The items of a node as they were, of which those that are unchanged are taken over.

    ``values`` are they, but for those that may have changed inside. What is returned for an item is
    what has to be watched below it, or None if it has to be encoded. ``compared`` counts those that
    were found to be as they were by comparing.
    """

    def __init__(self, node: Node, likeness: Likeness, *, trust_identity: bool) -> None:
        self._stale = set() if trust_identity else node.watch.stale()
        self._changed_inside = None if trust_identity else self._stale
        self.values = node.values_but(self._stale)
        self._node = node
        self._likeness = likeness
        self._hopeless = False
        self.compared = 0

    def taken(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment | None]:
        """Look at values that stand for the items at some places, as many as there are places."""
        found: list[Segment | None] = []
        for start in range(0, len(places), MOST_AS_ONE):
            stop = start + MOST_AS_ONE
            found += self._some(places[start:stop], values[start:stop])
        return found

    def taken_items(
        self, edits: Sequence[Edit], values: Sequence[Any]
    ) -> dict[int, tuple[int, Segment | None]]:
        """Look at the items of a list that are in edits; returns old places too, by the new ones.

        The same objects are found wherever they were, others are compared with those in whose
        places they stand. No old place is given twice: what is below it is below one item.
        """
        olds = [place for edit in edits for place in edit.old_places]
        if not olds:
            return {}
        left = {id(self._node.values[place]): place for place in olds}
        found: dict[int, tuple[int, Segment | None]] = {}
        for edit in edits:
            for place in edit.places:
                old = left.pop(id(values[place]), -1)
                if old >= 0:
                    segment = self._node.segments[old]
                    found[place] = old, None if segment in self._stale else segment
        free = set(olds).difference([old for old, _ in found.values()])
        pairs = []
        for edit in edits:
            if len(edit.places) == len(edit.old_places):
                pairs += _pairs(edit.places, edit.old_places, found, free)
            else:
                self._compare_ends(edit, values, found, free)
        olds, others = [old for _, old in pairs], [values[place] for place, _ in pairs]
        # One alone is encoded as fast, and mostly has changed.
        taken = self.taken(olds, others) if len(pairs) > 1 else [None] * len(pairs)
        for (place, old), same in zip(pairs, taken, strict=True):
            found[place] = old, same
        return found

    def _compare_ends(
        self,
        edit: Edit,
        values: Sequence[Any],
        found: dict[int, tuple[int, Segment | None]],
        free: set[int],
    ) -> None:
        """Find items of an edit that has more or fewer than there were before.

        Counted from its beginning as long as they are alike, and then from its end.
        """
        ends = (edit.places, edit.old_places), (edit.places[::-1], edit.old_places[::-1])
        for places, olds in ends:
            pairs = _pairs(places, olds, found, free)
            run = self._run([old for _, old in pairs], [values[place] for place, _ in pairs])
            for (place, old), segment in zip(pairs, run, strict=False):
                found[place] = old, segment
                free.discard(old)

    def _run(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment]:
        """Look at values from the first one on, until one has to be encoded."""
        run: list[Segment] = []
        while len(run) < len(places):
            stop = len(run) + MOST_AS_ONE
            for segment in self._some(places[len(run) : stop], values[len(run) : stop]):
                if segment is None:
                    return run
                run.append(segment)
        return run

    def _some(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment | None]:
        """Look at a few values, all at once if that will do."""
        olds = [self._node.values[place] for place in places]
        if same_objects(values, olds) or (self._hopeless and _are_atoms(values)):
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
        if not half:
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
        segments = [self._node.segments[place] for place in places]
        return [
            segment if value is old and segment not in self._stale else None
            for segment, value, old in zip(segments, values, olds, strict=True)
        ]

    def _together(
        self, places: Sequence[int], values: Sequence[Any], olds: Sequence[Any]
    ) -> Segment | None:
        if self._changed_inside is None:
            # The promise is about items that are the same objects. These are others, and the old
            # ones say what was encoded only if they are still as they were.
            self._changed_inside = self._node.watch.stale()
        if not self._changed_inside.isdisjoint([self._node.segments[place] for place in places]):
            return None
        segment = self._likeness.of(values, olds)
        if segment is None:
            return None
        self.compared += len(values)
        return segment.shared()


def _pairs(
    places: Sequence[int], olds: Sequence[int], found: Container[int], free: Container[int]
) -> list[tuple[int, int]]:
    return [
        (place, old)
        for place, old in zip(places, olds, strict=False)
        if place not in found and old in free
    ]


class EarlierFields:
    """The fields of a root, as ``Earlier`` has items.

    They are looked at one by one: larger containers in them decide for themselves. ``changed``
    names the only ones that may have changed (None: any may), which is not believed of a node that
    was ``recalled``; there they are compared.
    """

    def __init__(
        self,
        node: Node,
        likeness: Likeness,
        changed: Collection[Any] | None,
        *,
        recalled: bool,
    ) -> None:
        self._node = node
        self._likeness = likeness
        self._changed = None if recalled else changed
        self._recalled = recalled
        mutable = compress(node.segments, map(operator.is_not, node.segments, repeat(CONSTANT)))
        self.values = node.values_but(set(mutable))

    def taken(self, places: Sequence[int], values: Sequence[Any]) -> list[Segment | None]:
        """Look at values that stand for the fields at some places."""
        return list(map(self._field, places, values))

    def is_promised(self, place: int) -> bool:
        """Whether the caller says that a field has not changed."""
        return self._changed is not None and self._node.keys[place] not in self._changed

    def _field(self, place: int, value: Any) -> Segment | None:
        segment, old = self._node.segments[place], self._node.values[place]
        if self.is_promised(place):
            return segment
        if self._recalled:
            if segment.nodes:
                return None
            alike = self._likeness.of([value], [old])
            return None if alike is None else alike.shared()
        return segment if segment is CONSTANT and value is old else None


def entry_edits(old: Sequence[Any], values: Sequence[Any], of_keys: Sequence[Edit]) -> list[Edit]:
    """Return edits of the entries of a dict, from those of its keys and from its values."""
    found = []
    old_at = at = 0
    for edit in (*of_keys, Edit(len(old), len(old), len(values), len(values))):
        others = differing(old[old_at : edit.old_start], values[at : edit.start])
        first = last = 0
        for offset in chain(others, (-1,)):
            if offset != last:
                if first < last:
                    found.append(Edit(old_at + first, old_at + last, at + first, at + last))
                first = offset
            last = offset + 1
        if edit.old_places or edit.places:
            found.append(edit)
        old_at, at = edit.old_stop, edit.stop
    return found


def _are_atoms(values: Sequence[Any]) -> bool:
    return ATOMS.issuperset(map(type, values))


def same_keys(keys: Sequence[Any], before: Sequence[Any]) -> bool:
    """Whether keys are encoded as those before: 1, 1.0 and True find each other in a dict."""
    if same_objects(keys, before):
        return True
    if len(keys) != len(before):
        return False
    types = [*map(type, keys)]
    same = types == [*map(type, before)] and PLAIN.issuperset(types)
    return same and [*keys] == [*before]
