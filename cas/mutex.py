"""A lock for a few instructions that a forked child can go on with."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final
from weakref import WeakSet

__all__ = ["Mutex", "give_back"]

_Class = type[BaseException] | None


class Mutex:
    """A lock around a few instructions of Python; use it with ``with``.

    A thread that holds an ordinary lock while another one forks holds it for ever in the child,
    where that thread does not exist. Here the child begins with an open one. What the lock guards
    must be sound between any two instructions, like a dict with another entry: a signal handler of
    the thread that holds the lock may run between them, and enters.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _mutexes.add(self)

    # The lock's own methods, which ``with`` calls itself. A function of Python around them could be
    # interrupted by Ctrl-C behind the locking or before the unlocking: it would stay locked. Since
    # Python 3.14 ``with`` itself can be, behind the locking. Then other threads are kept out, but
    # not the one that was interrupted.

    @property
    def __enter__(self) -> Callable[[], bool]:
        return self._lock.__enter__

    @property
    def __exit__(self) -> Callable[[_Class, BaseException | None, TracebackType | None], None]:  # noqa: PLE0302
        return self._lock.__exit__


_mutexes: Final[WeakSet[Mutex]] = WeakSet()


def _open_all() -> None:
    for mutex in list(_mutexes):
        mutex._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_open_all)


def give_back(lock: threading.RLock) -> None:
    """Unlock what an exception under way may have left locked: by this thread, ``with`` or not.

    For threads that are done with the lock. Since Python 3.14 an interrupt can come between the
    locking and the body of a ``with``, and nothing unlocks then.
    """
    if sys.exception() is not None:
        with suppress(RuntimeError):  # it is unlocked
            while True:
                lock.release()
