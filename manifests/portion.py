"""Slices of long texts, byte strings and arrays that read no more than they need."""

from __future__ import annotations

import codecs
from typing import Any, Final

from cas.errors import CorruptObjectError
from manifests.arrays import decode_array
from manifests.cbor import ARRAY, BYTEARRAY, SCALAR
from manifests.excerpt import bytes_of, string_of
from manifests.forms import Form, Forms, Tagged

__all__ = ["portion"]

_ARRAY_PARTS: Final = 4
_CONTINUING: Final = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that continue a character."""


def portion(forms: Forms, form: Form, part: slice) -> Any:
    """Return a slice, without a step, of what is stored in chunks; None of anything else.

    Of byte strings only the chunks in question are read, of arrays those of the rows (items of the
    first axis) in question. A text is counted in characters, so what stands before them is read
    too; counted from the end, what stands behind them.
    """
    form = forms.follow(form)
    if not isinstance(form, Tagged):
        return None
    if form.tag == ARRAY:
        return _rows(forms, form.content, part)
    string = string_of(forms, form)
    if not isinstance(string, Tagged):
        return None
    total = sum(forms.node(string).counts)
    if form.tag == SCALAR:
        return _characters(forms, string, total, part)
    start, stop, _ = part.indices(total)
    data = bytes_of(forms, string, start, stop)
    return bytearray(data) if form.tag == BYTEARRAY else data


def _characters(forms: Forms, string: Tagged, total: int, part: slice) -> str | None:
    start, stop = part.start or 0, part.stop
    if start >= 0 and stop is not None and stop >= 0:
        return _first(forms, string, total, stop)[start:stop]
    if start < 0 and (stop is None or stop < 0):
        return _last(forms, string, total, -start)[start:stop]
    return None


def _first(forms: Forms, string: Tagged, total: int, count: int) -> str:
    """Return so many characters of the beginning, or more, or all."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text, at = "", 0
    while len(text) < count and at < total:
        end = min(at + count - len(text), total)
        text += decoder.decode(bytes_of(forms, string, at, end), final=end == total)
        at = end
    return text


def _last(forms: Forms, string: Tagged, total: int, count: int) -> str:
    """Return so many characters of the end, or more, or all."""
    data, at, found = b"", total, 0
    while found < count and at > 0:
        low = max(at - (count - found), 0)
        before = bytes_of(forms, string, low, at)
        found += len(before.translate(None, _CONTINUING))
        data, at = before + data, low
    return (data.lstrip(_CONTINUING) if at else data).decode()


def _rows(forms: Forms, content: Form, part: slice) -> Any:
    """Return rows of an array; None of a numpy scalar."""
    if type(content) is not list or len(content) != _ARRAY_PARTS:
        raise CorruptObjectError("a stored array has no dtype, shape, order and bytes")
    dtype, shape, fortran = (forms.value(item) for item in content[:3])
    if not shape:
        return None
    if fortran and len(shape) > 1:
        # Rows lie scattered over all of it.
        return forms.value(Tagged(ARRAY, content))[part].copy()
    start, stop, _ = part.indices(shape[0])
    count = max(stop - start, 0)
    string = string_of(forms, forms.follow(content[3]))
    if string is None:
        raise CorruptObjectError("a stored array has no bytes")
    total = len(string) if type(string) is bytes else sum(forms.node(string).counts)
    row, rest = divmod(total, shape[0]) if shape[0] else (0, 0)
    if rest:
        raise CorruptObjectError("a stored array has not as many bytes as its shape needs")
    data = bytes_of(forms, string, start * row, (start + count) * row)
    return decode_array([dtype, [count, *shape[1:]], False, data])
