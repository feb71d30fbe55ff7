"""Writers, readers, a collector, a compactor and a killer on one store at once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cas.errors import ConflictError, NotFoundError
from manifests import Repository
from tests.cas.children import finish, start_child
from tests.durability.survival import Journal, assert_survived, state_of

_WRITERS = 4
_READERS = 2


def _write(home: Path, run: str, seconds: float, journal: Journal, seed: int) -> str:
    """Commit and now and then forget; returns the slowest commits in milliseconds."""
    rng = random.Random(seed)
    took: list[float] = []
    end = time.monotonic() + seconds
    with Repository.open(home) as repo:
        known = {info.name: info.head.sequence for info in repo.runs()}
        sequence = known.get(run, 0)
        while time.monotonic() < end:
            state = state_of(run, sequence + 1)
            begun = time.perf_counter()
            repo.commit(run, state)
            took.append(time.perf_counter() - begun)
            sequence += 1
            journal.tell("kept", run, sequence)
            if sequence % 20 == 0:
                listed = [found.sequence for found in repo.log(run)][1:]
                gone = rng.sample(listed, len(listed) // 2)
                for place in gone:
                    journal.tell("going", run, place)
                with contextlib.suppress(ConflictError):
                    repo.forget([(run, place) for place in gone])
                with contextlib.suppress(ConflictError, NotFoundError):
                    if sequence % 40 == 0:
                        repo.delete_run(f"{run}-fork")
                    else:
                        repo.fork(run, f"{run}-fork")
    return json.dumps(took)


def _read(home: Path, seconds: float, seed: int) -> str:
    """Restore what is listed; whatever is returned must be right."""
    rng = random.Random(seed)
    count = 0
    end = time.monotonic() + seconds
    with Repository.open(home, read_only=True) as repo:
        while time.monotonic() < end:
            for info in repo.runs():
                try:
                    found = rng.choice(repo.log(info.name, limit=20))
                    state = repo.restore((found.run, found.sequence))
                except NotFoundError:
                    continue  # forgotten in the meantime
                assert state == state_of(found.origin_run, found.origin_sequence)
                count += 1
    return str(count)


def _collect(home: Path, seconds: float) -> str:
    removed = 0
    end = time.monotonic() + seconds
    with Repository.open(home) as repo:
        while time.monotonic() < end:
            removed += repo.gc().objects_removed
            time.sleep(0.02)
    return str(removed)


def _compact(home: Path, seconds: float, every: float) -> str:
    count = 0
    end = time.monotonic() + seconds
    with Repository.open(home) as repo:
        while time.monotonic() + every < end:
            time.sleep(every)
            repo.compact()
            count += 1
    return str(count)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_eight_processes_lose_nothing(
    home: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    seconds = float(rounds(4, 60))
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        repo.commit("base", state_of("base", 1))
    told, writer = os.pipe()
    journal = Journal(writer)
    log: list[str] = []

    def drain() -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(told, 1 << 16):
                log.append(data.decode())

    os.set_blocking(told, False)
    # The same work without gc and compact: what they cost others is the difference.
    calm_seconds = seconds / 3
    readers = [start_child(partial(_read, home, calm_seconds, seed + n)) for n in range(_READERS)]
    alone = [
        start_child(partial(_write, home, f"w{n}", calm_seconds, journal, seed + n))
        for n in range(_WRITERS)
    ]
    begun = time.monotonic()
    while time.monotonic() < begun + calm_seconds:
        drain()
        time.sleep(0.05)
    calm = [one for child in alone for one in json.loads(finish(child)[1:])]
    for child in readers:
        finish(child)
    drain()

    others = [
        *(start_child(partial(_read, home, seconds, seed + n)) for n in range(_READERS)),
        start_child(partial(_collect, home, seconds)),
        start_child(partial(_compact, home, seconds, max(1.0, seconds / 6))),
    ]
    writers = {
        n: start_child(partial(_write, home, f"w{n}", seconds, journal, seed + 9 + n))
        for n in range(_WRITERS)
    }
    begun = time.monotonic()
    next_kill = seconds / 4
    while time.monotonic() < begun + seconds:
        drain()
        time.sleep(0.05)
        if time.monotonic() > begun + next_kill:
            next_kill += seconds / 4
            victim = rng.randrange(_WRITERS)
            pid, pipe = writers[victim]
            os.kill(pid, signal.SIGKILL)
            os.close(pipe)
            os.waitpid(pid, 0)
            left = max(0.1, begun + seconds - time.monotonic())
            writers[victim] = start_child(
                partial(_write, home, f"w{victim}", left, journal, seed + 99)
            )
    busy = [one for child in writers.values() for one in json.loads(finish(child)[1:])]
    reads, more_reads, removed, compactions = (int(finish(child)[1:]) for child in others)
    drain()
    os.close(writer)
    os.close(told)
    text = "".join(log)
    print(
        f"{len(calm)} commits alone p50 {_quantile(calm, 0.5) * 1e3:.1f} "
        f"p99 {_quantile(calm, 0.99) * 1e3:.1f} ms; {len(busy)} beside gc and compact "
        f"p50 {_quantile(busy, 0.5) * 1e3:.1f} p99 {_quantile(busy, 0.99) * 1e3:.1f} ms; "
        f"{reads + more_reads} reads, {removed} objects collected, {compactions} compactions"
    )
    assert min(reads, more_reads, removed, compactions) > 0
    with Repository.open(home) as repo:
        for info in repo.runs():
            if info.name.endswith("-fork"):
                repo.delete_run(info.name)
    assert_survived(home, "kept base 1\n" + text)
