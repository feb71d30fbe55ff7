"""Private directories and files: creating, syncing, and checking that they stayed private.

Agent state often holds keys and customer text, so a store is readable by its owner alone, whatever
the umask says. (LMDB's own default is a world-readable store.)
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cas.errors import AccessError
from cas.failures import describe_owner

__all__ = [
    "BLOCK_BYTES",
    "DIRECTORY_MODE",
    "FILE_MODE",
    "allocated_bytes",
    "is_file_at",
    "make_private_directories",
    "make_private_file",
    "secure_link",
    "secure_tree",
    "sync_directory",
]

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_FOREIGN_BITS: Final = 0o077
BLOCK_BYTES: Final = 512  # What st_blocks counts, whatever the file system's own block size is.


def sync_directory(path: Path) -> None:
    """Make the names in the directory ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directories(path: Path) -> None:
    """Create ``path`` and its missing parents with mode 0700, durably."""
    if path.is_dir():
        return
    make_private_directories(path.parent)
    try:
        path.mkdir(mode=DIRECTORY_MODE)
        path.chmod(DIRECTORY_MODE)
    except FileExistsError:
        return
    sync_directory(path.parent)


def make_private_file(path: Path, content: bytes = b"") -> None:
    """Create the file ``path`` with mode 0600 and ``content``, durably; it must not exist yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
        if content:
            os.write(descriptor, content)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_file_at(path: Path, status: os.stat_result) -> bool:
    """Whether ``path`` leads to the file of which this is the status."""
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


def secure_link(path: Path) -> None:
    """Check that ``path``, if it is a symbolic link, is one of this user's own.

    Raises:
        AccessError: Another user made the link, and could point it elsewhere at any time.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) and status.st_uid != os.geteuid():
        raise AccessError(
            f"the store {path} is a symbolic link made by uid {status.st_uid}, not by you "
            f"(uid {os.geteuid()}); replace it by a link or a directory of your own",
            path=path,
        )


def _secure(path: Path, *, repair: bool) -> None:
    status = os.lstat(path)
    if status.st_uid != os.geteuid():
        raise AccessError(
            f"the store belongs to somebody else: {describe_owner(path)}, and this process runs as "
            f"uid {os.geteuid()}; use a store of your own, or change the owner of this one",
            path=path,
        )
    if status.st_mode & _FOREIGN_BITS and repair and not stat.S_ISLNK(status.st_mode):
        os.chmod(path, stat.S_IMODE(status.st_mode) & ~_FOREIGN_BITS)


def secure_tree(store: Path, *, repair: bool) -> None:
    """Check that this user owns everything in ``store``, and that nobody else may touch it.

    Permission bits of the group and of others are removed if ``repair`` is set; a store that is
    open for reading only is never changed.

    Raises:
        AccessError: Something belongs to another user.
        OSError: The bits cannot be removed, or the store cannot be listed.
    """
    _secure(store, repair=repair)
    for directory, subdirectories, files in os.walk(store, onerror=_raise):
        for name in (*subdirectories, *files):
            try:
                _secure(Path(directory, name), repair=repair)
            except FileNotFoundError:
                continue  # Another process removed it meanwhile (a ballast, an old generation).


def _raise(error: OSError) -> None:
    raise error


def allocated_bytes(store: Path, *, without: str) -> int:
    """Return the bytes allocated on disk for everything in ``store`` but the file ``without``."""
    total = os.lstat(store).st_blocks
    for directory, subdirectories, files in os.walk(store):
        for name in (*subdirectories, *files):
            if name == without:
                continue
            try:
                total += os.lstat(Path(directory, name)).st_blocks
            except FileNotFoundError:
                continue  # Removed meanwhile by another process.
    return total * BLOCK_BYTES
