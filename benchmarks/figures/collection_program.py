"""One of several processes on one store, in some of whose windows of time a collector is at work.

``python -m benchmarks.figures.collection_program HOME ROLE NAME SECONDS WINDOWS``. It says that it
is ready, waits for a line with the moment (of ``time.monotonic``) at which the first window begins,
works until the last one ends, and prints what it did as JSON:

- ``write`` commits to the run NAME, and every 20 commits forgets half of what the run lists. It
  reports when each commit began and how long it took;
- ``read`` restores what is listed, and reports how often;
- ``collect`` runs gc after gc in every second window, and reports what that removed.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from benchmarks.figures.growing import GrowingRun
from cas.errors import NotFoundError
from manifests import Repository

__all__: list[str] = []

_FORGET_EVERY = 20


def _write(repository: Repository, name: str, begin: float, end: float) -> Any:
    rng = random.Random(name)
    run = GrowingRun(repository, name)
    took = []
    while (now := time.monotonic()) < end:
        run.commit()
        if now >= begin:
            took.append((now, time.monotonic() - now))
        if run.commits % _FORGET_EVERY == 0:
            listed = [found.sequence for found in repository.log(name)][1:]
            gone = rng.sample(listed, len(listed) // 2)
            repository.forget([(name, sequence) for sequence in gone])
    return took


def _read(repository: Repository, name: str, end: float) -> Any:
    rng = random.Random(name)
    count = 0
    while time.monotonic() < end:
        for info in repository.runs():
            try:
                repository.restore(rng.choice(repository.log(info.name, limit=20)))
            except NotFoundError:
                continue  # forgotten meanwhile
            count += 1
    return count


def _collect(repository: Repository, begin: float, seconds: float, windows: int) -> Any:
    collections = removed = 0
    for window in range(1, windows, 2):
        start = begin + window * seconds
        time.sleep(max(0.0, start - time.monotonic()))
        while (left := start + seconds - time.monotonic()) > 0:
            removed += repository.gc(time_budget=left).objects_removed
            collections += 1
    return collections, removed


def _main(home: str, role: str, name: str, seconds: str, windows: str) -> None:
    with Repository.open(home, read_only=role == "read") as repository:
        print("ready", flush=True)
        begin = float(sys.stdin.readline())
        end = begin + float(seconds) * int(windows)
        if role == "write":
            report = _write(repository, name, begin, end)
        elif role == "read":
            report = _read(repository, name, end)
        else:
            report = _collect(repository, begin, float(seconds), int(windows))
    print(json.dumps(report))


if __name__ == "__main__":
    _main(*sys.argv[1:])
