"""How values of LangChain and LangGraph are stored: by name, as data, never by running anything.

A message is a registered type with its fields side by side, so that each is an object of its own,
long results and images inside are split, and messages are shared between checkpoints and threads.
Fields that have their default are left out: a message has nine, and mostly two say something.
"""

from __future__ import annotations

import ipaddress
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import pydantic
from langchain_core import messages
from langchain_core.documents import Document
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.store.base import Item
from langgraph.types import (
    Command,
    Interrupt,
    Overwrite,
    PregelTask,
    Send,
    StateSnapshot,
    TimeoutPolicy,
)

from hive.adapters.langgraph.serializer import (
    StrictSerializer,
    current_serializer,
)
from hive.adapters.langgraph.strangers import remedy, warn_of_strangers
from hive.errors import HiveError, InvalidInputError
from manifests import Registry
from manifests.parts import Apart, Instead, Items, Structure
from manifests.registry import TypeEntry

__all__ = ["MESSAGES", "OPAQUE", "Opaque", "ThreadRegistry", "named_types"]

MESSAGES: Final = {
    cls.__name__: cls
    for cls in (
        messages.AIMessage,
        messages.AIMessageChunk,
        messages.ChatMessage,
        messages.ChatMessageChunk,
        messages.FunctionMessage,
        messages.FunctionMessageChunk,
        messages.HumanMessage,
        messages.HumanMessageChunk,
        messages.RemoveMessage,
        messages.SystemMessage,
        messages.SystemMessageChunk,
        messages.ToolMessage,
        messages.ToolMessageChunk,
        Document,
    )
}
"""LangChain's models, by name."""
_STRICT: Final = StrictSerializer(MESSAGES)
"""For whoever uses a saver's repository directly."""
OPAQUE: Final = "langgraph.opaque"
"""The name under which bytes of LangGraph's serializer are stored."""

_DETAIL: Final = ""
"""What a model has besides its fields stands under a name that no field can have."""
_SHARED_TEXT: Final = 200
"""A longer text of a message stands in a tuple, whose items are objects of their own. A message
that a node returns has no id, the same message in the state has: so both share the text."""
_ADDRESSES: Final = (
    ipaddress.IPv4Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Address,
    ipaddress.IPv6Interface,
    ipaddress.IPv6Network,
)


class Opaque:
    """A value whose bytes LangGraph's serializer made already."""

    __slots__ = ("data", "kind")

    def __init__(self, kind: str, data: bytes) -> None:
        self.kind = kind
        self.data = data


class ThreadRegistry(Registry):
    """All that LangGraph's serializer knows, as data; what nobody knows, as its opaque bytes.

    ``types`` are classes of the application (dataclasses, named tuples, enums, pydantic models),
    or such classes under names of their own, which then survive that the class is renamed.
    """

    def __init__(self, types: Iterable[type[Any]] | Mapping[str, type[Any]] = ()) -> None:
        super().__init__()
        for cls in MESSAGES.values():
            to_fields, from_fields = _model_functions(cls)
            self.register(
                cls,
                name=f"langchain.{cls.__name__}",
                to_fields=to_fields,
                from_fields=from_fields,
                content="model",
                to_parts=partial(_parts, to_fields=to_fields, text=_text_of(cls)),
            )
        for plain in (Command, Interrupt, Overwrite, TimeoutPolicy, PregelTask, StateSnapshot):
            self.register(plain, name=f"langgraph.{plain.__name__}")
        self.register(_DeltaSnapshot, name="langgraph.DeltaSnapshot")
        for slotted in (Send, Item):
            to_fields, from_fields = _slot_functions(slotted)
            name = f"langgraph.{slotted.__name__}"
            self.register(slotted, name=name, to_fields=to_fields, from_fields=from_fields)
        self._register_python()
        for name, cls in named_types(types).items():
            self.register(cls, name=name)
        self._opaque = TypeEntry(
            object, OPAQUE, 1, _dumped, _loaded, {}, "unknown", to_parts=_laid_open
        )

    def _register_python(self) -> None:
        self.register(
            deque,
            name="python.deque",
            to_fields=lambda value: [list(value), value.maxlen],
            from_fields=lambda fields: deque(fields[0], fields[1]),
            to_parts=lambda value: [Items(list(value)), Structure(value.maxlen)],
        )
        self.register(
            re.Pattern,
            name="python.Pattern",
            to_fields=lambda value: [value.pattern, value.flags],
            from_fields=lambda fields: re.compile(fields[0], fields[1]),
            to_parts=lambda value: [Structure(value.pattern), Structure(value.flags)],
        )
        for cls in _ADDRESSES:
            self.register(cls, name=f"python.{cls.__name__}", to_fields=str, from_fields=cls)

    def entry_of(self, cls: type) -> TypeEntry | None:
        """Return how a class is written: by its codec, or else by LangGraph's serializer."""
        return super().entry_of(cls) or self._opaque

    def reader(self, name: str, version: int) -> Callable[[Any], Any]:
        """Return what makes values of the fields stored under a name.

        Raises:
            InvalidInputError: This saver does not know its class.
        """
        if name == OPAQUE:
            return self._opaque.reader(version)
        entry = self._by_name.get(name)
        if entry is None or version > entry.version:
            raise InvalidInputError(
                f"a value of type {name!r} is stored, which this saver was not told of: pass its "
                "class in HiveSaver(types=...)"
            )
        return entry.reader(version)


def named_types(types: Iterable[type[Any]] | Mapping[str, type[Any]]) -> dict[str, type[Any]]:
    """Return classes under the names that their values are stored under.

    Raises:
        InvalidInputError: They are no classes.
    """
    if not isinstance(types, Iterable):
        raise InvalidInputError("types is a list of classes, or a mapping of names to them")
    return dict(types) if isinstance(types, Mapping) else {_name_of(cls): cls for cls in types}


def _name_of(cls: type) -> str:
    if not isinstance(cls, type):
        raise InvalidInputError(f"types lists classes, and {cls!r} is none")
    return f"{cls.__module__}.{cls.__qualname__}"


def _dumped(value: Any) -> list[Any]:
    if isinstance(value, Opaque):
        return [value.kind, value.data]
    return _written(value)[0]


def _written(value: Any) -> tuple[list[Any], Any]:
    """Return what is stored of a value, and that read again."""
    serializer = current_serializer() or _STRICT
    try:
        kind, data = serializer.dumps_typed(value)
    except HiveError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"values of type {_name_of(type(value))} can be stored neither by LangGraph's "
            f"serializer ({type(error).__name__}: {error}) nor by a codec: "
            f"{remedy([type(value)])}"
        ) from error
    try:
        # It writes some that it cannot read, such as arrays of objects. The thread would be lost.
        again = _load_with(serializer, kind, bytes(data))
    except HiveError as error:
        raise InvalidInputError(
            f"values of type {_name_of(type(value))} cannot be stored, since LangGraph's "
            f"serializer could not read this one again ({error}): {remedy([type(value)])}"
        ) from error
    if isinstance(serializer, JsonPlusSerializer):
        warn_of_strangers(value, serializer)
    return [kind, bytes(data)], again


def _laid_open(value: Any) -> Any:
    """Return what can be redacted of a value that only LangGraph's serializer knows.

    No rule finds anything in its bytes. Mostly it comes back as plain data: then that is stored.
    """
    if isinstance(value, Opaque):
        return [*map(Structure, _dumped(value))]
    written, again = _written(value)
    return [*map(Structure, written)] if type(again) is type(value) else Instead(again)


def _loaded(fields: Any) -> Any:
    match fields:
        case [str(kind), bytes(data)]:
            return _load_with(current_serializer() or _STRICT, kind, data)
    raise InvalidInputError("bytes of LangGraph's serializer should be stored there, and are not")


def _load_with(serializer: SerializerProtocol, kind: str, data: bytes) -> Any:
    try:
        return serializer.loads_typed((kind, data))
    except HiveError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"LangGraph's serializer cannot read a value of kind {kind!r} "
            f"({type(error).__name__}: {error})"
        ) from error


def _slot_functions(cls: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    names = tuple(getattr(cls, "__slots__", ()))

    def to_fields(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in names}

    def from_fields(fields: dict[str, Any]) -> Any:
        if unknown := fields.keys() - set(names):
            raise ValueError(f"unknown fields {sorted(unknown)}")
        value: Any = object.__new__(cls)
        for name in names:
            object.__setattr__(value, name, fields.get(name))
        return value

    return to_fields, from_fields


def _text_of(cls: type[pydantic.BaseModel]) -> str:
    return "page_content" if "page_content" in cls.model_fields else "content"


def _parts(model: Any, to_fields: Callable[[Any], dict[str, Any]], text: str) -> dict[str, Any]:
    """Return the fields of a message as a redaction may find them."""
    stored = to_fields(model)
    if _DETAIL in stored:
        stored[_DETAIL] = Structure(stored[_DETAIL])
    if type(stored.get(text)) is tuple:
        stored[text] = Apart(stored[text][0])
    return stored


def _model_functions(
    cls: type[pydantic.BaseModel],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return a codec that leaves out fields which have their default, and runs no validator."""
    plain: dict[str, Any] = {}
    made: dict[str, Callable[[], Any]] = {}
    for name, info in cls.model_fields.items():
        if info.default_factory in (list, dict):
            made[name] = info.default_factory
        elif not info.is_required() and isinstance(info.default, str | None):
            plain[name] = info.default
    names = frozenset(cls.model_fields)
    required = names - plain.keys() - made.keys()
    # In the declared order, which is that of a model's attributes; every value is set below.
    template = {name: plain.get(name) for name in cls.model_fields}
    count, factories = len(names), tuple(made.items())
    text = _text_of(cls)

    def to_fields(model: pydantic.BaseModel) -> dict[str, Any]:
        stored: dict[str, Any] = {}
        for name, value in model.__dict__.items():
            kind = type(value)
            if name in plain:
                default = plain[name]
                if value is default or (kind is str and value == default):
                    continue
            elif name in made:
                if not value and kind is made[name]:
                    continue
            elif name not in names:
                raise InvalidInputError(
                    f"the attribute {name!r} of {cls.__name__} is no field and would be lost"
                )
            elif name == text and (kind is tuple or (kind is str and len(value) > _SHARED_TEXT)):
                value = (value,)
            stored[name] = value
        held = model.__pydantic_fields_set__
        extra, private = model.__pydantic_extra__ or {}, model.__pydantic_private__ or {}
        if held != stored.keys() or extra or private:
            detail = [sorted(held), list(extra), list(private)]
            entries = 1 + len(stored) + len(extra) + len(private)
            stored = {_DETAIL: detail, **stored, **extra, **private}
            if len(stored) != entries:
                raise InvalidInputError(
                    f"an extra attribute of {cls.__name__} has the name of another one"
                )
        return stored

    allows_extra = cls.model_config.get("extra") == "allow"
    has_private = bool(cls.__private_attributes__)
    new, put = object.__new__, object.__setattr__

    def from_fields(fields: dict[str, Any]) -> Any:
        extra: dict[str, Any] = {}
        private: dict[str, Any] = {}
        if _DETAIL not in fields:
            held = set(fields)
        else:
            detail = fields.pop(_DETAIL)
            held = set(detail[0])
            extra = {name: fields.pop(name) for name in detail[1]}
            private = {name: fields.pop(name) for name in detail[2]}
        content = {**template, **fields}
        if len(content) != count or not required <= fields.keys():
            raise ValueError(f"the fields of {cls.__name__} are {sorted(names)}")
        whole = fields.get(text)
        if type(whole) is tuple:
            content[text] = whole[0]
        for name, make in factories:
            if name not in fields:
                content[name] = make()
        model: Any = new(cls)
        put(model, "__dict__", content)
        put(model, "__pydantic_fields_set__", held)
        put(model, "__pydantic_extra__", extra if allows_extra else None)
        put(model, "__pydantic_private__", private if has_private else None)
        return model

    return to_fields, from_fields
