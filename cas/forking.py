"""What a forked child does with the LMDB handles it inherits.

The handle belongs to the parent: its reader slots, its locks. A child that used it would corrupt
the store. py-lmdb refuses a second handle on the same file in one process, so the child first
closes the inherited one. That is safe when no transaction hangs on it (LMDB then unmaps, closes
the child's descriptors, and clears reader slots of the child's own process number alone), which is
why a fork waits for the other threads' transactions to end.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NoReturn

from cas.errors import AccessError

if TYPE_CHECKING:
    from pathlib import Path

    import lmdb

__all__ = ["abandon", "refuse_after_fork"]


def abandon(environment: lmdb.Environment) -> None:
    """Keep an inherited handle for ever, because closing it would wait for threads that are gone.

    The interpreter closes at its end whatever is still referenced, so a reference that nobody
    holds is needed.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(environment))


def refuse_after_fork(store: Path) -> NoReturn:
    """Raise the error of a child that cannot open ``store`` any more.

    Raises:
        AccessError: Always.
    """
    raise AccessError(
        f"this process was forked while another thread was inside a long transaction on {store}, "
        "so it cannot open that store; fork earlier, or start the process by the 'spawn' method",
        path=store,
    )
