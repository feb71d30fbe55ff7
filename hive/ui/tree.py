"""A state as a tree to unfold: what a line of it says, and where its inside is fetched from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hive.literals import in_one_line
from hive.text import count, escape, escape_lines, size
from hive.ui.links import step_link
from manifests import Checkpoint, Excerpt, Outline, Unread, UnregisteredValue
from manifests.paths import Entry, Field, Step
from manifests.places import step_to

__all__ = [
    "PAGE",
    "TEXT_BYTES",
    "Crumb",
    "Row",
    "TextView",
    "Tree",
    "briefly",
    "crumbs",
    "text_of",
    "tree_of",
]

PAGE: Final = 100
"""Parts of a container shown at a time."""
TEXT_BYTES: Final = 16_384
"""Bytes of a long text shown at a time."""
_PREVIEW: Final = 160
_COLOURED: Final = {"str": "text", "int": "number", "float": "number", "bool": "word"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a name, what stands there in a few words, and links to its inside.

    ``inside`` is ``parts`` (of a container), ``text`` (of a long text or byte string) or empty.
    """

    name: str
    type: str
    extent: str
    preview: str
    colour: str
    inside: str
    page: str
    fragment: str


@dataclass(frozen=True, slots=True)
class Tree:
    """Some lines of one container, and how to get those behind them."""

    rows: tuple[Row, ...]
    first: int
    total: int
    next_page: str
    next_fragment: str

    @property
    def left(self) -> int:
        """How many parts stand behind these."""
        return self.total - self.first - len(self.rows)


@dataclass(frozen=True, slots=True)
class TextView:
    """Some of a long text, or of a byte string as hexadecimal digits."""

    shown: str
    is_text: bool
    start: int
    stop: int
    total: int
    next_page: str
    next_fragment: str

    @property
    def left(self) -> int:
        """How many bytes stand behind this."""
        return self.total - self.stop


@dataclass(frozen=True, slots=True)
class Crumb:
    """One step of the way to what is shown."""

    name: str
    page: str


def tree_of(
    checkpoint: Checkpoint, found: Outline, path: Sequence[Step], *, record: bool = False
) -> Tree:
    """Return the lines for the parts of an outline that stands at ``path``."""
    rows = []
    for at, part in enumerate(found.parts, found.first):
        step = part.step
        addressed = step if isinstance(step, Field | Entry) else step_to(step, at)
        rows.append(_row(checkpoint, step, part.outline, [*path, addressed], record=record))
    stop = found.first + len(rows)
    return Tree(
        rows=tuple(rows),
        first=found.first,
        total=found.length or 0,
        next_page=step_link(checkpoint, record=record, path=path, start=stop),
        next_fragment=step_link(checkpoint, "parts", record=record, path=path, start=stop),
    )


def text_of(
    checkpoint: Checkpoint, found: Excerpt, path: Sequence[Step], *, record: bool = False
) -> TextView:
    """Return an excerpt of a text that stands at ``path``, as it is shown."""
    shown = escape_lines(found.text) if found.is_text else _hexadecimal(found.data, found.start)
    return TextView(
        shown=shown,
        is_text=found.is_text,
        start=found.start,
        stop=found.stop,
        total=found.total,
        next_page=step_link(checkpoint, record=record, path=path, start=found.stop),
        next_fragment=step_link(checkpoint, "text", record=record, path=path, start=found.stop),
    )


def _hexadecimal(data: bytes, start: int) -> str:
    """Lay bytes out 16 to a line, each line behind the position of its first byte."""
    lines = (data[at : at + 16] for at in range(0, len(data), 16))
    return "\n".join(
        f"{start + 16 * number:08x}  {line.hex(' '):<47}  {_letters(line)}"
        for number, line in enumerate(lines)
    )


def _letters(data: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def crumbs(checkpoint: Checkpoint, path: Sequence[Step], *, record: bool) -> list[Crumb]:
    """Return the way from the whole to what stands at a path."""
    root = "execution record" if record else "state"
    way = [Crumb(root, step_link(checkpoint, record=record))]
    for end, step in enumerate(path, 1):
        way.append(Crumb(_name(step), step_link(checkpoint, record=record, path=path[:end])))
    return way


def briefly(found: Outline) -> tuple[str, str, str]:
    """Return what stands at a place in a few words: type, extent, and the value's beginning."""
    return found.type, _extent(found), _preview(found)


def _row(
    checkpoint: Checkpoint, step: Step, found: Outline, path: Sequence[Step], *, record: bool
) -> Row:
    kind, extent, preview = briefly(found)
    inside = _inside(found, preview)
    return Row(
        name=_name(step),
        type=kind,
        extent=extent,
        preview=preview,
        colour=_COLOURED.get(found.type, "word" if found.value is None else "other"),
        inside=inside,
        page=step_link(checkpoint, record=record, path=path) if inside else "",
        fragment=step_link(checkpoint, inside, record=record, path=path) if inside else "",
    )


def _inside(found: Outline, preview: str) -> str:
    if found.unit == "items":
        return "parts" if found.has_parts else ""
    if isinstance(found.value, str) and found.value == preview:
        return ""
    if isinstance(found.value, bytes | bytearray) and len(found.value) * 4 < _PREVIEW:
        return ""
    return "text"


def _name(step: Step) -> str:
    """Name a part: keys that are texts as they are, everything else as Python writes it."""
    text = str(step) if isinstance(step, str) else _written(step)
    shown = escape(text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…")
    return shown or '""'


def _extent(found: Outline) -> str:
    if found.length is None:
        return ""
    if found.unit == "items":
        return count(found.length, "item")
    return count(found.length, "character") if found.unit == "characters" else size(found.length)


def _preview(found: Outline) -> str:
    if isinstance(found.value, Unread):
        return ""
    text = found.value if isinstance(found.value, str) else _written(found.value)
    line = text.split("\n", 1)[0]
    shown = escape(line if len(line) <= _PREVIEW else line[:_PREVIEW])
    return shown if line == text and len(line) <= _PREVIEW else shown + "…"


def _written(value: Any) -> str:
    if isinstance(value, UnregisteredValue):
        return _written(value.fields)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if type(value) is int and value.bit_length() > 4_096:
        return hex(value)  # Python refuses to print very many digits in base 10
    if value is None or isinstance(value, bool | int | float | bytes | bytearray | Entry):
        return repr(value)
    if isinstance(value, list | tuple | dict | set | frozenset):
        return in_one_line(value)
    return str(value)
