"""From Python values to objects: exact types, context-free, or a loud error naming the path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import cbor2

from cas.errors import HiveError, InvalidInputError, LimitError
from manifests.arrays import encode_array, is_array
from manifests.cbor import (
    ARRAY,
    BYTEARRAY,
    FROZENSET,
    NULL,
    REGISTERED,
    SCALAR,
    SET,
    TUPLE,
    array_head,
    bytes_head,
    encode_int,
    encode_text,
    tag_head,
)
from manifests.entries import refuse_twins
from manifests.flat import are_texts, flat_dict
from manifests.incremental import Memory
from manifests.layout import Layout, whole_dict
from manifests.parameters import TreeParameters
from manifests.paths import Field, Step, path_text
from manifests.pieces import (
    MAX_VALUE_BYTES,
    Linked,
    Piece,
    PieceSink,
    join,
    logical_size,
)
from manifests.registry import Registry, TypeEntry
from manifests.scalars import SCALAR_TYPES, TEXT, encode_scalar
from manifests.segments import LEAST_ITEMS, LEAST_LIST_ITEMS
from manifests.trees import TreeBuilder, TreeCache
from manifests.unregistered import UnregisteredValue

__all__ = ["MAX_DEPTH", "MAX_KEY_BYTES", "Encoder"]

MAX_DEPTH: Final = 100
"""Deepest nesting of containers in a state (inclusive), the same for writing and reading."""
MAX_KEY_BYTES: Final = 65_536
"""Longest encoded key of a dict (inclusive)."""

_LONG_KEY: Final = f"a key is longer than {MAX_KEY_BYTES} bytes"
_FALSE: Final = b"\xf4"
_TRUE: Final = b"\xf5"


class Encoder:
    """Encodes values into a sink's objects. One instance serves one commit."""

    def __init__(
        self,
        registry: Registry,
        parameters: TreeParameters,
        sink: PieceSink,
        *,
        root: str = "state",
        memory: Memory | None = None,
    ) -> None:
        """Encode with these classes and sizes.

        ``root`` is what errors call the whole value. ``memory`` remembers the last encoding of
        the value, so that only what changed is encoded.
        """
        self._registry = registry
        self._parameters = parameters
        self._sink = sink
        self._trees = TreeBuilder(parameters, sink)
        self._layout = Layout(parameters, sink, self._trees)
        self._flat_bytes = min(parameters.whole_dict, parameters.whole_text, parameters.run_bytes)
        self._name = root
        self._memory = memory
        self.steps: list[Step] = []
        self.deepest = MAX_DEPTH  # less, where the value is to stand in other containers
        self._parents: list[Any] = []
        self._in_key = 0

    def state(self, value: Any) -> Piece:
        """Encode the root of a state.

        Its fields are kept apart more eagerly than those of inner dicts: they change one by one,
        and what stands inside the root is written again by every checkpoint.
        """
        return self._guarded(self._root, value)

    def value(self, value: Any) -> Piece:
        """Encode any other value.

        Raises ``InvalidInputError`` for what cannot be stored and ``LimitError`` for what is too
        deep or too large, both naming the place.
        """
        return self._guarded(self._value, value)

    def field(self, name: str, value: Any) -> Piece:
        """Encode a value as if it stood under a key of the root, where a redaction may find it."""
        return self._guarded(lambda value: self.child(name, value), value)

    def key(self, value: Any) -> bytes:
        """Encode a key of a dict: the bytes by which large dicts are sorted."""
        piece = self._guarded(self._key, value)
        assert isinstance(piece, bytes)
        return piece

    def _guarded(self, encode: Callable[[Any], Piece], value: Any) -> Piece:
        self.steps.clear()
        self._parents.clear()
        self._in_key = 0
        try:
            piece = encode(value)
            if logical_size(piece) > MAX_VALUE_BYTES:
                raise LimitError(f"the value is larger than {MAX_VALUE_BYTES} bytes")
            return piece
        except (InvalidInputError, LimitError) as error:
            if error.path is not None:
                raise
            raise type(error)(str(error), path=path_text(self.steps, self._name)) from error
        except HiveError:
            raise
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                "the text has a lone surrogate, which UTF-8 cannot express",
                path=path_text(self.steps, self._name),
            ) from error
        except MemoryError:
            raise
        except Exception as error:
            # A property or ``to_fields`` of the user's that fails, a dict changed by a thread.
            raise InvalidInputError(
                f"the value could not be encoded ({type(error).__name__})",
                path=path_text(self.steps, self._name),
            ) from error

    def _root(self, value: Any) -> Piece:
        if type(value) is dict:
            self._enter(value)
            return self._dict(value, root=True)
        if type(value) is UnregisteredValue or self._registry.entry_of(type(value)) is not None:
            self._enter(value)
            return self._registered(value, root=True)
        return self._value(value)

    def _value(self, value: Any) -> Piece:
        cls = type(value)
        direct = _DIRECT.get(cls)
        if direct is not None:
            return direct(value)
        leaf = _LEAVES.get(cls)
        if leaf is not None:
            return leaf(self, value)
        if cls in SCALAR_TYPES:
            return tag_head(SCALAR) + cbor2.dumps(encode_scalar(value))
        if is_array(value):
            return self._array(value)
        self._enter(value)
        piece = _CONTAINERS.get(cls, Encoder._registered)(self, value)
        self._parents.pop()
        return piece

    def _enter(self, container: Any) -> None:
        self._parents.append(container)
        if self._memory is not None:
            entry = self._registry.entry_of(type(container))
            self._memory.note(container, entry, in_key=bool(self._in_key))
        if len(self._parents) > self.deepest:
            seen: set[int] = set()
            for depth, parent in enumerate(self._parents):
                if id(parent) in seen:
                    del self.steps[depth:]
                    raise InvalidInputError("the value contains itself; a state is a tree")
                seen.add(id(parent))
            raise LimitError(f"nested deeper than {self.deepest} containers")

    def child(self, step: Step, value: Any) -> Piece:
        """Encode an item of the container that is being encoded."""
        self.steps.append(step)
        piece = self._value(value)
        self.steps.pop()
        return piece

    # Texts and byte strings

    def _text(self, text: str) -> Piece:
        data = encode_text(text)
        if len(data) <= self._parameters.whole_text or self._in_key:
            return data
        head = tag_head(SCALAR) + array_head(2) + encode_int(TEXT)
        return join(head, [self._trees.bytes_node(text.encode())])

    def _bytes(self, data: bytes | memoryview) -> Piece:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size <= self._parameters.whole_text or self._in_key:
            return bytes_head(size) + bytes(data)
        return self._trees.bytes_node(data)

    def _bytearray(self, data: bytearray) -> Piece:
        if self._memory is not None:
            self._memory.note_unwatchable()
        if len(data) <= self._parameters.whole_text:
            return join(tag_head(BYTEARRAY), [self._bytes(bytes(data))])
        return join(tag_head(BYTEARRAY), [self._bytes(memoryview(data))])

    def _array(self, value: Any) -> Piece:
        if self._in_key:  # what has a hash does not change
            if value.dtype.names is not None:
                # Read-only ones have a hash; the one that is read can be written to, and has none.
                raise InvalidInputError(
                    "a structured numpy scalar cannot be a key: use its tuple, value.item()"
                )
        elif self._memory is not None:
            self._memory.note_unwatchable()
        (form, shape, fortran), data = encode_array(value)
        head = tag_head(ARRAY) + array_head(4) + cbor2.dumps(form) + cbor2.dumps(shape)
        return join(head + (_TRUE if fortran else _FALSE), [self._bytes(data)])

    # Sequences and sets

    def _list(self, items: Sequence[Any]) -> Piece:
        if self._memory is not None and len(items) >= LEAST_LIST_ITEMS and not self._in_key:
            node, edits = self._memory.sequence(self, items)
            if len(items) <= self._parameters.short_items:
                node.tree = TreeCache()  # what it holds is of a list before this one
                return join(array_head(len(items)), node.pieces)
            return self._trees.list_node(node.pieces, node.tokens, node.sizes, node.tree, edits)
        pieces = []
        for index, item in enumerate(items):
            pieces.append(self.child(index, item))
        return self._run(pieces)

    def item_of_list(self, piece: Piece) -> tuple[Piece, bytes, int]:
        """Return the placed piece of a list item, its token and its size."""
        return self._layout.item(piece)

    def _run(self, pieces: Sequence[Piece]) -> Piece:
        """Return the list of already encoded items."""
        return join(array_head(len(pieces)), pieces) if self._in_key else self._layout.run(pieces)

    def _tuple(self, items: tuple[Any, ...]) -> Piece:
        return join(tag_head(TUPLE), [self._list(items)])

    def _set(self, items: set[Any]) -> Piece:
        return join(tag_head(SET), [self._members(items)])

    def _frozenset(self, items: frozenset[Any]) -> Piece:
        return join(tag_head(FROZENSET), [self._members(items)])

    def _members(self, items: set[Any] | frozenset[Any]) -> Piece:
        return self._run(self._sorted_members(items))

    def _sorted_members(self, items: set[Any] | frozenset[Any]) -> list[bytes]:
        # Sorted by their bytes: a set has no order, and Python's differs from process to process.
        members = sorted(self._key(item) for item in items)
        refuse_twins(members)
        return members

    # Dicts and registered types

    def _key(self, key: Any) -> bytes:
        """Encode a key of a dict or a member of a set: always in one piece."""
        self._in_key += 1
        place = len(self.steps)
        try:
            piece = self._value(key)
        except Exception:
            # The place is the dict's: steps inside the key would read as the way to a value.
            del self.steps[place:]
            raise
        self._in_key -= 1
        if isinstance(piece, Linked):
            raise LimitError(_LONG_KEY)
        _refuse_long(piece)
        return piece

    def _dict(self, items: dict[Any, Any], *, root: bool = False) -> Piece:
        return self._mapping(items, items, list(items), root=root)

    def _mapping(
        self,
        container: Any,
        items: dict[Any, Any],
        steps: Sequence[Step],
        *,
        root: bool,
    ) -> Piece:
        """Encode a dict, or the fields of a registered value, which is then the container."""
        memory = self._memory
        # A registered value is watched by its attributes; only as the root has it a node.
        remembered = root or (container is items and len(items) >= LEAST_ITEMS)
        if memory is None or self._in_key or not remembered:
            texts = are_texts(items)
            if texts and not root and (piece := self._flat(items)) is not None:
                return piece
            keys, values = [], []
            for key, step, value in zip(items, steps, items.values(), strict=True):
                keys.append(encode_text(key) if texts else self._key(key))
                values.append(self.child(step, value))
            self._check_keys(keys, texts=texts)
            if self._in_key:
                return whole_dict(keys, values, texts=texts)
            return self._layout.entries(keys, values, texts=texts, root=root)
        node, changes = memory.mapping(self, container, items, steps, root=root)
        if changes.of_keys:
            added = chain.from_iterable(
                [node.keys[edit.start : edit.stop] for edit in changes.of_keys]
            )
            node.texts = are_texts(added if node.texts else items)
            if not node.texts:
                refuse_twins(node.encoded_keys)
        return self._layout.remembered_entries(node, changes, root=root)

    def _flat(self, items: dict[str, Any]) -> bytes | None:
        """Encode a dict whose values certainly all stay inside it, if they are plain."""
        if len(items) > self._parameters.short_items:
            return None
        return flat_dict(items, self._flat_bytes)

    def key_of_dict(self, key: Any) -> bytes:
        """Encode a key of a dict."""
        if type(key) is not str:
            return self._key(key)
        data = encode_text(key)
        _refuse_long(data)
        return data

    def _check_keys(self, keys: Sequence[bytes], *, texts: bool) -> None:
        if not texts:
            refuse_twins(keys)
        elif keys:
            _refuse_long(max(keys, key=len))

    def _registered(self, value: Any, *, root: bool = False) -> Piece:
        if type(value) is UnregisteredValue:
            name, version = value.name, value.version
            if type(name) is not str or type(version) is not int or version < 1:
                raise InvalidInputError(
                    "an UnregisteredValue has a text as its name and a version of 1 or more"
                )
            return self._named(value, name, version, self._fields(value, None), root=root)
        cls = type(value)
        entry = self._registry.entry_of(cls)
        if entry is None:
            raise self._registry.refusal_of(cls)
        return self._named(value, entry.name, entry.version, self._fields(value, entry), root=root)

    def _fields(self, value: Any, entry: TypeEntry | None) -> Any:
        """Return what is stored of a value of a registered class, or of no known one."""
        return value.fields if entry is None else entry.to_fields(value)

    def _named(
        self, value: Any, name: str, version: int, fields: Any, *, root: bool = False
    ) -> Piece:
        """Tag REGISTERED on [name, version, fields]."""
        if type(fields) is dict and are_texts(fields):
            steps = [Field(key) for key in fields]
            piece = self._mapping(value, fields, steps, root=root)
        else:
            piece = self._value(fields)
        head = tag_head(REGISTERED) + array_head(3) + encode_text(name) + encode_int(version)
        return join(head, [piece])


def _refuse_long(key: bytes) -> None:
    if len(key) > MAX_KEY_BYTES:
        raise LimitError(_LONG_KEY)


_DIRECT: Final[dict[type, Callable[[Any], Piece]]] = {
    type(None): lambda _value: NULL,
    bool: lambda value: _TRUE if value else _FALSE,
    int: encode_int,
    float: cbor2.dumps,
}

_LEAVES: Final[dict[type, Callable[[Encoder, Any], Piece]]] = {
    str: Encoder._text,
    bytes: Encoder._bytes,
    bytearray: Encoder._bytearray,
}

_CONTAINERS: Final[dict[type, Callable[[Encoder, Any], Piece]]] = {
    list: Encoder._list,
    tuple: Encoder._tuple,
    set: Encoder._set,
    frozenset: Encoder._frozenset,
    dict: Encoder._dict,
}
