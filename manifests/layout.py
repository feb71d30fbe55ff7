"""How already encoded items are laid out: in one piece, split into objects, or as a tree."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.alignment import Edit
from manifests.cbor import NULL, PAIRS, TREE_DICT, array_head, map_head, tag_head
from manifests.entries import Entries, KeyOrder
from manifests.memo import Changes, Node
from manifests.parameters import TreeParameters
from manifests.pieces import Piece, PieceSink, join, size_of
from manifests.trees import TreeBuilder, TreeCache, item_token

__all__ = ["Layout", "whole_dict"]


class Layout:
    """Decides, with the sizes of one store, what becomes an object of its own."""

    def __init__(self, parameters: TreeParameters, sink: PieceSink, trees: TreeBuilder) -> None:
        self._parameters = parameters
        self._sink = sink
        self._trees = trees

    def item(self, piece: Piece) -> tuple[Piece, bytes, int]:
        """Return an item of a list as it stands there: the piece or a link, its token, its size."""
        placed = self._sink.place(piece, self._parameters.inline_item)
        return placed, item_token(placed), size_of(placed)

    def run(self, pieces: Sequence[Piece]) -> Piece:
        """Return the list of some items: one array, or a tree."""
        if len(pieces) <= self._parameters.short_items:
            limit = self._parameters.inline_item
            return join(array_head(len(pieces)), [self._sink.place(p, limit) for p in pieces])
        placed, tokens, sizes = zip(*map(self.item, pieces), strict=True)
        return self._trees.list_node(placed, tokens, sizes, TreeCache(), [])

    def entries(
        self, keys: Sequence[bytes], values: Sequence[Piece], *, texts: bool, root: bool
    ) -> Piece:
        """Return the dict of some keys and values: in one piece, split, or a tree."""
        if self._is_whole(keys, values, root=root):
            return whole_dict(keys, values, texts=texts)
        limit = self._inline_limit(root=root)
        placed = [self._sink.place(value, limit) for value in values]
        if self._is_short(keys):
            return whole_dict(keys, placed, texts=texts)
        entries = Entries()
        edits = entries.renew((), dict(zip(keys, placed, strict=True)))
        return self._tree_dict(keys, entries, edits, [])

    def remembered_entries(self, node: Node, changes: Changes, *, root: bool) -> Piece:
        """Return the dict of a node, building on what the node keeps of the last time."""
        keys = node.encoded_keys
        if self._is_short(keys):
            node.entries = None
            if self._is_whole(keys, node.pieces, root=root):
                # The objects that links led to are not part of this checkpoint.
                node.placed = [None] * len(keys)
                return whole_dict(keys, node.pieces, texts=node.texts)
            return whole_dict(
                keys, self._placed(node, range(len(keys)), root=root), texts=node.texts
            )
        if node.entries is None:
            node.entries = Entries()
            changes = Changes.of_all(len(keys))
        placed = self._placed(node, changes.places, root=root)
        put = dict(zip([keys[place] for place in changes.places], placed, strict=True))
        edits = node.entries.renew(changes.removed, put)
        return self._tree_dict(keys, node.entries, edits, changes.of_keys)

    def _placed(self, node: Node, places: Sequence[int], *, root: bool) -> list[Piece]:
        """Return values of a node as they stand there, pieces or links, and keep them."""
        limit = self._inline_limit(root=root)
        placed = []
        for place in places:
            piece = node.placed[place]
            if piece is None:
                piece = node.placed[place] = self._sink.place(node.pieces[place], limit)
            placed.append(piece)
        return placed

    def _inline_limit(self, *, root: bool) -> int:
        return self._parameters.inline_item if root else self._parameters.inline_entry

    def _is_short(self, keys: Sequence[bytes]) -> bool:
        parameters = self._parameters
        if len(keys) > parameters.short_items:
            return False
        return sum(map(len, keys)) <= parameters.run_bytes

    def _is_whole(self, keys: Sequence[bytes], values: Sequence[Piece], *, root: bool) -> bool:
        if root or not self._is_short(keys):
            return False
        size = sum(map(len, keys)) + sum(map(size_of, values))
        return size <= self._parameters.whole_dict

    def _tree_dict(
        self,
        keys: Sequence[bytes],
        entries: Entries,
        edits: Sequence[Edit],
        of_keys: Sequence[Edit],
    ) -> Piece:
        """A key-sorted tree, and the keys in insertion order where that is another order."""
        tree = self._trees.dict_node(
            entries.keys, entries.values, entries.tokens, entries.sizes, entries.tree, edits
        )
        order = self.key_order(keys, entries, of_keys)
        return join(tag_head(TREE_DICT) + array_head(2), [tree, order])

    def key_order(self, keys: Sequence[bytes], entries: Entries, edits: Sequence[Edit]) -> Piece:
        """Return the list of the keys in insertion order, or nothing if they are in their own.

        ``edits`` made them of the keys as they were the last time.
        """
        if keys == entries.keys:
            entries.order = None
            return NULL
        if len(keys) <= self._parameters.short_items:
            entries.order = None
            return self.run(keys)
        order = entries.order
        if order is None:
            order = entries.order = KeyOrder()
            edits = [Edit(0, 0, 0, len(keys))]
        order.replace(
            edits, [self.item(key) for edit in edits for key in keys[edit.start : edit.stop]]
        )
        return self._trees.list_node(order.pieces, order.tokens, order.sizes, order.tree, edits)


def whole_dict(keys: Sequence[bytes], values: Sequence[Piece], *, texts: bool) -> Piece:
    """Return a dict in one piece: a map if all keys are texts, else pairs."""
    entries: list[Piece] = []
    for key, value in zip(keys, values, strict=True):
        entries += (key, value)
    if texts:
        return join(map_head(len(keys)), entries)
    return join(tag_head(PAIRS) + array_head(len(entries)), entries)
