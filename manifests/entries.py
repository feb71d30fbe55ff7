"""The entries of one large dict in the order of their encoded keys, as they were last laid out."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from cas.digest import Digest
from cas.errors import InvalidInputError
from manifests.alignment import Edit, splice
from manifests.pieces import Piece
from manifests.trees import TreeCache

__all__ = ["Entries", "KeyOrder", "refuse_twins"]

_MANY: Final = 4
"""If more than this part of the entries is other ones, they are sorted anew."""


def refuse_twins(keys: Sequence[bytes]) -> None:
    """Refuse keys of a dict or members of a set that could not be told apart."""
    if len(set(keys)) != len(keys):
        raise InvalidInputError(
            "two keys encode alike (two NaNs, say); only one can be found again"
        )


class KeyOrder:
    """The keys of a large dict in the order of insertion, as items of a list."""

    __slots__ = ("pieces", "sizes", "tokens", "tree")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.tokens: list[bytes] = []
        self.sizes: list[int] = []
        self.tree = TreeCache()

    def replace(self, edits: Sequence[Edit], items: Sequence[tuple[Piece, bytes, int]]) -> None:
        """Put other items, as (placed piece, token, size), into the places of some."""
        self.pieces = splice(self.pieces, edits, [piece for piece, _, _ in items])
        self.tokens = splice(self.tokens, edits, [token for _, token, _ in items])
        self.sizes = splice(self.sizes, edits, [size for _, _, size in items])


class Entries:
    """Encoded keys, ascending, their digests and lengths, and the placed value of each.

    ``order`` are the keys in the order of insertion, None where that is the same order.
    """

    __slots__ = ("keys", "order", "sizes", "tokens", "tree", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.tokens: list[bytes] = []
        self.sizes: list[int] = []
        self.values: dict[bytes, Piece] = {}
        self.tree = TreeCache()
        self.order: KeyOrder | None = None

    def recall(self, keys: list[bytes], values: dict[bytes, Piece]) -> None:
        """Take over what is stored: the keys in their order, and what is placed under each."""
        self.keys = keys
        self.tokens = list(map(Digest.of, keys))
        self.sizes = list(map(len, keys))
        self.values = values

    def renew(self, removed: Collection[bytes], put: Mapping[bytes, Piece]) -> list[Edit]:
        """Take keys out, then put entries in, in the place of old ones too. Returns the edits."""
        if _MANY * (len(removed) + len(put)) > len(self.keys):
            return self._sort_anew(removed, put)
        edits: list[Edit] = []
        keys, tokens = [], []
        shift = 0
        for key in sorted({*removed, *put}):
            place = bisect.bisect_left(self.keys, key)
            stop = place + (key in self.values)
            start = place + shift
            if key in put:
                keys.append(key)
                tokens.append(self.tokens[place] if stop > place else Digest.of(key))
                self.values[key] = put[key]
                shift += 1
            else:
                del self.values[key]
            edits.append(Edit(place, stop, start, stop + shift - (stop - place)))
            shift -= stop - place
        self.keys = splice(self.keys, edits, keys)
        self.tokens = splice(self.tokens, edits, tokens)
        self.sizes = splice(self.sizes, edits, list(map(len, keys)))
        return edits

    def _sort_anew(self, removed: Collection[bytes], put: Mapping[bytes, Piece]) -> list[Edit]:
        before = len(self.keys)
        for key in removed:
            del self.values[key]
        self.values.update(put)
        if removed or len(self.values) != before:
            self.recall(sorted(self.values), self.values)
        return [Edit(0, before, 0, len(self.keys))]
