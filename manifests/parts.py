"""Parts: what of the fields of a stored value a redaction may replace, and where it finds it.

The fields that a class stores may hold what is no part of the value as people see it: the length
limit of a deque, the names of the fields that were given to a model. A redaction that replaced such
would leave something of which no value can be made. So a codec may return these in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Apart", "Instead", "Items", "Structure", "fields_of_stranger"]


@dataclass(frozen=True, slots=True)
class Structure:
    """Something that is no part of the value, and is stored as it is."""

    content: Any


@dataclass(frozen=True, slots=True)
class Items:
    """A list of the value's own items: no step leads to the list itself."""

    content: list[Any]


@dataclass(frozen=True, slots=True)
class Apart:
    """A part that is stored in a tuple of its own."""

    content: Any


@dataclass(frozen=True, slots=True)
class Instead:
    """Another value, with parts that can be found, which is stored in the place of the whole."""

    content: Any


def fields_of_stranger(fields: Any) -> Any:
    """Return the fields of a value of no known class, with what a model has beside its own marked.

    That stands under an empty name: the names of the fields given, of extra and of private ones.
    """
    match fields:
        case {"": [[*given], [*extra], [*private]]} if type(fields) is dict:
            names = (*given, *extra, *private)
            if all(type(name) is str for name in names) and fields.keys() >= {*extra, *private}:
                return {**fields, "": Structure(fields[""])}
    return fields
