"""From objects back to Python values: links are followed, depth and repetition are bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import ref

from cas.errors import CorruptObjectError, InvalidInputError, LimitError
from manifests.cbor import (
    LINK,
    TagDecoder,
    array_head,
    encode_int,
    loads,
    loads_all,
    tag_decoders,
)
from manifests.constructors import constructors
from manifests.encoder import MAX_DEPTH, Encoder
from manifests.parameters import TreeParameters
from manifests.pieces import MAX_HEIGHT, MAX_VALUE_BYTES, PieceSink
from manifests.registry import Registry
from manifests.together import (
    ATOMS,
    NODE_HEAD,
    SHALLOW,
    Below,
    Keeper,
    Parents,
    StoredObject,
    decode_together,
    run_of_links,
)
from manifests.trees import BYTES_NODE

__all__ = ["DEEPEST_CBOR", "REPEAT_COST", "Decoder", "Gatherer", "Loader", "StoredObject"]

_NODE_LEVELS: Final = 4
# A registered value takes three CBOR levels (tag, array, map), so MAX_DEPTH of them fit.
DEEPEST_CBOR: Final = 3 * MAX_DEPTH + 8

# A few objects that link to one another twice stand for a value without end. Decoding the same
# object again is counted with its bytes and with what the value costs in memory.
REPEAT_COST: Final = 1_024
"""What decoding an object again is counted as, beside its bytes."""
_TOGETHER: Final = object()
"""Stands for a list of values that are decoded at once."""
_BYTES_HEAD: Final = NODE_HEAD + array_head(4) + encode_int(BYTES_NODE)
"""How a node of a byte string's tree begins."""


Loader = Callable[[Sequence[Any]], Sequence[StoredObject]]
"""Returns the objects that some links name, verified, in order."""
Gatherer = Callable[[Sequence[Any]], Below | None]
"""Returns everything that some links lead to, or None: that is too much at once, or damaged."""


class Decoder:
    """Decodes whole values. One instance serves one restore; it is not shared by threads."""

    def __init__(
        self,
        registry: Registry,
        load: Loader,
        gather: Gatherer | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """Decode with these classes.

        ``gather`` makes it quick: without it, every object is asked for after its parent.
        ``keeper`` keeps values that it may find again.
        """
        self._registry = registry
        self._load = load
        self._gather = gather
        self._keeper = keeper
        self._children: list[_Child] = []
        self._seen: set[Any] = set()
        self._deep: set[Any] = set()
        self._repeated = 0
        self._in_string = False
        self._own = constructors(registry)
        self._decoders = tag_decoders({LINK: _linking(self), **self._own})

    def value(self, item: StoredObject) -> Any:
        """Return the value whose root is ``item``.

        Raises ``CorruptObjectError`` for bytes that are no stored value, ``LimitError`` for one
        nested deeper than ``MAX_DEPTH`` or larger than ``MAX_VALUE_BYTES``, ``InvalidInputError``
        where a registered class does not take its fields.
        """
        value, depth = self.bounded(item)
        if depth > MAX_DEPTH:
            self.check_depth(value)
        return value

    def bounded(self, item: StoredObject) -> tuple[Any, int]:
        """Return the value whose root is ``item``, and a bound for how deep it nests.

        If the bound is above ``MAX_DEPTH``, ``check_depth`` has to decide.
        """
        self._begin()
        return self._walk(_Child(None, item))

    def linked(self, name: Any) -> tuple[Any, int]:
        """Return the value whose root a link names, and a bound as ``bounded`` does."""
        self._begin()
        below = None if self._gather is None else self._gather([name])
        whole = None
        if below is not None:
            whole = self._together(name, [name], below, below.parents)
        return self._walk(_Child(None, self._load([name])[0])) if whole is None else whole

    def linked_all(self, names: Sequence[Any]) -> list[tuple[Any, int]]:
        """Return what ``linked`` does of several links, in order, read and decoded at once."""
        below = self._gather(names) if self._gather is not None and len(names) > 1 else None
        if below is not None:
            self._begin()
            together = {**below.parents, _TOGETHER: (names, run_of_links(len(names)))}
            with suppress(LimitError):  # each has limits of its own
                whole = self._together(_TOGETHER, names, below, together)
                if whole is not None:
                    values, depth = whole
                    return [(value, depth) for value in values]
        return [self.linked(name) for name in names]

    def values(self, names: Sequence[Any]) -> list[Any]:
        """Return the values whose roots some links name, as ``value`` does, decoded at once."""
        decoded = self.linked_all(names)
        for value, depth in decoded:
            if depth > MAX_DEPTH:
                self.check_depth(value)
        return [value for value, _depth in decoded]

    def _begin(self) -> None:
        self._seen.clear()
        self._deep.clear()
        self._repeated = 0

    def check_depth(self, value: Any) -> None:
        """Raise ``LimitError`` if a decoded value is nested too deeply. Slow, and rarely needed."""
        try:
            # The encoder's own count decides, so both directions have the same limit.
            Encoder(self._registry, TreeParameters(), PieceSink()).value(value)
        except InvalidInputError:
            return  # what a migration made of it cannot be stored again, so no limit applies

    def _walk(self, root: _Child) -> tuple[Any, int]:
        """Decode what is below ``root``, children first, and then itself.

        Without recursion: 1,000 links on end fit neither on a thread's stack nor under Python's
        recursion limit.
        """
        whole = self._with_all_below(root)
        if whole is not None:
            return whole
        path = [self._visit(root)]
        while True:
            visit = path[-1]
            child = visit.next_child()
            if child is not None:
                if len(path) > MAX_HEIGHT:
                    raise LimitError("the stored value is nested too deeply")
                part = self._with_all_below(child)
                if part is None:
                    path.append(self._visit(child))
                else:
                    child.values.append(part[0])
                    visit.depth = max(visit.depth, part[1])
                continue
            try:
                value, depth = self._read(visit)
            except RecursionError:
                if visit.child.name in self._deep:
                    raise LimitError("the stored value is nested too deeply") from None
                # Again with the higher limit. Values of links already handed out may have been
                # changed by the code of a registered class, so those are decoded again as well.
                self._deep.add(visit.child.name)
                visit.at = 0
                continue
            path.pop()
            if not path:
                return value, depth
            visit.child.values.append(value)
            path[-1].depth = max(path[-1].depth, depth)

    def _with_all_below(self, child: _Child) -> tuple[Any, int] | None:
        """Decode an object and all below it at once; None if that has to be done step by step."""
        links = child.item.links
        below = self._gather(links) if self._gather is not None and links else None
        if below is None:
            return None
        parents = {**below.parents, child: (links, child.item.payload)}
        return self._together(child, links, below, parents)

    def _together(
        self, root: Any, roots: Sequence[Any], below: Below, parents: Parents
    ) -> tuple[Any, int] | None:
        self._note_seen(below)

        def again(name: Any) -> Any:
            made = below.made.get(name)
            if made is not None and self._keeper is not None:
                self._count(made.size)
                return self._keeper.copy(made)
            payload = below.leaves.get(name)
            if payload is None:
                return self._again(name)
            self._count(len(payload))
            return loads(payload, self._decoders, depth=SHALLOW)

        try:
            return decode_together(root, roots, below, parents, self._own, again, self._keeper)
        except (RecursionError, CorruptObjectError):
            # One by one: the limit may be higher for some, and the error is to be about the
            # right one.
            self._gather = None
            return None

    def _note_seen(self, below: Below) -> None:
        """Count what was decoded before."""
        seen = self._seen
        if seen:
            for name in seen.intersection(below.leaves):
                self._count(len(below.leaves[name]))
            for name in seen.intersection(below.parents):
                self._count(len(below.parents[name][1]))
            for name in seen.intersection(below.made):
                self._count(below.made[name].size)
        seen.update(below.leaves)
        seen.update(below.parents)
        seen.update(below.made)

    def _again(self, name: Any) -> Any:
        """Decode an object that a value holds twice, and count what that takes."""
        item = self._load([name])[0]
        self._count(len(item.payload))
        gather, self._gather = self._gather, None
        try:
            return self._walk(_Child(name, item))[0]
        finally:
            self._gather = gather

    def _visit(self, child: _Child) -> _Visit:
        """Load what an object links to, and decode at once what of that links no further.

        They are the messages of a list, the chunks of a text: one call of the library instead of
        one each saves more than half the time of a restore.
        """
        links = child.item.links
        if not links:
            return _Visit(child, [])
        again = self._seen.intersection(links)
        self._seen.update(links)
        children = [_Child(name, item) for name, item in zip(links, self._load(links), strict=True)]
        if not (self._in_string or child.item.payload.startswith(NODE_HEAD)):
            for below in children:
                below.later = below.item.payload.startswith(_BYTES_HEAD)
        for repeated in children if again else ():
            if repeated.name in again:
                self._count(len(repeated.item.payload))
        visit = _Visit(child, children)
        last = [child for child in children if not child.item.links]
        if len(last) > 1:
            payloads = [child.item.payload for child in last]
            outer, self._children = self._children, []
            try:
                values = loads_all(payloads, self._decoders, depth=SHALLOW)
            except (RecursionError, CorruptObjectError):
                return visit  # one by one, so that the error is about the right one
            finally:
                self._children = outer
            for decoded, value in zip(last, values, strict=True):
                decoded.values.append(value)
            if not ATOMS.issuperset(map(type, values)):
                visit.depth = SHALLOW
        return visit

    def _read(self, visit: _Visit) -> tuple[Any, int]:
        """Decode an object whose links are decoded; ``RecursionError`` if it is not shallow."""
        payload = visit.child.item.payload
        if visit.child.name in self._deep:
            levels, depth = DEEPEST_CBOR, MAX_DEPTH + 1
        elif payload.startswith(NODE_HEAD):
            levels, depth = _NODE_LEVELS, 0
        else:
            levels, depth = SHALLOW, SHALLOW
        outer, self._children = self._children, visit.children
        try:
            value = loads(payload, self._decoders, depth=levels)
        finally:
            self._children = outer
        return value, 0 if type(value) in ATOMS else depth + visit.depth

    def _link(self, index: Any, _immutable: bool) -> Any:
        children = self._children
        if type(index) is not int or not 0 <= index < len(children):
            raise CorruptObjectError("a payload refers to a link that its object does not have")
        child = children[index]
        if child.values:
            return child.values.pop()
        if child.later:
            child.later = False
            self._in_string = True
            try:
                return self._walk(child)[0]
            finally:
                self._in_string = False
        # A link that occurs twice gives two values: what is changed in one must not show in both.
        self._count(len(child.item.payload))
        return self._walk(child)[0]

    def _count(self, size: int) -> None:
        self._repeated += size + REPEAT_COST
        if self._repeated > MAX_VALUE_BYTES:
            raise LimitError(
                f"the stored value repeats itself over more than {MAX_VALUE_BYTES} bytes"
            )


def _linking(decoder: Decoder) -> TagDecoder:
    """Return what decodes links, without keeping the decoder alive.

    A bound method would: then a decoder, and with it what its keeper knows of a restored value,
    stays in memory until Python's garbage collector next looks at everything.
    """
    held = ref(decoder)

    def link(index: Any, immutable: bool) -> Any:
        alive = held()
        assert alive is not None, "a decoder decodes while somebody has it"
        return alive._link(index, immutable)

    return link


class _Child:
    """A linked object, and its value if that was decoded and not used yet.

    ``later``: it is part of a long text or byte string, and read when that is put together. Else
    the bytes of all long texts in a list would be in memory before the first of them is a text.
    """

    __slots__ = ("item", "later", "name", "values")

    def __init__(self, name: Any, item: StoredObject) -> None:
        self.name = name
        self.item = item
        self.later = False
        self.values: list[Any] = []


class _Visit:
    """An object whose links are being decoded, and how deep the deepest of them nests."""

    __slots__ = ("at", "child", "children", "depth")

    def __init__(self, child: _Child, children: list[_Child]) -> None:
        self.child = child
        self.children = children
        self.at = 0
        self.depth = 0

    def next_child(self) -> _Child | None:
        """Return the next linked object without a value."""
        while self.at < len(self.children):
            child = self.children[self.at]
            if not child.values and not child.later:
                return child
            self.at += 1
        return None
