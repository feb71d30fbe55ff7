"""A thread that does jobs in the order in which they were handed in, and waiting for a thread."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from hive import errors

__all__ = ["BackgroundThread", "Job", "drop_after_fork", "in_thread", "is_alone"]

_QUIET_SECONDS: Final = 0.002
"""How long to wait for one more of several jobs that are likely to come: a sync takes longer."""

LOOK_SECONDS: Final = 0.05
"""How long a cancelled task waits to be told before it looks by itself what another thread did."""

T = TypeVar("T")
Job = Callable[[], None]
"""What a thread does; it must not raise."""


class _Dropping(Protocol):
    def drop_in_child(self) -> None: ...


class BackgroundThread:
    """Does jobs one after the other; each belongs to an owner, whose jobs can be waited for.

    The thread is started by the first job and is a daemon: whoever hands jobs in must wait for
    them before the interpreter ends. A job must not raise.
    """

    def __init__(
        self, *, max_pending: int, together: Callable[[Sequence[Job]], None] | None = None
    ) -> None:
        """Let at most ``max_pending`` jobs wait (inclusive) before ``submit`` waits too.

        ``together`` does several jobs at once, where doing so is cheaper: the first that waits of
        each owner. It must not raise either. Without it, each is done alone.
        """
        self._max_pending = max_pending
        self._together = together
        # Locked as itself: Ctrl-C can come inside of the functions that lock a condition, behind
        # the locking or before the unlocking.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._jobs: deque[tuple[object, Job]] = deque()
        self._running: list[object] = []
        # How many jobs must wait before the thread is woken for them.
        self._wakes_at = 1
        self._thread: threading.Thread | None = None
        self._stopping = False
        drop_after_fork(self)

    def submit(self, owner: object, job: Job, *, wait: bool = True, bounded: bool = True) -> bool:
        """Hand in a job. Without ``wait``, return False if there is no room for it now.

        There is always room for one that is not ``bounded``: whoever hands it in waits for it.

        Raises:
            InvalidInputError: The thread was stopped.
        """
        with self._lock:
            if bounded and len(self._jobs) >= self._max_pending:
                if not wait:
                    return False
                self._changed.wait_for(lambda: len(self._jobs) < self._max_pending)
            if self._stopping:
                raise errors.InvalidInputError("the checkpoint manager was closed")
            self._jobs.append((owner, job))
            self._run()
            if len(self._jobs) >= self._wakes_at:
                self._changed.notify_all()
        return True

    @property
    def is_busy(self) -> bool:
        """Whether any jobs wait or are being done, as of a moment ago."""
        return bool(self._jobs or self._running)

    def pending(self, owner: object) -> bool:
        """Tell whether a job of ``owner`` waits or is being done."""
        with self._lock:
            return self._is_pending(owner)

    def join(self, owner: object) -> None:
        """Wait until all jobs of ``owner`` are done."""
        with self._lock:
            if self._is_pending(owner):  # perhaps handed in by what was interrupted before the rest
                self._run()
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._is_pending(owner))

    def stop(self, *, wait: bool = True) -> None:
        """End the thread when the jobs that wait are done, and take no more; ``wait`` for that."""
        with self._lock:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if wait and thread is not None and thread.is_alive():
            thread.join()

    def drop_in_child(self) -> None:
        """Forget all jobs: they are the parent's, which goes on doing them."""
        # The thread does not exist in the child, and the lock may have been held by it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._jobs = deque()
        self._running = []
        self._wakes_at = 1
        self._thread = None

    def _is_pending(self, owner: object) -> bool:
        return any(other is owner for other in self._running) or any(
            other is owner for other, _ in self._jobs
        )

    def _run(self) -> None:
        """Start the thread, unless it goes on."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="hive-checkpoints", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        jobs: list[Job] = []
        while True:
            with self._lock:
                if threading.current_thread() is not self._thread:
                    return  # the start of this one was interrupted, and there is another
                self._running = []
                self._changed.notify_all()
                self._wakes_at = 1
                self._changed.wait_for(lambda: bool(self._jobs) or self._stopping)
                if not self._jobs:
                    return
                if self._together is not None:
                    self._gather(len(jobs))
                self._wakes_at = sys.maxsize
                jobs = self._take()
            if self._together is not None:
                self._together(jobs)
            else:
                for job in jobs:
                    job()

    def _gather(self, last: int) -> None:
        """Wait for as many jobs as there were ``last`` time, while they come one after the other.

        Whoever waited for the last jobs goes on now, and many of them come again. To begin with the
        first that does would take a transaction for it alone, and several for the others.
        """
        self._wakes_at = last
        waiting = len(self._jobs)
        while waiting < last and not self._stopping:
            self._changed.wait(_QUIET_SECONDS)
            if len(self._jobs) == waiting:
                return
            waiting = len(self._jobs)

    def _take(self) -> list[Job]:
        """Take the job that waits longest; if several can be done together, one of each owner."""
        if self._together is None or len(self._jobs) == 1:
            owner, job = self._jobs.popleft()
            self._running = [owner]
            return [job]
        first: dict[int, tuple[object, Job]] = {}
        rest: deque[tuple[object, Job]] = deque()
        for owner, job in self._jobs:
            if id(owner) in first:
                rest.append((owner, job))
            else:
                first[id(owner)] = owner, job
        self._jobs = rest
        self._running = [owner for owner, _ in first.values()]
        return [job for _, job in first.values()]


def is_alone() -> bool:
    """Whether the running event loop has no other task, so that nobody minds if it is held up."""
    return len(asyncio.all_tasks()) == 1


async def in_thread(job: Callable[[], T]) -> T:
    """Do a job in another thread and wait for it, also when the waiting task is cancelled.

    A write cannot be taken back half-way. To return before it ended would leave the caller not
    knowing whether it happened. Where nobody else waits for the event loop, the job is done at
    once: to wake one thread and then the other again takes longer than many a write.
    """
    if is_alone():
        done = job()
        await asyncio.sleep(0)  # where a cancellation, such as Ctrl-C, comes in
        return done
    run = contextvars.copy_context().run
    outcome: list[BaseException | None] = []

    def noted() -> T:
        try:
            result = run(job)
        except BaseException as error:
            outcome.append(error)
            raise
        outcome.append(None)
        return result

    # No task: when the main task ends, asyncio.run cancels every other one, and to_thread's would
    # end while its thread goes on, or before it begins.
    return await _whole(asyncio.get_running_loop().run_in_executor(None, noted), outcome)


async def _whole(future: asyncio.Future[T], outcome: Sequence[BaseException | None]) -> T:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        # Ctrl-C may have come where the loop was told of the end, and then nobody tells it again.
        while not outcome and not future.cancelled():
            await asyncio.wait([future], timeout=LOOK_SECONDS)
        for error in outcome:
            if error is not None:
                raise error from None
        raise


_DROPPING: weakref.WeakSet[_Dropping] = weakref.WeakSet()


def drop_after_fork(item: _Dropping) -> None:
    """Call ``item.drop_in_child()`` in every child process that is forked while it lives."""
    _DROPPING.add(item)


def _drop_in_child() -> None:
    for item in list(_DROPPING):
        item.drop_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_drop_in_child)
