"""What commands print: tables and lines for people, JSON for programs.

On a terminal, tables fit its width. Into a pipe or a file they are plain columns of text, nothing
cut off and no control sequences. JSON is always ASCII, so it survives every locale and cannot carry
a control character.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Final

from hive.cli.columns import GAP, Column, fit
from hive.cli.text import escape

__all__ = [
    "Column",
    "discard_output",
    "heading",
    "is_terminal",
    "line",
    "prepare_streams",
    "styled",
    "table",
    "terminal_width",
    "write_json",
    "write_raw",
]

_STYLES: Final = {"bold": 1, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
PIECE: Final = 32_768
"""Characters or bytes written at once."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their titles. Cells are escaped here: pass them as they are."""
    cells = [[escape(cell) for cell in row] for row in rows]
    if is_terminal():
        _terminal_table(columns, cells)
        return
    widths = [
        max(len(cell) for cell in (column.title, *(row[place] for row in cells)))
        for place, column in enumerate(columns)
    ]
    for row in ([column.title for column in columns], *cells):
        line(
            "  ".join(
                cell.rjust(width) if column.right else cell.ljust(width)
                for column, width, cell in zip(columns, widths, row, strict=True)
            ).rstrip()
        )


def line(text: str = "") -> None:
    """Print one line or more of text that is already safe: escape what is foreign first."""
    _write(text + "\n")


def _write(text: str) -> None:
    """Print text that is already safe, without an end of line."""
    if sys.stdout is None:  # the program was started with its output closed
        return
    # In pieces: unbuffered (PYTHONUNBUFFERED), one large write into a pipe whose reader goes away
    # ends short and without an error; the next one has it.
    for start in range(0, len(text), PIECE):
        sys.stdout.write(text[start : start + PIECE])


def write_raw(data: bytes) -> None:
    """Print bytes exactly as they are."""
    if sys.stdout is None:
        return
    sys.stdout.flush()
    for start in range(0, len(data), PIECE):
        sys.stdout.buffer.write(data[start : start + PIECE])


def terminal_width() -> int:
    """Columns to lay text out in; 80 when the output is not a terminal, whatever COLUMNS says."""
    return shutil.get_terminal_size().columns if is_terminal() else 80


def heading(text: str) -> None:
    """Print a title above a part of the output, bold on a terminal."""
    line(styled(text, "bold"))


def styled(text: str, style: str) -> str:
    """Return a text that is already safe in bold or in a colour, if a terminal would show it."""
    if not is_terminal() or not _wants_colour():
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def write_json(value: Any) -> None:
    """Print a value as indented JSON in ASCII. NaN and infinities must be replaced before."""
    line(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False))


def is_terminal() -> bool:
    """Tell whether the output goes to a person's terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def prepare_streams() -> None:
    """Let no character end a command: what the locale cannot show is printed as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send the rest of the output nowhere, after its reader has gone or its disk is full.

    What is still buffered would be written again at exit, fail again, and print a traceback that
    nobody asked for.
    """
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return  # no stream, or one in memory: nothing to fail at exit
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _terminal_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    # Some characters take two places, others none.
    from rich.cells import cell_len

    titles = [column.title for column in columns]
    natural = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    widths = fit(columns, natural, terminal_width())
    for row in (titles, *cells):
        parts = [_cell(row[at], width, right=columns[at].right) for at, width in widths.items()]
        text = (" " * GAP).join(parts).rstrip()
        if row is titles:
            heading(text)
        else:
            line(text)


def _cell(text: str, width: int, *, right: bool) -> str:
    """Return a text in exactly ``width`` places, shortened with an ellipsis or filled up."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        return set_cell_size(text, max(width - 1, 0)) + "\u2026"
    filling = " " * (width - cell_len(text))
    return filling + text if right else text + filling


def _wants_colour() -> bool:
    environment = os.environ  # noqa: TID251  the command line may read it
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
