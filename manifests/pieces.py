"""Pieces: encoded values that still have to find their place.

An encoded value is a run of CBOR bytes with holes for links. Whether it ends up inside its parent
or as an object of its own is the parent's choice, so the numbers that links get inside an object
are filled in last, when the object is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from cas.digest import Digest
from cas.errors import LimitError
from cas.objects import Object
from manifests.cbor import LINK, encode_int, tag_head

__all__ = [
    "LINK_BYTES",
    "MAX_HEIGHT",
    "MAX_VALUE_BYTES",
    "Linked",
    "Piece",
    "PieceSink",
    "Spill",
    "join",
    "logical_size",
    "size_of",
]

LINK_BYTES: Final = 3
"""What a link counts for when sizes are compared: a tag and an index below 256."""
MAX_HEIGHT: Final = 1_000
"""Most links from a root to the last object below it (inclusive), for writing and for reading.

A value of the greatest depth that has a long list on every level stays below it.
"""
MAX_VALUE_BYTES: Final = 4 * 1024**3
"""Largest value (inclusive), written out whole: what occurs twice counts twice. When reading, it
bounds what is repeated, so that a few crafted objects cannot stand for a value without end."""

_LINK_HEAD: Final = tag_head(LINK)
_LINKS: Final = [_LINK_HEAD + encode_int(index) for index in range(256)]


class Linked:
    """A piece with links: CBOR bytes and digests in turn, its size and its logical size.

    ``height`` is the most links that must be followed from here to the last object below.
    """

    __slots__ = ("height", "logical", "parts", "size")

    def __init__(
        self, parts: Sequence[bytes | Digest], size: int, logical: int, height: int
    ) -> None:
        self.parts = parts
        self.size = size
        self.logical = logical
        self.height = height


Piece = bytes | Linked
"""Plain bytes for what has no links, which is most of a state."""


def size_of(piece: Piece) -> int:
    """Return the bytes a piece takes inside its parent (links counted as ``LINK_BYTES``)."""
    return piece.size if isinstance(piece, Linked) else len(piece)


def logical_size(piece: Piece) -> int:
    """Return the bytes of a piece with everything it links to, as often as it links to it."""
    return piece.logical if isinstance(piece, Linked) else len(piece)


def join(head: bytes, pieces: Sequence[Piece]) -> Piece:
    """Return the piece made of ``head`` and ``pieces`` one behind the other."""
    parts: list[Any] = [head]
    size = logical = len(head)
    height = 0
    for piece in pieces:
        if type(piece) is Linked:
            parts += piece.parts
            size += piece.size
            logical += piece.logical
            if piece.height > height:
                height = piece.height
        else:
            count = len(piece)  # type: ignore[arg-type]  # not Linked: bytes
            parts.append(piece)
            size += count
            logical += count
    return Linked(parts, size, logical, height) if height else b"".join(parts)


def _assemble(piece: Piece) -> Object:
    """Return the object of a piece: its links in first-use order, numbered in the payload."""
    if not isinstance(piece, Linked):
        return Object((), piece)
    numbers: dict[Digest, int] = {}
    out: list[bytes] = []
    for part in piece.parts:
        if type(part) is Digest:
            index = numbers.setdefault(part, len(numbers))
            out.append(_LINKS[index] if index < 256 else _LINK_HEAD + encode_int(index))
        else:
            out.append(part)
    return Object(tuple(numbers), b"".join(out))


Spill = Callable[[Mapping[Digest, Object]], None]
"""Stores some objects at once, children before parents, so that they can leave the memory."""


class PieceSink:
    """Collects the objects of one commit, children before parents, each once.

    With ``spill``, objects leave for it whenever more than ``most_bytes`` of payload have gathered;
    the object sealed last always stays. ``objects`` are those that are still here.
    """

    def __init__(self, spill: Spill | None = None, most_bytes: int = 0) -> None:
        self.objects: dict[Digest, Object] = {}
        self._spill = spill
        self._most_bytes = most_bytes
        self._bytes = 0
        self._spilled: set[Digest] = set()

    def seal(self, piece: Piece) -> Linked:
        """Make an object of a piece and return the link to it."""
        item = _assemble(piece)
        digest = item.address()
        if digest not in self.objects and digest not in self._spilled:
            if self._spill is not None and self._bytes > self._most_bytes:
                self._spill(self.objects)
                self._spilled.update(self.objects)
                self.objects = {}
                self._bytes = 0
            self.objects[digest] = item
            self._bytes += len(item.payload)
        height = 1 + (piece.height if isinstance(piece, Linked) else 0)
        if height > MAX_HEIGHT:
            raise LimitError(f"the value needs more than {MAX_HEIGHT} objects below one another")
        return Linked((digest,), LINK_BYTES, logical_size(piece), height)

    def unsplit(self, piece: Piece, most_bytes: int, before: int) -> bytes | None:
        """Return a piece in one with what it links to, if that has at most ``most_bytes`` in all.

        None as well where objects stand below one another, or some have left. ``before`` is how
        many objects there were before the piece was made: those that were made for it are dropped.
        """
        if logical_size(piece) > most_bytes:
            return None
        if not isinstance(piece, Linked):
            return piece
        objects = self.objects
        linked = [part for part in piece.parts if type(part) is Digest]
        if piece.height > 1 or not objects.keys() >= set(linked) or before > len(objects):
            return None
        # A value may stand where a link to it would: decoded, both are the same.
        whole = [objects[p].payload if type(p) is Digest else p for p in piece.parts]
        for digest in [*islice(objects, before, None)]:
            self._bytes -= len(objects.pop(digest).payload)
        return b"".join(whole)

    def place(self, piece: Piece, most_bytes: int) -> Piece:
        """Return a piece of at most ``most_bytes`` (inclusive): itself, or a link to it."""
        return piece if size_of(piece) <= most_bytes else self.seal(piece)
