"""Whether values would be encoded just as earlier ones were, without encoding them.

A framework that loads a state at the start of every turn, or copies what it is handed, commits
other objects than it did before, with the same contents. ``==`` would not do: it takes 1, 1.0 and
True for the same, -0.0 for 0.0, and does not see the order of keys.

Many values are compared together, level by level: their types, their sizes, their keys, then all
their values in flat lists, each in one pass in C. One at a time it takes three times as long.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, compress, repeat
from typing import Any, Final

import cbor2

from manifests.registry import Registry, TypeEntry
from manifests.scalars import SCALAR_TYPES, encode_scalar
from manifests.segments import Segment, beside, fields_set
from manifests.unregistered import UnregisteredValue

__all__ = ["PLAIN", "Likeness"]

PLAIN: Final = frozenset((str, bytes, int, bool, type(None)))
"""Types of which equal values have equal bytes, and which hold nothing that could change."""

_stored_as: Final = operator.attrgetter("name", "version")
_fields_of: Final = operator.attrgetter("fields")


class Likeness:
    """Compares values with earlier ones, as the classes of a registry are encoded now.

    An earlier value is one that has not changed since it was encoded, or was decoded without any
    class: an ``UnregisteredValue`` in it stands for what a class stored. With that, the fields are
    compared which would be stored now. So a class that was changed, migrated or renamed since, or
    that does not give back the fields it was made from, is told apart.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(self, values: Sequence[Any], olds: Sequence[Any]) -> Segment | None:
        """Return what has to be watched below some values, each like the one before in its place.

        None if one of them has to be encoded.
        """
        segment = Segment()
        try:
            alike = self._alike([*values], [*olds], segment)
        except Exception:
            return None  # encoding will say what is wrong, and where
        return segment if alike and not segment.opaque else None

    def _alike(self, values: list[Any], olds: list[Any], segment: Segment) -> bool:
        kinds = [*map(type, values)]
        distinct = {*kinds}
        if distinct <= PLAIN:
            return kinds == [*map(type, olds)] and values == olds
        if len(distinct) == 1:
            return self._of_kind(kinds[0], values, olds, segment)
        if not PLAIN.isdisjoint(distinct):
            plain = [*map(PLAIN.__contains__, kinds)]
            if not _plainly_alike(compress(values, plain), compress(olds, plain)):
                return False
            distinct -= PLAIN
        for cls in distinct:
            chosen = [*map(operator.is_, kinds, repeat(cls))]
            own = [*compress(values, chosen)], [*compress(olds, chosen)]
            if not self._of_kind(cls, *own, segment):
                return False
        return True

    def _of_kind(self, cls: type, values: list[Any], olds: list[Any], segment: Segment) -> bool:
        if cls is dict:
            segment.hold(values)
            return _are(dict, olds) and self._entries(values, olds, segment)
        if cls is list or cls is tuple:
            if cls is list:
                segment.hold(values)
            return (
                _are(cls, olds)
                and [*map(len, values)] == [*map(len, olds)]
                and self._alike(
                    [*chain.from_iterable(values)], [*chain.from_iterable(olds)], segment
                )
            )
        if cls is float:
            # Bit by bit: zeros have signs, and a NaN is not equal to itself.
            return _are(cls, olds) and bytes(array("d", values)) == bytes(array("d", olds))
        if cls in SCALAR_TYPES:
            return _are(cls, olds) and [*map(_scalar, values)] == [*map(_scalar, olds)]
        entry = self._registry.entry_of(cls)
        if cls is UnregisteredValue:
            for value in values:
                segment.note(value, entry)
            return (
                _are(cls, olds)
                and [*map(_stored_as, values)] == [*map(_stored_as, olds)]
                and self._alike_fields(map(_fields_of, values), map(_fields_of, olds), segment)
            )
        return entry is not None and self._registered(entry, values, olds, segment)

    def _registered(
        self, entry: TypeEntry, values: list[Any], olds: list[Any], segment: Segment
    ) -> bool:
        if entry.content == "unknown":
            return False
        if _are(UnregisteredValue, olds):
            if {*map(_stored_as, olds)} != {(entry.name, entry.version)}:
                return False
            for value in values:
                segment.note(value, entry)
            return self._alike_fields(map(entry.to_fields, values), map(_fields_of, olds), segment)
        if not _are(type(values[0]), olds):
            return False
        if entry.content == "constant":
            return self._alike_fields(
                map(entry.to_fields, values), map(entry.to_fields, olds), segment
            )
        if entry.content == "attributes":
            segment.objects.extend(values)
        else:
            segment.hold_models(values)
            besides = chain.from_iterable(map(beside, olds))
            if (
                any(besides)
                or segment.opaque
                or [*map(fields_set, values)] != [*map(fields_set, olds)]
            ):
                return False
        return self._entries(
            [vars(value) for value in values], [vars(old) for old in olds], segment
        )

    def _alike_fields(self, fields: Iterable[Any], olds: Iterable[Any], segment: Segment) -> bool:
        """Compare what registered values are stored as: mostly dicts that were made just now."""
        found, before = [*fields], [*olds]
        if _are(dict, found):
            return _are(dict, before) and self._entries(found, before, segment)
        return self._alike(found, before, segment)

    def _entries(
        self, dicts: list[dict[Any, Any]], olds: list[dict[Any, Any]], segment: Segment
    ) -> bool:
        return (
            [*map(len, dicts)] == [*map(len, olds)]
            and _plainly_alike(chain.from_iterable(dicts), chain.from_iterable(olds))
            and self._alike(
                [*chain.from_iterable(map(dict.values, dicts))],
                [*chain.from_iterable(map(dict.values, olds))],
                segment,
            )
        )


def _are(cls: type, values: Iterable[Any]) -> bool:
    return {*map(type, values)} == {cls}


def _plainly_alike(values: Iterable[Any], olds: Iterable[Any]) -> bool:
    found, before = [*values], [*olds]
    kinds = [*map(type, found)]
    return PLAIN.issuperset(kinds) and kinds == [*map(type, before)] and found == before


def _scalar(value: Any) -> bytes:
    return cbor2.dumps(encode_scalar(value))
