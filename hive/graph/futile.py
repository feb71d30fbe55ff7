"""Failures of a node that no further attempt can mend.

They are marked by a note, which a traceback shows. A class of their own would import the store's
errors with every graph.
"""

from __future__ import annotations

from typing import Final, TypeVar

__all__ = ["futile", "is_futile"]

E = TypeVar("E", bound=Exception)

_NOTE: Final = "Another attempt would fail in the same way, so none is made."


def futile(error: E) -> E:
    """Mark what every attempt of a node would raise, and return it."""
    error.add_note(_NOTE)
    return error


def is_futile(error: Exception) -> bool:
    """Tell whether an error was marked so."""
    return _NOTE in getattr(error, "__notes__", ())
