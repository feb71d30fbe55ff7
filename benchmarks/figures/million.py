"""What a collection costs in a store of a million objects: it should follow what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures.children import report_of
from benchmarks.results import Figure

__all__ = ["measure_million"]

_PROGRAM = "benchmarks.figures.million_program"


def measure_million(folder: Path, *, runs: int = 200, steps: int = 100) -> list[Figure]:
    """Build a store of ``runs * steps`` checkpoints, about 49 objects each, and collect in it.

    Building and collecting are processes of their own, so that the memory is that of collecting.
    """
    arguments = [str(folder), str(runs), str(steps)]
    built = report_of(_PROGRAM, ["build", *arguments])
    found: dict[str, Any] = report_of(_PROGRAM, ["collect", *arguments])
    seconds = {
        "first": "first gc, nothing dead",
        "nothing": "gc with nothing to do",
        "one": "gc after one checkpoint of the newest quarter was forgotten",
        "one-old": "gc after one of the oldest",
        "most": "gc after 90 % of the checkpoints of each run",
        "most-runs": "gc after 90 % of the runs",
        "compact": "compact of what is left",
    }
    return [
        Figure("million-objects", "objects", built["objects"], ""),
        Figure("million-checkpoints", "checkpoints", runs * steps, ""),
        *(
            Figure(f"million-{name}", text, found[name]["seconds"], "s")
            for name, text in seconds.items()
        ),
        *(
            Figure(f"million-{name}-cpu", f"CPU of the {text}", found[name]["cpu_seconds"], "s")
            for name, text in seconds.items()
        ),
        *(
            Figure(f"million-{name}-removed", f"objects removed by the {seconds[name]}", count, "")
            for name in ("most", "most-runs")
            for count in [found[name]["removed"]]
        ),
        Figure(
            "million-memory",
            "anonymous memory of a process while it collects",
            max(found[name]["peak_bytes"] for name in seconds if name != "compact") / 1e6,
            "MB",
        ),
        Figure(
            "million-compact-memory",
            "anonymous memory of a process while it compacts",
            found["compact"]["peak_bytes"] / 1e6,
            "MB",
        ),
    ]
