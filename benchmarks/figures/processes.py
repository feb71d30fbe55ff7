"""Several processes on one store: nothing is lost and none starves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.results import Figure
from manifests import Repository

__all__ = ["measure_processes"]

_PROJECT = Path(__file__).resolve().parent.parent.parent
_PROGRAM = "benchmarks.figures.process_program"


def measure_processes(folder: Path, *, processes: int = 4, seconds: float = 5.0) -> list[Figure]:
    """Return what so many processes committed in the same seconds, and how evenly."""
    Repository.open(folder).close()
    commands = [
        [sys.executable, "-m", _PROGRAM, str(folder), f"process-{number}", str(seconds)]
        for number in range(processes)
    ]
    running = [
        subprocess.Popen(
            command,
            cwd=_PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        reports = _go(running)
    finally:
        for process in running:
            process.kill()
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


def _go(running: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Start all at once when all are ready, and return their reports."""
    for process in running:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("a process could not open the store")
    for process in running:
        if process.stdin is not None:
            process.stdin.write("go\n")
            process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in running]


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
