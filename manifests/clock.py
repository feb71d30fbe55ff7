"""The one place that asks the system what time it is. Everything else is handed a ``Clock``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from cas.errors import InvalidInputError

__all__ = ["Clock", "check_moment", "checked_clock", "system_clock"]

Clock = Callable[[], dt.datetime]
"""Returns the current moment, with a time zone."""


def system_clock() -> dt.datetime:
    """Return the current moment in UTC."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - the one clock


def check_moment(moment: object, what: str) -> None:
    """Refuse what is no moment with a time zone; ``what`` says where it comes from.

    Raises:
        InvalidInputError: It is something else.
    """
    if not isinstance(moment, dt.datetime) or moment.utcoffset() is None:
        raise InvalidInputError(
            f"{what} is a moment with a time zone, such as datetime.now(timezone.utc), not "
            f"{moment!r}"
        )


def checked_clock(clock: Clock) -> Clock:
    """Return a clock that raises ``InvalidInputError`` where the given one tells no moment.

    Raises:
        InvalidInputError: It is no function.
    """
    if not callable(clock):
        raise InvalidInputError(f"clock is a function that returns a moment, not {clock!r}")
    if clock is system_clock:
        return clock

    def checked() -> dt.datetime:
        moment = clock()
        check_moment(moment, "what clock returns")
        return moment

    return checked
