"""Many runs of one process at once: durable checkpoints per second, and syncs per checkpoint."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from benchmarks.figures.growing import GrowingRun
from benchmarks.figures.transactions import transactions_of
from benchmarks.results import Figure
from hive import CheckpointManager
from manifests import Repository

__all__ = ["measure_group_commit"]


def measure_group_commit(
    folder: Path, *, runs: int = 64, commits: int = 6, alone: int = 60, turns: int = 5
) -> list[Figure]:
    """Return the rates of one run alone, of ``runs`` threads and of as many tasks.

    They take turns, for the disk of a shared machine is not equally busy all the time. In each turn
    one run commits ``alone`` times, and each of many ``commits`` times.
    """
    raw = _Raw(folder / "raw", alone)
    single = _Store(folder / "alone", 1, alone, _in_threads)
    threads = _Store(folder / "threads", runs, commits, _in_threads)
    tasks = _Store(folder / "tasks", runs, commits, _in_tasks)
    for _ in range(turns):
        for store in (raw, single, threads, tasks):
            store.take_turn()
    return [
        Figure("raw-rate", "raw LMDB commits of 1 KB, one thread", raw.rate, "/s"),
        Figure("single-rate", "checkpoints of one run alone", single.rate, "/s"),
        Figure(
            "single-slowdown", "raw commits per checkpoint of one run", raw.rate / single.rate, "x"
        ),
        *_many("thread", f"{runs} threads", threads, single),
        *_many("task", f"{runs} asyncio tasks", tasks, single),
    ]


def _many(name: str, text: str, store: _Store, single: _Store) -> list[Figure]:
    gain = store.rate / single.rate
    return [
        Figure(f"{name}-rate", f"checkpoints of {text}", store.rate, "/s"),
        Figure(f"{name}-gain", f"{text}, against one run alone", gain, "x"),
        Figure(f"{name}-syncs", f"syncs per checkpoint, {text}", store.syncs, ""),
    ]


class _Raw:
    """Commits of one row by one thread."""

    def __init__(self, folder: Path, commits: int) -> None:
        self._folder = folder
        self._commits = commits
        self._seconds = 0.0
        self._done = 0
        folder.mkdir(parents=True)

    @property
    def rate(self) -> float:
        """Commits per second."""
        return self._done / self._seconds

    def take_turn(self) -> None:
        """Commit some rows."""
        data = bytes(1_000)
        with lmdb.open(str(self._folder), map_size=2**30, max_spare_txns=0) as environment:
            start = time.perf_counter()
            for _ in range(self._commits):
                with environment.begin(write=True) as transaction:
                    transaction.put(self._done.to_bytes(8, "big"), data, append=True)
                self._done += 1
            self._seconds += time.perf_counter() - start


@dataclass(slots=True)
class _Store:
    """A store in which so many runs commit at once."""

    home: Path
    runs: int
    commits: int
    drive: Callable[[list[GrowingRun], Repository, int], float]
    turns: int = 0
    seconds: float = 0.0
    transactions: int = 0

    @property
    def rate(self) -> float:
        """Durable checkpoints per second."""
        return self.turns * self.runs * self.commits / self.seconds

    @property
    def syncs(self) -> float:
        """Transactions per checkpoint."""
        return self.transactions / (self.turns * self.runs * self.commits)

    def take_turn(self) -> None:
        """Have all runs commit; new runs each time, whose first commit is not counted."""
        with Repository.open(self.home) as repository:
            names = [f"turn {self.turns}, run {number}" for number in range(self.runs)]
            growing = [GrowingRun(repository, name) for name in names]
            for run in growing:
                run.commit()
            before = transactions_of(self.home)
            self.seconds += self.drive(growing, repository, self.commits)
            # Another reader of the file sees what is durable: the page was written through.
            self.transactions += transactions_of(self.home) - before
            for run in growing:
                sequence = repository.resolve(run.name).sequence
                if sequence != self.commits + 1:
                    raise AssertionError(f"{run.name} is at {sequence}, not {self.commits + 1}")
        self.turns += 1


def _in_threads(growing: list[GrowingRun], _: Repository, commits: int) -> float:
    """Return how long it takes all runs, a thread each, from a common start."""
    barrier = threading.Barrier(len(growing) + 1)
    failures: list[BaseException] = []

    def work(run: GrowingRun) -> None:
        barrier.wait()
        try:
            for _ in range(commits):
                run.commit()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(run,)) for run in growing]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise failures[0]
    return seconds


def _in_tasks(growing: list[GrowingRun], repository: Repository, commits: int) -> float:
    """Return how long it takes all runs, a task each, saving through a checkpoint manager."""

    async def work(run: GrowingRun, manager: CheckpointManager) -> None:
        for _ in range(commits):
            run.change()
            await manager.asave(run.name, run.state)

    async def work_all() -> float:
        async with CheckpointManager(repository) as manager:
            start = time.perf_counter()
            await asyncio.gather(*(work(run, manager) for run in growing))
            return time.perf_counter() - start

    return asyncio.run(work_all())
