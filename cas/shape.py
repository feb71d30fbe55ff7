"""The shape of a row: CBOR without tags, with the types that the fields of its kind have.

A checksum is no proof: whoever can write to a store's files can compute it. So the fields of a row
are looked at before they are used, and what the CBOR library would make of tags (a compiled
expression, a list that holds itself) is never made.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import cbor2

from cas.errors import CorruptStoreError
from cas.shortage import raise_shortage

__all__ = [
    "BUILT_IN_TAGS",
    "MOST_RECORDS",
    "Shape",
    "loads",
    "numbers_in",
    "odd_row",
    "record_number",
    "shaped",
]

Shape = tuple[type, ...]
"""The exact types of a row's fields, in order."""

BUILT_IN_TAGS: Final = (
    *(0, 1, 4, 5, 21, 22, 23, 24, 25, 28, 29, 30, 32, 33, 34, 35, 36, 37, 38),
    *(52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799),
)
"""The tags for which cbor2 has decoders of its own, but for large integers (2, 3).

Some build cycles or expand without bound (28, 29, 25, 256), some run expensive code on input (4, 5,
30, 35, 36), and none is ever written here.
"""

_DEPTH: Final = 8
MOST_RECORDS: Final = 1 << 48
"""Record numbers are below this."""


def _refuse(*_content: Any) -> Any:
    raise ValueError("no row has a tag")


_DECODERS: Final = dict.fromkeys((2, 3, *BUILT_IN_TAGS), _refuse)


def loads(row: bytes) -> Any:
    """Decode a row that this project wrote, or one that is damaged.

    Raises:
        CorruptStoreError: It is no CBOR, or of a kind that no row is.
        MemoryError: There is too little memory.
    """
    try:
        return cbor2.loads(
            row,
            semantic_decoders=_DECODERS,
            tag_hook=_refuse,
            max_depth=_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
        raise_shortage(error)
        raise odd_row() from error


def shaped(row: bytes, shapes: Collection[Shape]) -> list[Any]:
    """Return the fields of a row, which have one of some shapes.

    Raises:
        CorruptStoreError: It has another.
        MemoryError: There is too little memory.
    """
    fields = loads(row)
    if type(fields) is not list or tuple(map(type, fields)) not in shapes:
        raise odd_row()
    return fields


def record_number(number: int) -> int:
    """Return a record number that stands in a row; ``CorruptStoreError`` if none can be so."""
    if not 0 <= number < MOST_RECORDS:
        raise odd_row()
    return number


def numbers_in(row: bytes) -> list[int]:
    """Return the record numbers of a row that holds nothing else."""
    numbers = loads(row)
    if type(numbers) is not list or not {*map(type, numbers)} <= {int}:
        raise odd_row()
    return [record_number(number) for number in numbers]


def odd_row() -> CorruptStoreError:
    """Return the error for a row whose fields cannot be what they say."""
    return CorruptStoreError("a row holds what no row of its kind does; check the store")
