"""Dropping old checkpoints and freeing their space beside the runs, so that no save waits for it.

Looking at a run costs what the run keeps, and looking at a store what the store keeps. So that is
done once for half as many saves as are kept, in a thread of its own: a save counts, and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from hive import errors
from hive.graph.background import BackgroundThread, drop_after_fork
from hive.graph.retention import policy_of, store_policy_of
from hive.threads import rebuilt_names

if TYPE_CHECKING:
    from cas.upkeep import Progress
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Checkpoint, Repository, RetentionPolicy

__all__ = ["Housekeeper", "RunRetention"]

LEAST_SAVES: Final = 16
"""Saves before the next look at a run that keeps little: each look is a synced transaction."""
GC_DROPS: Final = 128
"""Checkpoints dropped before their space is freed: a collection reads all names of the store."""

_MOST_WAITING: Final = 256
_LONGEST_PAUSE_SECONDS: Final = 0.05


class Housekeeper:
    """Applies the retention of one configuration, to single runs and to the store."""

    def __init__(self, config: CheckpointConfig) -> None:
        self._problems: list[tuple[str, Exception]] = []
        self._config = config
        self._thread = BackgroundThread(max_pending=_MOST_WAITING)
        self._due = _Due()
        self._dropped = 0
        self._closing = False
        self._repository: Repository | None = None
        drop_after_fork(self)

    @cached_property
    def _store_policy(self) -> RetentionPolicy | None:
        return store_policy_of(self._config)

    def of_run(self, repository: Repository, run: str) -> RunRetention:
        """Return what takes care of one run."""
        return RunRetention(self, repository, run, policy_of(self._config))

    def saved(self, repository: Repository) -> None:
        """Count a checkpoint; the store's limits are looked at when it is time."""
        policy = self._store_policy
        if policy is None or not self._due.saved():
            return
        if not self.offer(self, partial(self._limit, repository, policy)):
            self._due.postpone()

    def take_problems(self) -> list[tuple[str, Exception]]:
        """Return what went wrong since the last call, with texts that say what was not done."""
        found, self._problems = self._problems, []
        return found

    def close(self) -> None:
        """Free what was dropped, for about as long as is configured, and end the thread."""
        repository = self._repository
        if repository is not None and self._dropped and self._config.gc_seconds is not None:
            self._thread.submit(self, partial(self._collect, repository))
        self._closing = True
        self._thread.stop()

    def let_go(self) -> None:
        """End the thread without waiting for it."""
        self._closing = True
        self._thread.stop(wait=False)

    def drop_in_child(self) -> None:
        """Leave to the parent process what it dropped; its jobs are not in the child."""
        self._due = _Due()
        self._dropped = 0
        self._problems = []

    def submit(self, owner: RunRetention, job: Callable[[], None]) -> None:
        """Hand in a job of a run, waiting until there is room for it."""
        self._thread.submit(owner, job)

    def offer(self, owner: object, job: Callable[[], None]) -> bool:
        """Hand in a job if there is room for it; whether there was. A save never fails for that."""
        try:
            return self._thread.submit(owner, job, wait=False)
        except errors.InvalidInputError:
            return False  # the manager is being closed

    def join(self, owner: object) -> None:
        """Wait until the jobs of a run are done, or those of the housekeeper itself."""
        self._thread.join(owner)

    def forget(
        self, repository: Repository, policy: RetentionPolicy, tip: Checkpoint | None = None
    ) -> int | None:
        """Forget what a policy does not keep, of the run of ``tip`` or of all runs.

        Returns:
            How many checkpoints are kept, None if that is not known now.
        """
        run = None if tip is None else tip.run
        # Ages count back from the newest checkpoint: a clock that jumps drops nothing more.
        moment = None if tip is None else tip.created_at
        what = "old checkpoints" if run is None else f"old checkpoints of run {run!r}"
        try:
            plan = repository.forget(policy, run=run, now=moment, rebuilt=rebuilt_names)
        except errors.NotFoundError:
            return None  # somebody else deleted the run
        except Exception as error:  # any: it has to reach a caller, in another thread
            self._problems.append((f"{what} were not dropped", error))
            return None
        self._repository = repository
        self._dropped += len(plan.dropped)
        if self._config.gc_seconds is not None and self._dropped >= GC_DROPS:
            # A job of its own, for which no flush of a run waits. Closing does one of its own.
            self.offer(self, partial(self._collect, repository))
        return len(plan.kept)

    def _limit(self, repository: Repository, policy: RetentionPolicy) -> None:
        self._due.looked(self.forget(repository, policy))

    def _collect(self, repository: Repository) -> None:
        if not self._dropped:
            return
        seconds = self._config.gc_seconds or 0.0
        deadline = time.monotonic() + seconds
        rest = _Rest()

        def told(_progress: Progress) -> None:
            if self._closing and time.monotonic() > deadline:
                raise _TimeIsUpSignal
            rest.take()

        try:
            if repository.gc(time_budget=seconds, progress=told).complete:
                self._dropped = 0
        except _TimeIsUpSignal:
            pass  # marking was not done; whoever collects next begins with it
        except errors.ConflictError:
            pass  # somebody else collects
        except Exception as error:  # any: it has to reach a caller, in another thread
            self._dropped = 0
            self._problems.append(("space was not freed", error))


class RunRetention:
    """Applies the retention of one run."""

    def __init__(
        self,
        housekeeper: Housekeeper,
        repository: Repository,
        run: str,
        policy: RetentionPolicy | None,
    ) -> None:
        """Apply ``policy`` to ``run``; None keeps everything."""
        self.run = run
        self._housekeeper = housekeeper
        self._repository = repository
        self._policy = policy
        self._tip: Checkpoint | None = None
        self._due = _Due()
        drop_after_fork(self)

    def saved(self, tip: Checkpoint) -> None:
        """Count a checkpoint that is durable; what that is too many for is dropped in a while."""
        self._tip = tip
        if self._policy is not None and self._due.saved():
            if not self._housekeeper.offer(self, self._apply):
                self._due.postpone()
        self._housekeeper.saved(self._repository)

    def settle(self) -> None:
        """Drop now what is not kept, and wait for that."""
        self._housekeeper.join(self)
        if self._policy is not None and self._due.now():
            self._housekeeper.submit(self, self._apply)
            self._housekeeper.join(self)

    def drop_in_child(self) -> None:
        """Leave to the parent process what is due."""
        self._due = _Due()

    def _apply(self) -> None:
        if self._policy is not None and self._tip is not None:
            self._due.looked(self._housekeeper.forget(self._repository, self._policy, self._tip))


class _Due:
    """Counts saves, and tells when it is time to look."""

    def __init__(self) -> None:
        from cas.mutex import Mutex  # late: importing this package loads no store

        self._lock = Mutex()
        self._saves = 0
        self._kept = 0
        self._waits = False

    def saved(self) -> bool:
        """Count one; returns whether to look, and then not again before ``looked``."""
        with self._lock:
            self._saves += 1
            return self._begin(max(LEAST_SAVES, self._kept // 2))

    def now(self) -> bool:
        """Return whether there is anything to look at at all, as ``saved`` does."""
        with self._lock:
            return self._begin(1)

    def postpone(self) -> None:
        """There was no room for it: the next save asks again."""
        with self._lock:
            self._waits = False

    def looked(self, kept: int | None) -> None:
        """Note that it was done, and how many are kept if that is known."""
        with self._lock:
            self._waits = False
            if kept is not None:
                self._kept = kept

    def _begin(self, least: int) -> bool:
        if self._waits or self._saves < least:
            return False
        self._saves = 0
        self._waits = True
        return True


class _Rest:
    """Sleeps for as long as was worked: other threads of this process want the interpreter too."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def take(self) -> None:
        """Sleep, called between two steps."""
        time.sleep(min(_LONGEST_PAUSE_SECONDS, time.monotonic() - self._since))
        self._since = time.monotonic()


class _TimeIsUpSignal(Exception):  # noqa: N818 - ends a collection, no caller sees it
    """The manager is being closed and the collection has had its time."""
