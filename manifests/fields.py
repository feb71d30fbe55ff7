"""What is stored of a value of a class, and how a value is made of that again.

Enums, dataclasses, named tuples and pydantic models say themselves what they consist of. Whatever
would not come back is refused when it is saved.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import types
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any, Final, Literal

import pydantic
from pydantic_core import PydanticUndefined

from cas.errors import InvalidInputError
from manifests.parts import Structure

__all__ = ["Content", "FromFields", "ToFields", "functions_for", "parts_for"]

ToFields = Callable[[Any], Any]
FromFields = Callable[[Any], Any]

Content = Literal["constant", "attributes", "model", "unknown"]
"""What can change in a value without the value becoming another object: nothing (enums), its
``__dict__`` (dataclasses), a model's ``__dict__`` and set of fields, or nobody knows what."""

_DETAIL: Final = ""
"""What a model has besides its fields stands under a name that no field can have."""


def functions_for(cls: type) -> tuple[ToFields, FromFields, Content]:
    """Return how values of a class become fields, how these become values, and what can change.

    ``InvalidInputError`` for a class that does not say what its values consist of.
    """
    if issubclass(cls, enum.Enum):
        return *_enum_functions(cls), "constant"
    if issubclass(cls, pydantic.BaseModel):
        return *_model_functions(cls), "unknown" if _slots_beside(cls, ()) else "model"
    if dataclasses.is_dataclass(cls):
        return *_dataclass_functions(cls), _content_of_dataclass(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return *_tuple_functions(cls), "unknown" if cls.__dictoffset__ else "constant"
    raise InvalidInputError(
        f"{cls.__qualname__} is no enum, dataclass, named tuple or pydantic model: register it "
        "with to_fields and from_fields"
    )


def parts_for(cls: type, to_fields: ToFields) -> ToFields:
    """Return how values of a class become fields where something is redacted."""
    if issubclass(cls, enum.Enum):
        # A member has no parts.
        return lambda member: _whole(to_fields(member))
    if issubclass(cls, pydantic.BaseModel):
        return lambda model: _with_detail_marked(to_fields(model))
    return to_fields


def _whole(stored: Any) -> Any:
    return [*map(Structure, stored)] if type(stored) is list else stored


def _with_detail_marked(stored: dict[str, Any]) -> dict[str, Any]:
    return {**stored, _DETAIL: Structure(stored[_DETAIL])} if _DETAIL in stored else stored


_READ_ATTRIBUTE: Final = inspect.getattr_static(object, "__getattribute__")


def _content_of_dataclass(cls: type) -> Content:
    """Return what can change in instances: unknown, if fields are kept outside ``__dict__``."""
    slots = not cls.__dictoffset__ or bool(_slots_beside(cls, ()))
    own_reading = inspect.getattr_static(cls, "__getattribute__") is not _READ_ATTRIBUTE
    # Properties and other descriptors, which may keep what they return anywhere.
    of_class = [inspect.getattr_static(cls, field.name, None) for field in dataclasses.fields(cls)]
    descriptors = any(hasattr(type(found), "__set__") for found in of_class)
    return "unknown" if slots or own_reading or descriptors else "attributes"


def _enum_functions(cls: type[enum.Enum]) -> tuple[ToFields, FromFields]:
    def to_fields(member: enum.Enum) -> Any:
        # By name where there is one: values may change, or not be encodable. A combination of
        # flags has no name of its own and is kept by value.
        return member.name if member.name in cls.__members__ else [member.value]

    def from_fields(fields: Any) -> Any:
        return cls[fields] if isinstance(fields, str) else cls(fields[0])

    return to_fields, from_fields


def _refuse_attributes(value: Any, names: frozenset[str]) -> None:
    """Refuse a value that has attributes besides its fields: they would be lost silently."""
    held = getattr(value, "__dict__", None)
    if held is None or held.keys() <= names:
        return
    for name in held.keys() - names:
        # What a cached property holds is computed again when it is asked for.
        if not isinstance(getattr(type(value), name, None), functools.cached_property):
            raise _lost_attribute(value, name)


def _slots_beside(cls: type, names: Collection[str]) -> list[str]:
    """Return the slots of a class and its bases that are no fields."""
    bases = [base for base in cls.__mro__ if base is not pydantic.BaseModel]
    return [
        name
        for name, held in chain.from_iterable(vars(base).items() for base in bases)
        if isinstance(held, types.MemberDescriptorType) and name not in names
    ]


def _refuse_slots(value: Any, names: Sequence[str]) -> None:
    """Refuse a value of which one of some slots is set."""
    for name in names:
        if hasattr(value, name):
            raise _lost_attribute(value, name)


def _lost_attribute(value: Any, name: str) -> InvalidInputError:
    return InvalidInputError(
        f"the attribute {name!r} of {type(value).__qualname__} is no field and would be lost: "
        "declare it, or register the class with to_fields and from_fields"
    )


def _complete(
    fields: dict[str, Any], names: Sequence[str], default: Callable[[str], Any]
) -> dict[str, Any]:
    """Return the fields in declared order, those that were not stored with their defaults."""
    if unknown := fields.keys() - set(names):
        raise ValueError(f"unknown fields {sorted(unknown)}")
    return {name: fields[name] if name in fields else default(name) for name in names}


def _missing(name: str) -> Any:
    raise ValueError(f"field {name} is missing")


def _tuple_functions(cls: Any) -> tuple[ToFields, FromFields]:
    names, defaults = cls._fields, cls._field_defaults
    no_names: frozenset[str] = frozenset()

    def to_fields(value: Any) -> dict[str, Any]:
        _refuse_attributes(value, no_names)
        return dict(zip(names, value, strict=True))

    def default(name: str) -> Any:
        return defaults[name] if name in defaults else _missing(name)

    def from_fields(fields: dict[str, Any]) -> Any:
        return cls._make(_complete(fields, names, default).values())

    return to_fields, from_fields


def _dataclass_functions(cls: type) -> tuple[ToFields, FromFields]:
    try:
        object.__new__(cls)
    except TypeError as error:
        raise InvalidInputError(
            f"{cls.__qualname__} extends a built-in type, whose content is in no field: register "
            "it with to_fields and from_fields"
        ) from error
    declared = {field.name: field for field in dataclasses.fields(cls)}
    names = frozenset(declared)
    slots = _slots_beside(cls, names)

    def to_fields(value: Any) -> dict[str, Any]:
        _refuse_attributes(value, names)
        _refuse_slots(value, slots)
        return {name: getattr(value, name) for name in declared}

    def default(name: str) -> Any:
        field = declared[name]
        if field.default is not dataclasses.MISSING:
            return field.default
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        return _missing(name)

    def from_fields(fields: dict[str, Any]) -> Any:
        value: Any = object.__new__(cls)
        for name, content in _complete(fields, list(declared), default).items():
            object.__setattr__(value, name, content)
        return value

    return to_fields, from_fields


def _model_functions(cls: type[pydantic.BaseModel]) -> tuple[ToFields, FromFields]:
    return _fields_of_model(cls), _model_of_fields(cls)


def _fields_of_model(cls: type[pydantic.BaseModel]) -> ToFields:
    slots = _slots_beside(cls, ())
    defaults = frozenset(
        name
        for name, attribute in cls.__private_attributes__.items()
        if attribute.default is not PydanticUndefined or attribute.default_factory is not None
    )

    def to_fields(value: pydantic.BaseModel) -> dict[str, Any]:
        names = cls.model_fields.keys()
        fields = value.__dict__
        if fields.keys() != names:
            if missing := names - fields.keys():
                raise InvalidInputError(f"the model has no value for its fields {sorted(missing)}")
            _refuse_attributes(value, frozenset(names))
            fields = {name: fields[name] for name in names}
        _refuse_slots(value, slots)
        extra, private = value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}
        if private and not cls.__private_attributes__:
            raise _lost_attribute(value, next(iter(private)))
        if not defaults <= private.keys():
            name = min(defaults - private.keys())
            raise InvalidInputError(
                f"the private attribute {name!r} of {cls.__qualname__} was deleted, and would be "
                "restored as its default: set it"
            )
        if not extra and not private and value.__pydantic_fields_set__ == names:
            return dict(fields)
        # Side by side, as attributes of the model: partial reads, redaction and errors then name
        # them as people do.
        detail = [sorted(value.__pydantic_fields_set__), list(extra), list(private)]
        stored = {_DETAIL: detail, **fields, **extra, **private}
        if len(stored) != 1 + len(fields) + len(extra) + len(private):
            raise InvalidInputError("an extra or private attribute has the name of another one")
        return stored

    return to_fields


def _model_of_fields(cls: type[pydantic.BaseModel]) -> FromFields:
    allows_extra = cls.model_config.get("extra") == "allow"

    def default(name: str) -> Any:
        info = cls.model_fields[name]
        return _missing(name) if info.is_required() else info.get_default(call_default_factory=True)

    def from_fields(stored: dict[str, Any]) -> Any:
        fields = dict(stored)
        names, extra_names, private_names = fields.pop(_DETAIL, (list(fields), (), ()))
        if not all(type(name) is str for name in (*names, *extra_names, *private_names)):
            raise ValueError("a name is no text")
        extra = {name: fields.pop(name) for name in extra_names}
        private = {name: fields.pop(name) for name in private_names}
        _add_defaults(private, cls)
        model = cls.__new__(cls)
        model.__setstate__(
            {
                "__dict__": _complete(fields, list(cls.model_fields), default),
                "__pydantic_fields_set__": set(names),
                "__pydantic_extra__": extra if extra or allows_extra else None,
                "__pydantic_private__": private if cls.__private_attributes__ else None,
            }
        )
        return model

    return from_fields


def _add_defaults(private: dict[str, Any], cls: type[pydantic.BaseModel]) -> None:
    """Add the private attributes that were not stored and have a default, as pydantic makes it."""
    for name, attribute in cls.__private_attributes__.items():
        if name not in private:
            factory: Any = attribute.default_factory
            content = attribute.get_default() if factory is None else factory()
            if content is not PydanticUndefined:
                private[name] = content
