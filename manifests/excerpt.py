"""Parts of long texts and byte strings: of 50 MB, only the chunks that are shown are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cas.errors import CorruptObjectError, LimitError
from manifests.cbor import BYTEARRAY, NODE, SCALAR
from manifests.forms import Form, Forms, Tagged, as_corruption
from manifests.pieces import MAX_VALUE_BYTES
from manifests.scalars import TEXT
from manifests.trees import BYTES_NODE

__all__ = ["Excerpt", "bytes_of", "excerpt", "first_difference", "string_of"]

MOST_BYTES: Final = 16_384
_LONGEST_CHARACTER: Final = 4


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Bytes ``start`` and on of a text in UTF-8 or of a byte string, which has ``total`` in all."""

    data: bytes
    start: int
    total: int
    is_text: bool

    @property
    def stop(self) -> int:
        """Where the next excerpt begins."""
        return self.start + len(self.data)

    @property
    def text(self) -> str:
        """The text; what is not UTF-8 at all stands as U+FFFD."""
        return self.data.decode(errors="replace")


def excerpt(forms: Forms, form: Form, start: int, most: int = MOST_BYTES) -> Excerpt | None:
    """Return some bytes of a text, bytes or bytearray; None if a form is something else.

    Of a text it begins and ends between characters, up to 3 bytes before ``start`` and its end.
    """
    with as_corruption():
        form = forms.follow(form)
        if isinstance(form, str):
            string: Form = form.encode()
        else:
            string = string_of(forms, form)
        if string is None:
            return None
        is_text = isinstance(form, str) or (isinstance(form, Tagged) and form.tag == SCALAR)
        total = len(string) if type(string) is bytes else sum(forms.node(string).counts)
        start, most = min(max(start, 0), total), max(most, _LONGEST_CHARACTER)
        low = max(start - _LONGEST_CHARACTER + 1, 0) if is_text else start
        data = bytes_of(forms, string, low, min(start + most, total))
        if is_text:
            while low < start < total and _is_inside(data[start - low]):
                start -= 1
            data = data[start - low :]
            if start + len(data) < total:
                data = _whole_characters(data)
        return Excerpt(data, start, total, is_text)


def first_difference(forms: Forms, before: Form, after: Form) -> int:
    """Return a position up to which two texts are surely equal; equal chunks are not read."""
    with as_corruption(), forms.bounded():
        same = 0
        old, new = string_of(forms, forms.follow(before)), string_of(forms, forms.follow(after))
        if isinstance(old, Tagged) and isinstance(new, Tagged):
            for (one, size), (other, _size) in zip(forms.runs(old), forms.runs(new), strict=False):
                if one != other:
                    break
                same += size
        return same


def string_of(forms: Forms, form: Form) -> Form | None:
    """Return the bytes, or the tree of bytes, of a byte string or a long text; else None."""
    if type(form) is bytes:
        return form
    if not isinstance(form, Tagged):
        return None
    if form.tag == NODE and form.content[0] == BYTES_NODE:
        return form
    if form.tag == BYTEARRAY:
        return string_of(forms, forms.follow(form.content))
    if form.tag == SCALAR and form.content[0] == TEXT:
        return string_of(forms, forms.follow(form.content[1]))
    return None


def bytes_of(forms: Forms, string: Form, start: int, stop: int) -> bytes:
    """Return bytes of what ``string_of`` returned; only the chunks that hold them are read."""
    if type(string) is bytes:
        return string[start:stop]
    if stop - start > MAX_VALUE_BYTES:
        raise LimitError(f"a part of a stored value has at most {MAX_VALUE_BYTES} bytes")
    parts = forms.node(string)
    found, first = [], 0
    for child, count in zip(parts.children, parts.counts, strict=True):
        low, high = max(start - first, 0), min(stop - first, count)
        if low < high:
            below = _leaf(forms, child, count) if parts.level == 1 else forms.below(parts, child)
            found.append(bytes_of(forms, below, low, high))
        first += count
    return b"".join(found)


def _leaf(forms: Forms, child: Any, count: int) -> bytes:
    leaf = forms.follow(child)
    if type(leaf) is not bytes or len(leaf) != count:
        raise CorruptObjectError("a tree node does not hold what it counts")
    return leaf


def _is_inside(byte: int) -> bool:
    """Whether a byte of UTF-8 continues a character."""
    return byte & 0xC0 == 0x80


def _whole_characters(data: bytes) -> bytes:
    """Return UTF-8 without the last character if not all of its bytes are there."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data)) + 1):
        byte = data[-back]
        if not _is_inside(byte):
            size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data if back >= size else data[:-back]
    return data
