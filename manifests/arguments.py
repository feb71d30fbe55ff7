"""Arguments of a wrong class, told by their names before they do something unexpected.

A text where a list belongs would fall into its letters, and a list where a registry belongs would
fail far away, at the first value that needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from cas.errors import InvalidInputError
from manifests.manifest import Checkpoint

__all__ = ["check_count", "check_seconds", "expect", "listed", "path_of"]

T = TypeVar("T")


def listed(values: Iterable[T], rule: str) -> list[T]:
    """Return values as a list; ``rule`` says what they are, as ``runs is a list of names``.

    Raises:
        InvalidInputError: There is one value alone, or nothing that can be listed.
    """
    if isinstance(values, str | bytes | Checkpoint) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{rule}, not {_kind(values)}")
    return list(values)


def expect(value: object, kind: type, what: str) -> None:
    """Refuse what is neither None nor of a class; ``what`` is the argument's name.

    Raises:
        InvalidInputError: It is something else.
    """
    if value is not None and not isinstance(value, kind):
        raise InvalidInputError(f"{what} is a {kind.__name__} or None, not {_kind(value)}")


def check_count(number: int | None, what: str) -> None:
    """Refuse what is neither None nor a whole number from 0.

    Raises:
        InvalidInputError: It is something else.
    """
    if number is not None and (type(number) is not int or number < 0):
        raise InvalidInputError(f"{what} is a whole number from 0: not {number!r}")


def check_seconds(span: object, what: str) -> None:
    """Refuse what is neither None nor a number of seconds from 0.

    Raises:
        InvalidInputError: It is something else.
    """
    if span is not None and not (isinstance(span, int | float) and span >= 0):
        raise InvalidInputError(f"{what} is a number of seconds from 0, or None: not {span!r}")


def path_of(place: str | os.PathLike[str], what: str) -> Path:
    """Return the path that an argument names.

    Raises:
        InvalidInputError: It names none.
    """
    if not isinstance(place, str | os.PathLike):
        raise InvalidInputError(f"{what} is a path, not {_kind(place)}")
    return Path(place)


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"
