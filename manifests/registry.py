"""The type registry: which classes a store may write and read, under which names.

Stored bytes name a type; only the registry that the application filled turns the name into a
class. Nothing is ever imported or called because bytes name it. A name the registry does not know
comes back as ``UnregisteredValue``, which encodes to the same bytes again.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import pydantic
from pydantic_core import PydanticUndefined

from cas.errors import HiveError, InvalidInputError

__all__ = ["Registry", "TypeEntry", "UnregisteredValue"]

T = TypeVar("T")

ToFields = Callable[[Any], Any]
FromFields = Callable[[Any], Any]
Migration = Callable[[Any], Any]

Content = Literal["constant", "attributes", "model", "unknown"]
"""What can change in a value without the value becoming another object: nothing (enums), its
``__dict__`` (dataclasses), a model's ``__dict__`` and set of fields, or nobody knows what."""

_PLAIN: Final[Sequence[tuple[tuple[type, ...], str]]] = (
    ((Mapping,), "dict"),
    ((str,), "str"),
    ((int,), "int"),
    ((float,), "float"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((tuple,), "tuple"),
    ((Set,), "set"),
    ((Sequence,), "list"),
)
"""What makes plain data of the values of some classes."""
_DETAIL: Final = ""
"""What a model has besides its fields stands under a name that no field can have."""


@dataclass(frozen=True, slots=True)
class UnregisteredValue:
    """A stored value whose type name or version this registry does not know.

    It holds what was stored, loses nothing and encodes to the same address again. It can be a key
    or a member of a set, since what it stands for was one; its fields must then not be changed.
    """

    name: str
    version: int
    fields: Any

    def __hash__(self) -> int:
        return hash((self.name, self.version, _hash_of(self.fields)))


def _hash_of(content: Any) -> int:
    """Return a hash that is the same for equal contents, of dicts and lists as well."""
    if type(content) is dict:
        return hash(frozenset((key, _hash_of(value)) for key, value in content.items()))
    if type(content) is list:
        return hash(tuple(map(_hash_of, content)))
    try:
        return hash(content)
    except TypeError:
        return 0


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

    def reader(self, version: int) -> Callable[[Any], Any]:
        """Return what makes a value of the fields that ``version`` of the class stored.

        Those of older versions pass through the migrations, one version at a time.
        """
        failed = (
            f"the stored fields of {self.name!r} do not fit the registered class: register it "
            "with a higher version and a migration"
        )
        if version >= self.version:
            return _calling(self.from_fields, failed)
        steps = [self._migration(version, step) for step in range(version, self.version)]

        def read(fields: Any) -> Any:
            for migrate in steps:
                fields = migrate(fields)
            return construct(fields)

        construct = _calling(self.from_fields, failed)
        return read

    def _migration(self, version: int, step: int) -> Callable[[Any], Any]:
        migrate = self.migrations.get(step)
        if migrate is None:
            raise InvalidInputError(
                f"{self.name!r} was stored as version {version}, the registered class is "
                f"version {self.version}, and no migration from {step} is registered"
            )
        return _calling(migrate, f"the migration of {self.name!r} from version {step} failed")


def _calling(function: Callable[[Any], Any], failed: str) -> Callable[[Any], Any]:
    """Call the application's code: whatever it raises must not look like a damaged store."""

    def call(fields: Any) -> Any:
        try:
            return function(fields)
        except (HiveError, MemoryError):
            raise
        except Exception as error:
            raise InvalidInputError(f"{failed} ({type(error).__name__})") from error

    return call


class Registry:
    """The classes an application allows in its states. Fill it before the store is used."""

    def __init__(self) -> None:
        self._by_class: dict[type, TypeEntry] = {}
        self._by_name: dict[str, TypeEntry] = {}
        self.revision = 0
        """How often a class was registered: what was made before may be another value now."""

    def register(
        self,
        cls: type[T],
        *,
        name: str | None = None,
        version: int = 1,
        to_fields: ToFields | None = None,
        from_fields: FromFields | None = None,
        migrations: Mapping[int, Migration] | None = None,
        content: Content | None = None,
    ) -> type[T]:
        """Allow a class in states and return it, so that this also serves as a decorator.

        Enums, dataclasses, named tuples and pydantic models need nothing more. Any other class
        needs ``to_fields`` (value -> an encodable value, usually a dict) and ``from_fields`` (the
        inverse). ``name`` is what is stored, by default the class's qualified name without its
        module; give one that survives renaming. ``version`` counts changes of the fields, from 1;
        ``migrations[n]`` turns the fields of version n into those of n + 1.

        ``content`` is for ``to_fields`` that looks at nothing but what it names: then commits can
        tell that a value is the same as before, instead of writing it again each time. Restores may
        copy what it names instead of calling ``from_fields`` again.

        Reading a dataclass or a model sets its fields without running ``__init__`` or validators:
        what was stored comes back, not what the class would make of it today.
        """
        if not isinstance(cls, type):
            raise InvalidInputError(f"only a class can be registered, and {cls!r} is none")
        entry_name = cls.__qualname__ if name is None else name
        if not entry_name or version < 1:
            raise InvalidInputError("a registered type needs a name and a version of 1 or more")
        if not all(type(old) is int and callable(step) for old, step in (migrations or {}).items()):
            raise InvalidInputError(
                "migrations are functions of the fields, each by the version that it takes"
            )
        if (to_fields is None) != (from_fields is None):
            raise InvalidInputError("to_fields and from_fields are given together or not at all")
        if to_fields is None or from_fields is None:
            to_fields, from_fields, content = _functions_for(cls)
        known = self._by_name.get(entry_name)
        if known is not None and known.cls is not cls:
            raise InvalidInputError(
                f"the name {entry_name!r} is registered for another class; pass name="
            )
        entry = TypeEntry(
            cls, entry_name, version, to_fields, from_fields, migrations or {}, content or "unknown"
        )
        self._by_class[cls] = entry
        self._by_name[entry_name] = entry
        self.revision += 1
        return cls

    def refusal_of(self, cls: type) -> InvalidInputError:
        """Return the error for a value of a class that is not registered: what to do instead."""
        told = (
            f"values of type {cls.__module__}.{cls.__qualname__} are stored only once the type is "
            "registered (Registry.register, and registry= where the store is opened)"
        )
        try:
            _functions_for(cls)
        except InvalidInputError:
            told += " with to_fields and from_fields; or keep plain data in its place"
            plain = next((plain for kinds, plain in _PLAIN if issubclass(cls, kinds)), None)
            told += "" if plain is None else f", here {plain}(value)"
        return InvalidInputError(told)

    def entry_of(self, cls: type) -> TypeEntry | None:
        """Return how a class is written, or None if it is not registered."""
        return self._by_class.get(cls)

    def names(self) -> list[str]:
        """Return the names under which classes are stored."""
        return list(self._by_name)

    def version_of(self, name: str) -> int | None:
        """Return the version of the class stored under a name, or None if there is none."""
        entry = self._by_name.get(name)
        return None if entry is None else entry.version

    def reader(self, name: str, version: int) -> Callable[[Any], Any]:
        """Return what makes values, of a class or unregistered, of fields stored under a name."""
        entry = self._by_name.get(name)
        if entry is None or version > entry.version:
            return functools.partial(UnregisteredValue, name, version)
        return entry.reader(version)


def _functions_for(cls: type) -> tuple[ToFields, FromFields, Content]:
    if issubclass(cls, enum.Enum):
        return *_enum_functions(cls), "constant"
    if issubclass(cls, pydantic.BaseModel):
        return *_model_functions(cls), "model"
    if dataclasses.is_dataclass(cls):
        return *_dataclass_functions(cls), _content_of_dataclass(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return *_tuple_functions(cls), "unknown" if cls.__dictoffset__ else "constant"
    raise InvalidInputError(
        f"{cls.__qualname__} is no enum, dataclass, named tuple or pydantic model: register it "
        "with to_fields and from_fields"
    )


_READ_ATTRIBUTE: Final = inspect.getattr_static(object, "__getattribute__")


def _content_of_dataclass(cls: type) -> Content:
    """Return what can change in instances: unknown, if fields are kept outside ``__dict__``."""
    slots = any("__slots__" in vars(base) for base in cls.__mro__[:-1])
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
            raise InvalidInputError(
                f"the attribute {name!r} of {type(value).__qualname__} is no field and would be "
                "lost: declare it, or register the class with to_fields and from_fields"
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

    def to_fields(value: Any) -> dict[str, Any]:
        _refuse_attributes(value, names)
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
    allows_extra = cls.model_config.get("extra") == "allow"

    def to_fields(value: pydantic.BaseModel) -> dict[str, Any]:
        names = cls.model_fields.keys()
        fields = value.__dict__
        if fields.keys() != names:
            if missing := names - fields.keys():
                raise InvalidInputError(f"the model has no value for its fields {sorted(missing)}")
            _refuse_attributes(value, frozenset(names))
            fields = {name: fields[name] for name in names}
        extra, private = value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}
        if not extra and not private and value.__pydantic_fields_set__ == names:
            return dict(fields)
        # Side by side, as attributes of the model: partial reads, redaction and errors then name
        # them as people do.
        detail = [sorted(value.__pydantic_fields_set__), list(extra), list(private)]
        stored = {_DETAIL: detail, **fields, **extra, **private}
        if len(stored) != 1 + len(fields) + len(extra) + len(private):
            raise InvalidInputError("an extra or private attribute has the name of another one")
        return stored

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
        for name, attribute in cls.__private_attributes__.items():
            if name not in private:
                factory: Any = attribute.default_factory
                content = attribute.get_default() if factory is None else factory()
                if content is not PydanticUndefined:
                    private[name] = content
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

    return to_fields, from_fields
