"""The floor under every store: what its parts cost alone, on the same data and disk.

A raw LMDB commit of what a step brought (compressed before the clock runs), ``cbor2`` on whole
states, and zstd at level 3 over everything new in one stream.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cbor2
import lmdb
import zstandard

from benchmarks.measure import percentile
from benchmarks.peers.plain import to_plain
from benchmarks.workloads import Step, Workload

__all__ = ["Floor", "FloorMeter", "tenths"]

NAN = float("nan")

_ENCODED_PER_TENTH = 10


@dataclass(slots=True)
class Floor:
    """Bytes, and milliseconds. Early and late are the first and the last tenth of all steps.

    ``dumps`` and ``loads`` are of whole states, ``loads`` of the last one and of the middle one.
    """

    workload: str
    round: int
    unique_bytes: int = 0
    zstd_bytes: int = 0
    state_bytes: int = 0
    commit_early_ms: float = NAN
    commit_late_ms: float = NAN
    dumps_early_ms: float = NAN
    dumps_late_ms: float = NAN
    loads_latest_ms: float = NAN
    loads_middle_ms: float = NAN
    series: list[tuple[int, int]] = field(default_factory=list)
    """Bytes of the compressed stream after so many steps."""


def tenths(count: int) -> tuple[range, range]:
    """Return the steps (from 0) of the first and the last tenth, three steps at least."""
    size = min(count, max(3, count // 10))
    return range(size), range(count - size, count)


class FloorMeter:
    """Measures the floor, step by step beside the stores."""

    def __init__(self, workload: Workload, folder: Path, number: int, *, series: bool) -> None:
        folder.mkdir(parents=True)
        self._floor = Floor(workload.name, number)
        self._series = series
        self._tenths = tenths(len(workload.turns()))
        self._dumped = {position for part in self._tenths for position in _some(part)}
        self._environment = lmdb.open(str(folder), map_size=2**34, max_spare_txns=0)
        self._compressor = zstandard.ZstdCompressor(level=3)
        # Another one than for single commits: a compressor has one context, which each use resets.
        self._stream = zstandard.ZstdCompressor(level=3).compressobj()
        self._commits: list[float] = []
        self._dumps: dict[int, float] = {}

    def close(self) -> None:
        """Let go of the environment."""
        self._environment.close()

    def step(self, step: Step) -> None:
        """Commit what a step brought, and encode its state if it is one of those chosen."""
        position, novel = len(self._commits), step.turn.novel
        data = self._compressor.compress(novel)
        start = time.perf_counter()
        with self._environment.begin(write=True) as transaction:
            transaction.put(position.to_bytes(8, "big"), data, append=True)
        self._commits.append(1e3 * (time.perf_counter() - start))
        self._floor.unique_bytes += len(novel)
        self._floor.zstd_bytes += len(self._stream.compress(novel))
        if self._series:
            self._floor.series.append((position + 1, self._floor.zstd_bytes))
        if position in self._dumped:
            self._dumps[position] = _time(cbor2.dumps, to_plain(step.state))

    def loads(self, latest: Any, middle: Any) -> None:
        """Decode both states; the shortest time of each counts."""
        floor = self._floor
        encoded = [cbor2.dumps(to_plain(state)) for state in (latest, middle)]
        floor.state_bytes = max(floor.state_bytes, *map(len, encoded))
        taken = [_time(cbor2.loads, data) for data in encoded]
        floor.loads_latest_ms = _least(floor.loads_latest_ms, taken[0])
        floor.loads_middle_ms = _least(floor.loads_middle_ms, taken[1])

    def finish(self) -> Floor:
        """Return what was measured."""
        floor = self._floor
        floor.zstd_bytes += len(self._stream.flush())
        early, late = self._tenths
        floor.commit_early_ms = percentile([self._commits[i] for i in early], 0.5)
        floor.commit_late_ms = percentile([self._commits[i] for i in late], 0.5)
        floor.dumps_early_ms = median([self._dumps[i] for i in _some(early)])
        floor.dumps_late_ms = median([self._dumps[i] for i in _some(late)])
        return floor


def _some(positions: range) -> Sequence[int]:
    return positions[:: max(1, len(positions) // _ENCODED_PER_TENTH)]


def _time(work: Any, argument: Any) -> float:
    """Return the milliseconds that a function of one argument takes."""
    start = time.perf_counter()
    work(argument)
    return 1e3 * (time.perf_counter() - start)


def _least(known: float, new: float) -> float:
    return new if not known < new else known
