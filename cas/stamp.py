"""The stamp of the last commit, which shows that LMDB opened what that commit left.

LMDB's meta pages name the root of everything and carry no checksum. One flipped bit in one can make
an older commit look like the newest, or another page like the root: acknowledged commits would be
gone without an error, and the next write would reuse pages that are in use. So every commit stores
its own transaction number in LMDB's main tree, whose pages it rewrites anyway, and every opening
compares that with the number in the meta page.

The stamp is the row ``00 63 6f 6d 6d 69 74`` (NUL, "commit") of LMDB's unnamed table, with the
transaction number (u64, big-endian) as its value, behind a checksum as in a checked table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cas.errors import CorruptStoreError
from cas.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    import lmdb

__all__ = ["STAMP_KEY", "check_stamp", "put_stamp", "stamped_number"]

STAMP_KEY: Final = b"\0commit"
_TABLE: Final = Table("commit")
_NUMBER_BYTES: Final = 8
# A compacted copy starts again at this number, with the stamp of its original.
_FIRST_TRANSACTION: Final = 1


def put_stamp(transaction: lmdb.Transaction[bytes]) -> None:
    """Stamp the write ``transaction``, just before its commit.

    Raises:
        lmdb.Error: The write failed.
    """
    number = transaction.id().to_bytes(_NUMBER_BYTES, "big")
    transaction.put(STAMP_KEY, _TABLE.seal(STAMP_KEY, number))


def stamped_number(key: bytes, row: bytes) -> int | None:
    """Return the number of the commit that wrote a row, None if the row is no sound stamp."""
    if key != STAMP_KEY:
        return None
    try:
        return int.from_bytes(_TABLE.unseal(key, row), "big")
    except CorruptStoreError:
        return None


def check_stamp(transaction: lmdb.Transaction[bytes], path: Path) -> None:
    """Check that ``transaction`` sees the commit that its number names.

    Raises:
        CorruptStoreError: It sees another one, or none.
        lmdb.Error: LMDB cannot read the stamp.
    """
    expected = transaction.id()
    if expected <= _FIRST_TRANSACTION:
        return
    row = transaction.get(STAMP_KEY)
    found = None if row is None else int.from_bytes(_TABLE.unseal(STAMP_KEY, row), "big")
    if found != expected:
        raise CorruptStoreError(
            f"the meta pages of {path} are damaged: they name transaction {expected} as the last, "
            f"but lead to {'none' if found is None else found}; restore the store from a copy, or "
            "salvage it",
            path=path,
        )
