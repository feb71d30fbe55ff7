"""Many runs that begin with the same large context, as a fleet of agents with one skill does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from benchmarks.text import TextSource
from benchmarks.workloads.base import Kind, Turn, Workload
from benchmarks.workloads.messages import assistant, novel_bytes, tool, user

__all__ = ["SharedContext"]

_DOCUMENT = 32_000


class SharedContext(Workload):
    """Every run writes equal documents first, then 0.3 KB and 1.5 KB a step, with 2 tool outputs.

    The runs come one after the other.
    """

    name = "shared-context"
    kinds: ClassVar[Mapping[str, Kind]] = {
        "context": "append",
        "messages": "append",
        "turn": "replace",
    }

    def __init__(self, runs: int, *, steps: int = 10, context: int = 2_000_000) -> None:
        self._runs = runs
        self._steps = steps
        self._context = context

    @property
    def title(self) -> str:
        """What it is, with its size."""
        size = self._context / 1e6
        return f"{self._runs} runs sharing a {size:g} MB context, {self._steps} steps each"

    def turns(self) -> list[Turn]:
        """Return all turns."""
        return self._turns

    @cached_property
    def _turns(self) -> list[Turn]:
        text = TextSource("shared context")
        documents = [
            {"title": text.sentence(), "text": text.prose(_DOCUMENT)}
            for _ in range(max(1, self._context // _DOCUMENT))
        ]
        turns = []
        for run in range(self._runs):
            for step in range(1, self._steps + 1):
                messages = [user(text, 300)]
                if step % 5 == 0:
                    messages.append(tool(text, 6_000))
                messages.append(assistant(text, 1_500))
                writes = {"messages": messages, "turn": step}
                novel = novel_bytes(*messages, step)
                if step == 1:
                    # Equal and not the same: each run of a real fleet loads its own copy.
                    writes["context"] = [dict(document) for document in documents]
                    novel = b"" if run else novel_bytes(*documents) + novel
                turns.append(Turn(f"run-{run:03d}", writes, novel))
        return turns
