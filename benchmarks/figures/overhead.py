"""How much longer a graph takes with checkpoints than without."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import lmdb

from benchmarks.results import Figure
from benchmarks.workloads import data_folder
from benchmarks.workloads.airline import Airline
from benchmarks.workloads.chat import Chat
from hive import CheckpointConfig, CheckpointManager
from hive.graph import EdgeSpec, Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime

__all__ = ["measure_overhead"]

Durability = Literal["sync", "async"]


def measure_overhead(
    folder: Path, *, node_seconds: float = 0.02, nodes: int = 25, repeats: int = 7
) -> list[Figure]:
    """Return the overhead of saving after every node of a graph that adds a message per node.

    And of nodes that each commit one row of 1 KB to LMDB themselves, and save nothing else: less
    than that no synced checkpoint in LMDB can take. The ways take turns, so that a slow moment of
    the machine hits them all.
    """
    messages = _messages(nodes)
    taken: dict[Durability | None, list[float]] = {None: [], "sync": [], "async": []}
    raw: list[float] = []
    for number in range(repeats):
        for durability, times in taken.items():
            home = folder / f"{durability}"
            times.append(_run(home, durability, f"run-{number}", messages, node_seconds))
        raw.append(_run_raw(folder / "raw", messages, node_seconds))
    plain = median(taken[None])
    per_node = f"{nodes} nodes of {1e3 * node_seconds:g} ms on a recorded conversation"
    return [
        Figure("overhead-plain", f"{per_node}, nothing saved", plain, "s"),
        *(
            Figure(
                f"overhead-{durability}",
                f"{per_node}, durability {durability}",
                100 * (median(taken[durability]) - plain) / plain,
                "% more",
            )
            for durability in ("sync", "async")
        ),
        Figure(
            "overhead-raw",
            f"{per_node}, and one synced LMDB commit of 1 KB in each, no more",
            100 * (median(raw) - plain) / plain,
            "% more",
        ),
    ]


def _messages(count: int) -> list[Any]:
    """Return the messages of a recorded run, or of an invented one where none are recorded."""
    folder = data_folder()
    if folder is None:
        turns = Chat(count).turns()
    else:
        airline = Airline(folder)
        # The first run that is long enough; a median one has 26 messages.
        run = next(name for name, steps in airline.runs().items() if steps >= count)
        turns = [turn for turn in airline.turns() if turn.run == run]
    return [message for turn in turns for message in turn.writes["messages"]][:count]


def _run_raw(home: Path, messages: list[Any], seconds: float) -> float:
    """Return how long it takes if each node commits 1 KB to LMDB, and nothing is saved."""
    home.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(home), map_size=2**30, max_spare_txns=0) as environment:

        def commit(node: str) -> None:
            with environment.begin(write=True) as transaction:
                transaction.put(node.encode(), bytes(1_000))

        return _run(home, None, "raw", messages, seconds, commit)


def _run(
    home: Path,
    durability: Durability | None,
    run: str,
    messages: list[Any],
    seconds: float,
    also: Callable[[str], None] = lambda _node: None,
) -> float:
    """Return how long a graph takes that adds one message a node, and does something ``also``."""

    async def work(messages: list[Any], ctx: Any) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        also(ctx.node_id)
        return {"messages": [*messages, coming[int(ctx.node_id)]]}

    coming = messages
    graph = _graph(len(messages))

    async def execute(executor: GraphExecutor) -> float:
        for spec in graph.nodes:
            executor.register_function(spec.id, work)
        start = time.perf_counter()
        result = await executor.execute(graph, Goal(id="g", name="g"), {"messages": []}, run=run)
        if durability == "async" and executor.checkpoint_manager is not None:
            await executor.checkpoint_manager.aflush()
        end = time.perf_counter()
        if result.output["messages"] != messages:
            raise AssertionError(f"the graph ended with {result.error or 'other messages'}")
        return end - start

    if durability is None:
        return asyncio.run(execute(GraphExecutor(Runtime())))
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        # The store is opened before the clock starts: a service opens it once.
        manager.latest(run)
        return asyncio.run(execute(GraphExecutor(Runtime(), manager)))


def _graph(nodes: int) -> GraphSpec:
    names = [str(number) for number in range(nodes)]
    edges = [
        EdgeSpec(id=f"{source}-{target}", source=source, target=target)
        for source, target in itertools.pairwise(names)
    ]
    specs = [NodeSpec(id=name, input_keys=["messages"], output_keys=["messages"]) for name in names]
    return GraphSpec(id="bench", entry_node="0", nodes=specs, edges=edges, max_steps=nodes)
