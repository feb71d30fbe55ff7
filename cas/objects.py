"""``Object``: links and payload, its canonical frame and its address.

The frame is what is hashed: one version byte, the number of links as four bytes big-endian, the
links (32 bytes each, first-use order), then the payload. An address never depends on how the
object is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from cas.digest import DIGEST_BYTES, Digest
from cas.errors import CorruptObjectError, InvalidInputError, LimitError, UnsupportedFormatError

__all__ = [
    "FRAME_VERSION",
    "MAX_LINKS",
    "MAX_PAYLOAD_BYTES",
    "Object",
    "frame_address",
    "leaf_addresses",
]

FRAME_VERSION: Final = 1
MAX_LINKS: Final = 4_096
"""Most links of one object (inclusive): bounds what one record's header can claim."""
MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
"""Largest payload of one object (inclusive); longer values are chunked above this layer."""

_VERSION_BYTE: Final = bytes([FRAME_VERSION])
_HEADER_BYTES: Final = 5
_LEAF_HEADER: Final = _VERSION_BYTE + bytes(4)


def frame_address(links: Iterable[bytes], count: int, payload: bytes) -> bytes:
    """Return the raw address of the object with these ``count`` link digests and this payload."""
    if count == 0:
        return blake3(_LEAF_HEADER + payload).digest()
    return blake3(b"".join((_VERSION_BYTE, count.to_bytes(4, "big"), *links, payload))).digest()


def leaf_addresses(payloads: Iterable[bytes]) -> list[bytes]:
    """Return the raw addresses of objects without links that have these payloads."""
    return [blake3(_LEAF_HEADER + payload).digest() for payload in payloads]


@dataclass(frozen=True, slots=True)
class Object:
    """Opaque bytes and the distinct digests they refer to by index."""

    links: tuple[Digest, ...]
    payload: bytes

    def __post_init__(self) -> None:
        """Refuse what no store may hold: too many links, a payload over the limit, repeats."""
        if len(self.links) > MAX_LINKS:
            raise LimitError(f"an object has at most {MAX_LINKS} links, not {len(self.links)}")
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            raise LimitError(
                f"an object's payload is at most {MAX_PAYLOAD_BYTES} bytes, not {len(self.payload)}"
            )
        if len(set(self.links)) != len(self.links):
            raise InvalidInputError("the links of an object are distinct")

    def address(self) -> Digest:
        """Return the BLAKE3-256 digest of the frame."""
        return Digest(frame_address(self.links, len(self.links), self.payload))

    def frame(self) -> bytes:
        """Return the canonical frame, the exact bytes that are hashed."""
        count = len(self.links).to_bytes(4, "big")
        return b"".join((_VERSION_BYTE, count, *self.links, self.payload))

    @classmethod
    def from_frame(cls, frame: bytes) -> Object:
        """Parse a frame; the inverse of ``frame``.

        Raises ``UnsupportedFormatError`` for a newer frame version and ``CorruptObjectError`` for
        bytes that are no frame.
        """
        if len(frame) < _HEADER_BYTES:
            raise CorruptObjectError(f"a frame has at least {_HEADER_BYTES} bytes")
        if frame[0] != FRAME_VERSION:
            raise UnsupportedFormatError(
                f"object frame version {frame[0]} is not known here (this is {FRAME_VERSION}); "
                "upgrade Hive"
            )
        count = int.from_bytes(frame[1:_HEADER_BYTES], "big")
        end = _HEADER_BYTES + count * DIGEST_BYTES
        if count > MAX_LINKS or end > len(frame):
            raise CorruptObjectError(f"a frame of {len(frame)} bytes cannot hold {count} links")
        links = tuple(
            Digest(frame[at : at + DIGEST_BYTES]) for at in range(_HEADER_BYTES, end, DIGEST_BYTES)
        )
        try:
            return cls(links, frame[end:])
        except (InvalidInputError, LimitError) as error:
            raise CorruptObjectError(f"a frame holds what no object may: {error}") from error
