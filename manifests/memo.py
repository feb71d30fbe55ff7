"""What the last commit of a run saw, so that the next one encodes only what changed.

A commit must not pay for what did not change and must never miss a change, one made in place
included. So for the root of a state, and for every larger list or dict below it, the memo keeps
its items, their encoded pieces, and the mutable containers below each item with what they held.
An item is unchanged if it is the same object as before and every container below it holds the
very same objects in the same order: immutable leaves cannot change, so identity all the way down
is proof. An equal but new leaf in it counts as changed. Another object in the place of an item is
compared with it (``likeness``), and encoded only if it differs.

The comparison runs in C (``map`` of ``is`` over flat lists). A walk in Python costs ten times as
much, and more than encoding everything.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, compress, count, repeat
from typing import Any, Final

from manifests.pieces import Piece
from manifests.registry import TypeEntry, UnregisteredValue
from manifests.trees import TreeCache

__all__ = ["LEAST_ITEMS", "LEAST_LIST_ITEMS", "Node", "Segment", "Watch", "positions"]

LEAST_ITEMS: Final = 16
"""A dict of so many items has a node of its own; a smaller one belongs to the node above it."""
LEAST_LIST_ITEMS: Final = 4
"""The same for a list or tuple: lists grow, and their items are larger."""
_BLOCK_DICTS: Final = 256
"""Dicts in a block, about: 64 to 512 were measured, and differ little."""


class Segment:
    """The mutable containers below one item, or below several that are watched as one.

    ``opaque``: something there cannot be watched.
    """

    __slots__ = ("dicts", "empties", "lists", "models", "nodes", "objects", "opaque")

    def __init__(self) -> None:
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


class DictBlock:
    """Some dicts, and what they held as flat lists.

    Dicts are watched a block at a time: sizes, keys and values are looked at one after the other,
    and the dicts of one block stay in the processor's cache meanwhile: a sixth less time for 10,000
    messages.
    """

    __slots__ = ("dicts", "keys", "owners", "sizes", "values")

    def __init__(self) -> None:
        self.dicts: list[dict[Any, Any]] = []
        self.owners: list[int] = []
        self.sizes: list[int] = []
        self.keys: list[Any] = []
        self.values: list[Any] = []

    def add(self, dicts: Sequence[dict[Any, Any]], owner: int) -> None:
        """Watch some more dicts, as they are now; ``owner`` is the index of their segment."""
        self.dicts.extend(dicts)
        self.owners.extend(repeat(owner, len(dicts)))
        self.sizes.extend(map(len, dicts))
        self.keys.extend(chain.from_iterable(dicts))
        self.values.extend(chain.from_iterable(map(dict.values, dicts)))

    def holds(self) -> bool:
        """Whether every dict still holds the same objects in the same order."""
        dicts = self.dicts
        return (
            list(map(len, dicts)) == self.sizes
            and all(map(operator.is_, chain.from_iterable(dicts), self.keys))
            and all(map(operator.is_, chain.from_iterable(map(dict.values, dicts)), self.values))
        )

    def changed(self) -> Iterator[int]:
        """Yield the segments of the dicts that hold something else now."""
        at = 0
        for container, size, owner in zip(self.dicts, self.sizes, self.owners, strict=True):
            if not (
                _same(container, self.keys[at : at + size])
                and _same(container.values(), self.values[at : at + size])
            ):
                yield owner
            at += size


class Watch:
    """The contents of the containers of many segments as flat lists, compared in one pass."""

    __slots__ = (
        "_added",
        "_blocks",
        "_empties",
        "_items",
        "_lists",
        "_model_fields",
        "_models",
        "_nodes",
        "_object_dicts",
        "_objects",
        "_owners",
        "_sizes",
        "segments",
    )

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self.segments: list[Segment] = []
        self._added: set[Segment] = set()
        self._blocks: list[DictBlock] = []
        self._empties: list[dict[Any, Any] | list[Any]] = []
        self._lists: list[list[Any]] = []
        self._items: list[Any] = []
        self._sizes: list[int] = []
        self._objects: list[Any] = []
        self._object_dicts: list[dict[str, Any]] = []
        self._models: list[Any] = []
        self._model_fields: list[frozenset[str]] = []
        self._nodes: list[Node] = []
        # Of lists, objects, models, nodes and empties: the index of the segment each is of.
        self._owners: tuple[list[int], ...] = ([], [], [], [], [])
        for segment in segments:
            self.add(segment)

    def add(self, segment: Segment) -> None:
        """Watch the containers of the segment of one more item, as they are now."""
        owner = len(self.segments)
        self.segments.append(segment)
        if segment in self._added:
            return
        self._added.add(segment)
        lists, objects, models, nodes, empties = self._owners
        self._empties.extend(segment.empties)
        empties.extend(repeat(owner, len(segment.empties)))
        self._add_dicts(segment.dicts, owner)
        self._lists.extend(segment.lists)
        self._sizes.extend(map(len, segment.lists))
        self._items.extend(chain.from_iterable(segment.lists))
        lists.extend(repeat(owner, len(segment.lists)))
        # The holder is watched too: its __dict__ itself can be replaced.
        holders = [*segment.objects, *segment.models]
        if holders:
            held: list[dict[str, Any]] = [vars(holder) for holder in holders]
            self._objects.extend(holders)
            self._object_dicts.extend(held)
            self._add_dicts(held, owner)
            objects.extend(repeat(owner, len(holders)))
            self._models.extend(segment.models)
            self._model_fields.extend(map(frozenset, map(_fields_set, segment.models)))
            models.extend(repeat(owner, len(segment.models)))
        self._nodes.extend(segment.nodes)
        nodes.extend(repeat(owner, len(segment.nodes)))

    def _add_dicts(self, dicts: Sequence[dict[Any, Any]], owner: int) -> None:
        if not dicts:
            return
        if not self._blocks or len(self._blocks[-1].dicts) >= _BLOCK_DICTS:
            self._blocks.append(DictBlock())
        self._blocks[-1].add(dicts, owner)

    def holds(self) -> bool:
        """Whether every container still holds the same objects in the same order."""
        lists = self._lists
        return (
            not any(self._empties)
            and all(map(operator.is_, map(vars, self._objects), self._object_dicts))
            and all(map(DictBlock.holds, self._blocks))
            and list(map(len, lists)) == self._sizes
            and all(map(operator.is_, chain.from_iterable(lists), self._items))
            and list(map(_fields_set, self._models)) == self._model_fields
            and all(map(Node.holds, self._nodes))
        )

    def changed(self) -> set[int]:
        """Return the places of the items below which a container holds something else now.

        Of items that are watched as one, all.
        """
        lists, objects, models, nodes, empties = self._owners
        found: set[int] = set(chain.from_iterable(map(DictBlock.changed, self._blocks)))
        found.update(compress(empties, self._empties))
        at = 0
        for items, size, owner in zip(self._lists, self._sizes, lists, strict=True):
            if not _same(items, self._items[at : at + size]):
                found.add(owner)
            at += size
        replaced = map(operator.is_not, map(vars, self._objects), self._object_dicts)
        found.update(compress(objects, replaced))
        reset = map(operator.ne, map(_fields_set, self._models), self._model_fields)
        found.update(compress(models, reset))
        found.update(compress(nodes, [not node.holds() for node in self._nodes]))
        changed = {self.segments[owner] for owner in found}
        return {place for place, segment in enumerate(self.segments) if segment in changed}


def _same(container: Collection[Any], held: Sequence[Any]) -> bool:
    return len(container) == len(held) and all(map(operator.is_, container, held))


_fields_set: Final = operator.attrgetter("__pydantic_fields_set__")


class Node:
    """One larger list, tuple or dict, or the root of a state: its items as last encoded.

    All lists run parallel to ``values``, the segments of ``watch`` too. Of a list, ``pieces`` are
    placed already, and ``tokens`` and ``sizes`` are theirs. Of a dict, ``placed`` are the pieces
    with those over the inline limit as links (None while that was not needed), ``keys`` and
    ``encoded_keys`` its keys, ``order`` their sorted order if it is a large one. ``tail`` is the
    path to the container from the item that it is below. ``least``: its pieces serve for a dict of
    so many entries or more.
    """

    __slots__ = (
        "container",
        "encoded_keys",
        "is_dict",
        "keys",
        "least",
        "order",
        "order_piece",
        "pieces",
        "placed",
        "sizes",
        "tail",
        "tokens",
        "tree",
        "values",
        "watch",
    )

    def __init__(self, container: Any, is_dict: bool, *, least: int = 0) -> None:
        self.container = container
        self.is_dict = is_dict
        self.least = least
        self.tail: tuple[Any, ...] = ()
        self.keys: list[Any] = []
        self.encoded_keys: list[bytes] = []
        self.values: list[Any] = []
        self.pieces: list[Piece] = []
        self.placed: list[Piece | None] = []
        self.sizes: list[int] = []
        self.tokens: list[bytes] = []
        self.order: list[int] = []
        self.order_piece: Piece = b""
        self.tree = TreeCache()
        self.watch = Watch()

    def holds(self) -> bool:
        """Whether the container and everything below it are as they were when encoded."""
        container = self.container
        if isinstance(container, dict):
            same = _same(container, self.keys) and _same(container.values(), self.values)
        else:
            same = _same(container, self.values)
        return same and not any(map(_opaque, self.watch.segments)) and self.watch.holds()

    def stale(self, *, trust_identity: bool) -> set[int]:
        """Return the positions of items below which something changed, or may have.

        With ``trust_identity`` the caller promises that there are none.
        """
        if trust_identity:
            return set()
        stale = set(compress(count(), map(_opaque, self.watch.segments)))
        if not self.watch.holds():
            # Rare, so the place is looked for only now.
            stale |= self.watch.changed()
        return stale


_opaque: Final = operator.attrgetter("opaque")


def positions(node: Node, values: Sequence[Any], stale: set[int]) -> tuple[int, int]:
    """Return how many items at the beginning and at the end are those that ``node`` encoded.

    Items are compared by identity; a stale one counts as another one. The two never overlap.
    """
    old = node.values
    shorter = min(len(values), len(old))
    prefix = next(compress(count(), map(operator.is_not, values, old)), shorter)
    backwards = map(operator.is_not, reversed(values), reversed(old))
    suffix = next(compress(count(), backwards), shorter)
    if stale:
        prefix = min((prefix, *stale))
        suffix = min(suffix, len(old) - 1 - max(stale))
    return prefix, min(suffix, shorter - prefix)
