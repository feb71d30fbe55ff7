"""Watching containers: whether any of many still holds the very same objects in the same order.

The comparison runs in C (``identity``, over what many containers hold one after the other). A walk
in Python costs ten times as much, and more than encoding everything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from gc import get_referents
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from manifests.identity import addresses, same_objects
from manifests.segments import CONSTANT, Segment, extra_of, fields_set, private_of

if TYPE_CHECKING:
    from manifests.memo import Node

__all__ = ["Watch"]

_BLOCK_CONTAINERS: Final = 256
"""Containers in a block, about: 64 to 512 were measured, and differ little."""


_FEW: Final = 8
"""So many segments are taken out of a block one by one; a new block watches all others anew."""


class _Contents:
    """Some dicts or lists, what they held as flat lists, and the segment each is of.

    The values of all dicts are asked of Python's garbage collector at once, which takes a quarter
    of the time of an iterator for each. It visits what a dict holds by its keys, in an order of
    them that nothing but other keys can change: if keys and values are both as they were, each
    value is under its key. ``visited``: it gave the values as the dicts do when they were added,
    which it does not where keys are no texts, or perhaps in another Python.
    """

    __slots__ = ("containers", "items", "owners", "sizes", "values", "visited")

    def __init__(self) -> None:
        self.containers: list[Any] = []
        self.owners: list[Segment] = []
        self.sizes: list[int] = []
        self.items: list[Any] = []
        self.values: list[Any] = []
        self.visited = True

    def add_dicts(self, dicts: Sequence[dict[Any, Any]], owners: Sequence[Segment]) -> None:
        """Watch some more dicts, as they are now."""
        self.add_lists(dicts, owners)
        values = [*chain.from_iterable(map(dict.values, dicts))]
        self.values.extend(values)
        self.visited = self.visited and same_objects(get_referents(*dicts), values)

    def add_lists(self, containers: Sequence[Collection[Any]], owners: Sequence[Segment]) -> None:
        """Watch what some more containers give when they are iterated."""
        self.containers.extend(containers)
        self.owners.extend(owners)
        self.sizes.extend(map(len, containers))
        self.items.extend(chain.from_iterable(containers))

    def remove(self, owner: Segment, count: int) -> None:
        """Watch what is of one segment no more: ``count`` containers, which stand together."""
        first = self.owners.index(owner)
        stop = first + count
        at = sum(self.sizes[:first])
        end = at + sum(self.sizes[first:stop])
        del self.containers[first:stop], self.owners[first:stop], self.sizes[first:stop]
        del self.items[at:end]
        if self.values:
            del self.values[at:end]

    def holds(self) -> bool:
        """Whether every container still holds the same objects in the same order."""
        containers = self.containers
        if self.values and not self._same_values():
            return False
        return [*map(len, containers)] == self.sizes and addresses(
            chain.from_iterable(containers)
        ) == addresses(self.items)

    def _same_values(self) -> bool:
        """Whether the values of all dicts together are those that they were."""
        held = addresses(self.values)
        if self.visited and addresses(get_referents(*self.containers)) == held:
            return True
        return addresses(chain.from_iterable(map(dict.values, self.containers))) == held

    def changed(self) -> Iterator[Segment]:
        """Yield the segments of the containers that hold something else now."""
        at = 0
        for container, size, owner in zip(self.containers, self.sizes, self.owners, strict=True):
            same = same_objects(container, self.items[at : at + size])
            if same and self.values:
                same = same_objects(container.values(), self.values[at : at + size])
            if not same:
                yield owner
            at += size


class _Block:
    """Some segments, and what their containers held.

    Containers are watched a block at a time: sizes, keys and values are looked at one after the
    other, and the dicts of one block stay in the processor's cache meanwhile: a sixth less time for
    10,000 messages. And when some segments are replaced, only their blocks are made anew.
    """

    __slots__ = (
        "__weakref__",
        "_dicts",
        "_empties",
        "_lists",
        "_model_fields",
        "_models",
        "_nodes",
        "_object_dicts",
        "_object_types",
        "_objects",
        "_owners",
        "segments",
    )

    def __init__(self, segments: Sequence[Segment] = ()) -> None:
        self.segments: list[Segment] = []
        self._dicts = _Contents()
        self._lists = _Contents()
        self._empties: list[dict[Any, Any] | list[Any]] = []
        self._objects: list[Any] = []
        self._object_dicts: list[dict[str, Any]] = []
        self._object_types: list[type] = []
        self._models: list[Any] = []
        self._model_fields: list[frozenset[str]] = []
        self._nodes: list[Node] = []
        # Of objects, models, nodes and empties: the segment each is of.
        self._owners: tuple[list[Segment], ...] = ([], [], [], [])
        if segments:
            self.add(segments)

    def room(self) -> int:
        """Return how many further containers belong here, about; 0 or less: none."""
        watched = len(self._dicts.owners), len(self._lists.owners), len(self.segments)
        return _BLOCK_CONTAINERS - max(watched)

    def without(self, removed: Sequence[Segment]) -> _Block:
        """Return a block of the other segments: this one, if little has to be taken out of it."""
        if len(removed) <= _FEW and not any(map(Segment.is_mixed, removed)):
            for segment in removed:
                self.segments.remove(segment)
                self._dicts.remove(segment, len(segment.dicts))
            return self
        gone = set(removed)
        return _Block([one for one in self.segments if one not in gone])

    def add(self, segments: Sequence[Segment]) -> None:
        """Watch the containers of some more segments, as they are now.

        All of a kind at once: segment by segment, a commit that replaces one of 20 messages took a
        fifth longer.
        """
        self.segments.extend(segments)
        here = ref(self)
        for segment in segments:
            segment.block = here
        dicts, owners = _gathered(segments, _dicts_of)
        if dicts:
            self._dicts.add_dicts(dicts, owners)
        others = [one for one in segments if one.is_mixed()]
        if others:
            self._add_others(others)

    def _add_others(self, segments: Sequence[Segment]) -> None:
        """Watch what is no plain dict."""
        lists, owners = _gathered(segments, _lists_of)
        if lists:
            self._lists.add_lists(lists, owners)
        _, of_models, of_nodes, of_empties = self._owners
        models, owners = _gathered(segments, _models_of)
        if models:
            self._hold(models, owners)
            self._models.extend(models)
            self._model_fields.extend(map(frozenset, map(fields_set, models)))
            of_models.extend(owners)
        objects, owners = _gathered(segments, _objects_of)
        if objects:
            self._hold(objects, owners)
        nodes, owners = _gathered(segments, _nodes_of)
        self._nodes.extend(nodes)
        of_nodes.extend(owners)
        empties, owners = _gathered(segments, _empties_of)
        self._empties.extend(empties)
        of_empties.extend(owners)

    def _hold(self, holders: Sequence[Any], owners: Sequence[Segment]) -> None:
        """Watch the attributes of objects, and the objects: dict and class can be replaced."""
        held: list[dict[str, Any]] = [*map(_attributes_of, holders)]
        self._objects.extend(holders)
        self._object_types.extend(map(type, holders))
        self._object_dicts.extend(held)
        self._dicts.add_dicts(held, owners)
        self._owners[0].extend(owners)

    def holds(self) -> bool:
        """Whether every container still holds the same objects in the same order."""
        return (
            not any(self._empties)
            and list(map(type, self._objects)) == self._object_types
            and all(map(operator.is_, map(_attributes_of, self._objects), self._object_dicts))
            and self._dicts.holds()
            and (not self._lists.owners or self._lists.holds())
            and list(map(fields_set, self._models)) == self._model_fields
            # Looked up in the models each time: a dict that was empty can be replaced, or be new.
            and not any(map(extra_of, self._models))
            and not any(map(private_of, self._models))
            and all([node.holds() for node in self._nodes])
        )

    def changed(self) -> set[Segment]:
        """Return the segments with a container that holds something else now."""
        objects, models, nodes, empties = self._owners
        found = {*self._dicts.changed(), *self._lists.changed()}
        found.update(compress(empties, self._empties))
        replaced = map(operator.is_not, map(_attributes_of, self._objects), self._object_dicts)
        found.update(compress(objects, replaced))
        others = map(operator.is_not, map(type, self._objects), self._object_types)
        found.update(compress(objects, others))
        reset = map(operator.ne, map(fields_set, self._models), self._model_fields)
        found.update(compress(models, reset))
        found.update(compress(models, map(extra_of, self._models)))
        found.update(compress(models, map(private_of, self._models)))
        found.update(compress(nodes, [not node.holds() for node in self._nodes]))
        return found


class Watch:
    """The contents of the containers of the segments of one node."""

    __slots__ = ("_blocks", "_opaque")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._opaque: set[Segment] = set()

    def renew(self, removed: Collection[Segment], added: Iterable[Segment]) -> None:
        """Forget some segments, and watch others as they are now. Constants are nothing to it."""
        self._opaque.difference_update(removed)
        touched: dict[_Block, list[Segment]] = {}
        for segment in dict.fromkeys(removed):  # one may have been below several items
            block = None if segment.block is None else segment.block()
            if block is not None:
                touched.setdefault(block, []).append(segment)
        if touched:
            renewed = [
                block.without(touched[block]) if block in touched else block
                for block in self._blocks
            ]
            self._blocks = [block for block in renewed if block.segments]
        fresh = []
        for segment in added:
            if segment.opaque:
                self._opaque.add(segment)
            elif segment is not CONSTANT:
                fresh.append(segment)
        if not fresh:
            return
        # Not only the last one: a list that is trimmed as it grows leaves room.
        with_room = [block for block in self._blocks if block.room() > 0]
        while fresh:
            if not with_room:
                self._blocks.append(_Block())
                with_room.append(self._blocks[-1])
            block = with_room.pop()
            count = _fitting(fresh, block.room())
            block.add(fresh[:count])
            del fresh[:count]

    def holds(self) -> bool:
        """Whether nothing below any segment has changed, or may have."""
        return not self._opaque and all(map(_Block.holds, self._blocks))

    def stale(self) -> set[Segment]:
        """Return the segments below which something changed, or may have."""
        stale = set(self._opaque)
        for block in self._blocks:
            if not block.holds():
                # Rare, so the place is looked for only now.
                stale |= block.changed()
        return stale


_attributes_of: Final = operator.attrgetter("__dict__")  # half the time of ``vars``
_dicts_of: Final = operator.attrgetter("dicts")
_lists_of: Final = operator.attrgetter("lists")
_objects_of: Final = operator.attrgetter("objects")
_models_of: Final = operator.attrgetter("models")
_nodes_of: Final = operator.attrgetter("nodes")
_empties_of: Final = operator.attrgetter("empties")


def _gathered(
    segments: Sequence[Segment], of: Callable[[Segment], list[Any]]
) -> tuple[list[Any], list[Segment]]:
    """Return what is below some segments, and of each the segment."""
    below = [*map(of, segments)]
    if not any(below):
        return [], []
    return [*chain.from_iterable(below)], [
        *chain.from_iterable(map(repeat, segments, map(len, below)))
    ]


def _fitting(segments: Sequence[Segment], room: int) -> int:
    """Return how many segments fit into the room of a block: one at least."""
    for place, segment in enumerate(segments):
        room -= max(1, len(segment.dicts) + len(segment.objects) + len(segment.models))
        if room <= 0:
            return place + 1
    return len(segments)
