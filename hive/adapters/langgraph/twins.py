"""Async methods made of sync ones: written once, run in threads, with the same signature.

A method of its own per pair would double a thousand lines. The threads are Hive's own: the event
loop's few may all be busy with the nodes that wait for a save, and many saves at once share one
synced transaction.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, TypeVar

__all__ = ["iterating_twin", "twin"]

T = TypeVar("T")

_THREADS: Final = 64
_BATCH: Final = 16
"""Items that one step of an async iteration reads."""

_pool: tuple[int, ThreadPoolExecutor] | None = None


def _threads() -> ThreadPoolExecutor:
    """Return the threads of this process; a forked child has none of its parent's."""
    global _pool  # noqa: PLW0603 - one pool for all savers of a process
    if _pool is None or _pool[0] != os.getpid():
        _pool = os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="hive-langgraph")
    return _pool[1]


async def _in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread and wait for its end, also when the waiting task is cancelled.

    A write cannot be taken back half-way; to return before it ended would leave the caller not
    knowing whether it happened.
    """
    context = contextvars.copy_context()
    future = asyncio.wrap_future(_threads().submit(context.run, work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def twin(method: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return the async form of a method."""

    @functools.wraps(method)
    async def awaited(*args: Any, **options: Any) -> T:
        return await _in_thread(functools.partial(method, *args, **options))

    awaited.__name__ = f"a{method.__name__}"
    return awaited


def iterating_twin(method: Callable[..., Iterator[T]]) -> Callable[..., AsyncIterator[T]]:
    """Return the async form of a method that yields."""

    @functools.wraps(method)
    async def awaited(*args: Any, **options: Any) -> AsyncIterator[T]:
        items = method(*args, **options)
        while batch := await _in_thread(lambda: list(islice(items, _BATCH))):
            for item in batch:
                yield item

    awaited.__name__ = f"a{method.__name__}"
    return awaited
