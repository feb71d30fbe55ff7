"""How already encoded items are laid out: in one piece, split into objects, or as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from manifests.cbor import PAIRS, TREE_DICT, array_head, map_head, tag_head
from manifests.memo import Node
from manifests.parameters import TreeParameters
from manifests.pieces import Piece, PieceSink, join, size_of
from manifests.trees import TreeBuilder, TreeCache, item_token

__all__ = ["Layout", "whole_dict"]

_NULL: Final = b"\xf6"


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
        return self._trees.list_node(placed, tokens, sizes, TreeCache())

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
        return self._tree_dict(keys, placed, Node(None, is_dict=True), None)

    def remembered_entries(
        self, node: Node, dirty: Sequence[int] | None, *, texts: bool, root: bool
    ) -> Piece:
        """Return the dict of a node, building on what the node keeps of the last time.

        ``dirty`` are the positions whose piece is another one than then, None if the keys are.
        """
        keys = node.encoded_keys
        if self._is_whole(keys, node.pieces, root=root):
            return whole_dict(keys, node.pieces, texts=texts)
        limit = self._inline_limit(root=root)
        placed = [
            self._sink.place(value, limit) if old is None else old
            for value, old in zip(node.pieces, node.placed, strict=True)
        ]
        node.placed = list(placed)
        if self._is_short(keys):
            return whole_dict(keys, placed, texts=texts)
        return self._tree_dict(keys, placed, node, dirty)

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
        values: Sequence[Piece],
        node: Node,
        dirty: Sequence[int] | None,
    ) -> Piece:
        """A key-sorted tree, and the keys in insertion order where that is another order."""
        if dirty is None or len(node.order) != len(keys):
            dirty = None
            node.order = sorted(range(len(keys)), key=keys.__getitem__)
            in_order = node.order == list(range(len(keys)))
            node.order_piece = _NULL if in_order else self.run(keys)
        order = node.order
        changed = None
        if dirty is not None:
            marked = set(dirty)
            changed = [place for place, index in enumerate(order) if index in marked]
        tree = self._trees.dict_node(
            [keys[i] for i in order], [values[i] for i in order], node.tree, changed
        )
        return join(tag_head(TREE_DICT) + array_head(2), [tree, node.order_piece])


def whole_dict(keys: Sequence[bytes], values: Sequence[Piece], *, texts: bool) -> Piece:
    """Return a dict in one piece: a map if all keys are texts, else pairs."""
    entries: list[Piece] = []
    for key, value in zip(keys, values, strict=True):
        entries += (key, value)
    if texts:
        return join(map_head(len(keys)), entries)
    return join(tag_head(PAIRS) + array_head(len(entries)), entries)
