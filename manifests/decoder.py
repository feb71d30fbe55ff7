"""From objects back to Python values.

Every container the encoder writes has one reader here. Types are looked up in the registry; a tag
no encoder writes is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from cas.errors import CorruptObjectError, LimitError
from manifests.arrays import decode_array
from manifests.cbor import (
    ARRAY,
    BYTEARRAY,
    FROZENSET,
    LINK,
    NODE,
    PAIRS,
    REGISTERED,
    SCALAR,
    SET,
    TREE_DICT,
    TUPLE,
    TagDecoder,
    loads,
    loads_all,
    tag_decoders,
)
from manifests.encoder import MAX_DEPTH, Encoder
from manifests.parameters import TreeParameters
from manifests.pieces import MAX_HEIGHT, PieceSink
from manifests.registry import Registry
from manifests.scalars import decode_scalar
from manifests.trees import BYTES_NODE, DICT_NODE, LIST_NODE

__all__ = ["DEEPEST_CBOR", "Decoder", "Loader", "StoredObject", "constructors", "pairs_to_dict"]

# An object whose CBOR nests at most 12 levels, reached over at most 8 links, cannot hold a value
# deeper than MAX_DEPTH (12 x 8 = 96), so nearly every restore needs no walk to measure its depth.
_SHALLOW: Final = 12
_FEW_LINKS: Final = 8
# A registered value takes three CBOR levels (tag, array, map), so MAX_DEPTH of them fit.
DEEPEST_CBOR: Final = 3 * MAX_DEPTH + 8


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


Loader = Callable[[Sequence[Any]], Sequence[StoredObject]]
"""Returns the objects that some links name, verified, in order."""


def constructors(registry: Registry) -> dict[int, Callable[[Any], Any]]:
    """Return, for every tag but LINK, what makes a value of its decoded content."""
    return {
        TUPLE: tuple,
        SET: set,
        FROZENSET: frozenset,
        PAIRS: pairs_to_dict,
        BYTEARRAY: bytearray,
        REGISTERED: lambda content: registry.read(*content),
        NODE: _concatenate,
        SCALAR: decode_scalar,
        ARRAY: decode_array,
        TREE_DICT: lambda content: _tree_to_dict(content[0], content[1], registry),
    }


def _ignoring_mutability(construct: Callable[[Any], Any]) -> TagDecoder:
    return lambda content, _immutable: construct(content)


class Decoder:
    """Decodes whole values. One instance serves one restore; it is not shared by threads."""

    def __init__(self, registry: Registry, load: Loader) -> None:
        self._registry = registry
        self._load = load
        self._children: list[list[_Child]] = []
        self._deep = False
        own = {tag: _ignoring_mutability(make) for tag, make in constructors(registry).items()}
        self._decoders = tag_decoders({LINK: self._link, **own})

    def value(self, item: StoredObject) -> Any:
        """Return the value whose root is ``item``.

        Raises ``CorruptObjectError`` for bytes that are no stored value, ``LimitError`` for one
        nested deeper than ``MAX_DEPTH``, ``InvalidInputError`` where a registered class does not
        take its fields.
        """
        self._deep = False
        value = self._decode(item)
        if self._deep:
            # Rare. The encoder's own count decides, so both directions have the same limit.
            Encoder(self._registry, TreeParameters(), PieceSink()).value(value)
        return value

    def _decode(self, item: StoredObject) -> Any:
        if len(self._children) >= _FEW_LINKS:
            self._deep = True
            if len(self._children) > MAX_HEIGHT:
                raise LimitError("the stored value is nested too deeply")
        self._children.append(self._fetch(item.links) if item.links else [])
        try:
            try:
                return loads(item.payload, self._decoders, depth=_SHALLOW)
            except RecursionError:
                self._deep = True
            try:
                return loads(item.payload, self._decoders, depth=DEEPEST_CBOR)
            except RecursionError:
                raise LimitError("the stored value is nested too deeply") from None
        finally:
            self._children.pop()

    def _fetch(self, links: Sequence[Any]) -> list[_Child]:
        """Load linked objects together, and decode together those that link no further.

        They are the messages of a list, the chunks of a text: one call of the library instead of
        one each saves more than half the time of a restore.
        """
        children = [_Child(item) for item in self._load(links)]
        last = [child for child in children if not child.item.links]
        if len(last) > 1:
            try:
                payloads = [child.item.payload for child in last]
                values = loads_all(payloads, self._decoders, depth=_SHALLOW)
            except (RecursionError, CorruptObjectError):
                return children  # one by one, so that the error is about the right one
            for child, value in zip(last, values, strict=True):
                child.values.append(value)
        return children

    def _link(self, index: Any, _immutable: bool) -> Any:
        children = self._children[-1]
        if type(index) is not int or not 0 <= index < len(children):
            raise CorruptObjectError("a payload refers to a link that its object does not have")
        child = children[index]
        # A link that occurs twice gives two values: what is changed in one must not show in both.
        return child.values.pop() if child.values else self._decode(child.item)


class _Child:
    """A linked object, and its value if that was decoded ahead and not used yet."""

    __slots__ = ("item", "values")

    def __init__(self, item: StoredObject) -> None:
        self.item = item
        self.values: list[Any] = []


def _concatenate(node: Sequence[Any]) -> Any:
    """Return the items (a list) or the bytes under a node whose children are decoded."""
    kind, _level, counts, children, *_first_keys = node
    if kind == BYTES_NODE:
        whole: Any = b"".join(children)
        size = len(whole)
    elif kind in (LIST_NODE, DICT_NODE):
        whole = [item for child in children for item in child]
        size = len(whole) // 2 if kind == DICT_NODE else len(whole)
    else:
        raise CorruptObjectError(f"tree nodes of kind {kind} are not known here; upgrade Hive")
    if size != sum(counts):
        raise CorruptObjectError("a tree node does not hold what it counts")
    return whole


def pairs_to_dict(flat: Sequence[Any]) -> dict[Any, Any]:
    """Return the dict of [key, value, key, value...]; a repeated key is damage."""
    items = dict(zip(flat[::2], flat[1::2], strict=True))
    if len(items) != len(flat) // 2:
        raise CorruptObjectError("a stored dict has a key twice")
    return items


def _tree_to_dict(
    flat: Sequence[Any], order: Sequence[Any] | None, registry: Registry
) -> dict[Any, Any]:
    """Return the dict of a key-sorted tree, in insertion order where that was stored."""
    items = pairs_to_dict(flat)
    if order is None:
        return items
    if len(order) != len(items):
        raise CorruptObjectError("the order of a stored dict does not fit its keys")
    try:
        return {key: items[key] for key in order}
    except KeyError:
        # A NaN, alone or in a tuple, is not found by equality; its bytes still are.
        encoder = Encoder(registry, TreeParameters(), PieceSink())
        by_bytes = {encoder.key(key): (key, value) for key, value in items.items()}
        pairs = [by_bytes.get(encoder.key(key)) for key in order]
        if None in pairs:
            raise CorruptObjectError("the order of a stored dict does not fit its keys") from None
        return dict(pair for pair in pairs if pair is not None)
