"""A lock for a few instructions that a forked child can go on with."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final
from weakref import WeakSet

__all__ = ["Mutex"]

_Class = type[BaseException] | None


class Mutex:
    """A lock around a few instructions of Python, not reentrant; use it with ``with``.

    A thread that holds an ordinary lock while another one forks holds it for ever in the child,
    where that thread does not exist. Here the child begins with an open one. What the lock guards
    must be sound between any two instructions, like a dict with another entry.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _mutexes.add(self)

    # The lock's own methods, which ``with`` calls itself. A function of Python around them could be
    # interrupted by Ctrl-C behind the locking or before the unlocking: it would stay locked.

    @property
    def __enter__(self) -> Callable[[], bool]:
        return self._lock.__enter__

    @property
    def __exit__(self) -> Callable[[_Class, BaseException | None, TracebackType | None], None]:  # noqa: PLE0302
        return self._lock.__exit__


_mutexes: Final[WeakSet[Mutex]] = WeakSet()


def _open_all() -> None:
    for mutex in list(_mutexes):
        mutex._lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_open_all)
