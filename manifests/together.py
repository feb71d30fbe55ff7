"""Decoding an object and everything below it in two calls of the CBOR library.

Most of a restore's time went into Python between the objects: a call of the library, a visit and a
handful of small objects for each. Here the objects without links (messages, texts, keys) are one
call, and those with links another, children first; each link then takes a value that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


class Below(Protocol):
    """Verified objects by name: the payloads of those without links, and the others."""

    @property
    def leaves(self) -> Mapping[Any, bytes]:
        """The payloads of objects without links."""
        ...

    @property
    def parents(self) -> Parents:
        """Links and payload of each of the others, children before parents."""
        ...


def decode_together(
    root: Any,
    leaves: Mapping[Any, bytes],
    parents: Parents,
    own: Mapping[int, TagDecoder],
    again: Callable[[Any], Any],
) -> tuple[Any, int]:
    """Return the value of an object and a bound for how deep it nests.

    Args:
        root: The name of the object, which is among the others.
        leaves: The payloads of the objects without links, by name.
        parents: Links and payload of each of the others, children before parents.
        own: The decoders of all tags but LINK.
        again: Decodes an object once more, given its name: a link that occurs twice gives two
            values, for what is changed in one must not show in the other.

    Raises:
        RecursionError: An object is not shallow.
        CorruptObjectError: A payload is no stored value; which, decoding one by one tells.
    """
    decoded = loads_all([*leaves.values()], tag_decoders(own), depth=SHALLOW)
    values = dict(zip(leaves, decoded, strict=True))
    depth = _depth(root, values, parents)
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
            values[name] = [take(linked) for linked in links]

    def done(value: Any) -> None:
        values[name] = value
        advance()

    payloads = [
        payload for links, payload in parents.values() if payload != run_of_links(len(links))
    ]
    advance()
    loads_all(payloads, tag_decoders({**own, LINK: link}), depth=SHALLOW, done=done)
    value = values[root]
    return value, 0 if type(value) in ATOMS else depth


@cache
def run_of_links(count: int) -> bytes:
    """Return the payload that is a list of the object's links in their order.

    Most leaves of a list's tree are that. A call back from the library for each link takes as long
    as decoding a short message.
    """
    return b"".join([array_head(count), *(tag_head(LINK) + encode_int(n) for n in range(count))])


def _depth(root: Any, leaves: Mapping[Any, Any], parents: Parents) -> int:
    """Return a bound for how deep an object nests.

    Raises:
        RecursionError: The links from it are too many on end, perhaps.
    """
    least = 0 if ATOMS.issuperset(map(type, leaves.values())) else SHALLOW
    depths: dict[Any, int] = {}
    heights: dict[Any, int] = {}
    for name, (links, payload) in parents.items():
        if depths.keys().isdisjoint(links):  # most: a run of messages, the chunks of a text
            deepest, height = least, 1
        else:
            deepest = max([depths.get(link, least) for link in links])
            height = 1 + max([heights.get(link, 0) for link in links])
        heights[name] = height
        depths[name] = deepest + (0 if payload.startswith(NODE_HEAD) else SHALLOW)
    if heights.get(root, 0) >= MAX_HEIGHT:
        raise RecursionError("linked too deeply")
    return depths.get(root, least)
