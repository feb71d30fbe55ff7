"""Spans of time in policies: a bare number says no unit, and what it drops does not come back."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Span", "refuse_number"]


def refuse_number(value: Any) -> Any:
    """Return what may be a span of time; ``ValueError`` for a number."""
    if isinstance(value, int | float):
        raise ValueError("a number has no unit: give a timedelta, or in JSON a text such as 'P7D'")
    return value


Span = Annotated[dt.timedelta, BeforeValidator(refuse_number)]
"""A ``timedelta``. From JSON also its text; no number, which pydantic takes for seconds."""
