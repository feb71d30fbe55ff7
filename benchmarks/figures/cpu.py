"""CPU time of a commit that changes little of a large state, against encoding all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import median
from typing import Any

import cbor2
import lmdb

from benchmarks.results import Figure
from benchmarks.text import TextSource
from benchmarks.workloads.messages import assistant
from manifests import Repository

__all__ = ["measure_cpu"]


def measure_cpu(folder: Path, *, messages: int = 10_000, repeats: int = 11) -> list[Figure]:
    """Return what a commit costs whose state has so many messages, as a share of encoding it."""
    text = TextSource("cpu")
    state: dict[str, Any] = {
        "messages": [assistant(text, 400) for _ in range(messages)],
        "counter": 0,
    }
    more = [assistant(text, 400) for _ in range(2 * repeats)]
    encoding = median(_cpu(lambda: cbor2.dumps(state)) for _ in range(repeats))

    def count() -> None:
        state["counter"] += 1

    def append() -> None:
        state["messages"].append(more.pop())

    raw = median(_raw_commits(folder / "raw", repeats)) / encoding
    size = f"{messages:,} unchanged messages"
    with Repository.open(folder / "hive") as repository:
        repository.commit("run", state)

        def share(change: Callable[[], None], changed: Collection[str] | None) -> float:
            times = []
            for _ in range(repeats):
                change()
                times.append(_cpu(lambda: repository.commit("run", state, changed=changed)))
            return median(times) / encoding

        return [
            Figure("cpu-dumps", f"cbor2.dumps of {messages:,} messages", 1e3 * encoding, "ms"),
            Figure("cpu-raw", "a synced LMDB commit of one row of 300 bytes", raw, "x dumps"),
            Figure("cpu-scalar", f"one scalar beside {size}", share(count, None), "x dumps"),
            Figure(
                "cpu-scalar-named",
                f"the same, changed= names it, {size}",
                share(count, ["counter"]),
                "x dumps",
            ),
            Figure("cpu-append", f"one message after {size}", share(append, None), "x dumps"),
            Figure(
                "cpu-append-named",
                f"the same, changed= names the list, {size}",
                share(append, ["messages"]),
                "x dumps",
            ),
        ]


def _raw_commits(folder: Path, repeats: int) -> list[float]:
    """Return the CPU seconds of commits that nothing but LMDB has a part in."""
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), max_spare_txns=0) as environment:

        def commit() -> None:
            with environment.begin(write=True) as transaction:
                transaction.put(b"key", bytes(300))

        return [_cpu(commit) for _ in range(repeats)]


def _cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start
