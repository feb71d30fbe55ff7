"""``FlockFile``: an open file to lock, which nobody else keeps open."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final
from weakref import WeakSet

from cas.filesystem import FILE_MODE
from cas.streams import occupy_standard_streams

__all__ = ["FlockFile"]


class FlockFile:
    """An open file that closes itself, and so gives its lock back, when nobody uses it any more.

    A thread may be about to lock it while another one is done with it. Closing the descriptor
    under that thread could let it unlock an unrelated file that got the same number. And Ctrl-C may
    come before whoever has the lock gives it back.

    A lock belongs to the open file, which a forked child has too: were it left open there, the lock
    would outlive the parent's. So a child closes its copies at once.
    """

    def __init__(self, path: Path, flags: int) -> None:
        occupy_standard_streams()
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
        _open_files.add(self)

    def fileno(self) -> int:
        """Return the descriptor, or -1 after ``close``."""
        return self._descriptor

    def close(self) -> None:
        """Give the lock back and close the file now."""
        if self._descriptor >= 0:
            # Unlocked first: a child that is being forked has a copy for another moment.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.drop()

    def drop(self) -> None:
        """Close the file, and leave the lock to whoever has another copy: the parent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.drop()


_open_files: Final[WeakSet[FlockFile]] = WeakSet()


def _close_all() -> None:
    for file in list(_open_files):
        file.drop()


os.register_at_fork(after_in_child=_close_all)
