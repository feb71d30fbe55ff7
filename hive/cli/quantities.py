"""Spans of time and sizes as people type them: ``7d``, ``2GB``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["parse_since", "parse_size", "parse_span"]

_SPAN: Final = re.compile(r"(\d{1,6})\s*(min|s|h|d|w)")
_SPANS: Final = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kKMGTP]?)(i?)B?")
_PREFIXES: Final = "kMGTP"


def parse_span(text: str) -> timedelta:
    """Read a span of time: a number and ``s``, ``min``, ``h``, ``d`` or ``w``.

    Raises:
        InvalidInputError: It is written in another way.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        from cas.errors import InvalidInputError

        raise InvalidInputError(f"{text!r} is no span of time; write 30min, 12h, 7d or 2w")
    return int(match[1]) * _SPANS[match[2]]


def parse_size(text: str) -> int:
    """Read a number of bytes: ``2GB`` (powers of 1000), ``2GiB`` (of 1024) or plain digits.

    Raises:
        InvalidInputError: It is written in another way.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        from cas.errors import InvalidInputError

        raise InvalidInputError(f"{text!r} is no size; write 500MB, 2GB or 2GiB")
    prefix = match[2].replace("K", "k")
    power = _PREFIXES.index(prefix) + 1 if prefix else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def parse_since(text: str, now: datetime) -> datetime:
    """Read a moment in the past: a span before ``now``, or a date, perhaps with a time.

    A date without a zone is meant in UTC, as all times that Hive prints.

    Raises:
        InvalidInputError: It is neither, or before the year 1.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except ValueError:
        pass
    from cas.errors import InvalidInputError

    try:
        return now - parse_span(text)
    except InvalidInputError:
        raise InvalidInputError(
            f"{text!r} is no moment; write 12h or 7d for that long ago, or a date: 2026-05-31"
        ) from None
    except OverflowError:
        raise InvalidInputError(f"{text!r} ago is before the year 1") from None
