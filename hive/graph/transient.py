"""Which failures of a write may pass, and trying it again until they have."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from hive import errors

if TYPE_CHECKING:
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests.listeners import Events

__all__ = ["Persistence", "is_transient"]

T = TypeVar("T")

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
    limited = isinstance(error, errors.LimitError)  # a value that is too large has no cause below
    return passes or (limited and cause is not None and not isinstance(cause, errors.HiveError))


class Persistence:
    """Writes things of one run, as often as is configured where what goes wrong may pass."""

    def __init__(
        self, run: str, config: CheckpointConfig, events: Events, sleep: Callable[[float], None]
    ) -> None:
        """Tell ``events`` before each wait, for which ``sleep`` takes seconds."""
        self._run = run
        self._config = config
        self._events = events
        self._sleep = sleep

    def __call__(self, write: Callable[[], T]) -> T:
        """Return what ``write`` gives, which writes all of something or nothing.

        Raises:
            HiveError: What went wrong the last time.
        """
        from hive.graph.events import SaveRetried

        tries_left, delay = self._config.write_attempts, self._config.retry_delay_seconds
        while True:
            tries_left -= 1
            try:
                return write()
            except errors.HiveError as error:
                if not tries_left or not is_transient(error):
                    raise
                name = type(error).__name__
                self._events.emit(SaveRetried(run=self._run, error=name, seconds=delay))
                self._sleep(delay)
                delay *= 2
