"""Names that users give to runs, nodes and edges."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

__all__ = ["MAX_NAME_BYTES", "bad_name", "name_problem"]

MAX_NAME_BYTES: Final = 1024
"""Longest name, in bytes of UTF-8, inclusive. The store has the same limit; here it also holds for
a run without one, so that a graph that works without checkpoints works with them."""


def name_problem(name: str) -> str | None:
    """Say what is wrong with a name; None if nothing is."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "a name must not hold a lone surrogate"
    if not 1 <= size <= MAX_NAME_BYTES:
        return f"a name has 1 to {MAX_NAME_BYTES} bytes, this one {size}"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "a name must not hold control characters"
    return None


def bad_name(place: str, name: str) -> Iterator[str]:
    """Yield what is wrong with a name that stands at some place of a graph or plan."""
    problem = name_problem(name)
    if problem:
        yield f"{place}: {problem}"
