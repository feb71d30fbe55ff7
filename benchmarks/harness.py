"""Puts one store through one workload and measures it."""

from __future__ import annotations

import gc
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.extrapolate import extrapolate
from benchmarks.measure import (
    MemoryPeak,
    allocated_bytes,
    anonymous_bytes,
    give_back_memory,
)
from benchmarks.peers import CheckpointName, Peer
from benchmarks.results import Measured
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import Workload

__all__ = ["Trial", "key_checkpoints", "measure_peer", "sampling"]

_SAMPLES = 40
_SPOT_CHECKS = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """How to measure.

    ``limit_copies`` stops stores that copy the whole state after so many steps and reckons the
    rest (None: they do it all). ``repeats`` is how often each state is loaded. ``series`` keeps
    bytes and times step by step.
    """

    round: int = 0
    limit_copies: int | None = None
    repeats: int = 5
    watch_memory: bool = True
    series: bool = False


def key_checkpoints(workload: Workload, steps: int | None = None) -> list[CheckpointName]:
    """Return the latest checkpoint and the middle one, of the first ``steps`` steps."""
    names = _names(workload)[:steps]
    return [names[-1], names[(len(names) - 1) // 2]]


def measure_peer(kind: type[Peer], workload: Workload, folder: Path, trial: Trial) -> Measured:
    """Save all steps, load and verify, compact, forget. The folder is made, and removed after.

    Raises ``WrongStateError`` if any state loaded is not the one that was saved.
    """
    names = _names(workload)
    limit = trial.limit_copies if kind.copies else None
    if limit is not None and limit < len(names):
        names = names[:limit]
    found = Measured(workload.name, kind.name, trial.round, steps=len(names))
    folder.mkdir(parents=True)
    # What the benchmark itself holds is not garbage, and must not be gone through again and again
    # by the collections that a store's allocations set off.
    gc.collect()
    gc.freeze()
    give_back_memory()
    try:
        before = anonymous_bytes()
        with MemoryPeak(enabled=trial.watch_memory) as peak:
            peer = kind(folder, workload)
            try:
                _measure(Stopwatch(peer), found, names, trial)
            finally:
                peer.close()
        found.peak_bytes = max(0, peak.bytes - before)
    finally:
        gc.unfreeze()
        shutil.rmtree(folder)
    if len(names) < len(workload.turns()):
        extrapolate(found, workload)
    return found


def _measure(watch: Stopwatch, found: Measured, names: list[CheckpointName], trial: Trial) -> None:
    peer = watch.peer
    _save_all(watch, found, series=trial.series)
    _reopen(peer)
    found.saved_bytes = allocated_bytes(peer.folder)
    everything = allocated_bytes(peer.folder, leave_out=())
    found.ballast_bytes = everything - int(found.saved_bytes)
    latest, middle = key_checkpoints(peer.workload, len(names))
    _load(watch, [latest, middle], trial.repeats)
    _verify(watch, names[:: max(1, len(names) // _SPOT_CHECKS)])
    watch.report(found, latest, middle)
    _compact(peer, found, [latest, middle], trial.repeats)
    _forget(peer, found, names)


def _names(workload: Workload) -> list[CheckpointName]:
    counts: dict[str, int] = {}
    names = []
    for turn in workload.turns():
        counts[turn.run] = counts.get(turn.run, 0) + 1
        names.append((turn.run, counts[turn.run]))
    return names


def _save_all(watch: Stopwatch, found: Measured, *, series: bool) -> None:
    every = sampling(found.steps)
    sizes = []
    for step, _ in zip(watch.peer.workload.steps(), range(found.steps), strict=False):
        watch.save(step)
        if series and len(watch.saves) % every == 0:
            sizes.append(allocated_bytes(watch.peer.folder))
    watch.peer.flush()
    for size, (steps, taken) in zip(sizes, watch.save_times(every), strict=False):
        found.series.append((steps, size, taken))


def sampling(steps: int) -> int:
    """Return after how many steps each a series has an entry."""
    return max(1, steps // _SAMPLES)


def _reopen(peer: Peer) -> None:
    peer.close()
    peer.open()


def _load(watch: Stopwatch, names: list[CheckpointName], repeats: int) -> None:
    for name in names:
        saved = watch.peer.workload.state_at(*name)
        for _ in range(repeats):
            watch.load(name, saved)


def _verify(watch: Stopwatch, names: list[CheckpointName]) -> None:
    for name in names:
        watch.verify(name, watch.peer.workload.state_at(*name))


def _compact(peer: Peer, found: Measured, names: list[CheckpointName], repeats: int) -> None:
    start = time.perf_counter()
    if not peer.compact():
        return
    found.compact_seconds = time.perf_counter() - start
    _reopen(peer)
    found.compact_bytes = allocated_bytes(peer.folder)
    watch = Stopwatch(peer)
    _load(watch, names, repeats)
    found.compact_load_latest = watch.load_time(names[0])


def _forget(peer: Peer, found: Measured, names: list[CheckpointName]) -> None:
    """Drop all but the newest tenth of every run, the newest one at least."""
    counts: dict[str, int] = {}
    for run, index in names:
        counts[run] = max(index, counts.get(run, 0))
    kept = {run: max(1, count // 10) for run, count in counts.items()}
    drop = [(run, index) for run, index in names if index <= counts[run] - kept[run]]
    start = time.perf_counter()
    if not peer.forget(drop):
        return
    found.forget_seconds = time.perf_counter() - start
    _reopen(peer)
    found.forgotten_bytes = allocated_bytes(peer.folder)
    _verify(Stopwatch(peer), names[-1:])
