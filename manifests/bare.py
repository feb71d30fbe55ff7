"""Objects decoded without any class, with what their links count for where they are stored.

A commit that builds on a checkpoint it did not make itself takes over what is stored already, so it
has to know of each object what the encoder knew when it made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from cas.closure import Closure
from cas.digest import Digest
from cas.errors import CorruptObjectError, LimitError
from cas.kept import Kept
from manifests.cbor import LINK, TagDecoder, encode_int, loads_all, tag_decoders, tag_head
from manifests.constructors import constructors
from manifests.pieces import LINK_BYTES, Linked
from manifests.registry import Registry
from manifests.together import SHALLOW, run_of_links
from manifests.unregistered import UnregisteredValue

__all__ = ["BareObjects", "BareRegistry"]

_MOST_BYTES: Final = 256 * 1024 * 1024
"""Largest value, written out whole: objects of 8 MiB that repeat others could stand for more."""
_LINK_SIZES: Final = [len(tag_head(LINK) + encode_int(index)) for index in range(256)]


class BareRegistry(Registry):
    """Knows no class: what one stored stays an ``UnregisteredValue``."""

    def reader(self, name: str, version: int) -> Callable[[Any], UnregisteredValue]:
        """Return what keeps fields as they were stored, under the name."""
        return partial(UnregisteredValue, name, version)


class BareObjects:
    """The objects below a value. Their values are shared where links are, and not to be changed."""

    def __init__(self, closure: Closure) -> None:
        """Decode everything.

        Raises:
            RecursionError: An object is not shallow.
            CorruptObjectError: A payload is no stored value.
            LimitError: The value is larger than 256 MiB.
        """
        self._records = closure.records
        self._logical = {number: len(payload) for number, payload in closure.leaves.items()}
        self._heights = dict.fromkeys(closure.leaves, 1)
        own = constructors(BareRegistry())
        decoded = loads_all([*closure.leaves.values()], tag_decoders(own), depth=SHALLOW)
        self.values: dict[int, Any] = dict(zip(closure.leaves, decoded, strict=True))
        self._decode_parents(closure, own)

    def _decode_parents(self, closure: Closure, own: dict[int, TagDecoder]) -> None:
        logical, heights, values = self._logical, self._heights, self.values
        waiting = iter(closure.parents.items())
        number, size = 0, 0
        links: Sequence[int] = ()
        payloads = [
            payload
            for below, payload in closure.parents.values()
            if payload != run_of_links(len(below))
        ]

        def link(index: Any, _immutable: bool) -> Any:
            nonlocal size
            if type(index) is not int or not 0 <= index < len(links):
                raise CorruptObjectError("a payload refers to a link that its object does not have")
            size += logical[links[index]] - _link_size(index)
            return values[links[index]]

        def advance() -> None:
            nonlocal number, links, size
            for number, (links, payload) in waiting:
                heights[number] = 1 + max([heights[below] for below in links])
                size = len(payload)
                if payload != run_of_links(len(links)):
                    return
                size += sum([logical[below] for below in links])
                note([values[below] for below in links], size - _run_size(len(links)))

        def note(value: Any, size: int) -> None:
            if size > _MOST_BYTES:
                raise LimitError("the value is too large to be compared")
            logical[number] = size
            values[number] = value

        def done(value: Any) -> None:
            note(value, size)
            advance()

        advance()
        loads_all(payloads, tag_decoders({**own, LINK: link}), depth=SHALLOW, done=done)

    def link(self, number: int) -> Linked:
        """Return the link to an object as it stands in those above it."""
        size, height = self._logical[number], self._heights[number]
        return Linked((self.digest(number),), LINK_BYTES, size, height)

    def digest(self, number: int) -> Digest:
        """Return the address of an object."""
        return Digest(self._records[number].digest)

    def items(self, number: int) -> Sequence[int] | None:
        """Return what an object links to if it is nothing but a list of its links."""
        _digest, links, payload = self._records[number]
        return links if payload == run_of_links(len(links)) else None

    def load(self, numbers: Sequence[int]) -> Sequence[Kept]:
        """Return objects as they are stored: the loader of decoders and forms."""
        return [self._records[number] for number in numbers]


def _link_size(index: int) -> int:
    if index < len(_LINK_SIZES):
        return _LINK_SIZES[index]
    return len(tag_head(LINK) + encode_int(index))


def _run_size(count: int) -> int:
    return sum(map(_link_size, range(count)))
