"""The one place that asks the system what time it is. Everything else is handed a ``Clock``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

__all__ = ["Clock", "system_clock"]

Clock = Callable[[], dt.datetime]
"""Returns the current moment, with a time zone."""


def system_clock() -> dt.datetime:
    """Return the current moment in UTC."""
    return dt.datetime.now(dt.UTC)  # noqa: TID251 - the one clock
