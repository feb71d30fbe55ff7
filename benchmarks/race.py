"""Times stores step by step beside each other: each saves a state before the next one is made.

What a synced commit takes depends on what else the disk does at that moment, by a factor of ten on
a shared machine. Stores measured one after the other would be compared by the weather.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.floor import Floor, FloorMeter
from benchmarks.harness import Trial, key_checkpoints, sampling
from benchmarks.peers import Peer
from benchmarks.results import Measured
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import Workload

__all__ = ["race"]


def race(
    kinds: Sequence[type[Peer]], workload: Workload, folder: Path, trial: Trial
) -> tuple[Floor, list[Measured]]:
    """Measure the times of stores and of the floor. The folder is made, and removed after.

    Raises ``WrongStateError`` if any state loaded is not the one that was saved.
    """
    folder.mkdir(parents=True)
    gc.collect()
    gc.freeze()
    try:
        with ExitStack() as stack:
            meter = FloorMeter(workload, folder / "floor", trial.round, series=trial.series)
            stack.callback(meter.close)
            watches = []
            for kind in kinds:
                (folder / kind.name).mkdir()
                peer = kind(folder / kind.name, workload)
                stack.callback(peer.close)
                watches.append(Stopwatch(peer))
            _save(workload, meter, watches)
            _load(workload, meter, watches, trial.repeats)
            return meter.finish(), _report(workload, watches, trial)
    finally:
        gc.unfreeze()
        shutil.rmtree(folder)


def _save(workload: Workload, meter: FloorMeter, watches: list[Stopwatch]) -> None:
    for position, step in enumerate(workload.steps()):
        meter.step(step)
        # Another one begins each time: nobody always finds the caches as the same one left them.
        first = position % len(watches) if watches else 0
        for watch in watches[first:] + watches[:first]:
            watch.save(step)
            # What a store does in the background is done before the next one's clock starts, as it
            # would be before the next turn of an agent.
            watch.peer.flush()


def _load(workload: Workload, meter: FloorMeter, watches: list[Stopwatch], repeats: int) -> None:
    names = key_checkpoints(workload)
    saved = [workload.state_at(*name) for name in names]
    for _ in range(repeats):
        meter.loads(*saved)
        for watch in watches:
            for name, state in zip(names, saved, strict=True):
                watch.load(name, state)


def _report(workload: Workload, watches: list[Stopwatch], trial: Trial) -> list[Measured]:
    latest, middle = key_checkpoints(workload)
    found = []
    for watch in watches:
        item = Measured(workload.name, watch.peer.name, trial.round, steps=len(watch.saves))
        watch.report(item, latest, middle)
        if trial.series:
            # How large the files grow is seen when each store is measured alone.
            times = watch.save_times(sampling(item.steps))
            item.series = [(steps, 0, taken) for steps, taken in times]
        found.append(item)
    return found
