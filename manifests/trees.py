"""Content-defined trees: where runs of items end, and the nodes above them.

A list too long for one object is cut into runs whose ends depend on the items only; the objects
of those runs are cut into runs again, up to one node. Equal content therefore gives equal trees
whatever the edit history, and an edit rewrites the path above it (a prolly tree, as in Noms and
Dolt). Boundaries: of list items, the item's own digest; of dict entries, the key's; of a node's
children, the child's digest (lists) or first key (dicts); with other bits for each level.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Final

from cas.chunker import Chunker
from cas.digest import Digest
from manifests.cbor import NODE, array_head, bytes_head, encode_int, tag_head
from manifests.parameters import TreeParameters
from manifests.pieces import LINK_BYTES, Linked, Piece, PieceSink, join

__all__ = ["BYTES_NODE", "DICT_NODE", "LIST_NODE", "TreeBuilder", "TreeCache", "item_token"]

LIST_NODE: Final = 0
BYTES_NODE: Final = 1
DICT_NODE: Final = 2

_TOKEN_BITS: Final = 32
_LAST_LEVEL: Final = 7
_NODE_HEAD: Final = tag_head(NODE)


class _Child:
    """A sealed run: its link, how many items or bytes it holds, and its place in the order."""

    __slots__ = ("count", "first", "link", "token")

    def __init__(self, link: Linked, count: int, token: bytes, first: bytes) -> None:
        self.link = link
        self.count = count
        self.token = token
        self.first = first


class TreeCache:
    """The runs and inner nodes of a tree as last built, for building the next one from.

    Everything in it is reachable from the checkpoint it was built for; whoever reuses it must know
    that this checkpoint is still listed.
    """

    __slots__ = ("inner", "items", "runs")

    def __init__(self) -> None:
        self.items = 0
        self.runs: list[tuple[int, int, _Child]] = []
        self.inner: dict[tuple[bytes, ...], _Child] = {}

    def note_run(self, start: int, link: Linked, count: int, key: bytes | None = None) -> None:
        """Note the next run of a stored list, or of a dict, with its first key."""
        self.runs.append((start, start + count, _stored(link, count, key)))

    def note_inner(
        self, children: Sequence[Digest], link: Linked, count: int, key: bytes | None = None
    ) -> None:
        """Note an inner node of a stored list, or of a dict, with its first key."""
        self.inner[tuple(children)] = _stored(link, count, key)


def _stored(link: Linked, count: int, key: bytes | None) -> _Child:
    if key is None:
        return _Child(link, count, link.parts[0], b"")
    return _Child(link, count, Digest.of(key), key)


def _stop(run: tuple[int, int, _Child]) -> int:
    return run[1]


def item_token(piece: Piece) -> bytes:
    """Return the 32 bytes that decide whether a run ends at this item."""
    if not isinstance(piece, Linked):
        return Digest.of(piece)
    if len(piece.parts) == 1:
        return piece.parts[0]
    return Digest.of(b"".join(piece.parts))


class TreeBuilder:
    """Builds trees into a sink, with the parameters of one store."""

    def __init__(self, parameters: TreeParameters, sink: PieceSink) -> None:
        self._parameters = parameters
        self._sink = sink
        self._boundary = (1 << _TOKEN_BITS) // parameters.run_target
        self._entry_boundary = (1 << _TOKEN_BITS) // parameters.entry_target

    def runs(
        self,
        tokens: Sequence[bytes],
        sizes: Sequence[int],
        level: int,
        start: int = 0,
        *,
        of_dict: bool = False,
    ) -> Iterator[tuple[int, int]]:
        """Yield the runs [start, stop) into which items with these tokens and sizes fall.

        A run ends at a boundary token, or when it has ``run_most`` items or ``run_bytes`` bytes;
        never before ``run_least`` items, so that every level has fewer nodes than the one below
        even when hostile content makes every token a boundary, or none. ``start`` is where an
        earlier run has ended: runs do not depend on what stands before them.
        """
        at = 4 * min(level, _LAST_LEVEL)
        least, most = self._parameters.run_least, self._parameters.run_most
        most_bytes = self._parameters.run_bytes
        boundary = self._entry_boundary if of_dict else self._boundary
        size = 0
        for index in range(start, len(tokens)):
            count = index + 1 - start
            size += sizes[index]
            if count < least:
                continue
            if (
                count >= most
                or size >= most_bytes
                or int.from_bytes(tokens[index][at : at + 4], "big") < boundary
            ):
                yield start, index + 1
                start, size = index + 1, 0
        if start < len(tokens):
            yield start, len(tokens)

    def list_node(
        self,
        items: Sequence[Piece],
        tokens: Sequence[bytes],
        sizes: Sequence[int],
        cache: TreeCache,
        unchanged: tuple[int, int] = (0, 0),
    ) -> Piece:
        """Return the top node of the tree over placed list items, and renew the cache.

        ``tokens`` (``item_token``) and ``sizes`` are the items'. ``unchanged`` says how many items
        at the beginning and at the end are those of the list that the cache was built for.
        """
        prefix, suffix = unchanged
        old, shift = cache.runs, len(items) - cache.items
        # The last run ended with the list, not at a boundary: new items may belong to it.
        kept = bisect.bisect_right(old, prefix, hi=max(len(old) - 1, 0), key=_stop)
        runs = old[:kept]
        first = bisect.bisect_left(old, cache.items - suffix, key=_stop)
        same_stops = {old[index][1] + shift: index + 1 for index in range(first, len(old))}
        for start, stop in self.runs(tokens, sizes, 0, runs[-1][1] if runs else 0):
            leaf = self._sink.seal(join(array_head(stop - start), items[start:stop]))
            runs.append((start, stop, _Child(leaf, stop - start, leaf.parts[0], b"")))
            if stop in same_stops:
                rest = old[same_stops[stop] :]
                runs += [(start + shift, stop + shift, child) for start, stop, child in rest]
                break
        cache.items, cache.runs = len(items), runs
        return self._grow(LIST_NODE, [child for _, _, child in runs], cache)

    def dict_node(
        self,
        keys: Sequence[bytes],
        values: Sequence[Piece],
        cache: TreeCache,
        changed: Sequence[int] | None = None,
    ) -> Piece:
        """Return the top node of the tree over encoded keys, ascending, and renew the cache.

        ``values`` are placed. ``changed`` are the positions, ascending, of the values that are not
        those the cache was built for; None if the keys are others.
        """
        if changed is None or cache.items != len(keys):
            tokens = [Digest.of(key) for key in keys]
            ends = self.runs(tokens, [len(key) for key in keys], 0, of_dict=True)
            runs = [(*end, self._dict_leaf(keys, values, *end, tokens[end[0]])) for end in ends]
        else:
            runs = []
            for start, stop, child in cache.runs:
                at = bisect.bisect_left(changed, start)
                if at < len(changed) and changed[at] < stop:
                    child = self._dict_leaf(keys, values, start, stop, child.token)
                runs.append((start, stop, child))
        cache.items, cache.runs = len(keys), runs
        return self._grow(DICT_NODE, [child for _, _, child in runs], cache)

    def _dict_leaf(
        self,
        keys: Sequence[bytes],
        values: Sequence[Piece],
        start: int,
        stop: int,
        token: bytes,
    ) -> _Child:
        entries: list[Piece] = []
        for key, value in zip(keys[start:stop], values[start:stop], strict=True):
            entries += (key, value)
        leaf = self._sink.seal(join(array_head(len(entries)), entries))
        return _Child(leaf, stop - start, token, keys[start])

    def bytes_node(self, data: bytes | bytearray | memoryview) -> Piece:
        """Return the top node of the tree over the chunks of a long byte string."""
        view = memoryview(data).cast("B")
        children = []
        for chunk in Chunker(self._parameters.chunks(view.nbytes)).cut(view):
            leaf = self._sink.seal(bytes_head(len(chunk)) + bytes(chunk))
            children.append(_Child(leaf, len(chunk), leaf.parts[0], b""))
        return self._grow(BYTES_NODE, children, TreeCache())

    def _grow(self, kind: int, children: list[_Child], cache: TreeCache) -> Piece:
        level = 1
        inner: dict[tuple[bytes, ...], _Child] = {}
        while len(children) > self._parameters.short_items:
            parents = []
            tokens = [child.token for child in children]
            sizes = [LINK_BYTES + len(child.first) for child in children]
            for start, stop in self.runs(tokens, sizes, level, of_dict=kind == DICT_NODE):
                run = children[start:stop]
                links = tuple([child.link.parts[0] for child in run])
                parent = cache.inner.get(links)
                if parent is None:
                    link = self._sink.seal(self._node(kind, level, run))
                    token = link.parts[0] if kind != DICT_NODE else run[0].token
                    count = sum([child.count for child in run])
                    parent = _Child(link, count, token, run[0].first)
                inner[links] = parent
                parents.append(parent)
            children = parents
            level += 1
        cache.inner = inner
        return self._node(kind, level, children)

    @staticmethod
    def _node(kind: int, level: int, children: Sequence[_Child]) -> Piece:
        """Tag NODE on [kind, level, counts, links] and, for dicts, first keys as byte strings."""
        head = array_head(5 if kind == DICT_NODE else 4)
        counts = b"".join([encode_int(child.count) for child in children])
        many = array_head(len(children))
        pieces: list[Piece] = [many + counts, join(many, [child.link for child in children])]
        if kind == DICT_NODE:
            firsts = [bytes_head(len(child.first)) + child.first for child in children]
            pieces.append(many + b"".join(firsts))
        return join(b"".join((_NODE_HEAD, head, encode_int(kind), encode_int(level))), pieces)
