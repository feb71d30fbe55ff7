"""Texts as rows keep them: an id that is a UUID takes 16 bytes there instead of 36."""

from __future__ import annotations

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
        data = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return text
    return data if len(data) == _UUID_BYTES and _uuid_text(data) == text else text


def unpacked(value: str | bytes) -> str:
    """Return the text again; ``CorruptStoreError`` for what ``packed`` never returns."""
    if isinstance(value, str):
        return value
    if len(value) == _UUID_BYTES:
        return _uuid_text(value)
    raise CorruptStoreError("a row holds an id that is none; check the store")


def _uuid_text(data: bytes) -> str:
    # As ``uuid.UUID`` writes it, in a tenth of the time: reading a long way back has hundreds.
    digits = data.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
