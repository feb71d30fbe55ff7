"""One collection or compaction of a store at a time: the lock, and how they report progress.

Two collectors beside each other would be safe, since each looks at a record again in the
transaction that removes it; they would only do the work twice. But compaction reads the store over
many transactions, and what it has seen to be alive must not be swept in between.

A commit that merges packs takes the lock as well, for its one transaction and only if it is free:
collection and compaction go from pack to pack by record numbers, over many transactions.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cas.closing import Closing
from cas.errors import ConflictError
from cas.failures import translate
from cas.flock import FlockFile

__all__ = [
    "SLICE_SECONDS",
    "UPKEEP_FILE",
    "BriefUpkeep",
    "OnProgress",
    "Progress",
    "deadline_of",
    "silent",
    "upkeep_lock",
]

UPKEEP_FILE: Final = "upkeep"
SLICE_SECONDS: Final = 0.008
"""What a read transaction of a long task may take: a longer one keeps pages from being reused."""
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Progress:
    """How far a long task is: ``done`` of ``total`` steps of a phase. Given between transactions.

    The phases of a collection are ``mark``, ``sweep`` and ``index``, those of a compaction
    ``mark``, ``copy`` and ``verify``, those of forgetting by a policy ``look``, ``weigh`` (only if
    it limits bytes) and ``forget``, that of a check ``check``, those of a salvage ``read`` and
    ``scan`` before that.
    """

    phase: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Tell nobody how far a task is."""


def deadline_of(time_budget: float | None) -> float | None:
    """Return the moment (of ``time.monotonic``) at which a budget in seconds is used up."""
    return None if time_budget is None else time.monotonic() + time_budget


@contextmanager
def upkeep_lock(store: Path, deadline: float | None, *, read_only: bool = False) -> Iterator[None]:
    """Hold the store's upkeep lock; it goes with the process.

    ``read_only`` creates no file for it: where there is none, nobody has ever had the lock.

    Raises:
        ConflictError: Another collection or compaction was still at work at the ``deadline``.
        HiveError: The lock's file cannot be opened.
    """
    try:
        file = _open(store, os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if not (read_only and isinstance(error, FileNotFoundError)):
            raise translate(error, store) from error
        yield
        return
    try:
        while not _try_lock(file):
            if deadline is not None and time.monotonic() >= deadline:
                raise ConflictError(
                    f"another gc or compact is at work on {store}; wait for it and repeat"
                )
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        file.close()


class BriefUpkeep(Closing):
    """The upkeep lock for one transaction, if nobody has it. The ``with`` gives it back."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._file: FlockFile | None = None
        self._has_lock = False

    def take(self) -> bool:
        """Take the lock, or keep it; returns at once, False if it is not to be had."""
        if self._file is None:
            try:
                self._file = _open(self._store, os.O_RDWR | os.O_CREAT)
            except OSError:
                return False  # merging packs is no reason for a commit to fail
        self._has_lock = self._has_lock or _try_lock(self._file)
        return self._has_lock

    def close(self) -> None:
        """Give the lock back. May be repeated."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._has_lock = False


def _open(store: Path, flags: int) -> FlockFile:
    return FlockFile(store / UPKEEP_FILE, flags)


def _try_lock(file: FlockFile) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
