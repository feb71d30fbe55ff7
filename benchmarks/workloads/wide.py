"""A state of very many small values, of which a few change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from benchmarks.text import TextSource
from benchmarks.workloads.base import Kind, Turn, Workload
from benchmarks.workloads.messages import novel_bytes

__all__ = ["Wide"]


class Wide(Workload):
    """A dict of small numbers, words and flags, of which 5 change a step."""

    name = "wide"
    kinds: ClassVar[Mapping[str, Kind]] = {"facts": "merge", "turn": "replace"}

    def __init__(self, keys: int, *, steps: int = 100, changes: int = 5) -> None:
        self._keys = keys
        self._steps = steps
        self._changes = changes

    @property
    def title(self) -> str:
        """What it is, with its size."""
        return f"{self._keys:,} small keys, {self._changes} change a step, {self._steps} steps"

    def turns(self) -> list[Turn]:
        """Return all turns."""
        return self._turns

    @cached_property
    def _turns(self) -> list[Turn]:
        text = TextSource("wide")
        groups = ["_".join(text.words(2)).lower() for _ in range(40)]
        keys = [f"{text.rng.choice(groups)}/{number:05d}" for number in range(self._keys)]
        turns = []
        for step in range(1, self._steps + 1):
            chosen = keys if step == 1 else text.rng.sample(keys, self._changes)
            facts = {key: _value(text) for key in chosen}
            pairs = [item for pair in facts.items() for item in pair]
            novel = novel_bytes(*pairs, step)
            turns.append(Turn("wide", {"facts": facts, "turn": step}, novel))
        return turns


def _value(text: TextSource) -> Any:
    kind = text.rng.randrange(6)
    if kind == 0:
        return text.rng.randrange(10_000)
    if kind == 1:
        return round(text.rng.random() * 100, 2)
    if kind == 2:
        return text.rng.random() < 0.5
    return " ".join(text.words(text.rng.randrange(2, 12)))
