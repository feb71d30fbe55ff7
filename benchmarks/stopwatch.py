"""The times of a store's saves and loads, as they come in."""

from __future__ import annotations

import time

from benchmarks.floor import tenths
from benchmarks.measure import percentile
from benchmarks.peers import CheckpointName, Peer
from benchmarks.results import Measured
from benchmarks.same import check_same
from benchmarks.workloads import Step

__all__ = ["Stopwatch"]


class Stopwatch:
    """Times what one store does; all in milliseconds."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.saves: list[float] = []
        self._cpu: list[float] = []
        self._loads: dict[CheckpointName, float] = {}
        self._again: dict[CheckpointName, float] = {}

    def save(self, step: Step) -> None:
        """Have the store save a step."""
        self.peer.prepare(step)
        cpu = time.process_time()
        start = time.perf_counter()
        self.peer.save(step)
        self.saves.append(1e3 * (time.perf_counter() - start))
        self._cpu.append(1e3 * (time.process_time() - cpu))

    def load(self, name: CheckpointName, saved: object) -> None:
        """Open the store anew, have it load a checkpoint three times, and verify each.

        The shortest time of several counts: loading is computing, to which whatever else the
        machine does can only add. The third load finds what the store keeps in memory; the second
        is not noted, for then Hive still decodes what it is going to keep.
        """
        self.peer.close()
        self.peer.open()
        first, _second, third = [self.verify(name, saved) for _ in range(3)]
        for times, taken in ((self._loads, first), (self._again, third)):
            times[name] = min(taken, times.get(name, taken))

    def verify(self, name: CheckpointName, saved: object) -> float:
        """Have the store load a checkpoint, verify it, and return how long it took."""
        start = time.perf_counter()
        loaded = self.peer.load(name)
        taken = 1e3 * (time.perf_counter() - start)
        check_same(loaded, saved, f"{self.peer.name} {name}")
        return taken

    def load_time(self, name: CheckpointName) -> float:
        """Return the shortest time that loading a checkpoint took in a store just opened."""
        return self._loads[name]

    def save_times(self, every: int) -> list[tuple[int, float]]:
        """Return the median time of every so many saves, with how many there were by then."""
        ends = range(every, len(self.saves) + 1, every)
        return [(end, percentile(self.saves[end - every : end], 0.5)) for end in ends]

    def report(self, found: Measured, latest: CheckpointName, middle: CheckpointName) -> None:
        """Enter all times into what was found."""
        early, late = tenths(len(self.saves))
        found.early_p50 = percentile([self.saves[i] for i in early], 0.5)
        found.early_p95 = percentile([self.saves[i] for i in early], 0.95)
        found.late_p50 = percentile([self.saves[i] for i in late], 0.5)
        found.late_p95 = percentile([self.saves[i] for i in late], 0.95)
        found.late_cpu = percentile([self._cpu[i] for i in late], 0.5)
        found.load_latest = self._loads[latest]
        found.load_middle = self._loads[middle]
        found.load_again = self._again[latest]
