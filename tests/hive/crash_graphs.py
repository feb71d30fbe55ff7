"""Graphs for crash tests: every node writes what it does into a side-effect log."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hive.graph import (
    EdgeCondition,
    EdgeSpec,
    Goal,
    GraphSpec,
    NodeContext,
    NodeSpec,
    ParallelSpec,
)

__all__ = ["FAMILY", "GOAL", "RUN", "Case", "Effects"]

RUN = "crash"
GOAL = Goal(id="goal", description="Survive.")


class Effects:
    """A log that survives SIGKILL: one JSON line for each attempt of a node, when it is done."""

    def __init__(self, path: Path, crash: Callable[[int], None] = lambda number: None) -> None:
        """Append to ``path``; ``crash(n)`` is called after the n-th attempt of this process."""
        self._path = path
        self._crash = crash
        self._count = 0

    def note(self, ctx: NodeContext) -> None:
        """Note an attempt, which is the side effect that must not be repeated."""
        line = json.dumps([ctx.node_id, ctx.visit, ctx.attempt, ctx.idempotency_key]) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
        self._count += 1
        self._crash(self._count)

    def charge(self, ctx: NodeContext, what: str) -> list[Any]:
        """Do something outside that must happen once for each visit; return what it gave."""
        entry = [ctx.node_id, ctx.visit, what]
        descriptor = os.open(f"{self._path}.charged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(entry) + "\n").encode())
        finally:
            os.close(descriptor)
        return entry

    def charges(self) -> list[list[Any]]:
        """Return what was done outside so far."""
        path = Path(f"{self._path}.charged")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def read(self) -> list[tuple[Any, ...]]:
        """Return the (node, visit, attempt, key) of all attempts so far."""
        if not self._path.exists():
            return []
        return [tuple(json.loads(line)) for line in self._path.read_text().splitlines()]


@dataclass(frozen=True)
class Case:
    """One graph of the family.

    ``attempts`` is how many attempts of nodes an uninterrupted run makes, ``commits`` how many
    checkpoints it saves. ``fails`` tells whether it ends in failure. ``again`` are the nodes that
    run once more if a run is resumed after its failure was saved. ``at_once`` is how many nodes are
    in flight at the same time, at most: if several are, their order is not always the same.
    """

    name: str
    attempts: int
    commits: int
    build: Callable[[Effects], GraphSpec]
    given: dict[str, Any] = field(default_factory=lambda: {"n": 0, "log": []})
    answer: dict[str, Any] = field(default_factory=dict)
    fails: bool = False
    again: str = ""
    at_once: int = 1


def _node(effects: Effects, name: str, **changes: Any) -> NodeSpec:
    """A node that changes the memory in a way that shows how often and in which order it ran."""

    def work(ctx: NodeContext, n: int, log: list[Any], **given: Any) -> dict[str, Any]:
        log.append((name, ctx.visit, dict(given)))
        effects.note(ctx)
        return {"n": n + 1, "log": log}

    keys = ["n", "log", *changes.pop("more_keys", ())]
    return NodeSpec(
        id=name,
        **{"input_keys": keys, "output_keys": ["n", "log"], "function": work, **changes},
    )


def _failing(effects: Effects, name: str, times: int, **changes: Any) -> NodeSpec:
    """A node whose first attempts of each visit fail."""

    def work(ctx: NodeContext, n: int) -> dict[str, Any]:
        effects.note(ctx)
        ctx.memory.write("n", -1)  # of no effect if this attempt fails
        if ctx.attempt <= times:
            raise ConnectionError(f"attempt {ctx.attempt}")
        return {"n": n + 10}

    return NodeSpec(
        id=name,
        input_keys=["n"],
        output_keys=["n"],
        backoff_seconds=0,
        function=work,
        **changes,
    )


def _edge(name: str, condition: str = "on_success", **changes: Any) -> EdgeSpec:
    source, target = name.split("-")
    return EdgeSpec(
        id=name, source=source, target=target, condition=EdgeCondition(condition), **changes
    )


def _linear(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="linear",
        entry_node="a",
        terminal_nodes=["d"],
        nodes=[_node(effects, name) for name in "abc"]
        + [_node(effects, "d", more_keys=["renamed"])],
        edges=[_edge("a-b"), _edge("b-c"), _edge("c-d", input_mapping={"renamed": "n"})],
    )


def _router(effects: Effects) -> GraphSpec:
    def route(ctx: NodeContext, n: int) -> str:
        effects.note(ctx)
        ctx.decide("where", options=["left", "right"], chosen="odd" if n % 2 else "even")
        return "left" if n % 2 else "right"

    return GraphSpec(
        id="router",
        entry_node="a",
        nodes=[
            _node(effects, "a"),
            NodeSpec(
                id="r",
                node_type="router",
                input_keys=["n"],
                output_keys=["route"],
                routes={"left": "b", "right": "c"},
                function=route,
            ),
            _node(effects, "b"),
            _node(effects, "c"),
        ],
        edges=[
            _edge("a-r"),
            _edge("b-r", "conditional", condition_expr="n < 4"),
            _edge("b-c", "conditional", condition_expr="n >= 4"),
            _edge("c-r", "conditional", condition_expr="n < 5"),
        ],
    )


def _loop(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="loop",
        entry_node="a",
        nodes=[_node(effects, name) for name in "ab"],
        edges=[
            _edge("a-a", "conditional", condition_expr="visits.a % 3 != 0", priority=1),
            _edge("a-b"),
            _edge("b-a", "conditional", condition_expr="steps < 7"),
        ],
    )


def _retry(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="retry",
        entry_node="a",
        nodes=[_node(effects, "a"), _failing(effects, "b", 2), _node(effects, "c")],
        edges=[_edge("a-b"), _edge("b-c"), _edge("c-b", "conditional", condition_expr="n < 15")],
    )


def _handled(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="handled",
        entry_node="a",
        nodes=[
            _failing(effects, "a", 9, max_retries=1),
            _node(effects, "b", more_keys=["why"]),
            _node(effects, "c"),
        ],
        edges=[
            _edge("a-c"),
            _edge("a-b", "on_failure", input_mapping={"why": "error"}),
            _edge("b-c"),
        ],
    )


def _pause(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="pause",
        entry_node="a",
        pause_nodes=["a", "b"],
        nodes=[
            _node(effects, "a"),
            _node(effects, "b", more_keys=["said"]),
            _node(effects, "c", more_keys=["said"]),
        ],
        edges=[_edge("a-b"), _edge("b-c")],
    )


def _failed(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="failed",
        entry_node="a",
        nodes=[_node(effects, "a"), _failing(effects, "b", 9, max_retries=2)],
        edges=[_edge("a-b")],
    )


def _exhausted(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="exhausted",
        entry_node="a",
        max_steps=8,
        nodes=[_node(effects, "a")],
        edges=[_edge("a-a")],
    )


def _branch(effects: Effects, name: str, waits: int = 0, fails: int = 0) -> NodeSpec:
    """A node of a branch, which lets others go on while it works."""

    async def work(ctx: NodeContext, n: int, log: list[Any], said: Any = None) -> dict[str, Any]:
        for _ in range(waits):
            await asyncio.sleep(0)
        effects.note(ctx)
        if ctx.attempt <= fails:
            raise ConnectionError(f"attempt {ctx.attempt}")
        return {"n": n + 1, "log": [*log, (name, ctx.visit)], name: said}

    return NodeSpec(
        id=name,
        input_keys=["n", "log", "said"],
        output_keys=["n", "log", name],
        backoff_seconds=0,
        max_retries=1,
        function=work,
    )


_MERGE = {"n": "add", "log": "append"}


def _parallel(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="parallel",
        entry_node="a",
        nodes=[
            _node(effects, "a"),
            *(_branch(effects, "b"), _branch(effects, "c", 3), _branch(effects, "d", 1)),
            *(_branch(effects, "e", 2, fails=1), _branch(effects, "f"), _node(effects, "j")),
        ],
        edges=[
            *(_edge("a-b"), _edge("b-c"), _edge("c-j")),
            *(_edge("a-d"), _edge("d-d", "conditional", condition_expr="visits.d < 2")),
            *(_edge("d-j", priority=-1), _edge("a-e"), _edge("e-f"), _edge("f-j")),
        ],
        parallel=[ParallelSpec.model_validate({"source": "a", "join": "j", "merge": _MERGE})],
    )


def _nested(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="nested",
        entry_node="a",
        pause_nodes=["f"],
        nodes=[
            _node(effects, "a"),
            *(_branch(effects, name, waits) for waits, name in enumerate("bcdefg")),
            _node(effects, "j"),
        ],
        edges=[
            *(_edge("a-b"), _edge("b-c"), _edge("b-d"), _edge("c-e"), _edge("d-e"), _edge("e-j")),
            *(_edge("a-f"), _edge("f-g"), _edge("g-j")),
        ],
        parallel=[
            ParallelSpec.model_validate({"source": source, "join": join, "merge": _MERGE})
            for source, join in (("a", "j"), ("b", "e"))
        ],
    )


def _broken(effects: Effects) -> GraphSpec:
    return GraphSpec(
        id="broken",
        entry_node="a",
        nodes=[
            _node(effects, "a"),
            *(_branch(effects, "b", 2), _branch(effects, "c", fails=9)),
            *(_branch(effects, "d", 1), _node(effects, "j")),
        ],
        edges=[_edge("a-b"), _edge("b-d"), _edge("d-j"), _edge("a-c"), _edge("c-j")],
        parallel=[ParallelSpec.model_validate({"source": "a", "join": "j", "merge": _MERGE})],
    )


def _outside(effects: Effects) -> GraphSpec:
    """Nodes that do things outside, of which each has to happen once, and that save states."""

    async def work(ctx: NodeContext, n: int, log: list[Any]) -> dict[str, Any]:
        first = await ctx.effect("first", effects.charge, ctx, "first")
        done = ctx.saved_state or []
        while len(done) < 2:
            done = [*done, (len(done), first)]
            await ctx.checkpoint(done)
        second = await ctx.effect("second", effects.charge, ctx, "second")
        effects.note(ctx)
        return {"n": n + 1, "log": [*log, (ctx.node_id, first, second, *done)]}

    keys = ["n", "log"]
    return GraphSpec(
        id="outside",
        entry_node="a",
        nodes=[
            NodeSpec(id=name, input_keys=keys, output_keys=keys, function=work) for name in "ab"
        ],
        edges=[_edge("a-b"), _edge("b-a", "conditional", condition_expr="n < 3")],
    )


FAMILY = {
    case.name: case
    for case in (
        Case("linear", attempts=4, commits=5, build=_linear),
        Case("router", attempts=8, commits=9, build=_router),
        Case("loop", attempts=8, commits=9, build=_loop),
        Case("retry", attempts=9, commits=10, build=_retry),
        Case("handled", attempts=4, commits=5, build=_handled),
        Case("pause", attempts=3, commits=6, build=_pause, answer={"said": "yes"}),
        Case("failed", attempts=4, commits=5, build=_failed, fails=True, again="b"),
        Case("exhausted", attempts=8, commits=10, build=_exhausted, fails=True),
        Case("parallel", attempts=9, commits=4, build=_parallel, at_once=3),
        Case("nested", attempts=8, commits=6, build=_nested, answer={"said": "yes"}, at_once=3),
        Case("broken", attempts=5, commits=3, build=_broken, fails=True, again="c", at_once=2),
        Case("outside", attempts=4, commits=13, build=_outside),
    )
}
