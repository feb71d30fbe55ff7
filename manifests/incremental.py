"""Encoding only what changed since the last commit of a run, with the nodes of ``memo``.

``Memory`` is the encoder's helper for one encoding of one value: it holds the old nodes on the way
down, decides which items are unchanged, has the encoder encode the others, and leaves new nodes.
Pieces are reused only while the checkpoint they were encoded for is the parent of the one being
encoded: then everything below them is reachable from a listed checkpoint, so it is stored and no
sweep can have removed it. If encoding raises, the memory must be thrown away.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from manifests.earlier import Earlier, same_keys
from manifests.likeness import Likeness
from manifests.memo import Node, Segment, Watch, positions
from manifests.paths import Step
from manifests.pieces import Piece
from manifests.registry import TypeEntry

__all__ = ["ItemEncoder", "Memory"]


class ItemEncoder(Protocol):
    """What the memory needs of an encoder."""

    steps: list[Step]

    def child(self, step: Step, value: Any) -> Piece:
        """Encode an item of the container that is being encoded."""
        ...

    def item_of_list(self, piece: Piece) -> tuple[Piece, bytes, int]:
        """Return the placed piece of a list item, its token and its size."""
        ...


class Memory:
    """The nodes of one value: those of the last encoding going in, those of this one coming out.

    ``changed`` names the only fields of the root that may have changed (None: any may).
    ``trust_identity`` promises that an item of a larger list or dict which is still the same
    object has not changed inside. The lists and dicts themselves are compared item by item.
    ``likeness`` finds out whether an item that is another object is encoded as the old one was.
    ``recalled``: the nodes are of what is stored, not of what the caller last committed, so what he
    says of ``changed`` fields is not about them.
    """

    def __init__(
        self,
        root: Node | None = None,
        *,
        changed: Collection[Any] | None = None,
        trust_identity: bool = False,
        likeness: Likeness | None = None,
        recalled: bool = False,
    ) -> None:
        self.root = root
        self._recalled = recalled
        self._likeness = likeness
        self._changed = changed
        self._trust = trust_identity
        self._segment: Segment | None = None
        self._nested: dict[tuple[Step, ...], Node] = {}
        self._base = 0

    def note(self, container: Any, entry: TypeEntry | None) -> None:
        """Note a container on the way down."""
        if self._segment is not None:
            self._segment.note(container, entry)

    def note_unwatchable(self) -> None:
        """Note something that can change in place without a trace here: an array, a bytearray."""
        if self._segment is not None:
            self._segment.opaque = True

    def sequence(self, encoder: ItemEncoder, items: Sequence[Any]) -> tuple[Node, tuple[int, int]]:
        """Encode the items of a list or tuple.

        Returns its node, and how many items at the beginning and at the end are as before.
        """
        node = self._enter(encoder, items, is_dict=False)
        values = list(items)
        before = Earlier(node, self._likeness, trust_identity=self._trust)
        prefix, suffix = positions(node, values, before.stale)
        head, tail = before.taken_at_ends(values, prefix, suffix)
        prefix, suffix = prefix + len(head), suffix + len(tail)
        old_end, end = len(node.values) - suffix, len(values) - suffix
        between: Sequence[Segment | None] = [None] * (end - prefix)
        same_length = len(values) == len(node.values)
        if same_length:
            between = before.taken([*range(prefix, end)], values[prefix:end])
        segments = []
        placed: list[Piece] = []
        tokens: list[bytes] = []
        sizes: list[int] = []
        for index, same in enumerate(between, prefix):
            if same is not None:
                segments.append(same)
                placed.append(node.pieces[index])
                tokens.append(node.tokens[index])
                sizes.append(node.sizes[index])
                continue
            below = node.watch.segments[index] if same_length else None
            piece, segment = self._item(encoder, index, values[index], below)
            item, token, size = encoder.item_of_list(piece)
            segments.append(segment)
            placed.append(item)
            tokens.append(token)
            sizes.append(size)
        node.pieces[prefix:old_end] = placed
        node.tokens[prefix:old_end] = tokens
        node.sizes[prefix:old_end] = sizes
        if head or tail:
            kept = node.watch.segments
            first, last = kept[: prefix - len(head)], kept[old_end + len(tail) :]
            node.watch = Watch([*first, *head, *segments, *tail, *last])
        else:
            _renew_watch(node, prefix, old_end, segments)
        node.container, node.values = items, values
        return node, (prefix, suffix)

    def mapping(
        self,
        encoder: ItemEncoder,
        container: Any,
        keys: Sequence[Any],
        values: Sequence[Any],
        steps: Sequence[Step],
        *,
        root: bool,
    ) -> tuple[Node, list[int] | None]:
        """Encode the values of a dict, or of the fields of a registered root.

        Returns its node, and the positions whose piece is another one than before; None if the
        keys are not the same in the same order as before.
        """
        node = self._enter(encoder, container, is_dict=True, root=root, count=len(keys))
        aligned = same_keys(keys, node.keys)
        if root:
            olds, taken = self._fields_taken(node, keys, values)
        else:
            before = Earlier(node, self._likeness, trust_identity=self._trust)
            olds, taken = before.taken_entries(keys, values, aligned=aligned)
        # A field keeps what is known below it when others come and go: LangGraph's channels do.
        places = {} if aligned else {key: place for place, key in enumerate(node.keys)}
        pieces: list[Piece] = []
        segments = []
        dirty = []
        for index, (value, old, same) in enumerate(zip(values, olds, taken, strict=True)):
            if same is not None:
                pieces.append(node.pieces[old])
                segments.append(same)
                continue
            place = index if aligned else places.get(keys[index], -1)
            below = node.watch.segments[place] if place >= 0 else None
            piece, segment = self._item(encoder, steps[index], value, below)
            pieces.append(piece)
            segments.append(segment)
            dirty.append(index)
        if dirty or not aligned:
            placed = [
                None if same is None else node.placed[old]
                for old, same in zip(olds, taken, strict=True)
            ]
            node.pieces, node.placed = pieces, placed
        if not all(map(operator.is_, segments, node.watch.segments)) or not aligned:
            node.watch = Watch(segments)
        node.container, node.keys, node.values = container, list(keys), list(values)
        return node, dirty if aligned else None

    def _fields_taken(
        self, node: Node, keys: Sequence[Any], values: Sequence[Any]
    ) -> tuple[list[int], list[Segment | None]]:
        """Return, for each field of the root, its old position, and what is to be watched below it.

        The one is -1 if there is none, the other None if the field has to be encoded.
        Fields are looked at one by one: larger containers in them decide for themselves.
        """
        places = {key: index for index, key in enumerate(node.keys)}
        olds = [places.get(key, -1) for key in keys]
        taken: list[Segment | None] = []
        for key, value, old in zip(keys, values, olds, strict=True):
            segment = node.watch.segments[old] if old >= 0 else None
            if self._recalled:
                segment = self._field_recalled(node, old, value) if segment is not None else None
            elif segment is not None and (self._changed is None or key in self._changed):
                same = value is node.values[old] and segment.is_constant()
                segment = segment if same else None
            taken.append(segment)
        return olds, taken

    def _field_recalled(self, node: Node, place: int, value: Any) -> Segment | None:
        if self._likeness is None or node.watch.segments[place].nodes:
            return None
        return self._likeness.of([value], [node.values[place]])

    def _enter(
        self,
        encoder: ItemEncoder,
        container: Any,
        *,
        is_dict: bool,
        root: bool = False,
        count: int = 0,
    ) -> Node:
        """Return the old node of a container, or a new one, and hook it where it belongs."""
        if root:
            node = self.root or Node(container, is_dict=True)
            self.root = node
            return node
        tail = tuple(encoder.steps[self._base :])
        old = self._nested.pop(tail, None)
        if old is None or old.is_dict != is_dict or count < old.least:
            old = Node(container, is_dict)
        node = old
        node.tail = tail
        if self._segment is not None:
            self._segment.nodes.append(node)
        return node

    def _item(
        self, encoder: ItemEncoder, step: Step, value: Any, below: Segment | None
    ) -> tuple[Piece, Segment]:
        """Encode one item, collecting what has to be watched below it."""
        outer = self._segment, self._nested, self._base
        segment = self._segment = Segment()
        self._nested = {} if below is None else {node.tail: node for node in below.nodes}
        self._base = len(encoder.steps) + 1
        piece = encoder.child(step, value)
        self._segment, self._nested, self._base = outer
        return piece, segment


def _renew_watch(node: Node, prefix: int, old_end: int, segments: Sequence[Segment]) -> None:
    if prefix == old_end == len(node.values):
        for segment in segments:
            node.watch.add(segment)
    elif segments or prefix != old_end:
        kept = node.watch.segments
        node.watch = Watch([*kept[:prefix], *segments, *kept[old_end:]])
