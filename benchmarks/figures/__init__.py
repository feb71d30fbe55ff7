"""Numbers that are not of one store on one workload: CPU, overhead, concurrency, size, gc."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.figures.children import report_of
from benchmarks.figures.collection import measure_collection
from benchmarks.figures.cpu import measure_cpu
from benchmarks.figures.group_commit import measure_group_commit
from benchmarks.figures.large import measure_large
from benchmarks.figures.million import measure_million
from benchmarks.figures.overhead import measure_overhead
from benchmarks.figures.processes import measure_processes
from benchmarks.figures.restore import measure_restore
from benchmarks.results import Figure

__all__ = ["NAMES", "measure_apart", "measure_figures"]

NAMES = ("cpu", "restore", "overhead", "group-commit", "processes", "large", "gc", "million")


def measure_figures(name: str, folder: Path, *, tiny: bool = False) -> list[Figure]:
    """Measure the figures of that name in a new folder. ``LookupError`` if there are none."""
    full: dict[str, Callable[[Path], list[Figure]]] = {
        "cpu": measure_cpu,
        "restore": measure_restore,
        "overhead": measure_overhead,
        "group-commit": measure_group_commit,
        "processes": measure_processes,
        "large": measure_large,
        "gc": measure_collection,
        "million": measure_million,
    }
    small: dict[str, Callable[[Path], list[Figure]]] = {
        "cpu": lambda folder: measure_cpu(folder, messages=200, repeats=3),
        "restore": lambda folder: measure_restore(folder, tiny=True, rounds=2),
        "overhead": lambda folder: measure_overhead(folder, node_seconds=0.001, nodes=4, repeats=2),
        "group-commit": lambda folder: measure_group_commit(
            folder, runs=4, commits=2, alone=3, turns=2
        ),
        "processes": lambda folder: measure_processes(folder, processes=2, seconds=0.2),
        "large": lambda folder: measure_large(folder, texts=3, size=2**18),
        "gc": lambda folder: measure_collection(
            folder, writers=1, readers=1, seconds=0.3, pairs=1, start_seconds=0.1
        ),
        "million": lambda folder: measure_million(folder, runs=2, steps=10),
    }
    measures = small if tiny else full
    if name not in measures:
        raise LookupError(f"no figures {name!r}: there are {', '.join(NAMES)}")
    return measures[name](folder)


def measure_apart(name: str, folder: Path, *, tiny: bool = False) -> list[Figure]:
    """Measure the figures of that name in a process of their own.

    What workloads have left in the memory of this one does not count there.
    """
    arguments = [name, str(folder.resolve()), *(["tiny"] if tiny else [])]
    return [Figure(**each) for each in report_of("benchmarks.figures.program", arguments)]
