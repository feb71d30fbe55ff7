"""Recorded runs of a customer-service agent: real text, short runs, the same system prompt."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from benchmarks.workloads.base import Kind, Turn, Workload
from benchmarks.workloads.messages import novel_bytes

__all__ = ["Airline"]


class Airline(Workload):
    """One message is the output of one node; a checkpoint follows each."""

    name = "airline"
    kinds: ClassVar[Mapping[str, Kind]] = {"messages": "append"}

    def __init__(self, folder: Path, *, runs: int | None = None) -> None:
        """Read the first ``runs`` (None: all) from ``airline_runs.jsonl.gz`` in ``folder``."""
        self._path = folder / "airline_runs.jsonl.gz"
        self._runs = runs

    @property
    def title(self) -> str:
        """What it is, with its size."""
        return f"airline, {len(self.runs())} recorded runs, {len(self._turns):,} messages"

    def turns(self) -> list[Turn]:
        """Return all turns."""
        return self._turns

    @cached_property
    def _turns(self) -> list[Turn]:
        turns = []
        seen = set()
        with gzip.open(self._path, "rt", encoding="utf-8") as lines:
            for line, _ in zip(lines, range(self._runs or 10**9), strict=False):
                record = json.loads(line)
                for message in record["messages"]:
                    novel = novel_bytes(message)
                    turns.append(
                        Turn(
                            record["run"], {"messages": [message]}, b"" if novel in seen else novel
                        )
                    )
                    seen.add(novel)
        return turns
