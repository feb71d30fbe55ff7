"""Watching containers: whether any of many still holds the very same objects in the same order.

The comparison runs in C (``map`` of ``is`` over flat lists). A walk in Python costs ten times as
much, and more than encoding everything.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any, Final

from manifests.registry import TypeEntry, UnregisteredValue

if TYPE_CHECKING:
    from manifests.memo import Node

__all__ = ["CONSTANT", "LEAST_ITEMS", "LEAST_LIST_ITEMS", "Segment", "Watch", "same_objects"]

LEAST_ITEMS: Final = 16
"""A dict of so many items has a node of its own; a smaller one belongs to the node above it."""
LEAST_LIST_ITEMS: Final = 4
"""The same for a list or tuple: lists grow, and their items are larger."""
_BLOCK_CONTAINERS: Final = 256
"""Containers in a block, about: 64 to 512 were measured, and differ little."""


class Segment:
    """The mutable containers below one item, or below several that are watched as one.

    ``opaque``: something there cannot be watched. ``items`` counts those of a node it is below.
    """

    __slots__ = (
        "block",
        "dicts",
        "empties",
        "items",
        "lists",
        "models",
        "nodes",
        "objects",
        "opaque",
    )

    def __init__(self) -> None:
        self.block: _Block | None = None
        self.items = 0
        self.empties: list[dict[Any, Any] | list[Any]] = []
        self.dicts: list[dict[Any, Any]] = []
        self.lists: list[list[Any]] = []
        self.objects: list[Any] = []
        self.models: list[Any] = []
        self.nodes: list[Node] = []
        self.opaque = False

    def is_constant(self) -> bool:
        """Whether nothing below the item can change as long as it is the same object."""
        watched = self.dicts or self.lists or self.objects or self.models or self.nodes
        return not (watched or self.empties or self.opaque)

    def shared(self) -> Segment:
        """Return this segment, or the one that serves for all items below which nothing changes."""
        return CONSTANT if self.is_constant() else self

    def hold(self, containers: Sequence[dict[Any, Any]] | Sequence[list[Any]]) -> None:
        """Note some dicts, or some lists, of any size."""
        kept: list[Any] = self.dicts if containers and type(containers[0]) is dict else self.lists
        if all(containers):
            kept.extend(containers)
            return
        for container in containers:
            (kept if container else self.empties).append(container)

    def note(self, container: Any, entry: TypeEntry | None) -> None:
        """Note a container met while encoding. Those with a node of their own note themselves."""
        cls = type(container)
        if cls is tuple:
            return
        if cls is dict:
            if len(container) < LEAST_ITEMS:
                self.hold((container,))
        elif cls is list:
            if len(container) < LEAST_LIST_ITEMS:
                self.hold((container,))
        elif cls is UnregisteredValue and type(container.fields) is dict:
            self.dicts.append(container.fields)
        elif entry is None or entry.content == "unknown":
            self.opaque = True
        elif entry.content == "attributes":
            self.objects.append(container)
            self._hold_empties(container)
        elif entry.content == "model":
            self.opaque |= bool(container.__pydantic_extra__ or container.__pydantic_private__)
            self.models.append(container)
            self._hold_empties(container)

    def _hold_empties(self, holder: Any) -> None:
        # A codec may leave out an attribute that is empty, so nothing else would note it.
        for value in vars(holder).values():
            if (type(value) is dict or type(value) is list) and not value:
                self.empties.append(value)


CONSTANT: Final = Segment()


class _Contents:
    """Some dicts or lists, what they held as flat lists, and the segment each is of."""

    __slots__ = ("containers", "items", "owners", "sizes", "values")

    def __init__(self) -> None:
        self.containers: list[Any] = []
        self.owners: list[Segment] = []
        self.sizes: list[int] = []
        self.items: list[Any] = []
        self.values: list[Any] = []

    def add_dicts(self, dicts: Sequence[dict[Any, Any]], owner: Segment) -> None:
        """Watch some more dicts, as they are now."""
        self.add_lists(dicts, owner)
        self.values.extend(chain.from_iterable(map(dict.values, dicts)))

    def add_lists(self, containers: Sequence[Collection[Any]], owner: Segment) -> None:
        """Watch what some more containers give when they are iterated."""
        self.containers.extend(containers)
        self.owners.extend(repeat(owner, len(containers)))
        self.sizes.extend(map(len, containers))
        self.items.extend(chain.from_iterable(containers))

    def holds(self) -> bool:
        """Whether every container still holds the same objects in the same order."""
        containers = self.containers
        return (
            list(map(len, containers)) == self.sizes
            and all(map(operator.is_, chain.from_iterable(containers), self.items))
            and (
                not self.values
                or all(
                    map(
                        operator.is_,
                        chain.from_iterable(map(dict.values, containers)),
                        self.values,
                    )
                )
            )
        )

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
        "_dicts",
        "_empties",
        "_lists",
        "_model_fields",
        "_models",
        "_nodes",
        "_object_dicts",
        "_objects",
        "_owners",
        "segments",
    )

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self.segments: list[Segment] = []
        self._dicts = _Contents()
        self._lists = _Contents()
        self._empties: list[dict[Any, Any] | list[Any]] = []
        self._objects: list[Any] = []
        self._object_dicts: list[dict[str, Any]] = []
        self._models: list[Any] = []
        self._model_fields: list[frozenset[str]] = []
        self._nodes: list[Node] = []
        # Of objects, models, nodes and empties: the segment each is of.
        self._owners: tuple[list[Segment], ...] = ([], [], [], [])
        for segment in segments:
            self.add(segment)

    def is_full(self) -> bool:
        """Whether further segments belong into another block."""
        watched = len(self._dicts.owners), len(self._lists.owners), len(self.segments)
        return max(watched) >= _BLOCK_CONTAINERS

    def add(self, segment: Segment) -> None:
        """Watch the containers of one more segment, as they are now."""
        segment.block = self
        self.segments.append(segment)
        objects, models, nodes, empties = self._owners
        # Most segments have but one kind of container, and a block is made of hundreds.
        if segment.empties:
            self._empties.extend(segment.empties)
            empties.extend(repeat(segment, len(segment.empties)))
        if segment.dicts:
            self._dicts.add_dicts(segment.dicts, segment)
        if segment.lists:
            self._lists.add_lists(segment.lists, segment)
        # The holder is watched too: its __dict__ itself can be replaced.
        holders = [*segment.objects, *segment.models]
        if holders:
            held: list[dict[str, Any]] = [vars(holder) for holder in holders]
            self._objects.extend(holders)
            self._object_dicts.extend(held)
            self._dicts.add_dicts(held, segment)
            objects.extend(repeat(segment, len(holders)))
            self._models.extend(segment.models)
            self._model_fields.extend(map(frozenset, map(_fields_set, segment.models)))
            models.extend(repeat(segment, len(segment.models)))
        if segment.nodes:
            self._nodes.extend(segment.nodes)
            nodes.extend(repeat(segment, len(segment.nodes)))

    def holds(self) -> bool:
        """Whether every container still holds the same objects in the same order."""
        return (
            not any(self._empties)
            and all(map(operator.is_, map(vars, self._objects), self._object_dicts))
            and self._dicts.holds()
            and (not self._lists.owners or self._lists.holds())
            and list(map(_fields_set, self._models)) == self._model_fields
            and all([node.holds() for node in self._nodes])
        )

    def changed(self) -> set[Segment]:
        """Return the segments with a container that holds something else now."""
        objects, models, nodes, empties = self._owners
        found = {*self._dicts.changed(), *self._lists.changed()}
        found.update(compress(empties, self._empties))
        replaced = map(operator.is_not, map(vars, self._objects), self._object_dicts)
        found.update(compress(objects, replaced))
        reset = map(operator.ne, map(_fields_set, self._models), self._model_fields)
        found.update(compress(models, reset))
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
        touched = {segment.block for segment in removed}
        if any(touched):
            gone = set(removed)
            self._blocks = [
                _Block([one for one in block.segments if one not in gone])
                if block in touched
                else block
                for block in self._blocks
            ]
            self._blocks = [block for block in self._blocks if block.segments]
        with_room: list[_Block] | None = None
        for segment in added:
            if segment.opaque:
                self._opaque.add(segment)
            elif segment is not CONSTANT:
                if with_room is None:
                    # Not only the last one: a list that is trimmed as it grows leaves room.
                    with_room = [block for block in self._blocks if not block.is_full()]
                while with_room and with_room[-1].is_full():
                    with_room.pop()
                if not with_room:
                    self._blocks.append(_Block())
                    with_room.append(self._blocks[-1])
                with_room[-1].add(segment)

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


def same_objects(container: Collection[Any], held: Sequence[Any]) -> bool:
    """Whether a container holds these very objects in this order."""
    return len(container) == len(held) and all(map(operator.is_, container, held))


_fields_set: Final = operator.attrgetter("__pydantic_fields_set__")
