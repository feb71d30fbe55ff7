"""Forms: stored values taken apart without being built, for partial reads and for diffs.

A form is what the CBOR of one object says, with each link left as a ``LinkForm`` and each tag as a
``Tagged``. Following only the links that lead to what is asked for, one key of a large state costs
a handful of reads.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cas.errors import CorruptObjectError
from manifests.cbor import (
    ARRAY,
    BYTEARRAY,
    FROZENSET,
    LINK,
    MANIFEST,
    NODE,
    PAIRS,
    REGISTERED,
    SCALAR,
    SET,
    TREE_DICT,
    TUPLE,
    TagDecoder,
    loads,
    tag_decoders,
)
from manifests.decoder import DEEPEST_CBOR, Decoder, Loader, StoredObject, constructors
from manifests.encoder import Encoder
from manifests.parameters import TreeParameters
from manifests.pieces import PieceSink
from manifests.registry import Registry
from manifests.trees import DICT_NODE

__all__ = ["Form", "Forms", "LinkForm", "Tagged", "pairs"]

Form = Any
"""A scalar, a list or dict of forms, a ``Tagged`` or a ``LinkForm``."""


@dataclass(frozen=True, slots=True)
class LinkForm:
    """A link not followed. Two of the same store with equal names lead to equal values."""

    name: Any


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag and the form of its content."""

    tag: int
    content: Form


def _tagging(tag: int) -> TagDecoder:
    return lambda content, _immutable: Tagged(tag, content)


_TAGS = (
    *(TUPLE, SET, FROZENSET, PAIRS, BYTEARRAY, REGISTERED),
    *(NODE, SCALAR, ARRAY, TREE_DICT, MANIFEST),
)
_DECODERS = tag_decoders({tag: _tagging(tag) for tag in _TAGS})


class Forms:
    """Reads forms and turns them into values. One instance serves one operation."""

    def __init__(self, registry: Registry, load: Loader) -> None:
        self._load = load
        self._decoder = Decoder(registry, load)
        self._constructors = constructors(registry)
        self._keys = Encoder(registry, TreeParameters(), PieceSink())

    def open(self, item: StoredObject) -> Form:
        """Return the form of one object."""
        links = item.links

        def link(index: Any, _immutable: bool) -> LinkForm:
            if type(index) is not int or not 0 <= index < len(links):
                raise CorruptObjectError("a payload refers to a link that its object has not")
            return LinkForm(links[index])

        try:
            return loads(item.payload, {**_DECODERS, LINK: link}, depth=DEEPEST_CBOR)
        except RecursionError:
            raise CorruptObjectError("the object is nested too deeply") from None

    def follow(self, form: Form) -> Form:
        """Return the form behind a link; any other form is itself."""
        while isinstance(form, LinkForm):
            form = self.open(self._load([form.name])[0])
        return form

    def value(self, form: Form) -> Any:
        """Build the whole value of a form."""
        if isinstance(form, LinkForm):
            return self._decoder.value(self._load([form.name])[0])
        if isinstance(form, Tagged):
            construct = self._constructors.get(form.tag)
            if construct is None:
                raise CorruptObjectError("a manifest stands where a value should be")
            return construct(self.value(form.content))
        if type(form) is list:
            return [self.value(item) for item in form]
        if type(form) is dict:
            return {key: self.value(item) for key, item in form.items()}
        return form

    def field(self, form: Form, key: Any) -> Form:
        """Return the form under a key of a dict or a field of a registered value.

        Reads only the path to that key. Raises ``KeyError`` if there is none.
        """
        form = self.follow(form)
        if isinstance(form, Tagged) and form.tag == REGISTERED:
            form = self.follow(form.content[2])
        if type(form) is dict:
            return form[key]
        if isinstance(form, Tagged) and form.tag == PAIRS:
            for stored, item in pairs(form.content):
                if self.value(stored) == key:
                    return item
        elif isinstance(form, Tagged) and form.tag == TREE_DICT:
            return self._search(form.content[0], self._keys.key(key))
        raise KeyError(key)

    def names(self, form: Form) -> list[Any]:
        """Return the keys of a dict or the fields of a registered value, in order."""
        form = self.follow(form)
        if isinstance(form, Tagged) and form.tag == REGISTERED:
            form = self.follow(form.content[2])
        if type(form) is dict:
            return list(form)
        if isinstance(form, Tagged) and form.tag == PAIRS:
            return [self.value(stored) for stored, _item in pairs(form.content)]
        if isinstance(form, Tagged) and form.tag == TREE_DICT:
            node, order = form.content
            if order is not None:
                return list(self.value(order))
            return [self.value(key) for leaf in self.leaves(node) for key, _ in pairs(leaf)]
        return []

    def leaves(self, node: Form) -> Iterator[list[Form]]:
        """Yield the leaves under a list or dict node, one read at a time."""
        for link in self.leaf_links(node):
            yield self.follow(link)

    def leaf_links(self, node: Form) -> Iterator[LinkForm]:
        """Yield the links to the leaves under a node, reading the inner nodes only."""
        content = self.follow(node).content
        for child in content[3]:
            if content[1] > 1:
                yield from self.leaf_links(child)
            else:
                yield child

    def _search(self, node: Form, key: bytes) -> Form:
        while True:
            content = self.follow(node).content
            kind, level, _counts, children, firsts = content
            if kind != DICT_NODE:
                raise CorruptObjectError("a dict's tree has a node of another kind")
            at = bisect.bisect_right(firsts, key) - 1
            if at < 0:
                raise KeyError
            node = children[at]
            if level == 1:
                break
        for stored, item in pairs(self.follow(node)):
            if self._keys.key(self.value(stored)) == key:
                return item
        raise KeyError


def pairs(flat: Sequence[Form]) -> Iterator[tuple[Form, Form]]:
    """Yield (key, value) of [key, value, key, value...], the form of dict leaves."""
    return zip(flat[::2], flat[1::2], strict=True)
