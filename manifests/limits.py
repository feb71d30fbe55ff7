"""How many of something a caller wants."""

from __future__ import annotations

import sys

from cas.errors import InvalidInputError

__all__ = ["check_limit"]


def check_limit(limit: int | None) -> None:
    """Refuse what is no number of things to return; None is for all of them.

    Raises:
        InvalidInputError: It is not a whole number from 0, or is larger than any list.
    """
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidInputError(f"a limit is a whole number from 0, or None for all: not {limit!r}")
    if limit is not None and limit > sys.maxsize:
        raise InvalidInputError("a limit is less than 2**63, or None for all")
