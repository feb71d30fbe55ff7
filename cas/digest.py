"""``Digest``: the address of an object, a 32-byte BLAKE3-256 value."""

from __future__ import annotations

import re
from typing import Final, Self

from blake3 import blake3

from cas.errors import InvalidInputError

__all__ = ["DIGEST_BYTES", "SHORT_HEX_DIGITS", "Digest"]

DIGEST_BYTES: Final = 32
SHORT_HEX_DIGITS: Final = 12

_HEX: Final = re.compile(r"[0-9a-f]{64}")


class Digest(bytes):
    """A BLAKE3-256 digest. It is its 32 raw bytes; ``str()`` of it is 64 lower-case hex digits.

    Subclassing ``bytes`` keeps it usable as a table key and in joins without conversion, on a path
    that handles thousands of digests a restore.
    """

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Wrap 32 raw bytes; any other length is an ``InvalidInputError``."""
        if len(raw) != DIGEST_BYTES:
            raise InvalidInputError(f"a digest has {DIGEST_BYTES} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the BLAKE3-256 digest of ``data``."""
        return cls(blake3(data).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest written as exactly 64 lower-case hex digits, nothing else."""
        if not _HEX.fullmatch(text):
            raise InvalidInputError("a digest is written as 64 lower-case hex digits")
        return cls(bytes.fromhex(text))

    @property
    def short(self) -> str:
        """The first 12 hex digits, for display."""
        return self.hex()[:SHORT_HEX_DIGITS]

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"Digest({self.short})"

    def __format__(self, spec: str) -> str:
        return format(self.hex(), spec)
