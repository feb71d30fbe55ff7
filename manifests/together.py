"""Decoding an object and everything below it in two calls of the CBOR library.

Most of a restore's time went into Python between the objects: a call of the library, a visit and a
handful of small objects for each. Here the objects without links (messages, texts, keys) are one
call, and those with links another, children first; each link then takes a value that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol

from cas.errors import CorruptObjectError
from manifests.cbor import (
    LINK,
    NODE,
    TagDecoder,
    array_head,
    encode_int,
    loads_all,
    tag_decoders,
    tag_head,
)
from manifests.pieces import MAX_HEIGHT

__all__ = [
    "ATOMS",
    "NODE_HEAD",
    "SHALLOW",
    "Below",
    "Keeper",
    "MadeValue",
    "Parents",
    "StoredObject",
    "decode_together",
    "run_of_links",
]

SHALLOW: Final = 12
"""Nearly every object nests fewer CBOR levels than this.

Inner nodes of trees hold no value of their own. Adding these bounds up along the links shows that a
value is not too deep without walking through it.
"""
NODE_HEAD: Final = tag_head(NODE)
ATOMS: Final = frozenset((str, bytes, int, float, bool, type(None)))

_TAKEN: Final = object()


class StoredObject(Protocol):
    """A verified object: its payload, and what its links are called where it came from."""

    @property
    def payload(self) -> bytes:
        """The bytes to decode."""
        ...

    @property
    def links(self) -> Sequence[Any]:
        """Names of the linked objects, for the loader."""
        ...


Parents = Mapping[Any, tuple[Sequence[Any], bytes]]
"""Links and payload of objects by name, children before parents."""


class MadeValue(Protocol):
    """A value that is in memory, of which copies are made instead of decoding it."""

    @property
    def size(self) -> int:
        """The bytes it takes, about."""
        ...

    @property
    def depth(self) -> int:
        """A bound for how deep it nests."""
        ...

    @property
    def height(self) -> int:
        """How many objects lie on the longest way down from its own, at most."""
        ...


class Below(Protocol):
    """Verified objects by name: the payloads of those without links, and the others.

    Some are neither, nor is what only they lead to: their values are in memory.
    """

    @property
    def leaves(self) -> Mapping[Any, bytes]:
        """The payloads of objects without links."""
        ...

    @property
    def parents(self) -> Parents:
        """Links and payload of each of the others, children before parents."""
        ...

    @property
    def made(self) -> Mapping[Any, MadeValue]:
        """The values that are in memory."""
        ...


class Keeper(Protocol):
    """Keeps values in memory for the next restore."""

    def chosen(self, below: Any, roots: Sequence[Any]) -> Collection[Any]:
        """Return the names of the objects below some roots whose values are to be kept."""
        ...

    def keep_value(self, below: Any, name: Any, value: Any, depth: int, height: int) -> Any:
        """Keep a value, and return it or a copy of it for the caller."""
        ...

    def copy(self, made: Any) -> Any:
        """Return a copy of a value that is in memory, which shares nothing that can change."""
        ...


def decode_together(
    root: Any,
    roots: Sequence[Any],
    below: Below,
    parents: Parents,
    own: Mapping[int, TagDecoder],
    again: Callable[[Any], Any],
    keeper: Keeper | None = None,
) -> tuple[Any, int]:
    """Return the value of an object and a bound for how deep it nests.

    Args:
        root: The name of the object, which is among the parents.
        roots: The names that ``below`` was gathered from.
        below: Everything they lead to.
        parents: Links and payload of its parents and of the root, children before parents.
        own: The decoders of all tags but LINK.
        again: Decodes an object once more, given its name: a link that occurs twice gives two
            values, for what is changed in one must not show in the other.
        keeper: Keeps some of the values, and copies those that are in memory.

    Raises:
        RecursionError: An object is not shallow.
        CorruptObjectError: A payload is no stored value; which, decoding one by one tells.
    """
    leaves = below.leaves
    decoded = loads_all([*leaves.values()], tag_decoders(own), depth=SHALLOW)
    values = dict(zip(leaves, decoded, strict=True))
    least = 0 if ATOMS.issuperset(map(type, decoded)) else SHALLOW
    depths, heights = _nesting(least, parents, below.made)
    if heights.get(root, 0) >= MAX_HEIGHT:
        raise RecursionError("linked too deeply")
    chosen: Collection[Any] = ()
    if keeper is not None:
        values.update({of: keeper.copy(made) for of, made in below.made.items()})
        chosen = keeper.chosen(below, roots)

    def kept(of: Any, value: Any) -> Any:
        if keeper is None or of not in chosen:
            return value
        return keeper.keep_value(below, of, value, depths.get(of, least), heights.get(of, 0))

    values.update({of: kept(of, values[of]) for of in leaves.keys() & chosen})
    waiting = iter(parents.items())
    name: Any = None
    links: Sequence[Any] = ()

    def take(linked: Any) -> Any:
        value = values.pop(linked, _TAKEN)
        return again(linked) if value is _TAKEN else value

    def link(index: Any, _immutable: bool) -> Any:
        if type(index) is not int or not 0 <= index < len(links):
            raise CorruptObjectError("a payload refers to a link that its object does not have")
        return take(links[index])

    def advance() -> None:
        """Go on to the next parent that the library has to decode."""
        nonlocal name, links
        for name, (links, payload) in waiting:
            if payload != run_of_links(len(links)):
                return
            values[name] = kept(name, [take(linked) for linked in links])

    def done(value: Any) -> None:
        values[name] = kept(name, value)
        advance()

    payloads = [
        payload for links, payload in parents.values() if payload != run_of_links(len(links))
    ]
    advance()
    loads_all(payloads, tag_decoders({**own, LINK: link}), depth=SHALLOW, done=done)
    value = values[root]
    return value, 0 if type(value) in ATOMS else depths.get(root, least)


@cache
def run_of_links(count: int) -> bytes:
    """Return the payload that is a list of the object's links in their order.

    Most leaves of a list's tree are that. A call back from the library for each link takes as long
    as decoding a short message.
    """
    return b"".join([array_head(count), *(tag_head(LINK) + encode_int(n) for n in range(count))])


def _nesting(
    least: int, parents: Parents, made: Mapping[Any, MadeValue]
) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return bounds for how deep objects nest, and how many lie on the longest way down from each.

    An object that is in neither has no links; it nests ``least`` deep at most, and its height is 0.
    """
    depths = {name: value.depth for name, value in made.items()}
    heights = {name: value.height for name, value in made.items()}
    for name, (links, payload) in parents.items():
        if depths.keys().isdisjoint(links):  # most: a run of messages, the chunks of a text
            deepest, height = least, 1
        else:
            deepest = max([depths.get(link, least) for link in links])
            height = 1 + max([heights.get(link, 0) for link in links])
        heights[name] = height
        depths[name] = deepest + (0 if payload.startswith(NODE_HEAD) else SHALLOW)
    return depths, heights
