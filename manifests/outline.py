"""``Outline``: what stands at a place of a state, told without building what is below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from manifests.cbor import (
    ARRAY,
    BYTEARRAY,
    FROZENSET,
    NODE,
    PAIRS,
    REGISTERED,
    SCALAR,
    SET,
    TREE_DICT,
    TUPLE,
)
from manifests.forms import Form, Forms, LinkForm, Tagged, as_corruption
from manifests.paths import Step
from manifests.places import Places
from manifests.scalars import TEXT

__all__ = ["Outline", "Part", "Unread", "outline"]

_SHORT_TEXT: Final = 400
"""Longest text or byte string that an outline holds (inclusive)."""
_FEW_ITEMS: Final = 4
"""Most items of a container that an outline holds, if none of them has parts (inclusive)."""
_ATOMS: Final = (type(None), bool, int, float, str, bytes)

Unit = Literal["items", "characters", "bytes"]


class Unread:
    """The only instance, ``Unread.VALUE``, stands where a value was not read."""

    VALUE: Unread

    def __repr__(self) -> str:
        return "<not read>"


Unread.VALUE = Unread()


@dataclass(frozen=True, slots=True)
class Outline:
    """One value, and the parts that were asked for.

    ``type`` is its type's name, of a registered type the name under which it was stored.
    ``length`` counts its ``unit``: the items of a container, the characters of a text (of a long
    one the bytes in UTF-8), the bytes of a byte string; it is None for anything else. ``value`` is
    the value itself if it is small, else ``Unread.VALUE``. ``parts`` are those from ``first`` on.
    """

    type: str
    length: int | None
    unit: Unit
    value: Any
    first: int
    parts: tuple[Part, ...]

    @property
    def has_parts(self) -> bool:
        """Whether there is something below that an outline of this place can list."""
        return self.unit == "items" and bool(self.length)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a value: the step that leads to it, and its own outline without parts."""

    step: Step
    outline: Outline


_NAMES: Final = {SET: "set", FROZENSET: "frozenset"}


def outline(forms: Forms, root: Form, steps: Sequence[Step], start: int, stop: int) -> Outline:
    """Return the outline of what stands at a place, with its parts from ``start`` to ``stop``.

    Raises:
        NotFoundError: There is nothing there.
    """
    with as_corruption(), forms.bounded():
        places = Places(forms)
        form = places.find(root, steps)
        reader = _Reader(forms, places)
        parts = tuple(
            Part(step, reader.read(item)) for step, item in places.window(form, start, stop)
        )
        return reader.read(form, start, parts)


class _Reader:
    def __init__(self, forms: Forms, places: Places) -> None:
        self._forms = forms
        self._places = places

    def read(self, form: Form, first: int = 0, parts: tuple[Part, ...] = ()) -> Outline:
        form = self._forms.follow(form)
        name, length, unit = self._measure(form)
        value = self._forms.value(form) if _is_small(form) else Unread.VALUE
        if name == "value" and not isinstance(value, Unread):
            name = type(value).__name__
        return Outline(name, length, unit, value, first, parts)

    def _measure(self, form: Form) -> tuple[str, int | None, Unit]:
        if isinstance(form, str):
            return "str", len(form), "characters"
        if isinstance(form, bytes):
            return "bytes", len(form), "bytes"
        if type(form) is dict:
            return "dict", len(form), "items"
        if isinstance(form, Tagged) and form.tag == REGISTERED:
            return self._measure_tagged(form)
        listed = self._places.sequence(form)
        if listed is not None:
            name = "tuple" if isinstance(form, Tagged) and form.tag == TUPLE else "list"
            return name, self._places.length(listed), "items"
        if isinstance(form, Tagged):
            return self._measure_tagged(form)
        return type(form).__name__, None, "items"

    def _measure_tagged(self, form: Tagged) -> tuple[str, int | None, Unit]:
        content = form.content
        if form.tag == REGISTERED:
            length, unit = self._measure(self._forms.fields(form))[1:]
            return str(content[0]), length if unit == "items" else None, "items"
        if form.tag == TREE_DICT:
            return "dict", sum(self._forms.node(content[0]).counts), "items"
        if form.tag == PAIRS:
            return "dict", len(content) // 2, "items"
        if form.tag == NODE:
            return "bytes", sum(self._forms.node(form).counts), "bytes"
        if form.tag == SCALAR and content[0] == TEXT:
            return "str", self._bytes(content[1]), "bytes"
        if form.tag == BYTEARRAY:
            return "bytearray", self._bytes(content), "bytes"
        if form.tag in (SET, FROZENSET):
            listed = self._places.sequence(content)
            return _NAMES[form.tag], self._places.length(listed), "items"
        if form.tag == ARRAY:
            shape = content[1]  # None of a scalar such as np.float32(3)
            kind = "numpy scalar of" if shape is None else "ndarray of"
            return f"{kind} {content[0]}{'' if shape is None else f' {shape}'}", None, "items"
        return "value", None, "items"

    def _bytes(self, form: Form) -> int:
        form = self._forms.follow(form)
        return len(form) if isinstance(form, bytes) else sum(self._forms.node(form).counts)


def _is_small(form: Form) -> bool:
    """Tell whether building the value costs nothing: no links, few items, short texts."""
    if isinstance(form, Tagged):
        if form.tag == SCALAR:
            return form.content[0] != TEXT and not _has_links(form.content)
        if form.tag == REGISTERED:
            return _is_short_atom(form.content[2])
        return form.tag in (TUPLE, SET, FROZENSET, BYTEARRAY) and _is_small(form.content)
    if type(form) is list:
        return len(form) <= _FEW_ITEMS and all(map(_is_short_atom, form))
    if type(form) is dict:
        return len(form) <= _FEW_ITEMS and all(map(_is_short_atom, form.values()))
    return _is_short_atom(form)


def _has_links(content: Form) -> bool:
    return isinstance(content, LinkForm) or (
        type(content) is list and any(_has_links(item) for item in content)
    )


def _is_short_atom(form: Form) -> bool:
    return isinstance(form, _ATOMS) and not (
        isinstance(form, str | bytes) and len(form) > _SHORT_TEXT
    )
