"""Texts as rows keep them: an id that is a UUID takes 16 bytes there instead of 36."""

from __future__ import annotations

import uuid
from typing import Final

from cas.errors import CorruptStoreError

__all__ = ["packed", "unpacked"]

_UUID_CHARACTERS: Final = 36
_UUID_BYTES: Final = 16


def packed(text: str) -> str | bytes:
    """Return the 16 bytes of a UUID in its usual form (lower case, with hyphens), else the text."""
    if len(text) != _UUID_CHARACTERS:
        return text
    try:
        found = uuid.UUID(text)
    except ValueError:
        return text
    return found.bytes if str(found) == text else text


def unpacked(value: str | bytes) -> str:
    """Return the text again; ``CorruptStoreError`` for what ``packed`` never returns."""
    if isinstance(value, str):
        return value
    if len(value) == _UUID_BYTES:
        return str(uuid.UUID(bytes=value))
    raise CorruptStoreError("a row holds an id that is none; check the store")
