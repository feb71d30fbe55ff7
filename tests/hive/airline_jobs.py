"""Replays recorded conversations as runs of a graph, many at once, in a process that may die."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.workloads import data_folder
from hive.graph import (
    EdgeCondition,
    EdgeSpec,
    Goal,
    GraphExecutor,
    GraphSpec,
    NodeContext,
    NodeSpec,
    Runtime,
)
from hive.graph.checkpoint_manager import CheckpointManager
from hive.schemas.checkpoint import CheckpointConfig
from tests.hive.crashing import arm_transactions

__all__ = ["RECORDED", "replay"]

AT_ONCE = 40


def _recorded() -> dict[str, list[Any]]:
    folder = data_folder()
    if folder is None:
        return {}
    with gzip.open(folder / "airline_runs.jsonl.gz", "rt", encoding="utf-8") as lines:
        return {run["run"]: run["messages"] for run in map(json.loads, lines)}


RECORDED = _recorded()
"""The messages of each recorded run."""


def replay(place: str, phase: str | None, number: int, durability: str) -> None:
    """Begin or continue all runs, some at a time; die before, inside or after a transaction."""
    folder = Path(place)
    moment: Any = None if phase is None else (phase, number)
    arm_transactions(moment, folder / "transactions")
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def speak(ctx: NodeContext, messages: list[Any]) -> dict[str, Any]:
        message = RECORDED[ctx.run][len(messages)]
        # The line break comes first: a line that the kill cuts short, where it goes over the end of
        # a page of the file, stays a line of its own.
        os.write(log, f"\n{ctx.run} {len(messages)} {ctx.attempt}".encode())
        return {
            "messages": [*messages, message],
            "left": len(RECORDED[ctx.run]) - len(messages) - 1,
        }

    graph = GraphSpec(
        id="airline",
        entry_node="speak",
        nodes=[
            NodeSpec(
                id="speak",
                input_keys=["messages"],
                output_keys=["messages", "left"],
                function=speak,
            )
        ],
        edges=[
            EdgeSpec(
                id="again",
                source="speak",
                target="speak",
                condition=EdgeCondition.CONDITIONAL,
                condition_expr="left > 0",
            )
        ],
        max_steps=1_000,
    )

    async def main(manager: CheckpointManager) -> None:
        room = asyncio.Semaphore(AT_ONCE)
        executor = GraphExecutor(Runtime(), manager)

        async def one(run: str) -> None:
            async with room:
                given: dict[str, Any] = {"messages": []}
                result = await executor.execute(graph, Goal(id="g"), given, run=run, resume=True)
                assert result.success, result.error

        heads = {info.name: info.head.kind for info in manager.repository.runs()}
        await asyncio.gather(*(one(run) for run in RECORDED if heads.get(run) != "final"))

    config = CheckpointConfig.model_validate({"durability": durability})
    with CheckpointManager(folder / "home", config) as manager:
        asyncio.run(main(manager))
