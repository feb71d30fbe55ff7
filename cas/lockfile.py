"""LMDB's lock file, with its room allocated before LMDB maps it.

LMDB makes the file by extending it and then writes to it through a memory map. On a full disk the
first such write kills the process with SIGBUS, so that a full store could not even be opened to
free space. Blocks that are allocated beforehand cannot be missing later.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from cas.filesystem import BLOCK_BYTES, FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LOCK_FILE", "MOST_READERS", "is_lock_usable", "prepare_lock_file"]

LOCK_FILE: Final = "lock.mdb"
MOST_READERS: Final = 190
"""Read transactions of all processes at one moment; further ones wait until a slot is free.

With its 128 bytes of head and 64 for each reader, LMDB's table fills three pages to the byte. One
for 512, which was the limit before, was a thirtieth of a store of 200 turns of a chat.
"""
# Errors that do not come from the file: it may well be usable, and others may be writing.
_NO_ANSWER: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
# What that table takes, so that LMDB leaves the size alone. An older, larger file stays as it is.
_LOCK_BYTES: Final = 3 * 4096


def _allocate(descriptor: int) -> None:
    """Allocate the blocks of the open lock file, without changing a size that LMDB has set.

    Another process may have mapped the file at that size. While this process has it open in LMDB,
    it must not come here: closing any descriptor of the file would drop LMDB's locks on it.
    """
    status = os.fstat(descriptor)
    size = status.st_size or _LOCK_BYTES
    if status.st_blocks * BLOCK_BYTES < size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def prepare_lock_file(path: Path) -> None:
    """Make sure that the lock file ``path`` is there, private and allocated.

    Raises:
        OSError: It cannot be written, or the disk is full.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        if not os.fstat(descriptor).st_size:
            os.fchmod(descriptor, FILE_MODE)
        _allocate(descriptor)
    finally:
        os.close(descriptor)


def is_lock_usable(path: Path) -> bool:
    """Return whether readers can register in the lock file ``path``, which is not created.

    Where they cannot (a read-only disk, or a directory of read-only files), reading is safe only
    while nobody writes.

    Raises:
        OSError: It cannot be told, because this process can open no more files, or the disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _allocate(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NO_ANSWER:
            raise
        return False
    return True
