"""Keeping a store small while graphs run: retention, ages of threads, and freeing the space."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from hive.adapters.langgraph.places import Place
from hive.errors import ConflictError, HiveError, InvalidInputError, NotFoundError
from hive.graph.arguments import check_instance
from hive.graph.background import BackgroundThread, drop_after_fork
from hive.threads import rebuilt_names
from manifests import Checkpoint, Clock, Repository, RetentionPolicy
from manifests.arguments import expect

__all__ = ["Upkeep", "check_rules"]

LEAST_SAVES: Final = 16
"""Saves of a run before it is looked at again: each look costs what the run keeps."""
GC_DROPS: Final = 256
"""Checkpoints dropped before their space is freed."""
_MOST_WAITING: Final = 256
_GC_SECONDS: Final = 2.0
_LOG: Final = logging.getLogger("hive.langgraph")


def check_rules(retention: RetentionPolicy | None, ttl: dt.timedelta | None, compact: bool) -> None:
    """Refuse rules that would fail later, where nobody looks, or delete everything.

    Raises:
        InvalidInputError: ``retention`` is no policy, ``ttl`` no positive span of time, or
            ``compact`` no bool.
    """
    check_instance(compact, bool, "compact")
    expect(retention, RetentionPolicy, "retention")
    expect(ttl, dt.timedelta, "ttl")
    if ttl is not None and ttl <= dt.timedelta():
        raise InvalidInputError(f"ttl is a positive span of time, not {ttl}: it deletes threads")


class Upkeep:
    """Applies retention and ages in a thread of its own; no save waits for it.

    ``retention`` is applied to each run after some saves. Threads that were not extended for
    ``ttl`` are deleted. What became free is collected, and with ``compact`` also returned to the
    disk when it ends.
    """

    def __init__(
        self,
        repository: Repository,
        clock: Clock,
        *,
        retention: RetentionPolicy | None,
        ttl: dt.timedelta | None,
        compact: bool,
    ) -> None:
        """Look after a repository."""
        self._repository = repository
        self._clock = clock
        self._retention = retention
        self._ttl = ttl
        self._compact = compact
        self._start()
        drop_after_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._saves: dict[str, int] = {}
        self._checked: dt.datetime | None = None
        self._dropped = 0
        self._closed = False
        self._thread = BackgroundThread(max_pending=_MOST_WAITING)

    def drop_in_child(self) -> None:
        """Leave to the parent process what is due there."""
        self._start()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do for it, now and later."""
        return self._closed or (self._retention is None and self._ttl is None)

    def saved(self, run: str) -> None:
        """Count a save; what is due is done in a while."""
        if self.is_idle:
            return
        with self._lock:
            count = self._saves.get(run, 0) + 1
            self._saves[run] = 0 if count >= LEAST_SAVES else count
        if count >= LEAST_SAVES:
            self._submit(partial(self._look, run))
        if self._ttl is not None and self._is_time():
            self._submit(self._expire)

    def settle(self) -> None:
        """Do now what is due for every run that was saved, and wait for it."""
        if self.is_idle:
            return
        with self._lock:
            runs, self._saves = list(self._saves), {}
        for run in runs:
            self._submit(partial(self._look, run), wait=True)
        if self._ttl is not None:
            self._submit(self._expire, wait=True)
        self._submit(self._collect, wait=True)
        self._thread.join(self)

    def close(self) -> None:
        """Do what is due, and end the thread. Closing twice is harmless."""
        self.settle()
        self._closed = True
        self._thread.stop()

    def _submit(self, job: Callable[[], None], *, wait: bool = False) -> None:
        # Without room it is left for a later save.
        self._thread.submit(self, partial(self._guarded, job), wait=wait)

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except ConflictError:
            pass  # somebody else does the same
        except HiveError as error:
            # Nobody waits for this; a save that fails for the same reason says so itself.
            _LOG.warning("the upkeep of the checkpoints was not done: %s", error)

    def _look(self, run: str) -> None:
        if self._retention is None:
            return
        try:
            plan = self._repository.forget(self._retention, run=run, rebuilt=rebuilt_names)
        except NotFoundError:
            return  # the thread was deleted
        self._dropped += len(plan.dropped)
        if self._dropped >= GC_DROPS:
            self._collect()

    def _is_time(self) -> bool:
        """Whether to look for threads that are too old: every tenth of the age they may reach."""
        assert self._ttl is not None
        now = self._clock()
        with self._lock:
            since = None if self._checked is None else now - self._checked
            # A clock that was put back says nothing of how long that is ago.
            if since is not None and dt.timedelta() <= since < self._ttl / 10:
                return False
            self._checked = now
        return True

    def _expire(self) -> None:
        """Delete the threads of which no namespace was extended for too long."""
        assert self._ttl is not None
        oldest = self._clock() - self._ttl
        threads: dict[str, list[Checkpoint]] = {}
        for run in self._repository.keyed_runs():
            with suppress(NotFoundError):  # deleted meanwhile
                head = self._repository.resolve(run)
                threads.setdefault(Place.of_run(run).thread, []).append(head)
        for heads in threads.values():
            if max(head.created_at for head in heads) < oldest:
                # In use again since it was looked at, tagged or pinned, or deleted by others.
                with suppress(ConflictError, NotFoundError):
                    self._repository.delete_unmoved(heads)
                    self._dropped += 1

    def _collect(self) -> None:
        if not self._dropped:
            return
        deadline = time.monotonic() + _GC_SECONDS
        if self._repository.gc(time_budget=max(0.1, deadline - time.monotonic())).complete:
            self._dropped = 0
        if self._compact:
            self._repository.compact()
