"""Two texts side by side: which lines, and within a changed line which words, differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hive.text import escape
from manifests.diff import align_slowly

__all__ = ["Line", "Span", "lines_of"]

_CONTEXT: Final = 2
"""Equal lines shown around what differs."""
_MOST_LINES: Final = 2_000
_MOST_WORDS: Final = 600
_MOST_SHOWN: Final = 120
_MOST_CHARACTERS: Final = 240
"""Characters of a long line shown before and behind where it begins to differ."""
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")

LineKind = Literal["same", "removed", "added", "gap"]


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a line; ``marked`` if just this part differs."""

    text: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the comparison. A ``gap`` stands for equal lines that are left out."""

    kind: LineKind
    spans: tuple[Span, ...]


def lines_of(before: str, after: str) -> list[Line]:
    """Return the lines in which two texts differ, each with a few equal ones around it."""
    old, new = before.split("\n"), after.split("\n")
    if len(old) + len(new) > _MOST_LINES:
        old, new = old[: _MOST_LINES // 2], new[: _MOST_LINES // 2]
    # If need be, lines that occur very often align nothing.
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=align_slowly(old, new))
    found: list[Line] = []
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        if found:
            found.append(Line("gap", ()))
        for kind, i, i_end, j, j_end in group:
            if kind == "equal":
                found += [Line("same", (Span(escape(text), False),)) for text in old[i:i_end]]
            else:
                found += _changed(old[i:i_end], new[j:j_end])
        if len(found) > _MOST_SHOWN:
            return [*found[:_MOST_SHOWN], Line("gap", ())]
    return found


def _changed(old: Sequence[str], new: Sequence[str]) -> Iterator[Line]:
    if len(old) != len(new):
        yield from (Line("removed", (Span(escape(text), False),)) for text in old)
        yield from (Line("added", (Span(escape(text), False),)) for text in new)
        return
    pairs = [_words(one, other) for one, other in zip(old, new, strict=True)]
    yield from (Line("removed", spans) for spans, _ in pairs)
    yield from (Line("added", spans) for _, spans in pairs)


def _words(old: str, new: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    one, other = _WORDS.findall(old), _WORDS.findall(new)
    if len(one) + len(other) > _MOST_WORDS:
        return _middle(old, new)
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    left, right = [], []
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        left.append(Span(escape("".join(one[i:i_end])), kind != "equal"))
        right.append(Span(escape("".join(other[j:j_end])), kind != "equal"))
    return tuple(filter(_has_text, left)), tuple(filter(_has_text, right))


def _middle(old: str, new: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Compare of two long lines what stands around the place where they begin to differ."""
    shorter = min(len(old), len(new))
    head = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    before = old[max(head - _MOST_CHARACTERS, 0) : head]
    opening = (Span(escape(before if len(before) == head else "…" + before), False),)
    left, right = _words(*(text[head : head + _MOST_CHARACTERS] for text in (old, new)))
    ends = [
        (Span("…", False),) if len(text) > head + _MOST_CHARACTERS else () for text in (old, new)
    ]
    return (
        tuple(filter(_has_text, (*opening, *left, *ends[0]))),
        tuple(filter(_has_text, (*opening, *right, *ends[1]))),
    )


def _has_text(span: Span) -> bool:
    return bool(span.text)
