"""What a run of the benchmarks found, and its JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.floor import Floor

__all__ = ["Figure", "Measured", "Results"]

NAN = float("nan")


@dataclass(slots=True)
class Measured:
    """One store on one workload in one round. Times in milliseconds where the name says no unit.

    Loads are those of a store just opened; ``load_again`` is the third of the latest state.
    ``bytes`` are allocated on disk: ``saved`` after the last save, ``compact`` after compaction,
    ``forgotten`` after all but the newest tenth of every run was dropped and freed. NaN is what the
    store cannot do. ``limited_to``: only so many steps were saved; the rest is reckoned.
    """

    workload: str
    peer: str
    round: int
    steps: int = 0
    limited_to: int | None = None
    early_p50: float = NAN
    early_p95: float = NAN
    late_p50: float = NAN
    late_p95: float = NAN
    late_cpu: float = NAN
    load_latest: float = NAN
    load_middle: float = NAN
    load_again: float = NAN
    saved_bytes: float = NAN
    compact_bytes: float = NAN
    compact_seconds: float = NAN
    compact_load_latest: float = NAN
    forgotten_bytes: float = NAN
    forget_seconds: float = NAN
    peak_bytes: float = NAN
    ballast_bytes: int = 0
    series: list[tuple[int, int, float]] = field(default_factory=list)
    """(steps so far, bytes on disk, median save since the entry before)."""

    @property
    def least_bytes(self) -> float:
        """Bytes after compaction, or as saved if the store has none."""
        return self.saved_bytes if math.isnan(self.compact_bytes) else self.compact_bytes


@dataclass(slots=True)
class Figure:
    """A number that stands for itself, such as the overhead of a graph."""

    name: str
    text: str
    value: float
    unit: str
    round: int = 0


@dataclass(slots=True)
class Results:
    """Everything of one run of the benchmarks."""

    about: dict[str, Any] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    floors: list[Floor] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def of(self, workload: str, peer: str) -> list[Measured]:
        """Return the rounds of a store on a workload, oldest first; empty if it was not run."""
        return [item for item in self.measured if (item.workload, item.peer) == (workload, peer)]

    def peer(self, workload: str, peer: str, value: Callable[[Measured], float]) -> float:
        """Return the median over the rounds of a value of a store; NaN if it was not run."""
        return _median(value(item) for item in self.of(workload, peer))

    def floor(self, workload: str, value: Callable[[Floor], float]) -> float:
        """Return the median over the rounds of a value of the floor; NaN if it was not run."""
        return _median(value(item) for item in self.floors if item.workload == workload)

    def ratio(
        self,
        workload: str,
        peer: str,
        value: Callable[[Measured], float],
        other: str,
        other_value: Callable[[Any], float],
    ) -> float:
        """Return the median of a store's value over that of another store or of the ``floor``.

        Each round is divided by the same round, for the load of a shared machine changes; by the
        only one if the other was measured once.
        """
        divisors: list[Any]
        if other == "floor":
            divisors = [item for item in self.floors if item.workload == workload]
        else:
            divisors = list(self.of(workload, other))
        by_round = {item.round: other_value(item) for item in divisors}
        only = next(iter(by_round.values()), NAN)
        return _median(
            value(item) / by_round.get(item.round, only) for item in self.of(workload, peer)
        )

    def figure(self, name: str) -> float:
        """Return the median over the rounds of a figure; NaN if it was not measured."""
        return _median(item.value for item in self.figures if item.name == name)

    def save(self, path: Path) -> None:
        """Write everything as JSON; NaN becomes null."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_dumped(_without_nan(asdict(self))), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what ``save`` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            about=data["about"],
            titles=data["titles"],
            floors=[Floor(**_with_nan(item)) for item in data["floors"]],
            measured=[Measured(**_with_nan(item)) for item in data["measured"]],
            figures=[Figure(**_with_nan(item)) for item in data["figures"]],
            skipped=data["skipped"],
        )


def _dumped(data: dict[str, Any]) -> str:
    """Return JSON with a line for each record, so that two results can be compared by lines."""
    parts = []
    for key, value in data.items():
        opened, closed = "{}" if isinstance(value, dict) else "[]"
        items = (
            [f"{json.dumps(name)}: {_line(item)}" for name, item in value.items()]
            if isinstance(value, dict)
            else [_line(item) for item in value]
        )
        inner = ",\n  ".join(items)
        parts.append(f" {json.dumps(key)}: {opened}\n  {inner}\n {closed}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _median(values: Any) -> float:
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else NAN


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value  # to the last bit: what is read prints alike
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _with_nan(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: NAN if value is None and key != "limited_to" else value
        for key, value in fields.items()
    }
