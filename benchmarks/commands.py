"""``python -m benchmarks.commands``: how long people wait for the command line.

A run of 10,000 checkpoints is made (its last state is a list of 10,000 messages), then each command
is started again and again as a person would, and the median, the shortest and the longest time
stand beside the limit. Starting Python itself is measured too: it is in all the others. On a
machine that does other work, the processor time (cpu, median) says more than the wall clock.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import hive

__all__ = ["CASES", "Case", "main", "make_run", "measure"]

CHECKPOINTS: Final = 10_000
ROUNDS: Final = 15
WORDS: Final = ("alpha", "beta", "gamma", "delta", "trip", "hotel")


@dataclass(frozen=True)
class Case:
    """A command, and the seconds it may take."""

    name: str
    arguments: tuple[str, ...]
    most_seconds: float | None


def _hive(line: str, most_seconds: float | None) -> Case:
    return Case(f"hive {line}", ("-m", "hive.cli", *line.split()), most_seconds)


CASES: Final = (
    Case("python -c pass", ("-c", "pass"), None),
    _hive("--help", 0.25),
    _hive("log long", 0.5),
    _hive("show long", 0.5),
    _hive("show long messages[-1].content", 0.5),
    _hive("diff long", 0.5),
    _hive("diff long@1 long@{last}", 0.5),
    _hive("diff long@{middle} long", 0.5),
    _hive("runs", None),
    _hive("stats", None),
    _hive("grep alpha.*alpha.*alpha.*alpha --heads", None),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a median is over its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=CHECKPOINTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    late = False
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_run(home, options.checkpoints)
        print(f"a run of {options.checkpoints:,} checkpoints, {options.rounds} rounds, seconds")
        titles = "".join(f"{title:>8}" for title in ("median", "least", "most", "cpu", "limit"))
        print(f"{'command':<46}{titles}")
        for case in CASES:
            times = measure(case, home, options.checkpoints, options.rounds)
            walls = [wall for wall, _cpu in times]
            median = statistics.median(walls)
            cpu = statistics.median(cpu for _wall, cpu in times)
            limit = "-" if case.most_seconds is None else f"{case.most_seconds:.2f}"
            over = case.most_seconds is not None and median > case.most_seconds
            late = late or over
            print(
                f"{case.name:<46}{median:8.3f}{min(walls):8.3f}{max(walls):8.3f}{cpu:8.3f}"
                f"{limit:>8}{'  over' if over else ''}",
                flush=True,
            )
    return int(late)


def make_run(home: Path, checkpoints: int) -> None:
    """Save a conversation that grows by a message in each checkpoint, from a fixed seed."""
    dice = random.Random(1)
    state: dict[str, object] = {"config": {"model": "m", "temperature": 0.5}, "notes": ""}
    messages: list[dict[str, str]] = []
    state["messages"] = messages
    with hive.open(home) as repo:
        pending = []
        for number in range(checkpoints):
            text = " ".join(dice.choice(WORDS) for _ in range(30))
            messages.append({"role": "user" if number % 2 else "assistant", "content": text})
            state["count"] = number
            if number % 10 == 0:
                state["notes"] = f"{state['notes']}note {number}\n"[-20_000:]
            prepared = repo.prepare("long", state, node=f"node {number % 5}")
            pending.append(repo.submit(prepared))
        for each in pending:
            each.result()


def measure(case: Case, home: Path, checkpoints: int, rounds: int) -> list[tuple[float, float]]:
    """Return the wall and the processor seconds of each round, after one that is not counted."""
    fill = {"last": checkpoints, "middle": max(checkpoints // 2, 1)}
    command = [sys.executable, *(each.format(**fill) for each in case.arguments)]
    environment = {**os.environ, "HIVE_HOME": str(home)}
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        times.append((time.perf_counter() - start, usage.ru_utime + usage.ru_stime))
    return times[1:]


if __name__ == "__main__":
    sys.exit(main())
