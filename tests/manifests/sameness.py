"""Strict equality: types, signs of zero, NaNs, order of keys, and memory layout count."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import zoneinfo
from collections import deque
from typing import Any

import numpy as np
import pydantic

__all__ = ["assert_same", "portrait", "same"]


def portrait(value: Any) -> Any:
    """Return a description of a value; descriptions are equal only for values that are the same.

    Python's own equality takes 1, 1.0 and True for the same, 0.0 and -0.0 too, no NaN for itself,
    and does not look at the order of a dict's keys or the name of a time zone.
    """
    cls = type(value)
    return cls, _content(cls, value)


def same(one: Any, other: Any) -> bool:
    """Whether two values have the same types, contents and order throughout."""
    return bool(portrait(one) == portrait(other))


def assert_same(restored: Any, original: Any) -> None:
    """Fail unless what came back is what was saved."""
    assert portrait(restored) == portrait(original)


def _content(cls: type, value: Any) -> Any:
    if cls is float:
        return value.hex()
    if cls is complex:
        return value.real.hex(), value.imag.hex()
    if cls is decimal.Decimal:
        return value.as_tuple()
    if isinstance(value, dict):
        items = [(portrait(key), portrait(item)) for key, item in value.items()]
        return items if cls is dict else (getattr(value, "default_factory", None), items)
    if cls in (set, frozenset):
        return sorted(map(portrait, value), key=repr)
    if cls in (list, tuple, deque):
        return [portrait(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _array(value)
    if isinstance(value, dt.datetime | dt.time):
        return value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo)
    if isinstance(value, dt.tzinfo):
        return _zone(value)
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return _structure(value)


def _array(value: Any) -> Any:
    array = np.asarray(value)
    order = (array.flags.c_contiguous, array.flags.f_contiguous) if array.size else None
    return array.dtype, array.dtype.descr, array.shape, order, array.tobytes()


def _zone(zone: dt.tzinfo | None) -> Any:
    if isinstance(zone, zoneinfo.ZoneInfo):
        return zoneinfo.ZoneInfo, zone.key
    return type(zone), repr(zone)


def _structure(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name, portrait(value.value)
    if isinstance(value, pydantic.BaseModel):
        return [
            portrait(dict(value.__dict__)),
            portrait(value.__pydantic_fields_set__),
            portrait(value.__pydantic_extra__),
            portrait(value.__pydantic_private__),
        ]
    if dataclasses.is_dataclass(value):
        return [
            (field.name, portrait(getattr(value, field.name)))
            for field in dataclasses.fields(value)
        ]
    if isinstance(value, tuple):
        return [portrait(item) for item in value]
    held = getattr(value, "__dict__", None)
    return value if held is None else portrait(held)
