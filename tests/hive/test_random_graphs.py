"""Random graphs, interrupted at a random commit in this process, end as if uninterrupted."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive.graph import (
    EdgeCondition,
    EdgeSpec,
    ExecutionResult,
    Goal,
    GraphExecutor,
    GraphSpec,
    NodeContext,
    NodeSpec,
    Runtime,
)
from hive.graph.checkpoint_manager import CheckpointManager
from hive.schemas.checkpoint import CheckpointConfig
from manifests import Repository
from tests.hive.crashing import break_off

GOAL = Goal(id="goal")
NAMES = "abcd"
RING = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
EXAMPLES = settings().max_examples * 2 // 5  # each writes to a store some twenty times
Attempts = list[tuple[str, int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Random fields of a graph over the nodes a, b, c and d; which node fails when is in them."""
    node = st.sampled_from(NAMES)
    edges = draw(
        st.lists(
            st.tuples(
                node,
                node,
                st.sampled_from(list(EdgeCondition)),
                st.sampled_from(["n % 2 == 0", "output.n > 3", "visits.a < 3", "output.missing"]),
                st.integers(-1, 2),
                st.sampled_from([{}, {"m": "n"}, {"m": "error"}]),
            ),
            max_size=6,
        )
    )
    return {
        # Below the random edges a ring, or else most graphs would end after a step or two.
        "edges": edges + [(a, b, EdgeCondition.ON_SUCCESS, "", -2, {}) for a, b in RING],
        "pause": draw(st.sets(node, max_size=2)),
        "terminal": draw(st.sets(node, max_size=1)),
        "router": draw(st.booleans()),
        "max_steps": draw(st.integers(1, 9)),
        "retries": draw(st.lists(st.integers(0, 2), min_size=4, max_size=4)),
        "failures": draw(st.integers(0, 2**16)),
    }


def build(fields: dict[str, Any], attempts: Attempts) -> GraphSpec:
    """The graph of random fields; its nodes note their attempts."""

    def work(ctx: NodeContext, n: int = 0, m: Any = None) -> dict[str, Any]:
        attempts.append((ctx.node_id, ctx.visit, ctx.attempt))
        dice = random.Random(f"{fields['failures']}{attempts[-1]}")
        if dice.random() < 0.25:
            raise RuntimeError(f"{ctx.node_id} {ctx.visit} {ctx.attempt}")
        return {"n": n + 1, f"by {ctx.node_id}": (ctx.visit, m)}

    def route(ctx: NodeContext, n: int = 0) -> str:
        work(ctx, n)
        return NAMES[n % 4]

    routed = {name: name for name in NAMES}
    nodes = [
        NodeSpec(
            id=name,
            node_type="router" if name == "d" and fields["router"] else "function",
            routes=routed if name == "d" and fields["router"] else {},
            input_keys=["n", "m"] if name == "b" else [],
            max_retries=retries,
            backoff_seconds=0,
            function=route if name == "d" and fields["router"] else work,
        )
        for name, retries in zip(NAMES, fields["retries"], strict=True)
    ]
    ways = [
        EdgeSpec(
            id=f"e{number}",
            source=source,
            target=target,
            condition=condition,
            condition_expr=expression if condition is EdgeCondition.CONDITIONAL else None,
            priority=priority,
            input_mapping=mapping,
        )
        for number, (source, target, condition, expression, priority, mapping) in enumerate(
            fields["edges"]
        )
        if source not in fields["terminal"] or condition in {"always", "on_failure"}
    ]
    # What no edge leads to is left out: such a graph would be refused.
    reached, waiting = {"a"}, ["a"]
    while waiting:
        source = waiting.pop()
        targets = {way.target for way in ways if way.source == source}
        if source == "d" and fields["router"]:
            targets |= set(NAMES)
        waiting += targets - reached
        reached |= targets
    return GraphSpec(
        id="random",
        entry_node="a",
        nodes=[node for node in nodes if node.id in reached],
        edges=[way for way in ways if way.source in reached],
        pause_nodes=sorted(fields["pause"] & reached),
        terminal_nodes=sorted(fields["terminal"] & reached),
        max_steps=fields["max_steps"],
    )


def launch(manager: CheckpointManager, graph: GraphSpec, run: str) -> ExecutionResult:
    """Begin or continue a run, and go on over its pauses."""
    executor = GraphExecutor(Runtime(), manager, timer=lambda: 0.0)
    head = manager.latest(run)
    answer = {"m": "answer"}
    given = answer if head is not None and head.kind == "paused" else {"n": 0}
    while True:
        result = asyncio.run(executor.execute(graph, GOAL, given, run=run, resume=True))
        if result.paused_at is None:
            return result
        given = answer


def plain(result: ExecutionResult) -> dict[str, Any]:
    """A result without what names the run."""
    fields = dataclasses.asdict(result)
    for name in ("run_id", "checkpoint_id", "session_state"):
        del fields[name]
    return fields


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with Repository.open(tmp_path_factory.mktemp("random")) as repo:
        yield repo


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs(), st.randoms(use_true_random=False), st.sampled_from(["sync", "async"]))
def test_an_interrupted_random_graph_ends_like_an_uninterrupted_one(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    dice: random.Random,
    durability: Any,
) -> None:
    attempts: dict[str, Attempts] = defaultdict(list)

    def begin(manager: CheckpointManager, run: str) -> ExecutionResult:
        return launch(manager, build(fields, attempts[run]), run)

    expected, whole, run = break_off(repository, monkeypatch, dice, begin)
    with CheckpointManager(repository, CheckpointConfig(durability=durability)) as manager:
        assert plain(begin(manager, run)) == plain(expected)
        assert manager.restore(run) == manager.restore(whole)
        assert [cp.kind for cp in manager.history(run)] == [
            cp.kind for cp in manager.history(whole)
        ]
    # Nothing but the attempt in flight ran twice.
    repeated = list(attempts[run])
    for attempt in attempts[whole]:
        repeated.remove(attempt)
    assert len(repeated) <= 1


def test_the_random_graphs_are_worth_testing() -> None:
    seen: set[str] = set()

    @settings(max_examples=150, database=None, derandomize=True)
    @given(graphs())
    def collect(fields: dict[str, Any]) -> None:
        runtime = Runtime()
        executor = GraphExecutor(runtime)
        graph, state = build(fields, []), None
        while True:
            result = asyncio.run(executor.execute(graph, GOAL, {"n": 0}, state, run="r"))
            if result.paused_at is None:
                break
            seen.add("paused")
            state = result.session_state
        seen.add("completed" if result.success else "failed")
        seen.add("long" if result.steps_executed > 4 else "short")
        seen.add("retried" if result.retries else "clean")
        reports = [problem.description for problem in runtime.record("r").problems]
        seen.update("handled" for text in reports if text.startswith("node "))
        seen.update("unroutable" for text in reports if text.startswith("edge "))

    collect()
    assert seen == {
        "paused", "completed", "failed", "long", "short", "retried", "clean", "handled",
        "unroutable",
    }  # fmt: skip
