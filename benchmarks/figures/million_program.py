"""The processes that build a large store, and collect in it.

``python -m benchmarks.figures.million_program build|collect HOME RUNS STEPS`` prints what it did.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.measure import MemoryPeak
from cas.writer import RecordWriter
from manifests import Repository
from manifests.commits import PreparedCommit, write_commit

__all__: list[str] = []

_MESSAGES = 45


def _build(repository: Repository, runs: int, steps: int) -> dict[str, Any]:
    """Commit so many runs, each of whose steps adds 45 messages; a transaction for each run."""
    rng = random.Random(1)
    for run in range(runs):
        messages: list[Any] = []
        batch: list[PreparedCommit] = []
        for step in range(steps):
            messages.extend(
                {"n": [run, step, n], "text": rng.randbytes(40).hex()} for n in range(_MESSAGES)
            )
            state = {"messages": messages}
            batch.append(repository.prepare(f"run{run}", state, trust_identity=True))
        repository._store.write(partial(_write_all, batch))
    return {"objects": repository.stats().objects}


def _write_all(batch: list[PreparedCommit], writer: RecordWriter) -> None:
    for prepared in batch:
        write_commit(writer, prepared)


def _collect(repository: Repository, runs: int, steps: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}

    def measure(name: str, work: Callable[[], Any]) -> None:
        with MemoryPeak() as peak:
            begun, used = time.perf_counter(), time.process_time()
            report = work()
            seconds, used = time.perf_counter() - begun, time.process_time() - used
        figures[name] = {
            "seconds": seconds,
            "cpu_seconds": used,
            "removed": getattr(report, "objects_removed", 0),
            "peak_bytes": peak.bytes,
        }

    measure("first", repository.gc)
    measure("nothing", repository.gc)
    repository.forget([(f"run{runs * 3 // 4}", steps // 2)])
    measure("one", repository.gc)
    repository.forget([("run0", steps // 2)])
    measure("one-old", repository.gc)
    for run in range(runs):
        listed = [found.sequence for found in repository.log(f"run{run}")]
        repository.forget([(f"run{run}", sequence) for sequence in listed if sequence % 10])
    measure("most", repository.gc)
    for run in range(runs * 9 // 10):
        repository.delete_run(f"run{run}")
    measure("most-runs", repository.gc)
    if repository.gc(whole=True).objects_removed:
        raise AssertionError("a collection left garbage")
    measure("compact", repository.compact)
    last = repository.restore(f"run{runs - 1}")["messages"][-1]["n"]
    if last != [runs - 1, steps - 1, _MESSAGES - 1]:
        raise AssertionError("the last checkpoint is another one")
    return figures


def _main(task: str, home: str, runs: str, steps: str) -> None:
    with Repository.open(home) as repository:
        work = _build if task == "build" else _collect
        print(json.dumps(work(repository, int(runs), int(steps))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
