"""Names that users give: of runs, tags, nodes, kinds, labels. Checked, never path segments."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from blake3 import blake3

from cas.errors import InvalidInputError, LimitError

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_LABELS_BYTES",
    "MAX_NAME_BYTES",
    "check_key",
    "check_labels",
    "check_name",
    "check_place",
    "name_key",
]

MAX_NAME_BYTES: Final = 1_024
"""Longest run, tag or node name, in bytes of UTF-8 (inclusive)."""
MAX_KEY_BYTES: Final = 255
"""Longest id that a framework gives a checkpoint, in bytes of UTF-8 (inclusive)."""
MAX_LABELS_BYTES: Final = 512
"""Most bytes of UTF-8 in all labels of a checkpoint, names and values together (inclusive)."""

# LMDB keys have at most 511 bytes: longer names are cut and told apart by their digest. 0xFF is in
# no UTF-8 text, so a cut name's key is never another name's whole one.
_WHOLE_KEY_BYTES: Final = 448


def check_name(name: str, what: str) -> bytes:
    """Return a name as UTF-8, or raise ``InvalidInputError`` saying what is wrong with it.

    A name has 1 to 1,024 bytes of UTF-8 and no control characters: it is printed to terminals.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"a {what} is a text, not {type(name).__name__}")
    return _checked(name, what)


def check_key(key: str) -> bytes:
    """Return a checkpoint's key as UTF-8, or raise ``InvalidInputError``: a name of 255 bytes."""
    data = check_name(key, "key of a checkpoint")
    if len(data) > MAX_KEY_BYTES:
        raise InvalidInputError(f"a key of a checkpoint has at most {MAX_KEY_BYTES} bytes")
    return data


@lru_cache(maxsize=4_096)
def _checked(name: str, what: str) -> bytes:
    try:
        data = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"the {what} has a lone surrogate") from error
    if not 1 <= len(data) <= MAX_NAME_BYTES:
        raise InvalidInputError(f"a {what} has 1 to {MAX_NAME_BYTES} bytes, not {len(data)}")
    # What is printable has none; looking at each character takes as long as a row's checksum.
    if not name.isprintable() and any(unicodedata.category(each) == "Cc" for each in name):
        raise InvalidInputError(f"the {what} has a control character")
    return data


def name_key(name: str, what: str) -> bytes:
    """Return the table key of a name (at most 480 bytes, a different one for each name)."""
    data = check_name(name, what)
    if len(data) <= _WHOLE_KEY_BYTES:
        return data
    return data[:_WHOLE_KEY_BYTES] + b"\xff" + blake3(data).digest()[:31]


def check_place(path: str, task: str, writes: Mapping[int, tuple[str, Any]]) -> None:
    """Refuse what cannot be the names of a task and of its pending writes, by index."""
    check_name(task, "task id")
    if path:
        check_name(path, "task path")
    for index, (name, _value) in writes.items():
        if type(index) is not int or not -(1 << 31) <= index < 1 << 31:
            raise InvalidInputError("the index of a write is a whole number of 32 bits")
        check_name(name, "name of a write")


def check_labels(labels: Mapping[Any, Any]) -> None:
    """Refuse labels that are no texts or too large in all."""
    size = 0
    for name, value in labels.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise InvalidInputError("labels are texts, names and values both")
        try:
            size += len(name.encode()) + len(value.encode())
        except UnicodeEncodeError as error:
            raise InvalidInputError("a label has a lone surrogate") from error
    if size > MAX_LABELS_BYTES:
        raise LimitError(f"labels have {size} bytes in all, at most {MAX_LABELS_BYTES} are kept")
