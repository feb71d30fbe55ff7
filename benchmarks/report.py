"""The tables that a run of the benchmarks prints, in Markdown, ratios first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks.floor import Floor
from benchmarks.peers import LABELS
from benchmarks.results import Measured, Results
from benchmarks.targets import MB, check_targets

__all__ = ["figure_table", "floor_table", "full_report", "target_table", "workload_table"]


def full_report(results: Results) -> str:
    """Return everything: limits, one table for each workload, the floor, other figures."""
    parts = ["## Limits", target_table(results)]
    done = {item.workload for item in results.measured}
    for workload, title in results.titles.items():
        if workload not in done:
            continue  # the run was interrupted
        parts += [f"## {title[0].upper()}{title[1:]}", workload_table(results, workload)]
    parts += ["## The floor", floor_table(results)]
    if results.figures:
        parts += ["## Other figures", figure_table(results)]
    for name, reason in results.skipped.items():
        parts.append(f"Not measured: {name} ({reason}).")
    return "\n\n".join(parts) + "\n"


def target_table(results: Results) -> str:
    """Return all limits with what was measured."""
    rows = [
        [
            target.topic,
            target.text,
            f"{_number(target.value)}{_unit(target.unit)}",
            f"{'≥' if target.at_least else '≤'} {_number(target.limit)}{_unit(target.unit)}",
            target.verdict,
        ]
        for target in check_targets(results)
    ]
    return _table(["", "what", "measured", "target", ""], rows)


def workload_table(results: Results, workload: str) -> str:
    """Return two tables of all stores on a workload: ratios, then megabytes and milliseconds.

    Ratios: bytes to the zstd-3 minimum; a late save to a raw synced commit of the same bytes and
    to an early save; loads to ``cbor2.loads``; save and load of a turn together to both of these.
    A ``~`` marks what was reckoned from fewer steps.
    """
    names = [name for name in LABELS if results.of(workload, name)]
    ratios = _table(
        ["store", "bytes / zstd", "after compact", "late save / raw", "late / early",
         "load / loads", "again / loads", "save + load"],
        [[LABELS[name], *_ratios(results, workload, name)] for name in names],
    )  # fmt: skip
    absolutes = _table(
        ["store", "MB", "compact MB (s)", "forget MB (s)", "early ms p50 (p95)",
         "late ms p50 (p95)", "late CPU", "load latest", "again", "load middle", "memory MB"],
        [[LABELS[name], *_absolutes(results, workload, name)] for name in names],
    )  # fmt: skip
    text = f"{ratios}\n\n{absolutes}"
    if "~" in text:
        text += "\n\n`~` reckoned from the first steps, see `limited_to` in the JSON."
    return text


def _mark(results: Results, workload: str, peer: str) -> str:
    return "" if results.of(workload, peer)[0].limited_to is None else "~"


def _ratios(results: Results, workload: str, peer: str) -> list[str]:
    def to_floor(value: Callable[[Measured], float], least: Callable[[Floor], float]) -> float:
        return results.ratio(workload, peer, value, "floor", least)

    values = [
        to_floor(lambda item: item.saved_bytes, lambda floor: floor.zstd_bytes),
        to_floor(lambda item: item.compact_bytes, lambda floor: floor.zstd_bytes),
        to_floor(lambda item: item.late_p50, lambda floor: floor.commit_late_ms),
        results.ratio(
            workload, peer, lambda item: item.late_p50, peer, lambda item: item.early_p50
        ),
        to_floor(lambda item: item.load_latest, lambda floor: floor.loads_latest_ms),
        to_floor(lambda item: item.load_again, lambda floor: floor.loads_latest_ms),
        to_floor(_turn, lambda floor: floor.commit_late_ms + floor.loads_latest_ms),
    ]
    mark = _mark(results, workload, peer)
    return [mark + _number(value) for value in values]


def _absolutes(results: Results, workload: str, peer: str) -> list[str]:
    def of(name: str) -> float:
        return results.peer(workload, peer, lambda item: float(getattr(item, name)))

    mark = _mark(results, workload, peer)
    return [
        mark + _number(of("saved_bytes") / MB),
        mark + _with_seconds(of("compact_bytes"), of("compact_seconds")),
        mark + _with_seconds(of("forgotten_bytes"), of("forget_seconds")),
        f"{_number(of('early_p50'))} ({_number(of('early_p95'))})",
        f"{mark}{_number(of('late_p50'))} ({_number(of('late_p95'))})",
        mark + _number(of("late_cpu")),
        mark + _number(of("load_latest")),
        mark + _number(of("load_again")),
        mark + _number(of("load_middle")),
        _number(of("peak_bytes") / MB),
    ]


def floor_table(results: Results) -> str:
    """Return what the parts of a store cost alone."""
    header = [
        "workload", "new MB", "zstd-3 MB", "ratio", "largest state MB", "raw commit early",
        "late", "cbor2.dumps early", "late", "cbor2.loads latest", "middle",
    ]  # fmt: skip
    rows = []
    for workload in dict.fromkeys(floor.workload for floor in results.floors):

        def of(name: str, workload: str = workload) -> float:
            return results.floor(workload, lambda item: float(getattr(item, name)))

        rows.append(
            [
                workload,
                _number(of("unique_bytes") / MB),
                _number(of("zstd_bytes") / MB),
                _number(of("unique_bytes") / of("zstd_bytes")),
                _number(of("state_bytes") / MB),
                *(
                    _number(of(name))
                    for name in (
                        "commit_early_ms", "commit_late_ms", "dumps_early_ms", "dumps_late_ms",
                        "loads_latest_ms", "loads_middle_ms",
                    )
                ),
            ]
        )  # fmt: skip
    return _table(header, rows)


def figure_table(results: Results) -> str:
    """Return the numbers that stand for themselves."""
    first = {item.name: item for item in reversed(results.figures)}
    names = dict.fromkeys(item.name for item in results.figures)
    rows = [
        [first[name].text, f"{_number(results.figure(name))} {first[name].unit}".strip()]
        for name in names
    ]
    return _table(["what", "measured"], rows)


def _turn(item: Measured) -> float:
    """Return what a turn waits for: the save, and the load unless the save holds it.

    The process that saves is the one that loads.
    """
    if item.peer == "langgraph-graph":
        return item.late_p50
    return item.late_p50 + item.load_again


def _with_seconds(size: float, seconds: float) -> str:
    return "-" if math.isnan(size) else f"{_number(size / MB)} ({_number(seconds)})"


def _number(value: float) -> str:
    """Return a number with three digits that count; ``-`` for NaN."""
    if math.isnan(value):
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with columns aligned, the first text column to the left."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    left = {0, 1} if header[0] == "" else {0}

    def joined(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        "-" * (width + 2) if column in left else "-" * (width + 1) + ":"
        for column, width in enumerate(widths)
    )
    return "\n".join([joined(lines[0]), f"|{rule}|", *map(joined, lines[1:])])
