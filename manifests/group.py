"""Group commit: commits that arrive while one is being synced share the next transaction.

A synced transaction takes as long for fifty commits as for one. Whoever comes while nobody leads
does: takes everything that waits, applies it in one transaction, and hands the lead to the next in
the queue. Conditions are tested for each commit before anything of it is put, so one that
conflicts fails alone. If the transaction itself fails, its commits are tried one by one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from cas.errors import (
    ConflictError,
    HiveError,
    InvalidInputError,
    LimitError,
    MissingObjectError,
    NotFoundError,
)
from cas.mutex import give_back
from cas.store import ObjectStore
from cas.writer import RecordWriter

__all__ = ["GroupCommitter", "Job"]

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_MOST_COMMITS: Final = 256
_MOST_BYTES: Final = 32 * 1024 * 1024
"""Payload bytes at which a group is closed: a transaction holds all its pages in memory."""

_OWN_FAILURES: Final = (
    ConflictError,
    InvalidInputError,
    LimitError,
    MissingObjectError,
    NotFoundError,
)
"""Errors that concern one commit and leave the transaction usable for the others."""


class Job(Protocol[T_co]):
    """What shares transactions: a prepared commit, pending writes, an effect."""

    @property
    def object_bytes(self) -> int:
        """The payload bytes of what it stores."""
        ...

    def apply(self, writer: RecordWriter) -> T_co:
        """Do it in the writer's transaction; returns anything but None.

        An error that concerns this job alone is raised before anything is put.
        """
        ...


class _Waiting:
    """A commit in the queue, and its outcome.

    ``turn`` is a lock that is released when the commit is done or has to lead: an event would cost
    more than all other bookkeeping of a commit. ``future`` is there if nobody waits.
    """

    __slots__ = ("future", "job", "outcome", "turn")

    def __init__(self, job: Job[Any], future: Future[Any] | None) -> None:
        self.job = job
        self.future = future
        self.outcome: Any = None
        self.turn = threading.Lock()
        self.turn.acquire()

    def wake(self) -> None:
        """Let whoever waits for the turn go on. May be repeated, with the committer's lock."""
        if self.turn.locked():
            self.turn.release()

    def tell(self) -> None:
        """Let the future have the outcome. May be repeated."""
        if self.future is None or self.future.done():
            return
        if isinstance(self.outcome, HiveError):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


class GroupCommitter:
    """Writes the prepared commits and other jobs of a store. Safe to share; survives a fork."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()  # which an interrupt may leave locked: ``give_back``
        self._queue: list[_Waiting] = []
        # Who writes or is to write: the first of the queue, until it takes its group out of it.
        self._leader: _Waiting | None = None
        self._writing: list[_Waiting] = []

    def write(self, job: Job[T]) -> T:
        """Do a job; returns when it is durable, and raises what ``job.apply`` raises."""
        (outcome,) = self.write_all([job])
        if isinstance(outcome, HiveError):
            raise outcome
        return outcome

    def write_all(self, jobs: Sequence[Job[T]]) -> list[T | HiveError]:
        """Do jobs, in this order, in as few transactions as they fit into.

        Returns when all are durable or have failed: of each what ``job.apply`` returned, or the
        error. Raises nothing that concerns one of them alone.
        """
        waiting = [_Waiting(job, None) for job in jobs]
        if not waiting:
            return []
        try:
            self._join(*waiting)
            for each in waiting:
                each.turn.acquire()
                if each.outcome is None:
                    self._lead(each)
        except BaseException:
            # Ctrl-C may come anywhere. If it took the lead with it, nobody would write any more.
            for each in waiting:
                self._leave(each)
            raise
        return [each.outcome for each in waiting]

    def submit(self, job: Job[T]) -> Future[T]:
        """Queue a job and return at once. The future completes when it is durable.

        Jobs of one thread are done in the order in which they were submitted. They cannot be
        cancelled: others share their transaction.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        waiting = _Waiting(job, future)
        try:
            if self._join(waiting):
                self._lead_for(waiting)
        except BaseException:
            self._leave(waiting)
            raise
        return future

    def _join(self, first: _Waiting, *others: _Waiting) -> bool:
        """Put commits into the queue; whether the first has to lead."""
        if self._process != os.getpid():
            # Forked: the parent's queue is the parent's, and its lock may be held for ever.
            self._start()
        with self._lock:
            self._queue += (first, *others)
            if self._leader is None:
                self._leader = first
                first.wake()
            return self._leader is first

    def _leave(self, waiting: _Waiting) -> None:
        """Take back a commit whose caller was interrupted while waiting."""
        with self._lock:
            is_queued = waiting in self._queue
            if is_queued:
                self._queue.remove(waiting)
            has_lead = is_queued and self._leader is waiting
            is_written = waiting in self._writing
        give_back(self._lock)
        if has_lead:
            self._finish([], waiting)
        elif is_written and waiting.future is None:
            # By another thread. Were this not to wait, the caller could not see what comes of it,
            # and would go on from a head that is about to be moved.
            waiting.turn.acquire()

    def _lead(self, leader: _Waiting) -> None:
        """Write one group, which begins with the first of the queue, and pass the lead on."""
        group: list[_Waiting] = []
        try:
            with self._lock:
                if self._leader is leader and leader in self._queue:
                    self._writing = group
                    self._take(group)
            if group:
                self._apply(group)
        except BaseException:
            with self._lock:  # Ctrl-C may come before they are out of the queue
                self._queue = [waiting for waiting in self._queue if waiting not in group]
            interrupted = HiveError(
                "the transaction was interrupted; resolve the run to see whether the commit was "
                "stored"
            )
            for waiting in group:
                if waiting.outcome is None:
                    waiting.outcome = interrupted
            raise
        finally:
            if group:  # else whoever called gives up the lead
                try:
                    self._finish(group, leader)
                except BaseException:
                    self._finish(group, leader)
                    raise

    def _finish(self, group: Sequence[_Waiting], leader: _Waiting) -> None:
        """Tell the members of a group that they are done, and pass the lead on. May be repeated."""
        for waiting in group:
            waiting.tell()
        with self._lock:
            for waiting in group:
                waiting.wake()
            if self._leader is leader:
                self._writing = []
                self._leader = self._queue[0] if self._queue else None
            following = self._leader
            if following is not None:
                following.wake()
        if following is not None and following.future is not None:
            self._lead_for(following)

    def _lead_for(self, waiting: _Waiting) -> None:
        """Lead for a commit for which nobody waits, in a thread. A second one does nothing."""
        try:
            thread = threading.Thread(
                target=self._lead, args=(waiting,), name="hive-commit", daemon=True
            )
            thread.start()
        except RuntimeError:
            self._lead(waiting)  # no thread is to be had: at a limit, or while the interpreter ends

    def _take(self, group: list[_Waiting]) -> None:
        """Move the first of the queue into a group, so that each is always in one of them."""
        size, count = 0, 0
        for waiting in self._queue[:_MOST_COMMITS]:
            size += waiting.job.object_bytes
            if count and size > _MOST_BYTES:
                break
            count += 1
        group += self._queue[:count]
        del self._queue[:count]

    def _apply(self, group: Sequence[_Waiting]) -> None:
        outcomes: list[Any] = []

        def work(writer: RecordWriter) -> None:
            outcomes.clear()
            for waiting in group:
                try:
                    outcomes.append(waiting.job.apply(writer))
                except _OWN_FAILURES as error:
                    outcomes.append(error)

        try:
            self._store.write(work)
        except HiveError as error:
            if len(group) > 1:
                for waiting in group:
                    self._apply([waiting])
            else:
                group[0].outcome = error
            return
        for waiting, outcome in zip(group, outcomes, strict=True):
            waiting.outcome = outcome
