"""Branches of a run that go on at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any

__all__ = ["all_of"]


async def all_of(
    jobs: Sequence[Callable[[], Awaitable[bool]]], *, max_concurrency: int | None, stop_early: bool
) -> None:
    """Do jobs at the same time, and return when none of them goes on.

    An exception of one cancels the others and is raised when they have ended; so does the
    cancellation of the caller.

    Args:
        jobs: What to do; each tells whether it went well.
        max_concurrency: How many may go on at once, inclusive; None for all.
        stop_early: Cancel the others as soon as one did not go well.
    """
    room: Any = nullcontext() if max_concurrency is None else asyncio.Semaphore(max_concurrency)

    async def guarded(job: Callable[[], Awaitable[bool]]) -> bool:
        async with room:
            return await job()

    tasks = [asyncio.ensure_future(guarded(job)) for job in jobs]
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            # result() raises what the job raised.
            if not all([task.result() for task in tasks if task in done]) and stop_early:
                break
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        # A checkpoint could not be written while the branch was being cancelled.
        if isinstance(outcome, Exception):
            raise outcome
