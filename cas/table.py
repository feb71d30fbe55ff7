"""Named tables, and the checksum that stands in front of a checked row.

LMDB has no checksums of its own: of forty bit flips in page bodies, forty were read back without
an error. Objects are verified by their address; every other row (catalogue, heads, counters, tags)
has no address, so it carries a checksum instead. The checksum covers the table's name and the key
too, so that a row which turns up in the wrong place is noticed as well as one with wrong bytes.

A checked row is stored as ``checksum (4 bytes) || value`` with::

    checksum = BLAKE3( u8 len(name) || name || u16be len(key) || key || value )[:4]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from cas.errors import CorruptStoreError, InvalidInputError

__all__ = ["CHECKSUM_BYTES", "Table"]

CHECKSUM_BYTES: Final = 4
_MAX_NAME_BYTES: Final = 255


@dataclass(frozen=True)
class Table:
    """A named, ordered table of byte keys (1 to 511 bytes) and byte values.

    Attributes:
        name: The table's name in the store, 1 to 255 bytes of UTF-8 without NUL.
        checked: Whether every row carries a checksum that each read verifies. Leave it out only
            where the rows verify themselves, as objects do by their address.
    """

    name: str
    checked: bool = True
    _prefix: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the name, and prepare the part of the checksum's input that never changes.

        Raises:
            InvalidInputError: The name is empty or too long, or has a NUL.
        """
        name = self.name.encode()
        if not 0 < len(name) <= _MAX_NAME_BYTES or b"\0" in name:
            raise InvalidInputError(
                f"a table name has 1 to {_MAX_NAME_BYTES} bytes and no NUL, unlike {self.name!r}"
            )
        object.__setattr__(self, "_prefix", len(name).to_bytes(1, "big") + name)

    @property
    def sealed(self) -> Table:
        """The same table without its checksums being verified: rows come as they are stored."""
        return Table(self.name, checked=False)

    def _checksum(self, key: bytes, value: bytes) -> bytes:
        framed = self._prefix + len(key).to_bytes(2, "big") + key + value
        return blake3(framed).digest(length=CHECKSUM_BYTES)

    def seal(self, key: bytes, value: bytes) -> bytes:
        """Return the bytes that are stored for ``value`` under ``key``."""
        return self._checksum(key, value) + value if self.checked else value

    def unseal(self, key: bytes, row: bytes) -> bytes:
        """Return the value inside the stored ``row``.

        Raises:
            CorruptStoreError: The row's checksum is not that of its bytes in this place.
        """
        if not self.checked:
            return row
        value = row[CHECKSUM_BYTES:]
        if len(row) < CHECKSUM_BYTES or row[:CHECKSUM_BYTES] != self._checksum(key, value):
            raise CorruptStoreError(
                f"the row {key.hex()} of table {self.name!r} is damaged: its checksum does not "
                "match its bytes; repair the store (hive check --repair), or salvage it where that "
                "cannot, or restore it from a copy"
            )
        return value
