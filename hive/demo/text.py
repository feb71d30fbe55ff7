"""Split texts into pieces, sentences and words. Pure functions of the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_PIECE_CHARS", "Piece", "sentences", "split_pieces", "title_of", "words"]

PIECE_CHARS: Final = 1_200
"""Paragraphs of one section are joined up to about this length."""
MAX_PIECE_CHARS: Final = 4_000
"""A longer paragraph (a table, a long function) is cut at line ends; a longer line is cut hard."""

_HEADING: Final = re.compile(
    r"^(?:#{1,6}[ \t]+(?P<markdown>\S.*?)[ \t#]*|(?:async[ ]+)?(?P<code>(?:def|class)[ ]+\w+).*)$"
)
_WORD: Final = re.compile(r"[^\W\d_]{3,30}")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])[\"')\]`*_]{0,3}\s+(?=[A-Z\"'(`*_])")
_PROSE: Final = re.compile(r"^[\"'(`*_]{0,2}[^\W\d_a-z][^{}=<>|;\\]{25,280}[.!?][\"')`*_]{0,3}$")
_MARKS: Final = re.compile(r"^[\s>#*\-+|\"']+")

_STOP_WORDS: Final = frozenset(
    """about after all also and any are because been before being both but can cannot could did
    does doing done each else even ever every few for from had has have having her here him his how
    its itself just let like may might more most must nor not now off one only other our out over
    own per same self shall she should some such than that the their them then there these they
    this those through too under until upon use used uses using very was way were what when where
    which while who whom whose why will with within without would yet you your
    class def elif except false final from import int lambda none object pass print raise return
    str true try yield""".split()
)


@dataclass(frozen=True)
class Piece:
    """A stretch of one document below its nearest heading."""

    heading: str
    text: str


def split_pieces(text: str) -> list[Piece]:
    """Split a text into sections at headings, and sections into pieces of whole paragraphs.

    A heading is a Markdown heading, or a definition at the left margin of a source file. Blank
    lines end a paragraph. The pieces hold every line that is not blank, in order.
    """
    pieces: list[Piece] = []
    heading = ""
    section: list[str] = []
    length = 0

    def close() -> None:
        nonlocal length
        if section:
            pieces.append(Piece(heading, "\n\n".join(section)))
            section.clear()
        length = 0

    for paragraph in _paragraphs(text):
        match = _HEADING.match(paragraph.split("\n", 1)[0])
        if match:
            close()
            heading = (match["markdown"] or match["code"] or "")[:120]
        if length and length + len(paragraph) > PIECE_CHARS:
            close()
        section.append(paragraph)
        length += len(paragraph)
    close()
    return pieces


def title_of(text: str) -> str:
    """Return the first heading or the first line with words in it; at most 100 characters."""
    for line in text[:20_000].splitlines():
        if line.startswith(("#!", "from ", "import ")) or "coding:" in line:
            continue
        line = _MARKS.sub("", line).rstrip(" \t\"'#*")
        if len(words(line)) > 0:
            return line[:100]
    return ""


def sentences(text: str) -> list[str]:
    """Return the sentences of prose in a text, white space collapsed; code is passed over."""
    found: list[str] = []
    for paragraph in _paragraphs(text):
        flat = " ".join(_MARKS.sub("", line).strip() for line in paragraph.split("\n"))
        parts = (part.rstrip('" ') for part in _SENTENCE_END.split(flat))
        found += [part for part in parts if _PROSE.match(part)]
    return found


def words(text: str) -> list[str]:
    """Return the words of three letters or more, case-folded, without the commonest ones."""
    return [word for word in map(str.casefold, _WORD.findall(text)) if word not in _STOP_WORDS]


def _paragraphs(text: str) -> list[str]:
    """Blocks of lines between blank lines, none longer than MAX_PIECE_CHARS."""
    paragraphs: list[str] = []
    block: list[str] = []
    length = 0
    for line in [*text.splitlines(), ""]:
        for start in range(0, max(len(line), 1), MAX_PIECE_CHARS):
            part = line[start : start + MAX_PIECE_CHARS].rstrip()
            if block and (not part or length + len(part) > MAX_PIECE_CHARS or _HEADING.match(part)):
                paragraphs.append("\n".join(block))
                block, length = [], 0
            if part:
                block.append(part)
                length += len(part) + 1
    return paragraphs
