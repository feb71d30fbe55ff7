"""Making values of what tags hold.

Every container the encoder writes has one reader here. Types are looked up in the registry; a tag
no encoder writes is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from cas.errors import CorruptObjectError, HiveError, InvalidInputError
from manifests.arrays import decode_array
from manifests.cbor import (
    ARRAY,
    BYTEARRAY,
    FROZENSET,
    NODE,
    PAIRS,
    REGISTERED,
    SCALAR,
    SET,
    TREE_DICT,
    TUPLE,
)
from manifests.encoder import Encoder
from manifests.parameters import TreeParameters
from manifests.pieces import PieceSink
from manifests.registry import Registry
from manifests.scalars import decode_scalar
from manifests.trees import BYTES_NODE, DICT_NODE, LIST_NODE
from manifests.unregistered import UnregisteredValue

__all__ = ["constructors"]


Constructor = Callable[..., Any]
"""Makes a value of a tag's decoded content. What the CBOR library says besides is ignored."""


def constructors(registry: Registry) -> dict[int, Constructor]:
    """Return, for every tag but LINK, what makes a value of its decoded content."""
    return {
        TUPLE: _tuple,
        SET: lambda content, _=False: _distinct(set, content, registry),
        FROZENSET: lambda content, _=False: _distinct(frozenset, content, registry),
        PAIRS: lambda content, _=False: _pairs_to_dict(content, registry),
        BYTEARRAY: lambda content, _=False: _bytearray(content),
        REGISTERED: _registered(registry),
        NODE: lambda content, _=False: _concatenate(content),
        SCALAR: lambda content, _=False: decode_scalar(content),
        ARRAY: lambda content, _=False: decode_array(content),
        TREE_DICT: lambda content, _=False: _tree_to_dict(content[0], content[1], registry),
    }


def _listed(content: Any) -> list[Any]:
    if type(content) is not list:
        raise CorruptObjectError("a container's items are not stored as a list")
    return content


def _distinct(
    cls: Callable[[Iterable[Any]], set[Any] | frozenset[Any]], content: Any, registry: Registry
) -> Any:
    """Return the set or frozenset of members; a repeated one is damage."""
    items = _listed(content)
    try:
        members = cls(items)
    except TypeError as error:  # one has no hash
        raise _unfit(items, registry, "a stored set has a member that cannot be one") from error
    if len(members) != len(items):
        raise _unfit(items, registry, "a stored set has a member twice")
    return members


def _unfit(keys: Sequence[Any], registry: Registry, told: str) -> HiveError:
    """Return the error for stored keys or members which a dict or set does not take.

    No encoder writes such, so it is damage, but for objects of the application: how these compare
    may have changed since they were stored.
    """
    if not any(_holds_registered(key, registry) for key in keys):
        return CorruptObjectError(told)
    return InvalidInputError(
        f"{told}, as the registered classes compare their objects now: they were told apart when "
        "they were stored, so register the class as it was then"
    )


def _holds_registered(value: Any, registry: Registry) -> bool:
    cls = type(value)
    if registry.entry_of(cls) is not None:
        return True
    if cls is UnregisteredValue:
        return _holds_registered(value.fields, registry)
    inside = value if cls in (tuple, list, set, frozenset, dict) else ()
    values = value.values() if cls is dict else ()
    return any(_holds_registered(one, registry) for one in (*inside, *values))


def _bytearray(content: Any) -> bytearray:
    # Of a number, bytearray() makes that many zeros.
    if type(content) is not bytes:
        raise CorruptObjectError("a bytearray's content is not stored as bytes")
    return bytearray(content)


def _tuple(content: Any, _immutable: bool = False) -> tuple[Any, ...]:
    return tuple(_listed(content))


def _registered(registry: Registry) -> Constructor:
    """Return what reads registered values: a list of messages has thousands, of few classes."""
    readers: dict[tuple[str, int], Callable[[Any], Any]] = {}

    def registered(content: Any, _immutable: bool = False) -> Any:
        name, version, fields = _listed(content)
        if type(name) is not str or type(version) is not int or version < 1:
            raise CorruptObjectError("a registered value has no proper name and version")
        read = readers.get((name, version))
        if read is None:
            read = readers[name, version] = registry.reader(name, version)
        return read(fields)

    return registered


def _concatenate(node: Sequence[Any]) -> Any:
    """Return the items (a list) or the bytes under a node whose children are decoded."""
    kind, _level, counts, children, *_first_keys = node
    if kind not in (LIST_NODE, BYTES_NODE, DICT_NODE):
        raise CorruptObjectError(f"tree nodes of kind {kind} are not known here; upgrade Hive")
    wanted = bytes if kind == BYTES_NODE else list
    if not all(type(child) is wanted for child in children):
        raise CorruptObjectError("a tree node has a child of another kind")
    sizes = map(len, children)
    if list(sizes) != [count * 2 if kind == DICT_NODE else count for count in counts]:
        raise CorruptObjectError("a tree node does not hold what it counts")
    if kind == BYTES_NODE:
        return b"".join(children)
    return list(chain.from_iterable(children))


def _pairs_to_dict(flat: Sequence[Any], registry: Registry) -> dict[Any, Any]:
    """Return the dict of [key, value, key, value...]; a repeated key is damage."""
    keys = _listed(flat)[::2]
    try:
        items = dict(zip(keys, flat[1::2], strict=True))
    except TypeError as error:  # one has no hash
        raise _unfit(keys, registry, "a stored dict has a key that cannot be one") from error
    if len(items) != len(keys):
        raise _unfit(keys, registry, "a stored dict has a key twice")
    return items


def _tree_to_dict(
    flat: Sequence[Any], order: Sequence[Any] | None, registry: Registry
) -> dict[Any, Any]:
    """Return the dict of a key-sorted tree, in insertion order where that was stored."""
    items = _pairs_to_dict(flat, registry)
    if order is None:
        return items
    if len(order) != len(items):
        raise CorruptObjectError("the order of a stored dict does not fit its keys")
    try:
        ordered = {key: items[key] for key in order}
    except KeyError:
        # A NaN, alone or in a tuple, is not found by equality; its bytes still are.
        encoder = Encoder(registry, TreeParameters(), PieceSink())
        by_bytes = {encoder.key(key): (key, value) for key, value in items.items()}
        pairs = [by_bytes.get(encoder.key(key)) for key in order]
        ordered = dict(pair for pair in pairs if pair is not None)
    if len(ordered) != len(items):
        raise _unfit([*items], registry, "the order of a stored dict does not fit its keys")
    return ordered
