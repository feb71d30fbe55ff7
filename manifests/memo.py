"""What the last commit of a run saw, so that the next one encodes only what changed.

A commit must not pay for what did not change and must never miss a change, one made in place
included. So for the root of a state, and for every larger list or dict below it, the memo keeps
its items, their encoded pieces, and the mutable containers below each item with what they held.
An item is unchanged if it is the same object as before and every container below it holds the
very same objects in the same order: immutable leaves cannot change, so identity all the way down
is proof (``watch``). An equal but new leaf in it counts as changed. Another object in the place of
an item is compared with it (``likeness``), and encoded only if it differs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress, count
from typing import Any, Final, NamedTuple

from manifests.alignment import Edit, splice
from manifests.entries import Entries
from manifests.identity import same_objects
from manifests.pieces import Piece
from manifests.segments import Segment
from manifests.trees import TreeCache
from manifests.watch import Watch

__all__ = ["Changes", "Node"]


class Changes(NamedTuple):
    """What became of the entries of a dict: the keys removed, and the places of other pieces.

    ``of_keys`` made the keys, in the order of insertion, of those before.
    """

    removed: Collection[bytes]
    places: Sequence[int]
    of_keys: Sequence[Edit]

    @classmethod
    def of_all(cls, count: int) -> Changes:
        """Return the changes that make a dict of so many entries of an empty one."""
        return cls((), range(count), [Edit(0, 0, 0, count)])


class Node:
    """One larger list, tuple or dict, or the root of a state: its items as last encoded.

    All lists run parallel to ``values``. Of a list, ``pieces`` are placed already, ``tokens`` and
    ``sizes`` are theirs, and ``tree`` is for those too long for one object. Of a dict, ``placed``
    are the pieces with those over the inline limit as links (None while that was not needed),
    ``keys`` and ``encoded_keys`` its keys, ``texts`` whether all of them are, and ``entries`` their
    order if it is a large one. ``segments`` say what is below each item; of the root, where each
    field is looked at, nothing is watched. ``tail`` is the path to the container from the item that
    it is below. ``least``: its pieces serve for a dict of so many entries or more. ``restored``:
    the items were restored since they were encoded.
    """

    __slots__ = (
        "container",
        "encoded_keys",
        "entries",
        "is_dict",
        "keys",
        "least",
        "pieces",
        "placed",
        "restored",
        "segments",
        "sizes",
        "tail",
        "texts",
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
        self.texts = True
        self.values: list[Any] = []
        self.pieces: list[Piece] = []
        self.placed: list[Piece | None] = []
        self.sizes: list[int] = []
        self.tokens: list[bytes] = []
        self.entries: Entries | None = None
        self.tree = TreeCache()
        self.segments: list[Segment] = []
        self.watch = Watch()
        self.restored = False

    def restore(self, items: list[Any], segments: Sequence[Segment]) -> None:
        """Take other objects for the items, equal to them as they were encoded.

        ``segments`` say what is below each. They are watched from now on.
        """
        self.container = items
        self.values = [*items]
        self.segments = []
        self.watch = Watch()
        self.renew_segments([Edit(0, 0, 0, len(items))], segments, watched=True)
        self.restored = True

    def holds(self) -> bool:
        """Whether the container and everything below it are as they were when encoded."""
        container = self.container
        if isinstance(container, dict):
            same = same_objects(container, self.keys) and same_objects(
                container.values(), self.values
            )
        else:
            same = same_objects(container, self.values)
        return same and self.watch.holds()

    def values_but(self, stale: set[Segment]) -> Sequence[Any]:
        """Return the values, with something that is none of them in the place of the stale ones."""
        if not stale:
            return self.values
        values = list(self.values)
        for place in compress(count(), map(stale.__contains__, self.segments)):
            values[place] = _STALE
        return values

    def renew_segments(
        self, edits: Sequence[Edit], segments: Sequence[Segment], *, watched: bool
    ) -> None:
        """Put other segments into the places of some, those that moved among them."""
        before = [self.segments[place] for edit in edits for place in edit.old_places]
        # Items that were compared together are watched as one, until the last of them is gone.
        for one in segments:
            one.items += 1
        for one in before:
            one.items -= 1
        if watched:
            removed = [one for one in before if not one.items]
            known = set(before)
            # Each once, or items that are watched as one would be watched as often as they are.
            added = dict.fromkeys(one for one in segments if one not in known)
            self.watch.renew(removed, added)
        self.segments = splice(self.segments, edits, segments)


_STALE: Final = object()
