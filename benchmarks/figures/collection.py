"""What a collector that never rests costs those who commit: in one run, window beside window."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.figures.children import reports_of
from benchmarks.measure import percentile
from benchmarks.results import Figure
from manifests import Repository

__all__ = ["measure_collection"]

_PROGRAM = "benchmarks.figures.collection_program"


def measure_collection(
    folder: Path,
    *,
    writers: int = 4,
    readers: int = 2,
    seconds: float = 6.0,
    pairs: int = 3,
    start_seconds: float = 1.0,
) -> list[Figure]:
    """Return how long commits take without and with a collector, each with the same other work.

    All processes work on through ``2 * pairs`` windows of so many seconds, ``start_seconds`` after
    they are ready; in every second one a collector works too. A ratio is that of two neighbours;
    of the pairs, the median.
    """
    with Repository.open(folder) as repository:
        repository.commit("base", {"turn": 0})
    windows = 2 * pairs
    roles = ["write"] * writers + ["read"] * readers + ["collect"]
    begin = 0.0

    def go() -> str:
        nonlocal begin
        begin = time.monotonic() + start_seconds
        return str(begin)

    *reports, (collections, removed) = reports_of(
        _PROGRAM,
        [
            [str(folder), role, f"{role}-{number}", str(seconds), str(windows)]
            for number, role in enumerate(roles)
        ],
        go=go,
    )
    with Repository.open(folder) as repository:
        if not repository.check().ok:
            raise AssertionError("the store is damaged")
    took: list[list[float]] = [[] for _ in range(windows)]
    for report in reports[:writers]:
        for start, duration in report:
            window = int((start - begin) / seconds)
            if window < windows:
                took[window].append(1e3 * duration)
    figures = [
        Figure("gc-commits", "commits beside gc", sum(map(len, took[1::2])), ""),
        Figure("gc-collections", "collections beside them", collections, ""),
        Figure("gc-removed", "objects they removed", removed, ""),
    ]
    for percent in (50, 99):
        without = [percentile(window, percent / 100) for window in took[::2]]
        beside = [percentile(window, percent / 100) for window in took[1::2]]
        ratios = [one / other for one, other in zip(beside, without, strict=True)]
        figures += [
            Figure(
                f"gc-p{percent}-without", f"commit p{percent} without gc", median(without), "ms"
            ),
            Figure(f"gc-p{percent}-beside", f"commit p{percent} beside gc", median(beside), "ms"),
            Figure(
                f"gc-p{percent}", f"commit p{percent} beside gc, to without", median(ratios), "x"
            ),
        ]
    return figures
