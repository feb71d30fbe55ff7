"""Outcomes of what another thread does, for tasks that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from hive.graph.background import LOOK_SECONDS

__all__ = ["Outcome", "announce"]

T = TypeVar("T")


class Outcome(Generic[T]):
    """What becomes of one job of another thread, for the one task that waits for it.

    It is made in that task's event loop. The thread sets it once, and then announces it together
    with others: to wake the event loop for each of them takes longer than many a job.
    """

    __slots__ = ("_error", "_is_set", "_loop", "_result", "_told", "_waiter")

    def __init__(self) -> None:
        """Make one for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._told = False
        self._is_set = False
        self._error: BaseException | None = None
        self._result: T | None = None

    def succeed(self, result: T) -> None:
        """Set the result."""
        self._result = result
        self._is_set = True

    def fail(self, error: BaseException) -> None:
        """Set what went wrong."""
        self._error = error
        self._is_set = True

    async def wait(self) -> T:
        """Return the result or raise the error, also when the waiting task is cancelled meanwhile.

        Raises:
            CancelledError: The task was cancelled and the job succeeded, or the task was cancelled
                a second time.
        """
        try:
            await self._until_told()
        except asyncio.CancelledError:
            # Ctrl-C may have come in what should tell it.
            while not self._is_set:
                self._waiter = self._loop.create_future()
                await asyncio.wait([self._waiter], timeout=LOOK_SECONDS)
            if self._error is not None:
                raise self._error from None
            raise
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set before it is told

    async def _until_told(self) -> None:
        if not self._told:
            self._waiter = self._loop.create_future()
            await self._waiter

    def _tell(self) -> None:
        self._told = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def announce(outcomes: Sequence[Outcome[Any]]) -> None:
    """Wake the tasks that wait for outcomes, which are set. May be called in any thread."""
    for loop in {outcome._loop for outcome in outcomes}:
        its_own = [outcome for outcome in outcomes if outcome._loop is loop]
        with contextlib.suppress(RuntimeError):  # closed: nobody waits there any more
            loop.call_soon_threadsafe(_tell_all, its_own)


def _tell_all(outcomes: Sequence[Outcome[Any]]) -> None:
    for outcome in outcomes:
        outcome._tell()
