r"""Words and numbers for people: escaping, sizes, ages. Pure functions, standard library only.

Run names, tags, keys, node names and values are whatever an agent or its user wrote. Shown as
they are, they could move the cursor, retitle the window or hide text (``\x1b[2K``, a right-to-left
override), so everything that is not this program's own text goes through :func:`escape`.
"""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from typing import Final

__all__ = [
    "age",
    "count",
    "escape",
    "escape_lines",
    "expressible",
    "kind_of",
    "one",
    "size",
    "task_name",
    "told",
]

_VOWELS: Final = frozenset("aeioAEIO")
"""Letters that "an" stands before: a ``UUID`` is none of them."""
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def escape(text: str) -> str:
    r"""Make a foreign text safe for one line of a terminal.

    Every character that is not printable becomes its Python escape (``\x1b``, ``\n``,
    ``\u202e``): control and format characters, line and paragraph separators, unassigned ones and
    lone surrogates, which no encoding could print. Spaces of every kind stay. Backslashes stay
    single: the result is for reading, not for parsing.
    """
    if text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def escape_lines(text: str) -> str:
    """Make a foreign text safe for a terminal as :func:`escape` does, keeping lines and tabs."""
    return "".join(character if character in "\n\t" else _visible(character) for character in text)


def expressible(text: str) -> str:
    r"""Make a foreign text one that UTF-8 can express: half a surrogate pair becomes ``\ud83d``."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def size(size_bytes: int) -> str:
    """Say a number of bytes in three digits: ``512 B``, ``1.4 kB``, ``62 MB`` (powers of 1000)."""
    value, unit = float(size_bytes), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 1 if unit > 0 and value < 9.95 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def age(span: timedelta) -> str:
    """Say how long ago something was: ``12 s``, ``5 min``, ``3 h``, ``2 d``; the future is 0 s."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 100 * 60:
        return f"{seconds // 60} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 86400} d"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Say a number with its noun: ``1 file``, ``1,200 files``, ``2 entries``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def kind_of(value: object) -> str:
    """Return the name of a value's class with the article before it: ``an int``, ``a str``."""
    return one(type(value))


def one(cls: type) -> str:
    """Return the name of a class with the article before it: ``an Agent``, ``a Plan``."""
    return f"{'an' if cls.__name__[:1] in _VOWELS else 'a'} {cls.__name__}"


def told(error: BaseException) -> str:
    """Say what an exception is, ``ValueError: no such page``, also where it has no text to give."""
    try:
        text = str(error)
    except Exception as failure:
        text = f"(its text cannot be had: {type(failure).__name__})"
    return expressible(f"{type(error).__name__}: {text}")


def task_name(task: str, path: str) -> str:
    """Name the task of a pending write, with where it stands among the others of its step."""
    return f"{task} ({path})" if path else task
