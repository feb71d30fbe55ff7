"""What pydantic found wrong, said to whoever wrote the file or the options.

Its own words are for programmers: *Input should be a valid dictionary or instance of Goal*, *Extra
inputs are not permitted*, *Value error, keep_last ...*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hive.text import kind_of

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["problems_of", "words_of"]

_LONGEST_VALUE: Final = 60

_BOUNDS: Final = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _one_of(context: Mapping[str, Any]) -> str:
    return str(context["expected"])


_WANTED: Final[tuple[tuple[str, str | Callable[[Mapping[str, Any]], str]], ...]] = (
    ("string", "a text"),
    ("int", "a whole number"),
    ("float", "a number"),
    ("bool", "true or false"),
    ("time_delta", "a span of time (a number of seconds, or as 'P7D' and 'PT30M' write it)"),
    ("list", "a list"),
    ("tuple", "a list"),
    ("frozen_set", "a list"),
    ("dict", "an object with keys"),
    ("model", "an object with keys"),
    ("callable", "a function"),
    ("invalid-json-value", "what JSON can hold"),
    ("literal_error", _one_of),
    ("enum", _one_of),
)
"""What the types of errors that begin so ask for."""


def problems_of(error: ValidationError, place: str = "") -> list[str]:
    """Return every problem with its place, such as ``nodes[0].id: is missing``.

    Args:
        error: What pydantic raised.
        place: Where what it checked stands, such as ``graph``; empty for the whole.
    """
    return [
        f"{_place(place, item['loc']) or 'the whole'}: {words_of(item)}" for item in error.errors()
    ]


def words_of(item: ErrorDetails) -> str:
    """Say what one problem is, without its place."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "there is no such field"
    if kind == "value_error":  # raised by a check of ours, in words for people
        return str(context["error"])
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {context[name]}, not {_shown(item['input'])}"
    for beginning, wanted in _WANTED:
        if kind.startswith(beginning):
            wanted = wanted if isinstance(wanted, str) else wanted(context)
            return f"must be {wanted}, not {_shown(item['input'])}"
    return item["msg"].replace("Input should", "must", 1)


def _place(place: str, location: tuple[int | str, ...]) -> str:
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
    return place


def _shown(value: object) -> str:
    """Show a value that is short, and say of another what it is."""
    if value is None:
        return "null"
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
    return kind_of(value)
