"""Writing what waits when the process is asked to end with SIGTERM.

By default SIGTERM ends a process without any of the code that runs at exit. So, only where nobody
else handles it, a handler is installed for as long as there are managers that may hold something
back (``async`` and ``exit`` durability): it lets a thread flush them, and then the signal do what
it does by default.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from types import FrameType
from typing import Protocol

__all__ = ["flush_at_termination", "forget_termination"]


class _Flushes(Protocol):
    def flush_quietly(self) -> None: ...


_MANAGERS: weakref.WeakSet[_Flushes] = weakref.WeakSet()


def flush_at_termination(manager: _Flushes) -> None:
    """Flush a manager at SIGTERM, while it lives. Only the main thread can install the handler."""
    if threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGTERM)
    if handler is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminated)
    elif handler is not _terminated:
        return  # whoever installed that one ends the process as it wants
    _MANAGERS.add(manager)


def forget_termination(manager: _Flushes) -> None:
    """Leave a manager alone from now on, which has nothing more to write."""
    _MANAGERS.discard(manager)
    if (
        not _MANAGERS
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is _terminated
    ):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second SIGTERM ends the process at once
    # In a thread: this interrupts the main thread anywhere, also where it holds a lock that
    # flushing needs. It goes on with its work for as long as that takes.
    threading.Thread(target=_flush_and_end, args=(number,), name="hive-termination").start()


def _flush_and_end(number: int) -> None:
    try:
        for manager in list(_MANAGERS):
            manager.flush_quietly()
    finally:
        os.kill(os.getpid(), number)
