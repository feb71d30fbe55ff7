"""A run of the benchmarks: every workload on every store, in rounds, then the other figures."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.harness import Trial, measure_peer
from benchmarks.peers import NAMES as PEERS
from benchmarks.peers import Peer, find_peer
from benchmarks.race import race
from benchmarks.results import Measured, Results
from benchmarks.schedule import PLOTTED, Budget, Job, jobs_of
from benchmarks.workloads import NAMES as WORKLOADS
from benchmarks.workloads import Workload, make_workload

__all__ = ["Plan", "run_plan"]

_ONLY_ON = {
    # It loads and saves a whole turn, 20 ms and more; three workloads show what that adds.
    "langgraph-graph": ("chat-200", "deep-agent", "wide"),
}
_NOT_ON = {
    # A commit of half a second is as long in any mode: an array is looked at as a whole.
    "binary": ("hive-changed", "hive-async"),
    # Thousands of saves of states so short that the modes do not differ.
    "airline": ("hive-changed", "hive-async"),
}

_RACED = (
    "early_p50", "early_p95", "late_p50", "late_p95", "late_cpu", "load_latest", "load_middle",
    "load_again",
)  # fmt: skip

_PACKAGES = (
    "hive-checkpoints", "lmdb", "cbor2", "blake3", "zstandard", "langgraph",
    "langgraph-checkpoint-sqlite", "pygit2", "numpy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how thoroughly.

    In every round the quick stores save and load beside each other; once each store is also
    measured alone. ``limit_copies`` stops those that copy the whole state after so many steps, and
    after a quarter of all. ``minutes`` is the time after which nothing is begun (None: no limit).
    """

    folder: Path
    workloads: tuple[str, ...] = WORKLOADS
    peers: tuple[str, ...] = PEERS
    figures: tuple[str, ...] = figures.NAMES
    rounds: int = 3
    limit_copies: int | None = None
    repeats: int = 5
    minutes: float | None = None
    tiny: bool = False
    about: dict[str, Any] = field(default_factory=dict)


def run_plan(plan: Plan, *, say: Callable[[str], None], keep: Callable[[Results], None]) -> Results:
    """Measure everything planned. ``keep`` gets the results so far after each measurement."""
    start = time.perf_counter()
    results = Results(about={**_about(plan), **plan.about})
    workloads = _workloads(plan, results)
    results.titles = {workload.name: workload.title for workload in workloads}
    peers = _peers(plan, results)
    measuring = _Measuring(plan, results, workloads, peers)
    budget = Budget(plan.minutes)
    for job in jobs_of(workloads, plan.figures, plan.rounds, measuring.suited):
        if not budget.begin(job):
            results.skipped[str(job)] = "no time was left"
            continue
        say(str(job))
        measuring.do(job)
        budget.end(job)
        keep(results)
    results.about["seconds"] = round(time.perf_counter() - start)
    keep(results)
    return results


class _Measuring:
    """Does one measurement after the other, and enters it into the results."""

    def __init__(
        self,
        plan: Plan,
        results: Results,
        workloads: Sequence[Workload],
        peers: Sequence[type[Peer]],
    ) -> None:
        self._plan = plan
        self._results = results
        self._workloads = {workload.name: workload for workload in workloads}
        self._suited = {
            workload.name: [kind for kind in peers if _suits(plan, results, workload, kind)]
            for workload in workloads
        }

    def suited(self, workload: Workload) -> Sequence[type[Peer]]:
        """Return the stores to measure on a workload."""
        return self._suited[workload.name]

    def do(self, job: Job) -> None:
        """Measure."""
        if job.kind == "race":
            self._race(self._workloads[job.subject], job.round)
        elif job.peer is not None:
            self._alone(self._workloads[job.subject], job.peer)
        else:
            self._figures(job.subject, job.round)

    def _race(self, workload: Workload, number: int) -> None:
        racers = [kind for kind in self.suited(workload) if not (kind.once or kind.copies)]
        trial = self._trial(workload, number)
        floor, raced = race(racers, workload, self._plan.folder / "race", trial)
        self._results.floors.append(floor)
        self._results.measured += raced

    def _alone(self, workload: Workload, kind: type[Peer]) -> None:
        trial = self._trial(workload, 0)
        alone = measure_peer(kind, workload, self._plan.folder / kind.name, trial)
        measured = self._results.measured
        for place, raced in enumerate(measured):
            if (raced.workload, raced.peer, raced.round) == (workload.name, kind.name, 0):
                measured[place] = _with_times_of(raced, alone)
                return
        measured.append(alone)

    def _figures(self, name: str, number: int) -> None:
        with _Folder(self._plan.folder / name) as folder:
            for figure in figures.measure_apart(name, folder, tiny=self._plan.tiny):
                figure.round = number
                self._results.figures.append(figure)

    def _trial(self, workload: Workload, number: int) -> Trial:
        limit = self._plan.limit_copies
        return Trial(
            round=number,
            limit_copies=None if limit is None else min(limit, -(-len(workload.turns()) // 4)),
            repeats=self._plan.repeats,
            watch_memory=not self._plan.tiny,
            series=workload.name == PLOTTED and number == 0,
        )


def _with_times_of(raced: Measured, alone: Measured) -> Measured:
    """Return what was measured alone, with the times from beside the others."""
    series = [
        (steps, size, taken)
        for (steps, size, _), (_, _, taken) in zip(alone.series, raced.series, strict=True)
    ]
    return replace(alone, series=series, **{name: getattr(raced, name) for name in _RACED})


def _suits(plan: Plan, results: Results, workload: Workload, kind: type[Peer]) -> bool:
    reason = kind.unsuited(workload)
    if plan.limit_copies is not None and (kind.name, workload.name) == ("git", "binary"):
        reason = "packing it takes minutes"
    if reason is not None:
        results.skipped[f"{kind.name} on {workload.name}"] = reason
    if kind.name in _NOT_ON.get(workload.name, ()):
        return False
    return reason is None and workload.name in _ONLY_ON.get(kind.name, (workload.name,))


def _workloads(plan: Plan, results: Results) -> list[Workload]:
    found = []
    for name in plan.workloads:
        try:
            workload = make_workload(name, tiny=plan.tiny)
            workload.turns()
        except LookupError as error:
            results.skipped[name] = str(error)
        else:
            found.append(workload)
    return found


def _peers(plan: Plan, results: Results) -> list[type[Peer]]:
    found = []
    for name in plan.peers:
        try:
            found.append(find_peer(name))
        except ModuleNotFoundError as error:
            results.skipped[name] = f"{error.name} is not installed"
    return found


def _about(plan: Plan) -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "file_system": _file_system(plan.folder),
        "rounds": plan.rounds,
        "limit_copies": plan.limit_copies,
        "packages": versions,
    }


def _file_system(folder: Path) -> str:
    """Return the type of the file system: on one in memory, syncing costs nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or shutil.which("stat") is None:
        return "unknown"
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class _Folder:
    """A folder for the length of a ``with`` block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
