"""Values of a state as JSON for programs, and what is known of one in a line.

JSON is no encoding here: the store's own is in docs/format.md. It has fewer types than a state, so
what it lacks becomes an object with one key that starts with ``$`` (see docs/cli.md).
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from hive.cli.text import count, escape
from hive.literals import describe, is_huge, is_unregistered

if TYPE_CHECKING:
    from manifests import Outline

__all__ = ["describe_outline", "to_json"]


def to_json(value: Any) -> Any:
    """Return what JSON can say about a value.

    None, booleans, numbers and text stay. Lists, tuples and sets become arrays; a dict whose keys
    are all text an object. Else: ``{"$bytes": base64}``, ``{"$float": "nan"}``,
    ``{"$dict": [[key, value], ...]}``, ``{"$unregistered": name, "version": v, "fields": ...}`` for
    an instance of a class that is not registered here, and ``{"$value": text, "type": name}`` for
    the rest.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if type(value) is int:
        return {"$value": hex(value), "type": "int"} if is_huge(value) else value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        # A set has no order of its own; one by appearance makes equal sets print alike.
        return sorted((to_json(item) for item in value), key=repr)
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return {"$dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if is_unregistered(value):
        return {
            "$unregistered": value.name,
            "version": value.version,
            "fields": to_json(value.fields),
        }
    return {"$value": str(value), "type": type(value).__name__}


def describe_outline(outline: Outline, *, width: int = 40) -> str:
    """Return what is known of a value in one short line, as :func:`describe` does."""
    from manifests import Unread

    if outline.value is not Unread.VALUE:
        return describe(outline.value, width=width)
    if outline.length is None:
        return escape(outline.type)
    return escape(f"{outline.type}, {count(outline.length, outline.unit.removesuffix('s'))}")
