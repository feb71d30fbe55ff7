"""Encoding only what changed since the last commit of a run, with the nodes of ``memo``.

``Memory`` is the encoder's helper for one encoding of one value: it holds the old nodes on the way
down, decides which items are unchanged, has the encoder encode the others, and leaves new nodes.
Pieces are reused only while the checkpoint they were encoded for is the parent of the one being
encoded: then everything below them is reachable from a listed checkpoint, so it is stored and no
sweep can have removed it. If encoding raises, the memory must be thrown away.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from manifests.alignment import Edit, differences, narrowed, splice
from manifests.earlier import Earlier, EarlierFields, entry_edits, same_keys
from manifests.likeness import PLAIN, Likeness
from manifests.memo import Changes, Node
from manifests.paths import Step
from manifests.pieces import Piece
from manifests.registry import TypeEntry
from manifests.segments import Segment

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

    def key_of_dict(self, key: Any) -> bytes:
        """Encode a key of a dict."""
        ...


class Memory:
    """The nodes of one value: those of the last encoding going in, those of this one coming out.

    ``changed`` names the only fields of the root that may have changed (None: any may).
    ``trust_identity`` promises that an item of a larger list or dict which is still the same
    object has not changed inside. The lists and dicts themselves are compared item by item.
    ``likeness`` finds out whether an item that is another object is encoded as the old one was.
    ``recalled``: the nodes are of what is stored, not of what the caller last committed, so what he
    says of ``changed`` fields is not about them.

    Attributes:
        root: The node of the value, once it was encoded; None if the value is no dict of fields.
        compared: How many items of lists were other objects than before, and equal.
        expected_others: Some of them were where restored ones had been expected.
    """

    def __init__(
        self,
        root: Node | None = None,
        *,
        changed: Collection[Any] | None = None,
        trust_identity: bool = False,
        likeness: Likeness,
        recalled: bool = False,
    ) -> None:
        self.root: Node | None = None
        self.compared = 0
        self.expected_others = False
        self._before = root
        self._recalled = recalled
        self._likeness = likeness
        self._changed = changed
        self._trust = trust_identity
        self._segment: Segment | None = None
        self._nested: dict[tuple[Step, ...], Node] = {}
        self._base = 0

    def note(self, container: Any, entry: TypeEntry | None, *, in_key: bool) -> None:
        """Note a container on the way down, or in a key of a dict or a member of a set."""
        if self._segment is None:
            return
        if in_key:
            self._segment.note_in_key(container, entry)
        else:
            self._segment.note(container, entry)

    def note_unwatchable(self) -> None:
        """Note something that can change in place without a trace here: an array, a bytearray."""
        if self._segment is not None:
            self._segment.opaque = True

    def sequence(self, encoder: ItemEncoder, items: Sequence[Any]) -> tuple[Node, list[Edit]]:
        """Encode the items of a list or tuple.

        Returns its node, and the edits that made its pieces of those it had before.
        """
        node = self._enter(encoder, items, is_dict=False)
        values = list(items)
        # What was restored and not committed yet is no item that was saved: nothing is promised.
        trusts = self._trust and not node.restored
        before = Earlier(node, self._likeness, trust_identity=trusts)
        edits = differences(before.values, values)
        node.container = items
        was_restored, node.restored = node.restored, False
        if not edits:
            return node, edits
        found = before.taken_items(edits, values)
        self.compared += before.compared
        self.expected_others |= was_restored and before.compared > 0
        segments: list[Segment] = []
        placed: list[Piece] = []
        tokens: list[bytes] = []
        sizes: list[int] = []
        taken: dict[int, int] = {}
        for edit in edits:
            for place in range(edit.start, edit.stop):
                old, same = found.get(place, _NOT_FOUND)
                if same is not None:
                    item, token, size = node.pieces[old], node.tokens[old], node.sizes[old]
                    taken[place] = old
                else:
                    below = node.segments[old] if old >= 0 else None
                    piece, same = self._item(encoder, place, values[place], below)
                    item, token, size = encoder.item_of_list(piece)
                segments.append(same)
                placed.append(item)
                tokens.append(token)
                sizes.append(size)
        node.pieces = splice(node.pieces, edits, placed)
        node.tokens = splice(node.tokens, edits, tokens)
        node.sizes = splice(node.sizes, edits, sizes)
        node.renew_segments(edits, segments, watched=True)
        node.values = values
        return node, narrowed(edits, taken) if taken else edits

    def mapping(
        self,
        encoder: ItemEncoder,
        container: Any,
        items: dict[Any, Any],
        steps: Sequence[Step],
        *,
        root: bool,
    ) -> tuple[Node, Changes]:
        """Encode a dict, or the fields of a registered root, which is then the container.

        Returns its node, and what has changed in it.
        """
        node = self._enter(encoder, container, is_dict=True, root=root, count=len(items))
        keys, values = list(items), list(items.values())
        before: Earlier | EarlierFields
        if root:
            before = EarlierFields(node, self._likeness, self._changed, recalled=self._recalled)
        else:
            before = Earlier(node, self._likeness, trust_identity=self._trust)
        of_keys = [] if same_keys(keys, node.keys) else differences(node.keys, keys)
        edits = entry_edits(before.values, values, of_keys)
        if of_keys:
            kept = _kept_keys(node, keys, edits)
        else:
            kept = {place: place for edit in edits for place in edit.places}
        found = before.taken([*kept.values()], [values[place] for place in kept])
        taken = dict(zip(kept, found, strict=True))
        encoded: list[bytes] = []
        segments: list[Segment] = []
        pieces: list[Piece] = []
        placed: list[Piece | None] = []
        others = []
        for place in chain.from_iterable(edit.places for edit in edits):
            old, same = kept.get(place, -1), taken.get(place)
            if of_keys:
                known = node.encoded_keys[old] if old >= 0 else None
                encoded.append(self._key(encoder, keys[place], node) if known is None else known)
            if same is not None:
                pieces.append(node.pieces[old])
                placed.append(node.placed[old])
                if isinstance(before, EarlierFields) and before.is_promised(old):
                    # It remains to be compared with what is stored.
                    values[place] = node.values[old]
            else:
                # A field keeps what is known below it when others come and go: LangGraph's
                # channels do.
                below = node.segments[old] if old >= 0 else None
                piece, same = self._item(encoder, steps[place], values[place], below)
                pieces.append(piece)
                placed.append(None)
                others.append(place)
            segments.append(same)
        removed: set[bytes] = set()
        if of_keys:
            removed = {node.encoded_keys[place] for edit in edits for place in edit.old_places}
            removed.difference_update(encoded)
            node.encoded_keys = splice(node.encoded_keys, edits, encoded)
        node.pieces = splice(node.pieces, edits, pieces)
        node.placed = splice(node.placed, edits, placed)
        # The fields of the root are not watched, but looked at one by one.
        node.renew_segments(edits, segments, watched=not root)
        node.container, node.keys, node.values = container, keys, values
        changes = Changes(removed, others, narrowed(of_keys, kept))
        return node, changes

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
            self.root = self._before or Node(container, is_dict=True)
            return self.root
        tail = tuple(encoder.steps[self._base :])
        old = self._nested.pop(tail, None)
        if old is None or old.is_dict != is_dict or count < old.least:
            old = Node(container, is_dict)
        node = old
        node.tail = tail
        if self._segment is not None:
            self._segment.nodes.append(node)
        return node

    def _key(self, encoder: ItemEncoder, key: Any, node: Node) -> bytes:
        """Encode a key. If it can change in place, its dict is encoded as a whole every time."""
        if type(key) in PLAIN:
            return encoder.key_of_dict(key)
        outer, self._segment = self._segment, Segment()
        segment = self._segment
        encoded = encoder.key_of_dict(key)
        self._segment = outer
        if not segment.is_constant():
            self._forget(node)
        return encoded

    def _forget(self, node: Node) -> None:
        """Leave no node of a container."""
        if node is self.root:
            self.root = None
        elif self._segment is not None:
            self._segment.nodes = [one for one in self._segment.nodes if one is not node]
            self._segment.opaque = True

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
        return piece, segment.shared()


def _kept_keys(node: Node, keys: Sequence[Any], edits: Sequence[Edit]) -> dict[int, int]:
    """Return the old places of those keys in edits that are encoded as they were, by the new."""
    olds = {node.keys[place]: place for edit in edits for place in edit.old_places}
    kept = {}
    for place in chain.from_iterable(edit.places for edit in edits):
        key = keys[place]
        old = olds.get(key, -1)
        if old >= 0 and (key is node.keys[old] or same_keys((key,), (node.keys[old],))):
            kept[place] = old
    return kept


_NOT_FOUND: Final[tuple[int, Segment | None]] = (-1, None)
