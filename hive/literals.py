"""Values as Python-like text for people: a few words, the beginning in a line, or all of it.

No encoding: the store's own is in docs/format.md. Whatever comes from a value is escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from hive.text import count, escape, escape_lines

__all__ = ["describe", "glimpse", "in_one_line", "is_huge", "is_unregistered", "pretty"]

_SIZED: Final = (str, bytes, bytearray, list, tuple, set, frozenset, dict)


def pretty(value: Any, *, width: int = 80) -> str:
    """Return a value as text for a terminal: a string as its own lines, else as indented Python."""
    if isinstance(value, str):
        return escape_lines(value)
    lines: list[str] = []
    _lay_out(value, "", "", "", width, lines)
    return escape_lines("\n".join(lines))


def describe(value: Any, *, width: int = 40) -> str:
    """Return a value in one short line: small ones whole, large ones by type and length."""
    if is_unregistered(value):
        return escape(f"{value.name}, not registered here")
    if isinstance(value, _SIZED):
        # Only the start is looked at: the repr of a 200 MB value would take minutes.
        is_text = isinstance(value, (str, bytes, bytearray))
        if len(value) > width or not (is_text or _is_small(value)):
            noun = "character" if isinstance(value, str) else "byte" if is_text else "item"
            return f"{type(value).__name__}, {count(len(value), noun)}"
    text = escape(in_one_line(value))
    return text if len(text) <= width else text[: width - 3] + "..."


def glimpse(value: Any, *, width: int = 60) -> str:
    """Return the beginning of a value in one line of at most ``width`` characters."""
    text = ""
    for part in _tokens(value):
        text += part
        if len(text) > width:
            break
    text = escape(text[: width + 1])
    return text if len(text) <= width else text[: width - 3] + "..."


def in_one_line(value: Any) -> str:
    """Return all of a value in one line, not escaped: its ``repr``, but for what that refuses."""
    flat = _flat(value, sys.maxsize)
    assert flat is not None  # everything fits
    return flat


def _tokens(value: Any) -> Iterator[str]:
    """Yield a value's text piece by piece, so that no more is made than is looked at."""
    if isinstance(value, (str, bytes, bytearray)):
        yield repr(value[:1_000])
    elif _has_parts(value):
        opening, closing = _brackets(value)
        yield opening
        separator = ""
        for name, item in _items(value):
            yield separator + name
            yield from _tokens(item)
            separator = ", "
        yield f",{closing}" if type(value) is tuple and len(value) == 1 else closing
    else:
        yield _leaf(value)


def _lay_out(
    value: Any, indent: str, before: str, after: str, width: int, lines: list[str]
) -> None:
    """Append the lines of a value; ``before`` and ``after`` stand on its first and last line."""
    room = width - len(indent) - len(before) - len(after)
    flat = _flat(value, room)
    if flat is not None:
        lines.append(indent + before + flat + after)
        return
    opening, closing = _brackets(value)
    lines.append(indent + before + opening)
    for name, item in _items(value):
        _lay_out(item, indent + "    ", name, ",", width, lines)
    lines.append(indent + closing + after)


def _flat(value: Any, room: int) -> str | None:
    """Return a value in one line, or None when it has parts and does not fit into ``room``."""
    if not _has_parts(value):
        return _leaf(value)
    opening, closing = _brackets(value)
    parts = []
    left = room - len(opening) - len(closing)
    for name, item in _items(value):
        part = _flat(item, left - len(name))
        if part is None or len(name) + len(part) > left:
            return None
        parts.append(name + part)
        left -= len(name) + len(part) + 2
    comma = "," if type(value) is tuple and len(value) == 1 else ""
    return opening + ", ".join(parts) + comma + closing


def _has_parts(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return len(value) > 0
    return is_unregistered(value)


def _brackets(value: Any) -> tuple[str, str]:
    for kind, brackets in (
        (list, ("[", "]")),
        (tuple, ("(", ")")),
        (dict, ("{", "}")),
        (frozenset, ("frozenset({", "})")),
    ):
        if isinstance(value, kind):
            return brackets
    if is_unregistered(value):
        return f"{value.name}(", ")"
    return "{", "}"


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with what stands before it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{in_one_line(key)}: ", item
    elif isinstance(value, (set, frozenset)):
        for item in sorted(value, key=in_one_line):
            yield "", item
    elif is_unregistered(value):
        yield "", value.fields
    else:
        for item in value:
            yield "", item


def _leaf(value: Any) -> str:
    return hex(value) if type(value) is int and is_huge(value) else repr(value)


def is_unregistered(value: Any) -> bool:
    """Tell whether it stands for an instance of a class that only its application knows."""
    from manifests import UnregisteredValue

    return isinstance(value, UnregisteredValue)


def is_huge(number: int) -> bool:
    """Tell whether Python might refuse to write a number in decimal digits (over 4,300 of them)."""
    return number.bit_length() > 14_000


def _is_small(value: Any) -> bool:
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
    return len(items) <= 4 and all(
        item is None
        or isinstance(item, (bool, int, float))
        or (isinstance(item, str) and len(item) <= 16)
        for item in items
    )
