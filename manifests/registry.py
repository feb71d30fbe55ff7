"""The type registry: which classes a store may write and read, under which names.

Stored bytes name a type; only the registry that the application filled turns the name into a
class. Nothing is ever imported or called because bytes name it. A name the registry does not know
comes back as ``UnregisteredValue``, which encodes to the same bytes again.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import pydantic

from cas.errors import InvalidInputError

__all__ = ["Registry", "TypeEntry", "UnregisteredValue"]

T = TypeVar("T")

ToFields = Callable[[Any], Any]
FromFields = Callable[[Any], Any]
Migration = Callable[[Any], Any]

Content = Literal["constant", "attributes", "model", "unknown"]
"""What can change in a value without the value becoming another object: nothing (enums), its
``__dict__`` (dataclasses), a model's ``__dict__`` and set of fields, or nobody knows what."""

_PYDANTIC_FIELDS: Final = "fields"
_PYDANTIC_SET: Final = "set"
_PYDANTIC_EXTRA: Final = "extra"
_PYDANTIC_PRIVATE: Final = "private"


@dataclass(frozen=True, slots=True)
class UnregisteredValue:
    """A stored value whose type name or version this registry does not know.

    It holds what was stored, loses nothing and encodes to the same address again.
    """

    name: str
    version: int
    fields: Any

    __hash__ = None  # type: ignore[assignment]  # fields are usually a dict


@dataclass(frozen=True, slots=True)
class TypeEntry:
    """How one registered class is written and read."""

    cls: type
    name: str
    version: int
    to_fields: ToFields
    from_fields: FromFields
    migrations: Mapping[int, Migration]
    content: Content

    def read(self, version: int, fields: Any) -> Any:
        """Return the value stored as ``fields`` by ``version`` of the class.

        Older versions pass through the migrations, one version at a time.
        """
        for step in range(version, self.version):
            migrate = self.migrations.get(step)
            if migrate is None:
                raise InvalidInputError(
                    f"{self.name!r} was stored as version {version}, the registered class is "
                    f"version {self.version}, and no migration from {step} is registered"
                )
            fields = migrate(fields)
        try:
            return self.from_fields(fields)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InvalidInputError(
                f"the stored fields of {self.name!r} do not fit the registered class: register "
                "it with a higher version and a migration"
            ) from error


class Registry:
    """The classes an application allows in its states. Fill it before the store is used."""

    def __init__(self) -> None:
        self._by_class: dict[type, TypeEntry] = {}
        self._by_name: dict[str, TypeEntry] = {}

    def register(
        self,
        cls: type[T],
        *,
        name: str | None = None,
        version: int = 1,
        to_fields: ToFields | None = None,
        from_fields: FromFields | None = None,
        migrations: Mapping[int, Migration] | None = None,
    ) -> type[T]:
        """Allow a class in states and return it, so that this also serves as a decorator.

        Enums, dataclasses, named tuples and pydantic models need nothing more. Any other class
        needs ``to_fields`` (value -> an encodable value, usually a dict) and ``from_fields`` (the
        inverse). ``name`` is what is stored, by default the class's qualified name without its
        module; give one that survives renaming. ``version`` counts changes of the fields, from 1;
        ``migrations[n]`` turns the fields of version n into those of n + 1.

        Reading a dataclass or a model sets its fields without running ``__init__`` or validators:
        what was stored comes back, not what the class would make of it today.
        """
        entry_name = cls.__qualname__ if name is None else name
        if not entry_name or version < 1:
            raise InvalidInputError("a registered type needs a name and a version of 1 or more")
        if (to_fields is None) != (from_fields is None):
            raise InvalidInputError("to_fields and from_fields are given together or not at all")
        content: Content = "unknown"
        if to_fields is None or from_fields is None:
            to_fields, from_fields, content = _functions_for(cls)
        known = self._by_name.get(entry_name)
        if known is not None and known.cls is not cls:
            raise InvalidInputError(
                f"the name {entry_name!r} is registered for another class; pass name="
            )
        entry = TypeEntry(
            cls, entry_name, version, to_fields, from_fields, migrations or {}, content
        )
        self._by_class[cls] = entry
        self._by_name[entry_name] = entry
        return cls

    def entry_of(self, cls: type) -> TypeEntry | None:
        """Return how a class is written, or None if it is not registered."""
        return self._by_class.get(cls)

    def read(self, name: str, version: int, fields: Any) -> Any:
        """Return the value stored under a name: of its class, or an ``UnregisteredValue``."""
        entry = self._by_name.get(name)
        if entry is None or version > entry.version:
            return UnregisteredValue(name, version, fields)
        return entry.read(version, fields)


def _functions_for(cls: type) -> tuple[ToFields, FromFields, Content]:
    if issubclass(cls, enum.Enum):
        return *_enum_functions(cls), "constant"
    if issubclass(cls, pydantic.BaseModel):
        return *_model_functions(cls), "model"
    if dataclasses.is_dataclass(cls):
        slots = any("__slots__" in vars(base) for base in cls.__mro__[:-1])
        return *_dataclass_functions(cls), "unknown" if slots else "attributes"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return lambda value: value._asdict(), lambda fields: cls(**fields), "constant"
    raise InvalidInputError(
        f"{cls.__qualname__} is no enum, dataclass, named tuple or pydantic model: register it "
        "with to_fields and from_fields"
    )


def _enum_functions(cls: type[enum.Enum]) -> tuple[ToFields, FromFields]:
    def to_fields(member: enum.Enum) -> Any:
        # By name where there is one: values may change, or not be encodable. A combination of
        # flags has no name of its own and is kept by value.
        return member.name if member.name in cls.__members__ else [member.value]

    def from_fields(fields: Any) -> Any:
        return cls[fields] if isinstance(fields, str) else cls(fields[0])

    return to_fields, from_fields


def _dataclass_functions(cls: type) -> tuple[ToFields, FromFields]:
    declared = dataclasses.fields(cls)
    names = {field.name for field in declared}

    def to_fields(value: Any) -> dict[str, Any]:
        return {field.name: getattr(value, field.name) for field in declared}

    def from_fields(fields: dict[str, Any]) -> Any:
        if unknown := set(fields) - names:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        value: Any = object.__new__(cls)
        for field in declared:
            if field.name in fields:
                content = fields[field.name]
            elif field.default is not dataclasses.MISSING:
                content = field.default
            elif field.default_factory is not dataclasses.MISSING:
                content = field.default_factory()
            else:
                raise ValueError(f"field {field.name} is missing")
            object.__setattr__(value, field.name, content)
        return value

    return to_fields, from_fields


def _model_functions(cls: type[pydantic.BaseModel]) -> tuple[ToFields, FromFields]:
    def to_fields(value: pydantic.BaseModel) -> dict[str, Any]:
        fields = dict(value.__dict__)
        if (
            value.__pydantic_extra__ is None
            and value.__pydantic_private__ is None
            and value.__pydantic_fields_set__ == set(fields)
        ):
            return fields
        return {
            "": [_PYDANTIC_FIELDS, _PYDANTIC_SET, _PYDANTIC_EXTRA, _PYDANTIC_PRIVATE],
            _PYDANTIC_FIELDS: fields,
            _PYDANTIC_SET: sorted(value.__pydantic_fields_set__),
            _PYDANTIC_EXTRA: value.__pydantic_extra__,
            _PYDANTIC_PRIVATE: value.__pydantic_private__,
        }

    def from_fields(stored: dict[str, Any]) -> Any:
        # A field cannot have an empty name, so the long form is unmistakable.
        if "" in stored:
            fields, names = dict(stored[_PYDANTIC_FIELDS]), set(stored[_PYDANTIC_SET])
            extra, private = stored[_PYDANTIC_EXTRA], stored[_PYDANTIC_PRIVATE]
        else:
            fields, names = dict(stored), set(stored)
            extra = {} if cls.model_config.get("extra") == "allow" else None
            private = None
        for name, info in cls.model_fields.items():
            if name not in fields:
                if info.is_required():
                    raise ValueError(f"field {name} is missing")
                fields[name] = info.get_default(call_default_factory=True)
        if unknown := set(fields) - set(cls.model_fields):
            raise ValueError(f"unknown fields {sorted(unknown)}")
        model = cls.__new__(cls)
        model.__setstate__(
            {
                "__dict__": fields,
                "__pydantic_fields_set__": names,
                "__pydantic_extra__": extra,
                "__pydantic_private__": private,
            }
        )
        return model

    return to_fields, from_fields
