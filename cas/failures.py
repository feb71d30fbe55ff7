"""Translation of LMDB's and the operating system's exceptions into this project's errors.

A full disk needs care: LMDB reports a short write as EIO ("Input/output error"), not as ENOSPC.
So on EIO the room that is left is looked at before the disk is called broken.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING, Final

import lmdb

from cas.errors import (
    AccessError,
    CorruptStoreError,
    HiveError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    ReadOnlyStoreError,
    StoreFullError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_KEY_BYTES", "describe_owner", "translate"]

MAX_KEY_BYTES: Final = 511
# A write that failed for want of room leaves less than one transaction's worth behind.
_LOW_SPACE_BYTES: Final = 4 << 20
_FULL_ERRNOS: Final = {errno.ENOSPC, errno.EDQUOT}
_PATH_ERRNOS: Final = {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_TOO_MANY_ERRNOS: Final = {errno.EMFILE, errno.ENFILE}
_DENIED_ERRNOS: Final = {errno.EACCES, errno.EPERM}


def describe_owner(path: Path) -> str:
    """Return owner and mode of ``path``, or of its nearest existing parent, for a message."""
    for place in (path, *path.parents):
        try:
            status = os.stat(place)
        except OSError:
            continue
        return f"{place} has owner uid {status.st_uid} and mode {status.st_mode & 0o7777:04o}"
    return f"{path} does not exist"


def _room_is_low(path: Path) -> bool:
    """Whether a failed write below ``path`` is explained by a full disk or a file size limit."""
    try:
        space = os.statvfs(path)
    except OSError:
        return False
    if space.f_bavail * space.f_frsize < _LOW_SPACE_BYTES or (space.f_files and not space.f_favail):
        return True
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    largest = max((p.stat().st_size for p in path.glob("g*/data.mdb")), default=0)
    return largest + _LOW_SPACE_BYTES > limit


def _from_errno(number: int, text: str, path: Path) -> HiveError:
    """Return the error for the operating system's ``number``."""
    if number == errno.EFBIG:
        return StoreFullError(
            f"{path} would become larger than a file may be here ({text}); raise that limit "
            "(ulimit -f), or forget checkpoints and run gc, then repeat"
        )
    if number in _FULL_ERRNOS or (number == errno.EIO and _room_is_low(path)):
        return StoreFullError(
            f"no room left for this write to {path} ({text}); free some space (forget checkpoints "
            "and run gc, or remove other files of that disk), then repeat"
        )
    if number == errno.EROFS:
        return ReadOnlyStoreError(
            f"{path} is on a read-only file system ({text}), so nothing can be written there: "
            "choose another place, or only read (read_only=True)"
        )
    if number in _DENIED_ERRNOS:
        return AccessError(
            f"access to {path} was refused ({text}): {describe_owner(path)}, and this process runs "
            f"as uid {os.geteuid()}",
            path=path,
        )
    if number in _TOO_MANY_ERRNOS:
        return AccessError(
            f"{path} cannot be opened: too many files are open already ({text}); close some, or "
            "raise the limit (ulimit -n)",
            path=path,
        )
    if number == errno.ENOENT:
        return NotFoundError(f"a part of the store at {path} does not exist ({text})")
    if number in _PATH_ERRNOS:
        return InvalidInputError(f"{path} cannot be the path of a store ({text})")
    if number == errno.ENOMEM:
        return LimitError(
            f"the memory map of {path} does not fit the address space of this process ({text}); "
            "raise its limit, or lower max_bytes"
        )
    if number == errno.EIO:
        return CorruptStoreError(
            f"the disk under {path} reports an input/output error ({text}); check the disk, then "
            "the store",
            path=path,
        )
    return AccessError(f"the operating system refused {path}: {text}", path=path)


def translate(error: lmdb.Error | OSError, path: Path) -> HiveError:
    """Return the project's error for ``error``, which the store at ``path`` met.

    The caller raises it ``from error``.
    """
    text = str(error)
    if isinstance(error, OSError):
        return _from_errno(error.errno or 0, text, path)
    if isinstance(error, lmdb.BadValsizeError):
        return LimitError(f"a key has 1 to {MAX_KEY_BYTES} bytes, a value less than 4 GiB ({text})")
    if isinstance(error, lmdb.TxnFullError):
        return LimitError(f"one transaction changes too many pages ({text}); write it in parts")
    if isinstance(error, lmdb.ReadersFullError):
        return LimitError(f"too many readers are active in {path} ({text}); repeat later")
    if isinstance(error, lmdb.VersionMismatchError):
        return UnsupportedFormatError(
            f"{path} was written by another version of LMDB ({text}); upgrade Hive"
        )
    code = int(getattr(error, "code", 0))
    if code == errno.EAGAIN:
        # For each process that reads, LMDB locks the byte of its lock file that its number names.
        return AccessError(
            f"a process of another container has {path} open and the same number as this one, "
            f"{os.getpid()}, by which LMDB tells them apart ({text}); let the containers share "
            "their process numbers (one pid namespace), or start one program so that it gets "
            "another",
            path=path,
        )
    if code > 0 and not isinstance(error, lmdb.InvalidParameterError):
        return _from_errno(code, text, path)
    return CorruptStoreError(
        f"LMDB cannot read the store at {path} ({text}); run a check, or restore it from a copy",
        path=path,
    )
