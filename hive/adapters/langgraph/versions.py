"""Versions of channels: whole numbers here, and the next one after whatever another saver made."""

from __future__ import annotations

from typing import Any

from hive.errors import InvalidInputError

__all__ = ["next_version"]

_DIGITS = 32


def next_version(current: Any) -> Any:
    """Return the version after ``current``, of the same type.

    LangGraph's own savers for databases use texts of 32 digits, a dot and random digits; a thread
    that was imported from one goes on in that form.

    Raises:
        InvalidInputError: It is no version.
    """
    if current is None:
        return 1
    if isinstance(current, str):
        number = current.partition(".")[0]
        if not number.isdecimal():
            raise InvalidInputError(f"the version {current!r} of a channel is none")
        return str(int(number) + 1).rjust(_DIGITS, "0")
    if isinstance(current, int | float):
        return int(current) + 1 if isinstance(current, int) else float(int(current) + 1)
    raise InvalidInputError(f"the version {current!r} of a channel is none")
