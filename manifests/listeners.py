"""``Events``: telling listeners, and the log, what a repository did.

Without a listener, and with the logger ``hive.checkpoints`` above INFO, nothing is measured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from cas.errors import HiveError
from cas.mutex import Mutex
from manifests.events import Event, Failed

__all__ = ["Events", "OnEvent", "Operation", "Tell"]

# Who does not set up logging must not get warnings on the error stream.
logging.getLogger("hive").addHandler(logging.NullHandler())
_LOGGER: Final = logging.getLogger("hive.checkpoints")

OnEvent = Callable[[Event], None]
"""A listener. It is called in the thread that did it, behind the operation; it should be quick."""


class Operation:
    """One operation that is under way, and whose end is told."""

    __slots__ = ("_began", "_events", "_name")

    def __init__(self, events: Events, name: str) -> None:
        self._events = events
        self._name = name
        self._began = time.perf_counter()

    def done(self, make: Callable[[float], Event]) -> None:
        """Tell what was done: ``make`` is given the seconds that it took."""
        self._events.emit(make(time.perf_counter() - self._began))

    def failed(self, error: BaseException) -> None:
        """Tell that it raised."""
        code = error.code if isinstance(error, HiveError) else None
        name = type(error).__name__
        self.done(lambda s: Failed(operation=self._name, error=name, code=code, seconds=s))


def _untold(_make: Callable[[float], Event]) -> None:
    pass


Tell = Callable[[Callable[[float], Event]], None]
"""Takes what makes the event of an operation from the seconds that it took."""

_UNTOLD: Final[AbstractContextManager[Tell]] = nullcontext(_untold)


class Events:
    """Who is told what a repository does. Safe to share by threads."""

    def __init__(self) -> None:
        self._listeners: tuple[OnEvent, ...] = ()
        self._lock = Mutex()

    def subscribe(self, listener: OnEvent) -> Callable[[], None]:
        """Tell a listener from now on; returns what ends that. Ending it twice is harmless."""
        # A tuple of its own each time is never changed under an ``emit`` that goes through it; the
        # wrapper tells two subscriptions of one listener apart.
        own = _Subscription(listener)
        with self._lock:
            self._listeners = (*self._listeners, own)

        def end() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not own)

        return end

    def begin(self, name: str) -> Operation | None:
        """Begin to time an operation; None if nobody wants to know."""
        return Operation(self, name) if self.is_heard(_LOGGER, logging.INFO) else None

    def is_heard(self, logger: logging.Logger, level: int) -> bool:
        """Whether anybody is told of an event which that logger logs at that level."""
        return bool(self._listeners) or logger.isEnabledFor(level)

    def during(self, name: str) -> AbstractContextManager[Tell]:
        """Return a context that times an operation, and tells by itself if it raises."""
        operation = self.begin(name)
        return _UNTOLD if operation is None else _telling(operation)

    def emit(self, event: Event) -> None:
        """Log an event and tell it to every listener. What a listener raises stops nothing."""
        logger = logging.getLogger(event.logger)
        if logger.isEnabledFor(event.level):
            logger.log(event.level, "%s in %.4f s", event, event.seconds)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:
                # What was told of is done already. The error's text may hold anything.
                _LOGGER.error("a listener of events raised %s", type(error).__name__)


class _Subscription:
    __slots__ = ("_listener",)

    def __init__(self, listener: OnEvent) -> None:
        self._listener = listener

    def __call__(self, event: Event) -> None:
        self._listener(event)


@contextmanager
def _telling(operation: Operation) -> Iterator[Tell]:
    try:
        yield operation.done
    except BaseException as error:
        operation.failed(error)
        raise
