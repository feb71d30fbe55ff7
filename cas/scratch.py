"""A folder for a copy of a store that is looked at and then thrown away.

A process that is killed meanwhile leaves it behind, hidden and as large as the store. So it is
locked while it is used, and whoever makes one removes those that nobody has locked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from cas.ballast import BALLAST_FILE
from cas.errors import StoreFullError
from cas.failures import translate
from cas.filesystem import allocated_bytes
from cas.flock import FlockFile

__all__ = ["private_directory"]

_MARK: Final = ".checking."


@contextmanager
def private_directory(store: Path) -> Iterator[Path]:
    """A directory of this user alone for a while, with room for a copy of the store's file.

    It is beside the store, or where temporary files are if there is no room or access.

    Raises:
        StoreFullError: There is no room in either place. Nothing was written.
        HiveError: No folder for temporary files can be written either.
    """
    _remove_abandoned(store)
    try:
        needed = allocated_bytes(store, without=BALLAST_FILE)
        place, lock = _made_where_room_is(store, needed)
    except OSError as error:
        raise translate(error, store.parent) from error
    with closing(lock):
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _made_where_room_is(store: Path, needed: int) -> tuple[Path, FlockFile]:
    beside = shutil.disk_usage(store.parent).free
    if beside >= needed:
        with suppress(OSError):
            return _made(f".{store.name}{_MARK}", store.parent)
    # Only now: where nothing can be written, looking for that folder fails.
    others = Path(tempfile.gettempdir())
    free = shutil.disk_usage(others).free
    if free >= needed:
        return _made("hive-check-", others)
    raise StoreFullError(
        f"a check looks at a copy of the store's file, and there is no room for it: it takes "
        f"{needed:,} bytes, and there are {beside:,} in {store.parent} and {free:,} in {others}; "
        "free some, or name a folder that has room in the environment variable TMPDIR"
    )


def _made(prefix: str, parent: Path) -> tuple[Path, FlockFile]:
    while True:
        place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):
            try:
                lock = FlockFile(place, os.O_RDONLY)
                fcntl.flock(lock, fcntl.LOCK_SH)
            except OSError:
                shutil.rmtree(place, ignore_errors=True)
                raise
            if place.exists():
                return place, lock
        # Another process took it for an abandoned one before it was locked.


def _remove_abandoned(store: Path) -> None:
    """Remove what killed processes left. A failure is none: the next one tries again."""
    with suppress(OSError):
        for place in store.parent.glob(f".{store.name}{_MARK}*"):
            with suppress(OSError), closing(FlockFile(place, os.O_RDONLY)) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
