"""The workloads of the benchmarks, in the sizes that the documentation quotes and tiny."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from benchmarks.workloads.airline import Airline
from benchmarks.workloads.base import Patch, Step, Turn, Workload
from benchmarks.workloads.binary import Binary
from benchmarks.workloads.chat import Chat
from benchmarks.workloads.deep_agent import DeepAgent
from benchmarks.workloads.shared_context import SharedContext
from benchmarks.workloads.wide import Wide

__all__ = [
    "NAMES",
    "Patch",
    "Step",
    "Turn",
    "Workload",
    "data_folder",
    "make_workload",
]

_PROJECT: Final = Path(__file__).resolve().parent.parent.parent

NAMES: Final = (
    "chat-200",
    "chat-1000",
    "deep-agent",
    "shared-context",
    "wide",
    "binary",
    "airline",
)


def data_folder() -> Path | None:
    """Return the folder of the recorded runs: HIVE_DATA, or beside the project; None if absent."""
    folder = Path(os.environ.get("HIVE_DATA") or _PROJECT.parent / "shared" / "data")
    return folder if (folder / "airline_runs.jsonl.gz").is_file() else None


def make_workload(name: str, *, tiny: bool = False) -> Workload:
    """Return a workload by its name, in full size or as small as a test needs.

    Raises ``LookupError`` if there is none of that name, or its recorded data is missing.
    """
    match name:
        case "chat-200" | "chat-1000":
            return Chat(12 if tiny else int(name.removeprefix("chat-")))
        case "deep-agent":
            return DeepAgent(10, files=6) if tiny else DeepAgent(200)
        case "shared-context":
            return SharedContext(3, steps=4, context=100_000) if tiny else SharedContext(100)
        case "wide":
            return Wide(300, steps=12) if tiny else Wide(10_000)
        case "binary":
            return Binary(2**19, steps=6) if tiny else Binary(2**26)
        case "airline":
            folder = data_folder()
            if folder is None:
                raise LookupError("no airline_runs.jsonl.gz: name its folder with HIVE_DATA")
            return Airline(folder, runs=4 if tiny else None)
        case _:
            raise LookupError(f"no workload {name!r}: there are {', '.join(NAMES)}")
