"""Events: what a repository did, told to whoever asked. They carry names and numbers, no values.

Every kind is a frozen dataclass that extends ``Event``; layers above add kinds of their own.
Without a listener, and with the logger ``hive.checkpoints`` above INFO, nothing is measured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from cas.errors import HiveError
from cas.mutex import Mutex
from manifests.manifest import Checkpoint

if TYPE_CHECKING:
    from manifests.collection import CompactReport, GcReport

__all__ = [
    "Compacted",
    "Event",
    "Events",
    "Failed",
    "Forgot",
    "Forked",
    "GarbageCollected",
    "OnEvent",
    "Operation",
    "Restored",
    "RunDeleted",
    "Saved",
]

logging.getLogger("hive").addHandler(logging.NullHandler())
_LOGGER: Final = logging.getLogger("hive.checkpoints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was done. ``seconds`` is how long the call took that did it."""

    level: ClassVar[int] = logging.DEBUG
    seconds: float

    def __str__(self) -> str:
        return type(self).__name__.lower()


OnEvent = Callable[[Event], None]
"""A listener. It is called in the thread that did it, behind the operation; it should be quick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Event):
    """A checkpoint is durable. Of a queued one, ``seconds`` are those since it was queued."""

    checkpoint: Checkpoint

    def __str__(self) -> str:
        found = self.checkpoint
        return (
            f"saved {_place(found)} ({found.kind}): {found.new_bytes} new bytes in "
            f"{found.new_objects} objects, of {found.logical_bytes}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored(Event):
    """A state was read; ``partial`` if only some of its keys."""

    checkpoint: Checkpoint
    partial: bool

    def __str__(self) -> str:
        return f"restored {'keys of ' if self.partial else ''}{_place(self.checkpoint)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked(Event):
    """A run was started at a checkpoint of another one. ``checkpoint`` is its head."""

    checkpoint: Checkpoint

    def __str__(self) -> str:
        return f"forked {_place(self.checkpoint)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgot(Event):
    """Checkpoints were taken off their runs' lists."""

    level: ClassVar[int] = logging.INFO
    dropped: int
    kept: int

    def __str__(self) -> str:
        return f"forgot {self.dropped} checkpoints, kept {self.kept}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDeleted(Event):
    """A run was removed with all it listed."""

    level: ClassVar[int] = logging.INFO
    run: str
    checkpoints: int

    def __str__(self) -> str:
        return f"deleted run {self.run!r} with {self.checkpoints} checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageCollected(Event):
    """A garbage collection ended, completely or when its time was over."""

    level: ClassVar[int] = logging.INFO
    report: GcReport

    def __str__(self) -> str:
        report = self.report
        return (
            f"gc removed {report.objects_removed} objects of {report.payload_bytes_removed} bytes, "
            f"{'complete' if report.complete else 'stopped early'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Event):
    """The store's file was replaced by a dense one."""

    level: ClassVar[int] = logging.INFO
    report: CompactReport

    def __str__(self) -> str:
        return f"compacted {self.report.bytes_before} bytes to {self.report.bytes_after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """An operation raised. ``error`` is the class's name, ``code`` that of a ``HiveError``.

    Never the text: it may come from a value's own class.
    """

    operation: str
    error: str
    code: str | None

    def __str__(self) -> str:
        return f"{self.operation} failed: {self.error}"


def _place(found: Checkpoint) -> str:
    return f"{found.run!r}@{found.sequence}"


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
        if self._listeners or _LOGGER.isEnabledFor(logging.INFO):
            return Operation(self, name)
        return None

    def during(self, name: str) -> AbstractContextManager[Tell]:
        """Return a context that times an operation, and tells by itself if it raises."""
        operation = self.begin(name)
        return _UNTOLD if operation is None else _telling(operation)

    def emit(self, event: Event) -> None:
        """Log an event and tell it to every listener. What a listener raises stops nothing."""
        if _LOGGER.isEnabledFor(event.level):
            _LOGGER.log(event.level, "%s in %.4f s", event, event.seconds)
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
