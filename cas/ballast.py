"""The ballast: a file to throw overboard when the disk is full.

LMDB never overwrites a page in place, so even a deletion needs room before it frees any: on a full
disk, gc would fail too. Giving up the ballast makes that room.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BALLAST_BYTES", "BALLAST_FILE", "make_ballast", "release_ballast", "restore_ballast"]

BALLAST_FILE: Final = "ballast"
BALLAST_BYTES: Final = 1 << 20
_FREE_TO_CREATE: Final = 2
_FREE_TO_RESTORE: Final = 16


def _free_bytes(directory: Path) -> int:
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize


def make_ballast(store: Path, *, times_free: int = _FREE_TO_CREATE) -> bool:
    """Write the ballast of ``store`` if the disk has ``times_free`` times its size left.

    The bytes are random: a sparse or compressed file would hold no room.

    Returns:
        Whether the ballast is there now. Its absence is no error: it is a reserve.
    """
    path = store / BALLAST_FILE
    try:
        if _free_bytes(store) < times_free * BALLAST_BYTES:
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return path.exists()
    try:
        os.fchmod(descriptor, 0o600)
        rest = memoryview(os.urandom(BALLAST_BYTES))
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        # No room after all: a half-written ballast would only take space away.
        with suppress(OSError):
            path.unlink()
        return False
    finally:
        os.close(descriptor)
    return True


def restore_ballast(store: Path) -> None:
    """Write the ballast again if it is missing or short and the disk has plenty of room."""
    path = store / BALLAST_FILE
    with suppress(OSError):
        if path.stat().st_size == BALLAST_BYTES:
            return
        path.unlink()
    make_ballast(store, times_free=_FREE_TO_RESTORE)


def release_ballast(store: Path) -> bool:
    """Give up the ballast of ``store``, and return whether there was any."""
    try:
        (store / BALLAST_FILE).unlink()
    except OSError:
        return False
    return True
