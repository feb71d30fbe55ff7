"""Templates: values of which independent copies are made, sharing what cannot change.

A restore that finds most of a state as the one before left it need not decode it again. Copying
works like decoding, on many values at once and level by level: the dicts of a list of messages are
one pass in C, the lists in them the next. One at a time it takes three times as long, and
``copy.deepcopy`` thirty times.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, compress, count, islice, repeat
from typing import Any, Final, Protocol

import pydantic

from manifests.registry import Registry, TypeEntry
from manifests.scalars import SCALAR_TYPES
from manifests.segments import MOST_AS_ONE, Segment, beside, fields_set
from manifests.together import ATOMS
from manifests.unregistered import UnregisteredValue

__all__ = ["Template", "Watched"]

Watched = list[tuple[Sequence[Any], Segment]]
"""Some objects, and what has to be watched below them, again and again."""

_SHARED: Final = ATOMS.union(SCALAR_TYPES)
"""Types whose values cannot change, so that copies have the same ones."""
_CONTAINER_BYTES: Final = 160
"""What a container takes beside its items, about, and what makes its copies."""

_new, _put = object.__new__, object.__setattr__
_fields_of: Final = operator.attrgetter("fields")


class Template:
    """A value that nobody else holds, and what makes copies of it.

    Attributes:
        size: What its containers and what copies them take, in bytes and about; its texts and byte
            strings are not counted.
    """

    __slots__ = ("_is_list", "_levels", "size")

    def __init__(self, levels: Sequence[_Level], size: int, *, is_list: bool) -> None:
        self._levels = levels
        self._is_list = is_list
        self.size = size

    @classmethod
    def of(cls, value: Any, registry: Registry) -> Template | None:
        """Take over a decoded value, which nobody may use from now on but by copying.

        None if a copy might not be what decoding gives: something in it is of a class that has
        functions of its own for that, or can change in ways that are not known.
        """
        measure = _Measure(registry)
        is_list = type(value) is list
        items = value if is_list else [value]
        try:
            levels = [
                measure.level(items[start : start + MOST_AS_ONE])
                for start in range(0, len(items), MOST_AS_ONE)
            ]
        except _NotCopiedError:
            return None
        return cls(levels, measure.size, is_list=is_list)

    def copy(self, watched: Watched | None = None) -> Any:
        """Return a value that has nothing that can change in common with any other copy.

        Of a list, ``watched`` takes the items with what has to be watched below them.
        """
        made = []
        for level in self._levels:
            segment = Segment()
            items = level.make(segment)
            made += items
            if watched is not None:
                watched.append((items, segment.shared()))
        return made if self._is_list else made[0]


class _NotCopiedError(Exception):
    pass


class _Group(Protocol):
    def make(self, segment: Segment) -> list[Any]:
        """Return a copy of each value of the group, and note what can change in them."""
        ...


class _Level:
    """Some values of any types, with a group and the places of those that have to be copied."""

    __slots__ = ("_parts", "_values")

    def __init__(
        self, values: list[Any], parts: Sequence[tuple[Sequence[int] | None, _Group]]
    ) -> None:
        self._values = values
        self._parts = parts

    @property
    def is_shared(self) -> bool:
        """Whether copies are the same objects."""
        return not self._parts

    def make(self, segment: Segment) -> list[Any]:
        made = self._values
        for places, group in self._parts:
            copies = group.make(segment)
            if places is None:
                return copies
            if made is self._values:
                made = made.copy()
            for place, copied in zip(places, copies, strict=True):
                made[place] = copied
        return made


class _Inside:
    """What has to be copied inside containers: whose it is, under which key, and how."""

    __slots__ = ("_keys", "_level", "_owners")

    def __init__(self, owners: Sequence[int], keys: Sequence[Any], level: _Level) -> None:
        self._owners = owners
        self._keys = keys
        self._level = level

    def put_into(self, containers: Sequence[Any], segment: Segment) -> None:
        level = self._level.make(segment)
        for owner, key, copied in zip(self._owners, self._keys, level, strict=True):
            containers[owner][key] = copied


class _Containers:
    """Dicts or lists. Those that are attributes of objects are watched with those."""

    __slots__ = ("_are_attributes", "_copy", "_inside", "_originals")

    def __init__(
        self,
        originals: Sequence[Any],
        copy: Callable[[Any], Any],
        inside: _Inside | None,
        *,
        are_attributes: bool = False,
    ) -> None:
        self._originals = originals
        self._copy = copy
        self._inside = inside
        self._are_attributes = are_attributes

    def make(self, segment: Segment) -> list[Any]:
        copies = [*map(self._copy, self._originals)]
        if self._inside is not None:
            self._inside.put_into(copies, segment)
        if not self._are_attributes:
            segment.hold(copies)
        return copies


class _Unwatchable:
    """Sets or bytearrays, which can change without a trace."""

    __slots__ = ("_originals",)

    def __init__(self, originals: Sequence[Any]) -> None:
        self._originals = originals

    def make(self, segment: Segment) -> list[Any]:
        segment.opaque = True
        return [original.copy() for original in self._originals]


class _Tuples:
    """Tuples of values of which some have to be copied."""

    __slots__ = ("_items", "_make", "_sizes")

    def __init__(
        self, make: Callable[[Iterable[Any]], Any], sizes: Sequence[int], items: _Level
    ) -> None:
        self._make = make
        self._sizes = sizes
        self._items = items

    def make(self, segment: Segment) -> list[Any]:
        items = iter(self._items.make(segment))
        return [self._make([*islice(items, size)]) for size in self._sizes]


class _Unregistered:
    """Values of classes that the registry does not know."""

    __slots__ = ("_fields", "_names")

    def __init__(self, names: Sequence[tuple[str, int]], fields: _Level) -> None:
        self._names = names
        self._fields = fields

    def make(self, segment: Segment) -> list[Any]:
        fields = self._fields.make(segment)
        return [
            UnregisteredValue(name, version, content)
            for (name, version), content in zip(self._names, fields, strict=True)
        ]


class _Objects:
    """Instances of one class: their attributes."""

    __slots__ = ("_attributes", "_cls")

    def __init__(self, cls: type, attributes: _Group) -> None:
        self._cls = cls
        self._attributes = attributes

    def make(self, segment: Segment) -> list[Any]:
        made = []
        for attributes in self._attributes.make(segment):
            copied: Any = _new(self._cls)
            _put(copied, "__dict__", attributes)
            made.append(copied)
        segment.objects.extend(made)
        return made


class _Models:
    """Instances of one pydantic model without private attributes or extra ones that are set."""

    __slots__ = ("_attributes", "_besides", "_cls", "_fields_sets")

    def __init__(
        self,
        cls: type,
        attributes: _Group,
        fields_sets: Sequence[frozenset[str]],
        besides: Sequence[tuple[Any, Any]],
    ) -> None:
        self._cls = cls
        self._attributes = attributes
        self._fields_sets = fields_sets
        self._besides = besides

    def make(self, segment: Segment) -> list[Any]:
        made = []
        cls, new, put = self._cls, _new, _put
        for attributes, given, (extra, private) in zip(
            self._attributes.make(segment), self._fields_sets, self._besides, strict=True
        ):
            copied: Any = new(cls)
            put(copied, "__dict__", attributes)
            put(copied, "__pydantic_fields_set__", set(given))
            put(copied, "__pydantic_extra__", None if extra is None else {})
            put(copied, "__pydantic_private__", None if private is None else {})
            made.append(copied)
        segment.hold_models(made)
        return made


class _Measure:
    """Finds out how values are copied, and what they take."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.size = 0

    def level(self, values: list[Any]) -> _Level:
        kinds = [*map(type, values)]
        distinct = {*kinds}
        distinct -= _SHARED
        parts: list[tuple[Sequence[int] | None, _Group]] = []
        for cls in distinct:
            places = [place for place, kind in enumerate(kinds) if kind is cls]
            group = self._group(cls, [values[place] for place in places])
            if group is not None:
                parts.append((None if len(places) == len(values) else places, group))
        # What the groups copy is theirs. Held here too, the originals of objects would only be
        # gone through by each run of the garbage collector.
        shared = values.copy() if parts else values
        for places_of_group, _group in parts:
            for place in range(len(values)) if places_of_group is None else places_of_group:
                shared[place] = None
        return _Level(shared, parts)

    def _group(self, cls: type, values: list[Any]) -> _Group | None:
        """Return what copies values of one class, or None: copies share them."""
        self.size += _CONTAINER_BYTES * len(values)
        if cls is dict:
            return self._dicts(values)
        if cls is list:
            places = chain.from_iterable(map(range, map(len, values)))
            return _Containers(values, list.copy, self._inside(values, places))
        if cls is tuple:
            return self._tuples(tuple, values)
        if cls is set or cls is frozenset:
            if not _are_fixed(chain.from_iterable(values)):
                raise _NotCopiedError
            return None if cls is frozenset else _Unwatchable(values)
        if cls is bytearray:
            return _Unwatchable(values)
        if cls is UnregisteredValue:
            names = [(value.name, value.version) for value in values]
            return _Unregistered(names, self.level([*map(_fields_of, values)]))
        entry = self._registry.entry_of(cls)
        if entry is None:
            raise _NotCopiedError
        return self._registered(entry, cls, values)

    def _registered(self, entry: TypeEntry, cls: type, values: list[Any]) -> _Group | None:
        if entry.content == "constant":
            if issubclass(cls, enum.Enum):
                return None
            make = getattr(cls, "_make", None)
            if make is None or not issubclass(cls, tuple) or any(map(_has_attributes, values)):
                raise _NotCopiedError
            return self._tuples(make, values)
        if entry.content not in ("attributes", "model") or _overrides(cls, "__new__", object):
            raise _NotCopiedError
        attributes = self._dicts([vars(value) for value in values], are_attributes=True)
        if entry.content == "attributes":
            return _Objects(cls, attributes)
        besides = [*map(beside, values)]
        if any(chain.from_iterable(besides)) or _overrides(cls, "__setstate__", pydantic.BaseModel):
            raise _NotCopiedError
        # Most models of a class have the same set.
        known: dict[frozenset[str], frozenset[str]] = {}
        fields_sets = [
            known.setdefault(one, one) for one in map(frozenset, map(fields_set, values))
        ]
        return _Models(cls, attributes, fields_sets, besides)

    def _tuples(
        self, make: Callable[[Iterable[Any]], Any], values: Sequence[tuple[Any, ...]]
    ) -> _Group | None:
        items = self.level([*chain.from_iterable(values)])
        return None if items.is_shared else _Tuples(make, [*map(len, values)], items)

    def _dicts(self, values: list[dict[Any, Any]], *, are_attributes: bool = False) -> _Group:
        if not _are_fixed(chain.from_iterable(values)):
            raise _NotCopiedError
        inside = self._inside(values, chain.from_iterable(values))
        return _Containers(values, dict.copy, inside, are_attributes=are_attributes)

    def _inside(self, containers: Sequence[Any], keys: Iterable[Any]) -> _Inside | None:
        """Return what has to be copied inside some containers of which all have one class."""
        is_dict = type(containers[0]) is dict
        held = [*chain.from_iterable(map(dict.values, containers) if is_dict else containers)]
        if _SHARED.issuperset(map(type, held)):
            return None
        copied = [not shared for shared in map(_SHARED.__contains__, map(type, held))]
        owners = chain.from_iterable(map(repeat, count(), map(len, containers)))
        level = self.level([*compress(held, copied)])
        if level.is_shared:
            return None
        return _Inside([*compress(owners, copied)], [*compress(keys, copied)], level)


def _are_fixed(keys: Iterable[Any]) -> bool:
    """Whether keys of dicts or members of sets, which copies share, hold nothing that can change.

    What a class makes of its fields may, though it has a hash.
    """
    others = [key for key in keys if type(key) not in _SHARED]
    tuples = [key for key in others if type(key) is tuple]
    return all(type(key) is tuple or isinstance(key, enum.Enum) for key in others) and (
        not tuples or _are_fixed(chain.from_iterable(tuples))
    )


def _overrides(cls: type, method: str, base: type) -> bool:
    """Whether a class has a method of its own that decoding may have called."""
    return getattr(cls, method) is not getattr(base, method)


def _has_attributes(value: Any) -> bool:
    return bool(getattr(value, "__dict__", None))
