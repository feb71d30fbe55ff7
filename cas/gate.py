"""A gate between the transactions of a process and whoever must change the LMDB handle.

LMDB's map may be replaced only while no transaction of the process is active. Transactions pass
through the gate; growing, reopening and closing shut it and wait until everybody else is out.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from cas.errors import InvalidInputError
from cas.mutex import give_back

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Gate"]


class Gate:
    """A shared/exclusive lock among threads, which a thread may enter repeatedly.

    A thread that waits to shut the gate keeps new threads out, but not one that is inside already:
    else a nested entry would wait for that thread, and it for the nested one.

    A ``KeyboardInterrupt`` may come between any two instructions, even at the first one of a
    method that cleans up. So ``leave`` and ``reopen`` may be repeated, and a caller does so::

        depth = gate.depth()
        try:
            gate.enter()
            ...
        finally:
            try:
                gate.leave(depth)
            except BaseException:
                gate.leave(depth)
                raise

    That stands at every such place as it is: a function that did it for them could be interrupted
    at its own first instruction, outside of its ``try``.

    For the same reason the mutex is a plain lock: entering a ``Condition`` can be interrupted
    between locking it and the ``with`` block. Since Python 3.14 entering a plain lock can too. So
    its owner may lock it again, and gives it back for good when it cleans up after an exception.
    """

    def __init__(self, *, first: Callable[[], None], last: Callable[[], None]) -> None:
        """Make a gate that calls ``first`` when somebody enters it empty, ``last`` when it empties.

        Both run under the gate's mutex. When ``first`` raises, nobody has entered. ``last`` may be
        called more often than ``first``.
        """
        self._first = first
        self._last = last
        self._mutex = threading.RLock()
        self._changed = threading.Condition(self._mutex)
        self._inside: dict[int, int] = {}
        self._shutting: set[int] = set()
        self._owner: int | None = None

    def depth(self) -> int:
        """Return how often the calling thread is inside."""
        return self._inside.get(threading.get_ident(), 0)

    def is_mine(self) -> bool:
        """Whether the calling thread is inside, or has shut the gate, or waits to do so."""
        me = threading.get_ident()
        return me in self._inside or me in self._shutting

    def owned(self) -> bool:
        """Whether the calling thread has shut the gate and nobody is inside."""
        return self._owner == threading.get_ident()

    def enter(self) -> None:
        """Enter; wait while the gate is shut or somebody waits to shut it."""
        me = threading.get_ident()
        depth = self._inside.get(me, 0)
        if depth:
            self._inside[me] = depth + 1
            return
        with self._mutex:
            while self._shutting:
                self._changed.wait()
            if not self._inside:
                self._first()
            self._inside[me] = 1

    def leave(self, depth: int) -> None:
        """Be inside only ``depth`` times any more, as ``depth`` said before ``enter``."""
        me = threading.get_ident()
        if depth:
            self._inside[me] = depth
            return
        with self._mutex:
            self._inside.pop(me, None)
            if not self._inside and self._owner is None:
                self._last()
            if self._shutting:
                self._changed.notify_all()
        give_back(self._mutex)

    def shut(self) -> None:
        """Keep everybody out, and wait until nobody is inside.

        Raises:
            InvalidInputError: The calling thread is inside, or has shut the gate already.
        """
        me = threading.get_ident()
        if self.is_mine():
            raise InvalidInputError("this needs a moment without transactions: end this one first")
        with self._mutex:
            self._shutting.add(me)
            while self._inside or self._owner is not None:
                self._changed.wait()
            self._owner = me

    def reopen(self) -> None:
        """Undo ``shut``, or an attempt at it."""
        me = threading.get_ident()
        with self._mutex:
            if self._owner == me:
                self._owner = None
            self._shutting.discard(me)
            self._changed.notify_all()
        give_back(self._mutex)

    def freeze(self, *, timeout_seconds: float) -> bool:
        """Keep new threads out and wait until only the calling thread can be inside.

        Returns:
            Whether everybody else left in time. Either way ``reopen`` must follow.
        """
        me = threading.get_ident()
        deadline = time.monotonic() + timeout_seconds
        with self._mutex:
            self._shutting.add(me)
            while self._inside.keys() - {me} or self._owner not in (None, me):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True
