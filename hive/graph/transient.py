"""Which failures of a write may pass."""

from __future__ import annotations

import errno
from typing import Final

from hive import errors

__all__ = ["is_transient"]

_PASSING: Final = frozenset({"EAGAIN", "EINTR", "EBUSY", "EMFILE", "ENFILE", "ETIMEDOUT"})


def is_transient(error: Exception) -> bool:
    """Tell whether a failed write may succeed if it is repeated.

    A full store, missing permissions, a moved head and a value that cannot be stored stay so.
    What passes is a lack of something that others give back: the lower layers report it with
    the system's error as the cause.
    """
    cause = error.__cause__
    if isinstance(cause, OSError):
        return errno.errorcode.get(cause.errno or 0) in _PASSING
    # LMDB's errors carry the system's number too, where it is the system that refused.
    passes = errno.errorcode.get(getattr(cause, "code", 0)) in _PASSING
    return passes or (isinstance(error, errors.LimitError) and cause is not None)
