"""The serializer for what no codec knows: LangGraph's own, held to a strict reading.

``JsonPlusSerializer`` imports and calls what stored bytes name unless an allowlist forbids it, and
returns None for some of what it cannot rebuild. Here there always is an allowlist, the constructors
in JSON records are looked up in a fixed table, pickles are refused, and a failure is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import ormsgpack
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    JsonPlusSerializer,
)

from hive.errors import InvalidInputError

__all__ = [
    "OF_CLASSES",
    "StrictSerializer",
    "allows",
    "allows_name",
    "current_serializer",
    "serializer_for",
    "serving",
    "unpacked",
]

OF_CLASSES: Final = frozenset(
    (
        EXT_CONSTRUCTOR_SINGLE_ARG,
        EXT_CONSTRUCTOR_POS_ARGS,
        EXT_CONSTRUCTOR_KW_ARGS,
        EXT_METHOD_SINGLE_ARG,
        EXT_PYDANTIC_V1,
        EXT_PYDANTIC_V2,
    )
)
"""Records that begin with the module and the name of a class.

Their data may be None: what a refused constructor would have been given.
"""
_NESTING: Final = OF_CLASSES | {EXT_DELTA_SNAPSHOT}
"""Records that have others in them."""
_LEAST_PARTS: Final = 3

_CURRENT: ContextVar[SerializerProtocol] = ContextVar("hive-langgraph-serializer")


@contextmanager
def serving(serializer: SerializerProtocol) -> Iterator[None]:
    """Let the codecs of this thread use a serializer for what they do not know.

    Savers that were cloned with another allowlist share one store and its codecs.
    """
    token = _CURRENT.set(serializer)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_serializer() -> SerializerProtocol | None:
    """Return the serializer that this thread serves; None outside of a saver's own methods."""
    return _CURRENT.get(None)


class StrictSerializer(JsonPlusSerializer):
    """Reads no more than LangGraph's list of safe types, and what the application added to it.

    ``constructors`` are the classes that old JSON records may name, by their last name.
    """

    def __init__(self, constructors: Mapping[str, Callable[..., Any]] | None = None) -> None:
        super().__init__(allowed_msgpack_modules=None)
        self._constructors = dict(constructors or {})

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return a value; an error where it cannot be rebuilt, never a call that bytes ask for.

        Raises:
            InvalidInputError: The bytes are a pickle, of an unknown kind, or damaged.
        """
        kind, content = data
        try:
            if kind == "msgpack":
                return unpacked(content, self._extension)
            if kind == "json":
                return json.loads(content, object_hook=self._record)
            if kind in ("null", "bytes", "bytearray"):
                return super().loads_typed(data)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInputError(f"a value of kind {kind!r} cannot be read: {error}") from error
        raise InvalidInputError(f"a value of kind {kind!r} is not read: reading it could run code")

    def _extension(self, code: int, content: bytes) -> Any:
        holds_none = code in _NESTING and self._look(code, content)
        value = self._unpack_ext_hook(code, content)
        if value is None and not holds_none:
            raise ValueError(f"an extension record of type {code} could not be rebuilt")
        return value

    def _look(self, code: int, content: bytes) -> bool:
        """Refuse a record in which something cannot be rebuilt: LangGraph makes None of it.

        No class is called for that: in a deep record it would be once for each level. Returns
        whether the record's data is None itself.
        """
        if code not in _NESTING:
            self._extension(code, content)
            return False
        # One frame for each level, as LangGraph has it: no record is too deep for this alone.
        parts = ormsgpack.unpackb(content, ext_hook=self._look, option=ormsgpack.OPT_NON_STR_KEYS)
        if code == EXT_DELTA_SNAPSHOT:
            return False
        if not isinstance(parts, list) or len(parts) < _LEAST_PARTS:
            raise ValueError(f"an extension record of type {code} is cut off")
        return parts[2] is None

    def _record(self, record: dict[str, Any]) -> Any:
        """Return the message that a record describes; any other record as it stands."""
        name = (record.get("id") or [None])[-1] if isinstance(record.get("id"), list) else None
        make = self._constructors.get(name) if isinstance(name, str) else None
        fields = record.get("kwargs")
        if record.get("type") != "constructor" or make is None or not isinstance(fields, dict):
            return record
        return make(**fields)


def unpacked(content: bytes, hook: Callable[[int, bytes], Any]) -> Any:
    """Return what msgpack bytes hold; ``hook`` makes the values of extension records."""
    return ormsgpack.unpackb(content, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS)


def serializer_for(
    given: SerializerProtocol | None,
    types: Iterable[type],
    constructors: Mapping[str, Callable[..., Any]],
) -> SerializerProtocol:
    """Return the serializer of a saver: the given one, or a strict one, that reads some classes.

    What was stored before a class was named, or came from another saver, is read as that class.

    Raises:
        InvalidInputError: It is none, or would only seem to protect what is stored.
    """
    if isinstance(given, EncryptedSerializer):
        raise InvalidInputError(
            "HiveSaver cannot encrypt: it hands a serializer only what no codec knows, so messages "
            "and plain data would be stored readably. Keep the store on an encrypted disk and omit "
            "serde=, or redact what is secret (docs/security.md)"
        )
    serializer = StrictSerializer(constructors) if given is None else given
    if not _is_serializer(serializer):
        raise InvalidInputError(
            "serde is a serializer, with the methods dumps_typed and loads_typed, or None: not "
            f"{serializer!r}"
        )
    if isinstance(serializer, JsonPlusSerializer):
        return serializer.with_msgpack_allowlist(types)
    return serializer


def _is_serializer(given: object) -> bool:
    # LangGraph's base class also takes what has only the older pair of methods.
    pairs = ("dumps_typed", "loads_typed"), ("dumps", "loads")
    return not isinstance(given, type) and any(
        all(callable(getattr(given, name, None)) for name in pair) for pair in pairs
    )


def allows(serializer: JsonPlusSerializer, cls: type) -> bool:
    """Whether a serializer gives values of a class back as they are, rather than as plain data."""
    return allows_name(serializer, cls.__module__, cls.__name__)


def allows_name(serializer: JsonPlusSerializer, module: str, name: str) -> bool:
    """Whether a serializer gives back what is stored under these names of a module and a class."""
    allowed = serializer._allowed_msgpack_modules
    if allowed is True or (module, name) in SAFE_MSGPACK_TYPES:
        return True
    return isinstance(allowed, set) and (module, name) in allowed
