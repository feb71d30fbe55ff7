"""One of several processes on one store.

It opens the store in its first argument, says so, waits for a line, commits to the run named by the
second one for the seconds of the third, and prints what it did.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.figures.growing import GrowingRun
from manifests import Repository

__all__: list[str] = []


def _main(home: str, name: str, seconds: str) -> None:
    with Repository.open(home) as repository:
        run = GrowingRun(repository, name)
        print("ready", flush=True)
        sys.stdin.readline()
        longest = 0.0
        end = time.perf_counter() + float(seconds)
        while (start := time.perf_counter()) < end:
            run.commit()
            longest = max(longest, time.perf_counter() - start)
    print(json.dumps({"run": name, "commits": run.commits, "longest_ms": 1e3 * longest}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
