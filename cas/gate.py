"""A gate between the transactions of a process and whoever must change the LMDB handle.

LMDB's map may be replaced only while no transaction of the process is active. Transactions pass
through the gate; growing, reopening and closing shut it and wait until everybody else is out.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cas.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Gate"]


class Gate:
    """A shared/exclusive lock among threads, which a thread may enter repeatedly.

    A waiting exclusive holder keeps new threads out, but not a thread that is inside already:
    else a nested entry would wait for the exclusive holder, and that one for the thread.

    Leaving names the depth to return to, so that it may be repeated: a ``KeyboardInterrupt`` in
    the middle must not leave a thread inside for ever. For the same reason the mutex is a plain
    lock (entering a ``Condition`` can be interrupted between locking and the ``with`` block).
    """

    def __init__(self, *, first: Callable[[], None], last: Callable[[], None]) -> None:
        """Make a gate that calls ``first`` when somebody enters it empty, ``last`` when it empties.

        Both run under the gate's mutex. When ``first`` raises, nobody has entered.
        """
        self._first = first
        self._last = last
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._inside: dict[int, int] = {}
        self._closing = 0
        self._owner: int | None = None

    def holds(self) -> bool:
        """Whether the calling thread is inside."""
        return threading.get_ident() in self._inside

    def enter(self) -> int:
        """Enter; wait while the gate is closed or somebody waits to close it.

        Returns:
            The depth to hand to ``leave``: how often this thread was inside before.
        """
        me = threading.get_ident()
        depth = self._inside.get(me, 0)
        try:
            if depth:
                self._inside[me] = depth + 1
            else:
                with self._mutex:
                    while self._closing:
                        self._changed.wait()
                    if not self._inside:
                        self._first()
                    self._inside[me] = 1
        except BaseException:
            self.leave(depth)
            raise
        return depth

    def leave(self, depth: int) -> None:
        """Return to ``depth``. Does nothing for a thread that is not inside.

        Such a thread is one of a forked child, whose gate is not the one it entered.
        """
        me = threading.get_ident()
        if me not in self._inside:
            return
        if depth:
            self._inside[me] = depth
            return
        with self._mutex:
            del self._inside[me]
            if not self._inside:
                self._last()
            self._changed.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Hold the gate shut with nobody inside.

        Raises:
            InvalidInputError: The calling thread is inside, or holds the gate shut already.
        """
        me = threading.get_ident()
        if me in self._inside or self._owner == me:
            raise InvalidInputError("this needs a moment without transactions: end this one first")
        waiting = False
        try:
            with self._mutex:
                waiting = True
                self._closing += 1
                while self._inside or self._owner is not None:
                    self._changed.wait()
                self._owner = me
            yield
        finally:
            if waiting:
                with self._mutex:
                    if self._owner == me:
                        self._owner = None
                    self._closing -= 1
                    self._changed.notify_all()

    def freeze(self, *, timeout_seconds: float) -> bool:
        """Keep new threads out and wait until only the calling thread can be inside.

        Returns:
            Whether everybody else left in time. Either way ``thaw`` must follow.
        """
        me = threading.get_ident()
        deadline = time.monotonic() + timeout_seconds
        with self._mutex:
            self._closing += 1
            while self._inside.keys() - {me} or self._owner not in (None, me):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def thaw(self) -> None:
        """Undo ``freeze``."""
        with self._mutex:
            self._closing -= 1
            self._changed.notify_all()
