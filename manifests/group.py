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

    __slots__ = ("future", "job", "leads", "outcome", "turn")

    def __init__(self, job: Job[Any], future: Future[Any] | None) -> None:
        self.job = job
        self.future = future
        self.outcome: Any = None
        self.leads = False
        self.turn = threading.Lock()
        self.turn.acquire()

    def settle(self, outcome: Any) -> None:
        """Set the outcome, a result or an error, once."""
        self.outcome = outcome
        if self.future is None:
            return
        if isinstance(outcome, HiveError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class GroupCommitter:
    """Writes the prepared commits and other jobs of a store. Safe to share; survives a fork."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._queue: list[_Waiting] = []
        self._led = False

    def write(self, job: Job[T]) -> T:
        """Do a job; returns when it is durable, and raises what ``job.apply`` raises."""
        waiting = _Waiting(job, None)
        try:
            if not self._join(waiting):
                waiting.turn.acquire()
            if waiting.outcome is None:
                self._lead()
        except BaseException:
            # Ctrl-C may come anywhere. If it took the lead with it, nobody would write any more.
            self._leave(waiting)
            raise
        outcome: T | HiveError = waiting.outcome
        assert outcome is not None
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
                if each.outcome is None and not each.leads:
                    each.turn.acquire()
                if each.outcome is None:
                    self._lead()
        except BaseException:
            for each in waiting:
                self._leave(each)
            raise
        return [each.outcome for each in waiting]

    def submit(self, job: Job[T]) -> Future[T]:
        """Queue a job and return at once. The future completes when it is durable.

        Jobs of one thread are done in the order in which they were submitted.
        """
        future: Future[T] = Future()
        waiting = _Waiting(job, future)
        if self._join(waiting):
            self._pass_lead_to(waiting)
        return future

    def _join(self, first: _Waiting, *others: _Waiting) -> bool:
        """Put commits into the queue; whether their caller has to lead."""
        if self._process != os.getpid():
            # Forked: the parent's queue is the parent's, and its lock may be held for ever.
            self._start()
        with self._lock:
            self._queue += (first, *others)
            first.leads, self._led = not self._led, True
        return first.leads

    def _leave(self, waiting: _Waiting) -> None:
        """Take back a commit whose caller was interrupted while waiting."""
        with self._lock:
            if waiting in self._queue:
                self._queue.remove(waiting)
            has_lead = waiting.leads and waiting.outcome is None
        if has_lead:
            self._pass_lead()

    def _lead(self) -> None:
        """Write one group, which contains the first of the queue, and pass the lead on."""
        group: list[_Waiting] = []
        try:
            with self._lock:
                self._take(group)
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
                    waiting.settle(interrupted)
            raise
        finally:
            for waiting in group:
                if not waiting.leads:
                    waiting.turn.release()
            if group:  # else ``write`` gives up the lead
                self._pass_lead()

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

    def _pass_lead(self) -> None:
        with self._lock:
            if not self._queue:
                self._led = False
                return
            following = self._queue[0]
            following.leads = True
        self._pass_lead_to(following)

    def _pass_lead_to(self, following: _Waiting) -> None:
        if following.future is None:
            following.turn.release()
            return
        try:
            threading.Thread(target=self._lead, name="hive-commit", daemon=True).start()
        except RuntimeError:
            self._lead()  # no thread is to be had: at a limit, or while the interpreter ends

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
                group[0].settle(error)
            return
        for waiting, outcome in zip(group, outcomes, strict=True):
            waiting.settle(outcome)
