"""``UnregisteredValue``: what a class stored that the reader's registry does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from manifests.arrays import encode_array, is_array
from manifests.scalars import SCALAR_TYPES, encode_scalar

__all__ = ["UnregisteredValue"]


@dataclass(frozen=True, slots=True, eq=False)
class UnregisteredValue:
    """A stored value whose type name or version this registry does not know.

    It holds what was stored, loses nothing and encodes to the same address again. It can be a key
    or a member of a set, since what it stands for was one; its fields must then not be changed.

    Two are equal if they are stored alike: 1, 1.0 and True are not, nor dicts of another order.
    What they stand for may have been told apart, as the keys of one dict.
    """

    name: str
    version: int
    fields: Any

    def __eq__(self, other: object) -> bool:
        if type(other) is not UnregisteredValue:
            return NotImplemented
        return bool(_form(self) == _form(other))

    def __hash__(self) -> int:
        return hash(_form(self))


def _form(value: Any) -> Any:
    """Return something hashable that is equal for values that are stored alike, and no others.

    Of values of the application's classes, which may be inside, the class decides.
    """
    cls = type(value)
    if cls in _PLAIN:
        return cls, value
    if cls is float:
        return cls, value.hex()  # zeros have signs, and a NaN is not equal to itself
    if cls is list or cls is tuple:
        return cls, tuple(map(_form, value))
    if cls is dict:
        return cls, tuple((_form(key), _form(item)) for key, item in value.items())
    if cls is set or cls is frozenset:
        return cls, frozenset(map(_form, value))
    if cls is bytearray:
        return cls, bytes(value)
    if cls is UnregisteredValue:
        return cls, value.name, value.version, _form(value.fields)
    if cls in SCALAR_TYPES:
        return cls, _form(encode_scalar(value))
    if is_array(value):
        description, data = encode_array(value)
        return cls, _form(description), bytes(data)
    try:
        hash(value)
    except TypeError:
        return cls, id(value)
    return cls, value


_PLAIN: Final = frozenset((type(None), bool, int, str, bytes))
