"""Draws bytes on disk and save time against the length of a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.peers import LABELS
from benchmarks.results import Measured, Results
from benchmarks.schedule import PLOTTED

__all__ = ["draw"]

_LINES: Final = {
    "langgraph": ("#c44e52", "-"),
    "pickle-files": ("#dd8452", "--"),
    "git": ("#8172b3", "-."),
    "langgraph-delta": ("#4c72b0", "-"),
    "hive-trusted": ("#55a868", "-"),
    "hive": ("#1b5e20", "-"),
}


def draw(results: Results, path: Path) -> None:
    """Write a PNG. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    size, time = figure.subplots(1, 2)
    for peer, (colour, style) in _LINES.items():
        series = _series(results, peer)
        turns = [turn for turn, _, _ in series]
        if not series:
            continue
        label = "git (not synced), before gc" if peer == "git" else LABELS[peer]
        sizes = [taken / 1e6 if taken else None for _, taken, _ in series]
        size.plot(turns, sizes, style, color=colour, label=label)
        time.plot(turns, [taken for _, _, taken in series], style, color=colour, label=label)
    minimum = next((floor for floor in results.floors if floor.workload == PLOTTED), None)
    if minimum is not None:
        turns = [turn for turn, _ in minimum.series]
        label = "zstd-3 of everything new"
        size.plot(
            turns, [taken / 1e6 for _, taken in minimum.series], ":", color="black", label=label
        )
    for axes, title in (
        (size, "MB on disk, before any compaction"),
        (time, "milliseconds a save (median)"),
    ):
        axes.set(title=title, xlabel="turns", yscale="log")
        axes.grid(visible=True, alpha=0.3)
    figure.legend(*size.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    # No software version in the file, which would change it with every release of the library.
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _series(results: Results, peer: str) -> list[tuple[int, int, float]]:
    found: list[Measured] = [item for item in results.of(PLOTTED, peer) if item.series]
    return found[0].series if found else []
