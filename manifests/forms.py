"""Forms: stored values taken apart without being built, for partial reads and for diffs.

A form is what the CBOR of one object says, with each link left as a ``LinkForm`` and each tag as a
``Tagged``. Following only the links that lead to what is asked for, one key of a large state costs
a handful of reads.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from cas.errors import CorruptObjectError, LimitError
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
from manifests.constructors import constructors
from manifests.decoder import DEEPEST_CBOR, REPEAT_COST, Decoder, Gatherer, Loader
from manifests.encoder import MAX_DEPTH, Encoder
from manifests.parameters import TreeParameters
from manifests.pieces import PieceSink
from manifests.registry import Registry
from manifests.together import ATOMS, Keeper, StoredObject
from manifests.trees import DICT_NODE

__all__ = ["Form", "Forms", "LinkForm", "NodeParts", "Tagged", "as_corruption", "form_of", "pairs"]

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


@dataclass(frozen=True, slots=True)
class NodeParts:
    """An inner node of a tree: its children, mostly links, and how many items are below each.

    ``firsts`` are the encoded first keys of the children of a dict's node, else None.
    """

    kind: int
    level: int
    counts: list[int]
    children: list[Form]
    firsts: list[bytes] | None


MOST_AGAIN: Final = 256 * 1024 * 1024
"""Most bytes of objects that are followed again where that is bounded (inclusive), each counted as
its payload and ``REPEAT_COST``."""
_REGISTERED_PARTS: Final = 3
_TREE_PARTS: Final = 2
_MOST_LEVELS: Final = 64
"""Every level has a fourth of the nodes below, so no store holds a tree of so many."""

_TAGS: Final = (
    *(TUPLE, SET, FROZENSET, PAIRS, BYTEARRAY, REGISTERED),
    *(NODE, SCALAR, ARRAY, TREE_DICT, MANIFEST),
)
_DECODERS: Final = tag_decoders({tag: _tagging(tag) for tag in _TAGS})


def form_of(payload: bytes, links: Sequence[Any]) -> Form:
    """Return the form of an object, by its payload and the names of its links."""

    def link(index: Any, _immutable: bool) -> LinkForm:
        if type(index) is not int or not 0 <= index < len(links):
            raise CorruptObjectError("a payload refers to a link that its object has not")
        return LinkForm(links[index])

    try:
        return loads(payload, {**_DECODERS, LINK: link}, depth=DEEPEST_CBOR)
    except RecursionError:
        raise CorruptObjectError("the object is nested too deeply") from None


class Forms:
    """Reads forms and turns them into values. One instance serves one operation."""

    def __init__(
        self,
        registry: Registry,
        load: Loader,
        gather: Gatherer | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._registry = registry
        self._load = load
        self._gather = gather
        self._keeper = keeper
        self._deepest = 0
        self._followed: set[Any] | None = None
        self._again = 0

    # Made when needed: most manifests are read without, and they cost more than a manifest does.

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self._registry, self._load, self._gather, self._keeper)

    @cached_property
    def _constructors(self) -> dict[int, Callable[[Any], Any]]:
        return constructors(self._registry)

    @cached_property
    def _keys(self) -> Encoder:
        return Encoder(self._registry, TreeParameters(), PieceSink())

    def open(self, item: StoredObject) -> Form:
        """Return the form of one object."""
        return form_of(item.payload, item.links)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Bound how often objects are followed again meanwhile, with ``LimitError``.

        A few objects that link to one another twice stand for a value without end: whoever walks
        through all of it, and builds none, does that in here.
        """
        before = self._followed, self._again
        self._followed, self._again = set(), 0
        try:
            yield
        finally:
            self._followed, self._again = before

    def follow(self, form: Form) -> Form:
        """Return the form behind a link; any other form is itself."""
        while isinstance(form, LinkForm):
            item = self._load([form.name])[0]
            if self._followed is not None:
                self._note(form.name, len(item.payload))
            form = self.open(item)
        return form

    def follow_all(self, links: Sequence[LinkForm]) -> list[Form]:
        """Return the forms behind some links, read at once; of equal links the same form."""
        if not links:
            return []
        names = [link.name for link in links]
        distinct = list(dict.fromkeys(names))
        items = dict(zip(distinct, self._load(distinct), strict=True))
        if self._followed is not None:
            for name in names:
                self._note(name, len(items[name].payload))
        forms = {name: self.follow(self.open(item)) for name, item in items.items()}
        return [forms[name] for name in names]

    def _note(self, name: Any, size: int) -> None:
        followed = self._followed
        if followed is None:
            return
        if name not in followed:
            followed.add(name)
            return
        self._again += size + REPEAT_COST
        if self._again > MOST_AGAIN:
            raise LimitError(
                f"the stored value repeats itself over more than {MOST_AGAIN} bytes; restore it, "
                "or look at a part of it"
            )

    def follow_each(self, forms: Sequence[Form]) -> list[Form]:
        """Return some forms, with those that are links followed, all read at once."""
        links = [form for form in forms if isinstance(form, LinkForm)]
        opened = iter(self.follow_all(links))
        return [next(opened) if isinstance(form, LinkForm) else form for form in forms]

    def value(self, form: Form) -> Any:
        """Build the whole value of a form. Raises what ``Decoder.value`` raises."""
        if type(form) in ATOMS:
            return form
        self._deepest = 0
        names = [link.name for link in _links_in(form)]
        linked = iter(self._decoder.linked_all(names) if names else ())
        if isinstance(form, LinkForm):
            value = self._build(form, 0, linked)
        else:
            with as_corruption():
                value = self._build(form, 0, linked)
        if self._deepest > MAX_DEPTH:
            self._decoder.check_depth(value)
        return value

    def _build(self, form: Form, depth: int, linked: Iterator[tuple[Any, int]]) -> Any:
        """Build a value that begins ``depth`` CBOR levels below the form asked for.

        ``linked`` yields the values of its links, and bounds for how deep each nests.
        """
        if isinstance(form, LinkForm):
            value, below = next(linked)
            self._deepest = max(self._deepest, depth + below)
            return value
        if isinstance(form, Tagged):
            construct = self._constructors.get(form.tag)
            if construct is None:
                raise CorruptObjectError("a manifest stands where a value should be")
            return construct(self._build(form.content, depth, linked))
        depth += 1
        if type(form) is list:
            self._deepest = max(self._deepest, depth)
            return [self._build(item, depth, linked) for item in form]
        if type(form) is dict:
            self._deepest = max(self._deepest, depth)
            return {key: self._build(item, depth, linked) for key, item in form.items()}
        return form

    def field(self, form: Form, key: Any) -> Form:
        """Return the form under a key of a dict or a field of a registered value.

        Reads only the path to that key. Keys are the same if their types are as well: 1 is not
        True here. Raises ``KeyError`` if there is none.
        """
        form = self.fields(form)
        if type(form) is dict:
            return form[key]
        if not isinstance(form, Tagged) or form.tag not in (PAIRS, TREE_DICT):
            raise KeyError(key)
        wanted = self._keys.key(key)
        entries = form.content
        if form.tag == TREE_DICT:
            entries = self._leaf_with(self.tree(form)[0], wanted)
        for stored, item in pairs(entries):
            if self._keys.key(self.value(stored)) == wanted:
                return item
        raise KeyError(key)

    def names(self, form: Form) -> list[Any]:
        """Return the keys of a dict or the fields of a registered value, in order."""
        form = self.fields(form)
        if type(form) is dict:
            return list(form)
        if isinstance(form, Tagged) and form.tag == PAIRS:
            return [self.value(stored) for stored, _item in pairs(form.content)]
        if isinstance(form, Tagged) and form.tag == TREE_DICT:
            node, order = self.tree(form)
            if order is not None:
                keys: list[Any] = self.value(order)
                return keys
            with self.bounded():
                return [self.value(key) for leaf in self.leaves(node) for key, _ in pairs(leaf)]
        return []

    def fields(self, form: Form) -> Form:
        """Return the form behind a link, and of a registered value the form of its fields."""
        form = self.follow(form)
        if isinstance(form, Tagged) and form.tag == REGISTERED:
            if type(form.content) is not list or len(form.content) != _REGISTERED_PARTS:
                raise CorruptObjectError("a registered value has no name, version and fields")
            form = self.follow(form.content[2])
        return form

    def tree(self, form: Tagged) -> tuple[Form, Form]:
        """Return the node of a large dict, and the form of its order, which may be None."""
        if type(form.content) is not list or len(form.content) != _TREE_PARTS:
            raise CorruptObjectError("a large dict has no tree and order")
        return form.content[0], form.content[1]

    def leaves(self, node: Form) -> Iterator[list[Form]]:
        """Yield the leaves under a list or dict node, one read at a time."""
        for link in self.leaf_links(node):
            yield self.follow(link)

    def leaf_links(self, node: Form) -> Iterator[LinkForm]:
        """Yield the links to the leaves under a node, reading the inner nodes only."""
        return (link for link, _count in self.runs(node))

    def runs(self, node: Form) -> Iterator[tuple[LinkForm, int]]:
        """Yield the links to the leaves under a node, and how many items each has."""
        parts = self.node(node)
        for child, count in zip(parts.children, parts.counts, strict=True):
            if parts.level == 1:
                yield child, count
            else:
                yield from self.runs(self.below(parts, child))

    def node(self, form: Form, *, inline: bool = False) -> NodeParts:
        """Return the parts of a tree node, or ``CorruptObjectError`` if the form is none.

        ``inline``: it may hold its children itself, as in a value that stands whole in a row.
        """
        form = self.follow(form)
        if isinstance(form, Tagged) and form.tag == NODE and type(form.content) is list:
            parts: list[Any] = [*form.content, None, None, None, None, None]
            kind, level, counts, children, firsts = parts[:5]
            lists = [counts, children] if kind != DICT_NODE else [counts, children, firsts]
            if (
                type(level) is int
                and 1 <= level <= _MOST_LEVELS
                and all(type(each) is list and len(each) == len(counts) for each in lists)
                and {*map(type, counts)} <= {int}
                and min(counts, default=0) >= 0
                and (inline or all(isinstance(child, LinkForm) for child in children))
                and all(type(first) is bytes for first in firsts or ())
            ):
                return NodeParts(kind, level, counts, children, firsts)
        raise CorruptObjectError("a tree has something else where a node should be")

    def below(self, parts: NodeParts, child: LinkForm) -> Form:
        """Return the form of a lower node. Levels must fall: else a path could be endless."""
        form = self.follow(child)
        below = self.node(form)
        if (below.kind, below.level) != (parts.kind, parts.level - 1):
            raise CorruptObjectError("a tree has a node of another kind or level")
        return form

    def _leaf_with(self, node: Form, key: bytes) -> list[Form]:
        """Return the leaf of a dict's tree in which a key would be, or an empty one."""
        while True:
            parts = self.node(node)
            if parts.firsts is None:
                raise CorruptObjectError("a dict's tree has a node of another kind")
            at = bisect.bisect_right(parts.firsts, key) - 1
            if at < 0:
                return []
            if parts.level == 1:
                leaf: list[Form] = self.follow(parts.children[at])
                return leaf
            node = self.below(parts, parts.children[at])


def _links_in(form: Form) -> Iterator[LinkForm]:
    """Yield the links of a form in the order in which its value is built."""
    if isinstance(form, LinkForm):
        yield form
    elif isinstance(form, Tagged):
        yield from _links_in(form.content)
    elif type(form) is list:
        for item in form:
            yield from _links_in(item)
    elif type(form) is dict:
        for item in form.values():
            yield from _links_in(item)


def pairs(flat: Form) -> Iterator[tuple[Form, Form]]:
    """Yield (key, value) of [key, value, key, value...], the form of dict leaves."""
    if type(flat) is not list or len(flat) % 2:
        raise CorruptObjectError("the entries of a dict are not stored as a list of pairs")
    return zip(flat[::2], flat[1::2], strict=True)


@contextmanager
def as_corruption() -> Iterator[None]:
    """Turn what constructors raise on contents no encoder writes into the error for damage."""
    try:
        yield
    except RecursionError:
        raise LimitError("the stored value is nested too deeply") from None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise CorruptObjectError("the object's payload is not a stored value") from error
