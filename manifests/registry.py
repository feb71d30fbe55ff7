"""The type registry: which classes a store may write and read, under which names.

Stored bytes name a type; only the registry that the application filled turns the name into a
class. Nothing is ever imported or called because bytes name it. A name the registry does not know
comes back as ``UnregisteredValue``, which encodes to the same bytes again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args

from cas.errors import HiveError, InvalidInputError
from manifests.fields import Content, FromFields, ToFields, functions_for, parts_for
from manifests.unregistered import UnregisteredValue

__all__ = ["Registry", "TypeEntry"]

T = TypeVar("T")

Migration = Callable[[Any], Any]

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
_CONTENTS: Final = get_args(Content)


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
    to_parts: ToFields

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
        what = f"the migration of {self.name!r} from version {step}"
        call = _calling(migrate, f"{what} failed")

        def migrated(fields: Any) -> Any:
            found = call(fields)
            if found is None and fields is not None:  # a `return` was forgotten
                raise InvalidInputError(f"{what} returned None: it has to return the fields")
            return found

        return migrated


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


def _check_migrations(migrations: object) -> None:
    if migrations is not None and not (
        isinstance(migrations, Mapping)
        and all(type(old) is int and callable(step) for old, step in migrations.items())
    ):
        raise InvalidInputError(
            "migrations are functions of the fields, each by the version that it takes"
        )


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
        to_parts: ToFields | None = None,
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

        ``to_parts`` is called instead of ``to_fields`` where something is redacted, and returns the
        same fields with those marked that are no part of the value (``manifests.parts``).

        Reading a dataclass or a model sets its fields without running ``__init__`` or validators:
        what was stored comes back, not what the class would make of it today.
        """
        if not isinstance(cls, type):
            raise InvalidInputError(f"only a class can be registered, and {cls!r} is none")
        entry_name = cls.__qualname__ if name is None else name
        if type(entry_name) is not str or not entry_name or type(version) is not int or version < 1:
            raise InvalidInputError(
                "a registered type needs a text as its name and a version of 1 or more"
            )
        _check_migrations(migrations)
        if (to_fields is None) != (from_fields is None):
            raise InvalidInputError("to_fields and from_fields are given together or not at all")
        for given in (to_fields, from_fields, to_parts):
            if given is not None and not callable(given):
                raise InvalidInputError("to_fields, from_fields and to_parts are functions")
        if content is not None and content not in _CONTENTS:
            # Nothing would be watched in its values, and commits would not see that they changed.
            raise InvalidInputError(f"content is one of {', '.join(_CONTENTS)}: not {content!r}")
        if to_fields is None or from_fields is None:
            to_fields, from_fields, content = functions_for(cls)
            to_parts = to_parts or parts_for(cls, to_fields)
        known = self._by_name.get(entry_name)
        if known is not None and known.cls is not cls:
            raise InvalidInputError(
                f"the name {entry_name!r} is registered for another class; pass name="
            )
        entry = TypeEntry(
            cls,
            entry_name,
            version,
            to_fields,
            from_fields,
            migrations or {},
            content or "unknown",
            to_parts or to_fields,
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
            functions_for(cls)
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
