"""Content-defined trees: where runs of items end, and the nodes above them.

A list too long for one object is cut into runs whose ends depend on the items only; the objects
of those runs are cut into runs again, up to one node. Equal content therefore gives equal trees
whatever the edit history, and an edit rewrites the path above it (a prolly tree, as in Noms and
Dolt). Boundaries: of list items, the item's own digest; of dict entries, the key's; of a node's
children, the child's digest (lists) or first key (dicts); with other bits for each level.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from cas.chunker import Chunker
from cas.digest import Digest
from manifests.alignment import Edit, splice
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


class _Level:
    """The runs of one level of a tree as last built: how long each is, and what became of it.

    ``tokens`` and ``sizes`` are those of ``children``: they decide where the runs above end.
    """

    __slots__ = ("children", "lengths", "sizes", "tokens")

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.children: list[_Child] = []
        self.tokens: list[bytes] = []
        self.sizes: list[int] = []

    def append(self, length: int, child: _Child) -> None:
        """Put one more run behind the others."""
        end = len(self.lengths)
        self.replace([Edit(end, end, end, end + 1)], [(length, child)])

    def replace(self, edits: Sequence[Edit], runs: Sequence[tuple[int, _Child]]) -> None:
        """Put other runs, as (length, child), into the places of some."""
        children = [child for _, child in runs]
        self.lengths = splice(self.lengths, edits, [length for length, _ in runs])
        self.children = splice(self.children, edits, children)
        self.tokens = splice(self.tokens, edits, [child.token for child in children])
        self.sizes = splice(
            self.sizes, edits, [LINK_BYTES + len(child.first) for child in children]
        )


class TreeCache:
    """The runs of a tree as last built, level by level, for building the next one from.

    Everything in it is reachable from the checkpoint it was built for; whoever reuses it must know
    that this checkpoint is still listed.
    """

    __slots__ = ("levels", "top")

    def __init__(self) -> None:
        self.levels: list[_Level] = []
        self.top: Piece | None = None

    def note(
        self, level: int, length: int, link: Linked, count: int, key: bytes | None = None
    ) -> None:
        """Note the next run of a level of a stored list, or of a dict, with its first key.

        ``length`` is how many items, or runs of the level below, it is made of.
        """
        while len(self.levels) <= level:
            self.levels.append(_Level())
        token = link.parts[0] if key is None else Digest.of(key)
        self.levels[level].append(length, _Child(link, count, token, key or b""))


def _reached(stops: Sequence[int], edit: Edit) -> tuple[int, int]:
    """Return the first run that an edit can change, and where that one begins.

    The last run ended with the items, not at a boundary: items behind it may belong to it.
    """
    run = min(bisect.bisect_right(stops, edit.old_start), max(len(stops) - 1, 0))
    return run, stops[run - 1] if run else 0


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
        edits: Sequence[Edit],
    ) -> Piece:
        """Return the top node of the tree over placed list items, and renew the cache.

        ``tokens`` (``item_token``) and ``sizes`` are the items'. ``edits`` made the list of the one
        that the cache was built for; they do not matter if it is empty.
        """

        def leaf(start: int, stop: int) -> _Child:
            link = self._sink.seal(join(array_head(stop - start), items[start:stop]))
            return _Child(link, stop - start, link.parts[0], b"")

        return self._tree(LIST_NODE, tokens, sizes, cache, edits, leaf)

    def dict_node(
        self,
        keys: Sequence[bytes],
        values: Mapping[bytes, Piece],
        tokens: Sequence[bytes],
        sizes: Sequence[int],
        cache: TreeCache,
        edits: Sequence[Edit],
    ) -> Piece:
        """Return the top node of the tree over encoded keys, ascending, and renew the cache.

        ``values`` are placed, ``tokens`` and ``sizes`` the digests and lengths of the keys.
        ``edits`` made the keys, or values, of those that the cache was built for.
        """

        def leaf(start: int, stop: int) -> _Child:
            entries: list[Piece] = []
            for key in keys[start:stop]:
                entries += (key, values[key])
            link = self._sink.seal(join(array_head(len(entries)), entries))
            return _Child(link, stop - start, tokens[start], keys[start])

        return self._tree(DICT_NODE, tokens, sizes, cache, edits, leaf)

    def bytes_node(self, data: bytes | bytearray | memoryview) -> Piece:
        """Return the top node of the tree over the chunks of a long byte string."""
        view = memoryview(data).cast("B")
        cache = TreeCache()
        cache.levels.append(_Level())
        leaves = []
        for chunk in Chunker(self._parameters.chunks(view.nbytes)).cut(view):
            leaf = self._sink.seal(bytes_head(len(chunk)) + bytes(chunk))
            leaves.append((len(chunk), _Child(leaf, len(chunk), leaf.parts[0], b"")))
        edit = Edit(0, 0, 0, len(leaves))
        cache.levels[0].replace([edit], leaves)
        return self._grow(BYTES_NODE, cache, [edit])

    def _tree(
        self,
        kind: int,
        tokens: Sequence[bytes],
        sizes: Sequence[int],
        cache: TreeCache,
        edits: Sequence[Edit],
        leaf: Callable[[int, int], _Child],
    ) -> Piece:
        if not edits and cache.top is not None:
            return cache.top
        if not cache.levels:
            cache.levels.append(_Level())
            edits = [Edit(0, 0, 0, len(tokens))]
        changed = self._cut_again(kind, 0, cache.levels[0], tokens, sizes, edits, leaf)
        return self._grow(kind, cache, changed)

    def _grow(self, kind: int, cache: TreeCache, edits: Sequence[Edit]) -> Piece:
        """Return the top node over the lowest level, of which some children are others now."""
        level = 1
        while len(cache.levels[level - 1].children) > self._parameters.short_items:
            below = cache.levels[level - 1]
            if len(cache.levels) == level:
                cache.levels.append(_Level())
                edits = [Edit(0, 0, 0, len(below.children))]

            def parent(start: int, stop: int, below: _Level = below, level: int = level) -> _Child:
                run = below.children[start:stop]
                link = self._sink.seal(self._node(kind, level, run))
                token = link.parts[0] if kind != DICT_NODE else run[0].token
                return _Child(link, sum([child.count for child in run]), token, run[0].first)

            edits = self._cut_again(
                kind, level, cache.levels[level], below.tokens, below.sizes, edits, parent
            )
            level += 1
        del cache.levels[level:]
        if edits or cache.top is None:
            cache.top = self._node(kind, level, cache.levels[-1].children)
        return cache.top

    def _cut_again(
        self,
        kind: int,
        level: int,
        old: _Level,
        tokens: Sequence[bytes],
        sizes: Sequence[int],
        edits: Sequence[Edit],
        make: Callable[[int, int], _Child],
    ) -> list[Edit]:
        """Cut the items of a level into runs where edits changed them. Returns edits of its runs.

        A run is cut as before if its items are as before and the run before it ended where it did,
        so from each edit on runs are cut only until one ends where an old one ended.
        """
        stops = list(accumulate(old.lengths))
        found: list[Edit] = []
        runs: list[tuple[int, _Child]] = []
        shift = at = 0
        while at < len(edits):
            edit = edits[at]
            first, begin = _reached(stops, edit)
            before, last = len(runs), len(stops)
            begin += edit.start - edit.old_start
            for start, stop in self.runs(tokens, sizes, level, begin, of_dict=kind == DICT_NODE):
                runs.append((stop - start, make(start, stop)))
                while at < len(edits):
                    next_begin = _reached(stops, edits[at])[1]
                    if stop <= next_begin + edits[at].start - edits[at].old_start:
                        break
                    edit = edits[at]
                    at += 1
                old_stop = stop - edit.stop + edit.old_stop
                place = bisect.bisect_left(stops, old_stop)
                if stop >= edit.stop and place < len(stops) and stops[place] == old_stop:
                    last = place + 1
                    break
            else:
                at = len(edits)
            made, replaced = len(runs) - before, old.children[first:last]
            if made == len(replaced) and all(
                new.link.parts == child.link.parts
                for (_, new), child in zip(runs[before:], replaced, strict=True)
            ):
                del runs[before:]
                continue
            found.append(Edit(first, last, first + shift, first + shift + made))
            shift += made - (last - first)
        old.replace(found, runs)
        return found

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
