"""Several processes on one store: nothing is lost and none starves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures.children import reports_of
from benchmarks.results import Figure
from manifests import Repository

__all__ = ["measure_processes"]

_PROGRAM = "benchmarks.figures.process_program"


def measure_processes(folder: Path, *, processes: int = 4, seconds: float = 5.0) -> list[Figure]:
    """Return what so many processes committed in the same seconds, and how evenly."""
    Repository.open(folder).close()
    reports = reports_of(
        _PROGRAM,
        [[str(folder), f"process-{number}", str(seconds)] for number in range(processes)],
    )
    counts = [report["commits"] for report in reports]
    share = sum(counts) / processes
    longest = max(report["longest_ms"] for report in reports)
    rate = sum(counts) / seconds
    return [
        Figure("process-rate", f"checkpoints of {processes} processes", rate, "/s"),
        Figure("process-lost", "acknowledged checkpoints lost", _lost(folder, reports), ""),
        Figure("process-spread", "slowest process against an even share", min(counts) / share, "x"),
        Figure("process-wait", "longest wait of one commit", longest, "ms"),
    ]


def _lost(folder: Path, reports: list[dict[str, Any]]) -> int:
    """Return how many acknowledged checkpoints are not in the store, every run's head verified."""
    lost = 0
    with Repository.open(folder) as repository:
        for report in reports:
            head = repository.resolve(report["run"])
            lost += max(0, report["commits"] - head.sequence)
            if repository.restore(report["run"])["turn"] != head.sequence:
                raise AssertionError(f"{report['run']} ends with another state")
    return lost
