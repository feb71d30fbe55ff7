"""What a collection costs in a store of a million objects (in full) or some ten thousand."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cas.writer import RecordWriter
from manifests import GcReport, Repository
from manifests.commits import PreparedCommit, write_commit
from tests.cas.children import in_child

_STEPS = 100


def _build(home: Path, runs: int, seed: int) -> int:
    """Commit `runs` runs of 100 checkpoints, about 49 new objects each; returns the objects."""
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        batch: list[PreparedCommit] = []
        for run in range(runs):
            messages: list[Any] = []
            for step in range(_STEPS):
                messages.extend(
                    {"n": [run, step, n], "text": rng.randbytes(40).hex()} for n in range(45)
                )
                state = {"messages": messages}
                batch.append(repo.prepare(f"run{run}", state, trust_identity=True))
            repo._store.write(partial(_write_all, batch))
            batch = []
        return repo._store.counters().objects


def _write_all(batch: list[PreparedCommit], writer: RecordWriter) -> None:
    for prepared in batch:
        write_commit(writer, prepared)


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def _collect(home: Path, runs: int) -> str:
    """Collect in a fresh process, so that its memory is that of collecting."""
    figures: dict[str, tuple[float, int, int]] = {}

    def note(what: str, report: GcReport) -> None:
        assert report.complete
        figures[what] = (report.seconds, report.objects_removed, _anonymous_bytes())

    with Repository.open(home) as repo:
        note("nothing dead", repo.gc())
        note("nothing to do", repo.gc())
        repo.forget([(f"run{runs * 3 // 4}", 50)])
        note("one checkpoint", repo.gc())
        repo.forget([("run0", 50)])
        note("one old checkpoint", repo.gc())
        for run in range(runs):
            listed = [found.sequence for found in repo.log(f"run{run}")]
            repo.forget([(f"run{run}", n) for n in listed if n % 10])
        note("nine of ten checkpoints", repo.gc())
        for run in range(runs * 9 // 10):
            repo.delete_run(f"run{run}")
        note("nine of ten runs", repo.gc())
        assert repo.gc(whole=True).objects_removed == 0
        begun = time.perf_counter()
        repo.compact()
        figures["compact"] = (time.perf_counter() - begun, 0, _anonymous_bytes())
        assert repo.restore(f"run{runs - 1}")["messages"][-1]["n"] == [runs - 1, _STEPS - 1, 44]
    return json.dumps(figures)


@pytest.mark.torture
@pytest.mark.timeout(1_800)
def test_cost_follows_what_changed(
    home: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    runs = rounds(4, 200)
    built = in_child(lambda: str(_build(home, runs, seed)))
    figures = json.loads(in_child(lambda: _collect(home, runs))[1:])
    print(f"{built[1:]} objects")
    for what, (seconds, removed, memory) in figures.items():
        print(f"{what}: {seconds:.3f} s, {removed} removed, RssAnon {memory / 1e6:.0f} MB")
    assert figures["nothing to do"][0] < 0.2
    assert figures["one checkpoint"][0] < 1.0
    assert figures["nine of ten checkpoints"][0] < 60
    assert figures["nine of ten runs"][0] < 60
    assert figures["nine of ten runs"][1] > runs * 3_000
    assert max(memory for _seconds, _removed, memory in figures.values()) < 400e6
