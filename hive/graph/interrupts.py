"""Whether Ctrl-C was pressed while a run went on. The handler that was there does its work as ever.

``asyncio.run`` turns Ctrl-C into the cancellation of its main task, so a run that is cancelled
cannot tell by itself whether a person wants to pause it or a server is shutting down.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

__all__ = ["InterruptWatch", "watching_interrupts"]


class InterruptWatch:
    """Tells whether Ctrl-C was pressed since a run began to watch."""

    def __init__(self) -> None:
        """Begin with what was pressed so far."""
        self._before = _watcher.pressed

    @property
    def pressed(self) -> bool:
        """Whether it was pressed meanwhile."""
        return _watcher.pressed > self._before


@contextmanager
def watching_interrupts(*, wanted: bool) -> Iterator[InterruptWatch]:
    """Watch for Ctrl-C if that is wanted and possible: in the main thread, beside a handler."""
    installed = wanted and _watcher.enter()
    try:
        yield InterruptWatch()
    finally:
        if installed:
            _watcher.leave()


class _Watcher:
    """The one handler of this process, installed while at least one run watches."""

    def __init__(self) -> None:
        self.pressed = 0
        self._watching = 0
        self._previous: Any = None

    def enter(self) -> bool:
        """Install the handler if it is not; whether ``leave`` has to be called."""
        if threading.current_thread() is not threading.main_thread():
            return False
        if not self._watching:
            previous = signal.getsignal(signal.SIGINT)
            if not callable(previous):  # ignored, the system's own, or not Python's
                return False
            if previous is not self:  # as where a program puts back what it found during a run
                self._previous = previous
                signal.signal(signal.SIGINT, self)
        self._watching += 1
        return True

    def leave(self) -> None:
        """Put the handler back that was there, unless somebody has put another one there since."""
        self._watching -= 1
        previous = self._previous
        if not self._watching and signal.getsignal(signal.SIGINT) is self:
            signal.signal(
                signal.SIGINT, signal.default_int_handler if _is_over(previous) else previous
            )

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note that it was pressed, and do what would have been done."""
        self.pressed += 1
        try:
            self._previous(number, frame)
        except BaseException:
            # ``asyncio.run`` ends with it, and takes its own handler away only if it finds that
            # one. Put back later it would stay for good, and no other loop would get one.
            previous, installed = self._previous, signal.getsignal(number)
            if installed is self:
                signal.signal(number, previous)
            raise


def _is_over(handler: Any) -> bool:
    """Whether a handler is that of an ``asyncio.run`` which does not wait for its main task now.

    Then it looked for its handler before this run came to its end: another task went on with the
    run, or a node of another task called ``sys.exit``. Nobody would take the handler away any more,
    and no other loop would get one.
    """
    task = handler.keywords.get("main_task") if isinstance(handler, partial) else None
    if not isinstance(task, asyncio.Task):
        return False
    return task.done() or not _is_waited_for(task)


def _is_waited_for(task: asyncio.Task[Any]) -> bool:
    """Whether the event loop runs until this task is done; yes where that cannot be told."""
    if not hasattr(task, "_callbacks"):
        return True
    # The loops of asyncio and of uvloop leave a callback there meanwhile, by this name.
    names = [getattr(call, "__qualname__", "") for call, _ in task._callbacks or ()]
    return any("run_until_complete" in name for name in names)


_watcher = _Watcher()
