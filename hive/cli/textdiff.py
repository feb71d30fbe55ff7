"""What changed in a text, in few lines."""

from __future__ import annotations

import difflib
from typing import Final

__all__ = ["text_changes"]

_SHORT: Final = 80
"""Texts up to this long (both, inclusive) are better shown whole."""
_MOST_PAIRS: Final = 4_000_000
"""Lines of one text times lines of the other up to which they are aligned: about a second."""
_AROUND: Final = 20
"""Characters shown on both sides of a change within a line."""
_LONGEST: Final = 200
"""Characters shown of what was put in or taken out within a line."""


def text_changes(before: str, after: str, *, context: int) -> list[str] | None:
    """Return the lines that differ, as a unified diff without its file names.

    None if both texts are short enough to be shown whole. ``context`` equal lines stand around
    each change. Within one long line, only what lies between the equal beginning and the equal end
    is shown.
    """
    if max(len(before), len(after)) <= _SHORT:
        return None
    old, new = before.splitlines(), after.splitlines()
    if len(old) <= 1 and len(new) <= 1:
        return _within_a_line(before, after)
    start, old_end, new_end = _between(old, new)
    if (old_end - start) * (new_end - start) > _MOST_PAIRS:
        return [
            f"@@ line {start + 1:,} @@",
            f"-{old_end - start:,} lines",
            f"+{new_end - start:,} lines",
        ]
    # Only what lies between the equal beginning and the equal end is aligned, with its context.
    first = max(start - context, 0)
    lines = list(
        difflib.unified_diff(
            old[first : old_end + context], new[first : new_end + context], n=context, lineterm=""
        )
    )[2:]
    if not lines:
        return ["@@ only line ends differ @@"]
    return [_moved(text, first) if text.startswith("@@") else text for text in lines]


def _within_a_line(before: str, after: str) -> list[str]:
    start, old_end, new_end = _between(before, after)
    head = ("..." if start > _AROUND else "") + before[max(start - _AROUND, 0) : start]
    tail = before[old_end : old_end + _AROUND]
    tail += "..." if len(before) - old_end > _AROUND else ""
    lines = [f"@@ character {start + 1:,} @@"]
    if old_end > start:
        lines.append(f"-{head}{_cut(before[start:old_end])}{tail}")
    lines.append(f"+{head}{_cut(after[start:new_end])}{tail}")
    return lines


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def _between(old: list[str] | str, new: list[str] | str) -> tuple[int, int, int]:
    """Return where two sequences begin to differ, and where in each they are equal again."""
    least = min(len(old), len(new))
    start = next((at for at in range(least) if old[at] != new[at]), least)
    same = next((n for n in range(least - start) if old[-1 - n] != new[-1 - n]), least - start)
    return start, len(old) - same, len(new) - same


def _moved(header: str, lines: int) -> str:
    """Count the lines in ``@@ -1,3 +1,4 @@`` from the beginning of the text."""
    _at, old, new, _end = header.split()
    return f"@@ {_shift(old, lines)} {_shift(new, lines)} @@"


def _shift(part: str, lines: int) -> str:
    sign, (first, *count) = part[0], part[1:].split(",")
    return sign + ",".join([str(int(first) + lines), *count])
