"""``GraphExecutor`` without a store: nodes, edges, retries, loops, pauses, failures."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hive import AgentRunner, CheckpointManager, ConflictError, InvalidInputError
from hive.graph import (
    EdgeCondition,
    EdgeSpec,
    ExecutionResult,
    Goal,
    GraphExecutor,
    GraphSpec,
    NodeContext,
    NodeResult,
    NodeSpec,
    Runtime,
)
from hive.plan import FlexibleGraphExecutor

PROJECT = Path(__file__).resolve().parents[2]
GOAL = Goal(id="goal", name="Test", context={"limit": 2})


def chain(*nodes: NodeSpec, **changes: Any) -> GraphSpec:
    """A graph that visits the nodes one after the other."""
    edges = [
        EdgeSpec(id=f"{a.id}-{b.id}", source=a.id, target=b.id)
        for a, b in itertools.pairwise(nodes)
    ]
    fields: dict[str, Any] = {"edges": edges, **changes}
    return GraphSpec(id="g", entry_node=nodes[0].id, nodes=list(nodes), **fields)


def edge(name: str, condition: str = "on_success", **changes: Any) -> EdgeSpec:
    """An edge from its name, such as ``a-b``."""
    source, target = name.split("-")
    return EdgeSpec(
        id=name, source=source, target=target, condition=EdgeCondition(condition), **changes
    )


def execute(
    graph: GraphSpec,
    input_data: dict[str, Any] | None = None,
    session_state: dict[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
    nodes: dict[str, Any] | None = None,
    waits: list[float] | None = None,
    **options: Any,
) -> ExecutionResult:
    """Execute a graph; waits before retries are noted and not made."""

    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    executor = GraphExecutor(runtime or Runtime(), None, nodes, sleep=sleep)
    return asyncio.run(executor.execute(graph, GOAL, input_data, session_state, **options))


def failing(times: int, *, error: Exception | None = None) -> Callable[..., dict[str, Any]]:
    """A function that fails so often before it succeeds."""
    calls = []

    def node() -> dict[str, Any]:
        calls.append(1)
        if len(calls) <= times:
            raise error or RuntimeError(f"call {len(calls)}")
        return {"calls": len(calls)}

    return node


def test_a_chain_of_functions_passes_memory_on() -> None:
    async def double(number: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"number": number * 2}

    result = execute(
        chain(
            NodeSpec(id="a", input_keys=["number"], function=double),
            NodeSpec(id="b", output_keys=["text"], function=lambda number: f"<{number}>"),
        ),
        {"number": 21},
        run="r",
    )
    assert result.success
    assert result.output == {"number": 42, "text": "<42>"}
    assert result.path == ["a", "b"]
    assert (result.steps_executed, result.visits, result.retries) == (2, {"a": 1, "b": 1}, {})
    assert (result.run_id, result.checkpoint_id, result.session_state) == ("r", None, {})


def test_runs_without_a_name_get_different_ones() -> None:
    graph = chain(NodeSpec(id="a", function=dict))
    assert execute(graph).run_id != execute(graph).run_id


def test_a_registered_function_goes_before_the_specs_own() -> None:
    executor = GraphExecutor(Runtime())
    executor.register_function("a", lambda: {"from": "registered"})
    graph = chain(NodeSpec(id="a", function=lambda: {"from": "spec"}))
    assert asyncio.run(executor.execute(graph, GOAL)).output == {"from": "registered"}


def test_a_functions_arguments_come_from_input_then_memory_and_ctx_is_the_context() -> None:
    seen: list[Any] = []

    def second(a: int, kept: str, missing: str = "default", *, ctx: NodeContext) -> None:
        seen.extend([a, kept, missing, ctx.node_id, ctx.attempt, ctx.max_attempts, ctx.goal.id])

    def everything(**given: Any) -> None:
        seen.append(given)

    result = execute(
        chain(
            NodeSpec(id="first", function=lambda: {"a": 2}),
            NodeSpec(id="second", function=second),
            NodeSpec(id="third", input_keys=["a", "kept", "nowhere"], function=everything),
        ),
        {"a": 1, "kept": "k"},
    )
    assert result.success, result.error
    assert seen == [2, "k", "default", "second", 1, 4, "goal", {"a": 2, "kept": "k"}]


@pytest.mark.parametrize(
    ("output_keys", "value", "memory"),
    [
        (["x"], {"x": 1, "y": 2}, {"x": 1}),
        ([], {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        (["x"], 5, {"x": 5}),
        (["x"], None, {"x": None}),
        ([], None, {}),
        (["x", "y"], None, {}),
        (["x"], {}, {}),
    ],
)
def test_what_a_function_returns_goes_to_memory(
    output_keys: list[str], value: object, memory: dict[str, Any]
) -> None:
    result = execute(chain(NodeSpec(id="a", output_keys=output_keys, function=lambda: value)))
    assert result.success
    assert result.output == memory


@pytest.mark.parametrize(
    ("output_keys", "value", "error"),
    [
        ([], 5, "declares 0 output_keys"),
        (["x", "y"], 5, "declares 2 output_keys"),
        (["x"], {"y": 1}, "none of its output_keys"),
        ([], {1: 2}, "not text"),
        ([], {"lock": threading.Lock()}, "cannot be copied"),
    ],
)
def test_what_cannot_go_to_memory_fails_the_node(
    output_keys: list[str], value: object, error: str
) -> None:
    spec = NodeSpec(id="a", output_keys=output_keys, max_retries=0, function=lambda: value)
    result = execute(chain(spec))
    assert not result.success
    assert error in str(result.error)
    assert result.output == {}


class Recording:
    """A node object that gives prepared results and notes its contexts."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.contexts: list[NodeContext] = []

    async def execute(self, ctx: NodeContext) -> NodeResult:
        self.contexts.append(ctx)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        checked: NodeResult = result  # or what a test gives in its place
        return checked


def test_a_node_object_reads_and_writes_memory_and_counts_tokens() -> None:
    class Writer:
        async def execute(self, ctx: NodeContext) -> NodeResult:
            ctx.memory.write("out", ctx.memory.read("in") + 1)
            assert ctx.memory.read("out") == 2
            return NodeResult(success=True, output={"score": 9}, tokens_used=7, latency_ms=11)

    spec = NodeSpec(id="a", node_type="llm", input_keys=["in"], output_keys=["out"])
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[spec, NodeSpec(id="b", function=lambda: {"took": "b"})],
        edges=[edge("a-b", "conditional", condition_expr="output.score == 9")],
    )
    result = execute(graph, {"in": 1}, nodes={"a": Writer()})
    assert result.output == {"in": 1, "out": 2, "took": "b"}
    assert result.total_tokens == 7
    assert result.total_latency_ms >= 11


def test_a_node_object_may_choose_the_next_node() -> None:
    node = Recording(NodeResult(success=True, output={"x": 1}, next_node="c"))
    graph = chain(
        NodeSpec(id="a", node_type="planner"),
        NodeSpec(id="b", function=dict),
        NodeSpec(id="c", function=lambda x: {"y": x}),
    )
    assert execute(graph, nodes={"a": node}).path == ["a", "c"]


@pytest.mark.parametrize(
    "returned",
    [
        None,
        {"success": True},
        NodeResult(success=True, output=[1]),  # type: ignore[arg-type]
        NodeResult(success=True, output={1: 2}),  # type: ignore[dict-item]
        NodeResult(success=True, next_node="nowhere"),
        NodeResult(success=True, tokens_used=-1),
        NodeResult(success=True, tokens_used=None),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_result_is_a_failed_attempt(returned: Any) -> None:
    spec = NodeSpec(id="a", node_type="x", max_retries=1)
    result = execute(chain(spec), nodes={"a": Recording(returned, NodeResult(success=True))})
    assert result.success
    assert result.retries == {"a": 1}


def test_changing_what_a_node_got_or_gave_changes_no_memory() -> None:
    kept: list[Any] = []

    def first(items: list[int]) -> dict[str, list[int]]:
        items.append(99)
        kept.append(made := [1])
        return {"made": made}

    def second(made: list[int]) -> None:
        kept[0].append(2)
        made.append(3)

    result = execute(
        chain(NodeSpec(id="a", function=first), NodeSpec(id="b", function=second)),
        {"items": [0]},
    )
    assert result.output == {"items": [0], "made": [1]}


@pytest.mark.parametrize("max_retries", [0, 1, 5])
def test_max_retries_are_made_and_no_more(max_retries: int) -> None:
    waits: list[float] = []
    spec = NodeSpec(id="a", max_retries=max_retries, backoff_seconds=1, backoff_max_seconds=6)
    executor_calls = Recording(*[NodeResult(success=False, error="no") for _ in range(9)])
    result = execute(
        chain(spec.model_copy(update={"node_type": "x"})),
        nodes={"a": executor_calls},
        waits=waits,
    )
    assert not result.success
    attempts = [ctx.attempt for ctx in executor_calls.contexts]
    assert attempts == list(range(1, max_retries + 2))
    assert {ctx.max_attempts for ctx in executor_calls.contexts} == {max_retries + 1}
    assert waits == [1, 2, 4, 6, 6][:max_retries]
    assert f"after {max_retries + 1} attempt" in str(result.error)
    assert (result.path, result.steps_executed) == (["a"], 1)
    assert result.retries == ({"a": max_retries} if max_retries else {})


def test_an_exception_is_retried_like_a_failed_result() -> None:
    result = execute(chain(NodeSpec(id="a", max_retries=2, function=failing(2))))
    assert result.success
    assert result.output == {"calls": 3}
    assert result.retries == {"a": 2}


@pytest.mark.parametrize(
    ("retry_on", "failure", "retried"),
    [
        (["ConnectionError"], ConnectionError("x"), True),
        (["OSError"], ConnectionError("x"), True),
        (["builtins.OSError"], ConnectionError("x"), True),
        (["ConnectionError"], OSError("x"), False),
        (["Exception"], ValueError("x"), True),
        (["TimeoutError"], NodeResult(success=False, error="TimeoutError: late"), True),
        (["TimeoutError"], NodeResult(success=False, error="late"), False),
        ([], NodeResult(success=False), True),
    ],
)
def test_retry_on_names_what_is_worth_a_retry(
    retry_on: list[str], failure: Any, retried: bool
) -> None:
    node = Recording(failure, NodeResult(success=True))
    spec = NodeSpec(id="a", node_type="x", retry_on=retry_on)
    result = execute(chain(spec), nodes={"a": node})
    assert result.success is retried
    assert len(node.contexts) == 1 + retried


def test_a_failed_attempt_leaves_no_trace_in_memory() -> None:
    def node(ctx: NodeContext, items: list[int]) -> dict[str, Any]:
        items.append(1)
        ctx.memory.write("partial", ctx.attempt)
        if ctx.attempt < 3:
            raise RuntimeError
        return {"items": items, "seen": ctx.memory.read("partial")}

    result = execute(chain(NodeSpec(id="a", function=node)), {"items": []})
    assert result.output == {"items": [1], "partial": 3, "seen": 3}


def test_all_attempts_of_a_visit_have_one_idempotency_key_and_visits_have_others() -> None:
    contexts: list[NodeContext] = []

    def node(ctx: NodeContext) -> None:
        contexts.append(ctx)
        if ctx.attempt == 1:
            raise RuntimeError

    graph = chain(
        NodeSpec(id="a", function=node),
        edges=[edge("a-a", "conditional", condition_expr="visits.a < 2")],
    )
    execute(graph, run="one")
    execute(graph, run="two")
    keys = [context.idempotency_key for context in contexts]
    assert len(keys) == 8
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 4
    assert [(context.visit, context.attempt) for context in contexts[:4]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]


def test_the_default_edge_is_not_followed_after_a_failure() -> None:
    spec = NodeSpec(id="a", max_retries=0, function=failing(9))
    result = execute(chain(spec, NodeSpec(id="b", function=dict)))
    assert not result.success
    assert result.path == ["a"]
    assert result.error == "node 'a' failed after 1 attempt: RuntimeError: call 1"


@pytest.mark.parametrize("condition", ["on_failure", "always"])
def test_an_edge_takes_a_failure_with_its_reason(condition: str) -> None:
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", max_retries=1, function=failing(9)),
            NodeSpec(id="b", function=dict),
            NodeSpec(id="c", function=lambda why: {"handled": why}),
        ],
        edges=[edge("a-b"), edge("a-c", condition, input_mapping={"why": "error"})],
    )
    result = execute(graph)
    assert result.success
    assert result.path == ["a", "c"]
    assert result.output == {"why": "RuntimeError: call 2", "handled": "RuntimeError: call 2"}
    assert result.retries == {"a": 1}


def test_of_several_matching_edges_priority_then_declaration_decides() -> None:
    nodes = [NodeSpec(id=name, function=dict) for name in "abcd"]
    edges = [edge("a-b"), edge("a-c", priority=2), edge("a-d", priority=2)]
    graph = GraphSpec(id="g", entry_node="a", nodes=nodes, edges=edges)
    assert execute(graph).path == ["a", "c"]
    reordered = graph.model_copy(update={"edges": [*edges[:1], edges[2], edges[1]]})
    assert execute(reordered).path == ["a", "d"]


def test_conditions_see_output_memory_goal_and_counts() -> None:
    expression = (
        "output.n == 2 and memory['n'] == 2 and n == 2 and result == 'r' "
        "and goal.context.limit == 2 and visits.a == 1 and steps == 1"
    )
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", function=lambda: {"n": 2, "result": "r"}),
            NodeSpec(id="b", function=dict),
            NodeSpec(id="c", function=dict),
        ],
        edges=[
            edge("a-b", priority=-1),
            edge("a-c", "conditional", condition_expr=expression),
        ],
    )
    assert execute(graph).path == ["a", "c"]


def test_a_mapping_renames_from_output_then_memory() -> None:
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", function=lambda: {"made": 1}),
            NodeSpec(id="b", function=lambda **given: {"given": given}),
        ],
        edges=[edge("a-b", input_mapping={"x": "made", "y": "start"})],
    )
    result = execute(graph, {"start": 0})
    assert result.output == {"start": 0, "made": 1, "x": 1, "y": 0, "given": {"x": 1, "y": 0}}


def test_a_condition_that_cannot_be_computed_fails_the_run_and_not_silently() -> None:
    graph = chain(
        NodeSpec(id="a", function=dict),
        NodeSpec(id="b", function=dict),
        edges=[edge("a-b", "conditional", condition_expr="output.score > 1")],
    )
    result = execute(graph)
    assert not result.success
    assert result.path == ["a"]
    assert "edge 'a-b'" in str(result.error)
    assert "no key 'score'" in str(result.error)


def test_a_mapping_from_nowhere_fails_the_run() -> None:
    graph = chain(
        NodeSpec(id="a", function=dict),
        NodeSpec(id="b", function=dict),
        edges=[edge("a-b", input_mapping={"x": "nowhere"})],
    )
    assert "neither in the output of 'a' nor in memory" in str(execute(graph).error)


def test_a_dead_end_completes_only_where_no_terminal_nodes_are_declared() -> None:
    nodes = [NodeSpec(id="a", function=dict), NodeSpec(id="b", function=dict)]
    edges = [edge("a-b", "conditional", condition_expr="false")]
    graph = GraphSpec(id="g", entry_node="a", nodes=nodes, edges=edges)
    assert execute(graph).success
    strict = execute(graph.model_copy(update={"terminal_nodes": ["b"]}))
    assert not strict.success
    assert "no edge leads on from node 'a'" in str(strict.error)


def test_a_terminal_node_ends_the_run_on_success_but_its_failure_edge_is_followed() -> None:
    def run(times: int) -> list[str]:
        graph = GraphSpec(
            id="g",
            entry_node="a",
            terminal_nodes=["a", "b"],
            nodes=[
                NodeSpec(id="a", max_retries=0, function=failing(times)),
                NodeSpec(id="b", function=dict),
            ],
            edges=[edge("a-b", "on_failure")],
        )
        return execute(graph).path

    assert run(0) == ["a"]
    assert run(1) == ["a", "b"]


@pytest.mark.parametrize(
    ("answer", "path"), [("left", ["r", "a"]), ("right", ["r", "b"]), ("odd", ["r", "a"])]
)
def test_a_router_follows_its_routes_and_passes_its_input_on(answer: str, path: list[str]) -> None:
    graph = GraphSpec(
        id="g",
        entry_node="r",
        nodes=[
            NodeSpec(
                id="r",
                node_type="router",
                routes={"left": "a", "right": "b", "default": "a"},
                output_keys=["route"],
                function=lambda side: side,
            ),
            NodeSpec(id="a", function=lambda side: {"a": side}),
            NodeSpec(id="b", function=lambda side: {"b": side}),
        ],
    )
    result = execute(graph, {"side": answer})
    assert result.success, result.error
    assert result.path == path
    assert result.output == {"side": answer, "route": answer, path[1]: answer}


def test_an_error_that_cannot_tell_its_text_fails_an_attempt_as_any_other() -> None:
    class Untold(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

    result = execute(
        chain(NodeSpec(id="a", backoff_seconds=0, function=failing(1, error=Untold())))
    )
    assert (result.success, result.retries) == (True, {"a": 1})
    result = execute(chain(NodeSpec(id="a", max_retries=0, function=failing(9, error=Untold()))))
    assert "Untold: (its text cannot be had: RuntimeError)" in str(result.error)


def test_a_router_without_routes_returns_node_ids_and_its_edge_maps() -> None:
    graph = GraphSpec(
        id="g",
        entry_node="r",
        nodes=[
            NodeSpec(id="r", node_type="router", function=lambda: "b"),
            NodeSpec(id="a", function=dict),
            NodeSpec(id="b", function=lambda y: {"z": y}),
        ],
        edges=[edge("r-a", priority=9), edge("r-b", input_mapping={"y": "x"})],
    )
    assert execute(graph, {"x": 1}).output == {"x": 1, "y": 1, "z": 1}


@pytest.mark.parametrize(
    ("answer", "error"),
    [("up", "not among ['left']"), (3, "returned an int"), (None, "returned a NoneType")],
)
def test_an_unknown_route_fails_the_router(answer: object, error: str) -> None:
    graph = GraphSpec(
        id="g",
        entry_node="r",
        nodes=[
            NodeSpec(
                id="r",
                node_type="router",
                routes={"left": "a"},
                max_retries=0,
                function=lambda: answer,
            ),
            NodeSpec(id="a", function=dict),
        ],
    )
    assert error in str(execute(graph).error)


def counting(max_steps: int = 100, **node: Any) -> GraphSpec:
    """A loop that counts to five."""
    return GraphSpec(
        id="loop",
        entry_node="work",
        max_steps=max_steps,
        nodes=[NodeSpec(id="work", function=lambda n: {"n": n + 1}, **node)],
        edges=[edge("work-work", "conditional", condition_expr="n < 5")],
    )


def test_a_loop_counts_its_visits() -> None:
    result = execute(counting(), {"n": 0})
    assert result.success
    assert result.output == {"n": 5}
    assert result.visits == {"work": 5}
    assert result.path == ["work"] * 5


def test_running_out_of_steps_is_a_failure() -> None:
    result = execute(counting(max_steps=3), {"n": 0})
    assert not result.success
    assert result.error == "max_steps (3) reached before node 'work'"
    assert (result.steps_executed, result.output) == (3, {"n": 3})
    assert execute(counting(max_steps=5), {"n": 0}).success


def test_running_out_of_visits_is_a_failure() -> None:
    result = execute(counting(max_visits=2), {"n": 0})
    assert not result.success
    assert result.error == "max_visits (2) of node 'work' reached"


def pausing(**changes: Any) -> GraphSpec:
    """Ask, wait for the answer, use it."""
    return chain(
        NodeSpec(id="ask", function=lambda: {"question": "?"}),
        NodeSpec(id="use", function=lambda question, answer="none": {"used": question + answer}),
        **{"pause_nodes": ["ask"], **changes},
    )


def test_a_pause_returns_a_session_that_continues_after_it_with_new_input() -> None:
    first = execute(pausing(), {"topic": "t"}, run="r")
    assert first.success
    assert (first.paused_at, first.path, first.steps_executed) == ("ask", ["ask"], 1)
    assert first.session_state["next_node"] == "use"
    second = execute(pausing(), {"answer": "yes"}, first.session_state)
    assert second.success
    assert second.run_id == "r"
    assert (second.paused_at, second.path, second.steps_executed) == (None, ["ask", "use"], 2)
    assert second.output == {"topic": "t", "question": "?", "answer": "yes", "used": "?yes"}


def test_pausing_does_not_reset_the_count_of_steps() -> None:
    graph = counting(max_steps=3).model_copy(update={"pause_nodes": ["work"]})
    result = execute(graph, {"n": 0})
    for _ in range(2):
        assert result.paused_at == "work"
        result = execute(graph, None, result.session_state)
    result = execute(graph, None, result.session_state)
    assert not result.success
    assert "max_steps (3)" in str(result.error)


def test_a_pause_may_continue_at_its_own_entry_point() -> None:
    graph = GraphSpec(
        id="g",
        entry_node="ask",
        pause_nodes=["ask"],
        entry_points={"ask_resume": "use"},
        nodes=[NodeSpec(id="ask", function=dict), NodeSpec(id="use", function=lambda a: {"b": a})],
    )
    paused = execute(graph)
    assert execute(graph, {"a": 1}, paused.session_state).output == {"a": 1, "b": 1}


def test_an_entry_point_behind_a_pause_gets_what_the_pause_gave_and_the_new_input() -> None:
    graph = GraphSpec(
        id="g",
        entry_node="ask",
        pause_nodes=["ask"],
        entry_points={"ask_resume": "use"},
        nodes=[
            NodeSpec(id="ask", function=lambda: {"question": "?"}),
            NodeSpec(id="use", function=lambda ctx: {"got": dict(ctx.input_data)}),
        ],
    )
    paused = execute(graph, {"topic": "t"})
    done = execute(graph, {"answer": 1}, paused.session_state)
    assert done.output["got"] == {"question": "?", "answer": 1}


def test_a_pause_at_the_last_node_completes_when_continued() -> None:
    graph = chain(NodeSpec(id="a", function=dict), pause_nodes=["a"], terminal_nodes=["a"])
    paused = execute(graph)
    assert paused.paused_at == "a"
    done = execute(graph, {"said": "ok"}, paused.session_state)
    assert (done.success, done.paused_at, done.path) == (True, None, ["a"])
    assert done.output == {"said": "ok"}


def test_a_session_made_by_hand_starts_at_an_entry_point_with_its_memory() -> None:
    graph = pausing(entry_points={"later": "use"})
    by_name = {"memory": {"question": "q"}, "resume_from": "later"}
    assert execute(graph, None, by_name).path == ["use"]
    by_node = {"memory": {"question": "q"}, "resume_from": "use"}
    assert execute(graph, {"answer": "a"}, by_node).output["used"] == "qa"
    with pytest.raises(InvalidInputError, match="neither an entry point nor a node"):
        execute(graph, None, {"resume_from": "nowhere"})


@pytest.mark.parametrize(
    "damage",
    [
        {"memory": 3},
        {"progress": 3},
        {"progress": {}},
        {"progress": {"executor": "graph", "format": 1, "steps": "three"}},
        {"run_id": "\x00"},
    ],
)
def test_a_malformed_session_is_refused(damage: dict[str, Any]) -> None:
    state = {**execute(pausing()).session_state, **damage}
    with pytest.raises(InvalidInputError):
        execute(pausing(), None, state)


def test_a_session_of_a_changed_graph_is_refused_with_what_changed_unless_accepted() -> None:
    state = execute(pausing()).session_state
    changed = pausing(max_steps=7)
    with pytest.raises(ConflictError, match=r"graph.max_steps: 100 -> 7"):
        execute(changed, None, state)
    assert execute(changed, None, state, accept_changed_graph=True).path == ["ask", "use"]


def test_a_failed_run_continues_at_the_node_that_failed_with_new_attempts() -> None:
    function = failing(3)
    graph = chain(
        NodeSpec(id="a", function=lambda: {"a": 1}),
        NodeSpec(id="b", max_retries=1, function=function),
    )
    failed = execute(graph)
    assert not failed.success
    assert failed.path == ["a", "b"]
    done = execute(graph, None, failed.session_state)
    assert done.success
    assert done.path == ["a", "b"]
    assert done.output == {"a": 1, "calls": 4}


def test_a_run_whose_routing_failed_repeats_the_routing_and_not_the_node() -> None:
    calls: list[int] = []

    def graph(expression: str) -> GraphSpec:
        return GraphSpec(
            id="g",
            entry_node="a",
            nodes=[
                NodeSpec(id="a", function=lambda: calls.append(1)),
                NodeSpec(id="b", function=lambda: {"b": 1}),
            ],
            edges=[edge("a-b", "conditional", condition_expr=expression)],
        )

    failed = execute(graph("wrong > 1"))
    done = execute(graph("true"), None, failed.session_state, accept_changed_graph=True)
    assert done.path == ["a", "b"]
    assert calls == [1]


def test_decisions_and_problems_are_reported_and_survive_a_session() -> None:
    def graph() -> GraphSpec:
        def think(ctx: NodeContext) -> None:
            decision = ctx.decide("pick", options=["x", "y"], chosen="x", reasoning="nicer")
            ctx.runtime.record_outcome(decision, True, summary="fine", run=ctx.run)

        return GraphSpec(
            id="g",
            entry_node="think",
            pause_nodes=["think"],
            nodes=[
                NodeSpec(id="think", function=think),
                NodeSpec(id="r", node_type="router", function=lambda: "end"),
                NodeSpec(id="end", function=failing(1)),
            ],
            edges=[edge("think-r")],
        )

    before, after = Runtime(), Runtime()
    paused = execute(graph(), runtime=before, run="r")
    assert before.record("r").narrative == "paused after think (1 steps)"
    execute(graph(), None, paused.session_state, runtime=after)
    report = after.record("r")
    assert [(d.id, d.node_id, d.chosen) for d in report.decisions] == [
        ("d1", "think", "x"),
        ("d2", "r", "end"),
    ]
    assert report.decisions[0].outcome is not None
    assert report.decisions[0].outcome.summary == "fine"
    assert [(p.severity, p.node_id) for p in report.problems] == [("warning", "end")]
    assert report.success is True


def test_cancellation_is_not_a_failed_attempt() -> None:
    calls: list[int] = []

    async def forever() -> None:
        calls.append(1)
        await asyncio.sleep(60)

    async def main() -> Runtime:
        runtime = Runtime()
        executor = GraphExecutor(runtime)
        graph = chain(NodeSpec(id="a", function=forever))
        task = asyncio.create_task(executor.execute(graph, GOAL, run="r"))
        while not calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return runtime

    report = asyncio.run(main()).record("r")
    assert calls == [1]
    assert report.success is False
    assert report.narrative == "interrupted by CancelledError"


def test_everything_wrong_with_a_graph_is_said_before_anything_runs() -> None:
    calls: list[int] = []
    graph = chain(
        NodeSpec(id="a", function=lambda: calls.append(1)),
        NodeSpec(id="b"),
        NodeSpec(id="c", node_type="llm"),
        terminal_nodes=["x"],
    )
    with pytest.raises(InvalidInputError) as caught:
        execute(graph)
    for part in ("terminal_nodes[0]", "call register_function", "call register_node"):
        assert part in str(caught.value)
    assert calls == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "resume needs an enabled checkpoint_manager"),
        ({"resume": "r@1"}, "resume needs an enabled checkpoint_manager"),
        ({"resume": True, "session_state": {"memory": {}}}, "not both"),
        ({"run": ""}, "1 to 1024 bytes"),
        ({"run": "a\nb"}, "control characters"),
        ({"run": "\ud800"}, "surrogate"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        execute(chain(NodeSpec(id="a", function=dict)), **options)


@pytest.mark.parametrize("given", [[1], "text", {1: 2}, {"lock": threading.Lock()}])
def test_input_is_data_under_text_keys(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="input_data"):
        execute(chain(NodeSpec(id="a", function=dict)), given)


def test_only_what_can_run_is_registered() -> None:
    executor = GraphExecutor(Runtime())
    with pytest.raises(InvalidInputError, match="cannot be called"):
        executor.register_function("a", 3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no method execute"):
        executor.register_node("a", object())  # type: ignore[arg-type]


ONE: Any = chain(NodeSpec(id="a", function=dict))
MISTAKES: dict[str, Callable[[], Any]] = {
    "pass a GraphSpec": lambda: asyncio.run(GraphExecutor(Runtime()).execute({"id": "g"}, GOAL)),  # type: ignore[arg-type]
    "pass a Goal": lambda: asyncio.run(GraphExecutor(Runtime()).execute(ONE, "to test")),  # type: ignore[arg-type]
    "pass a Plan": lambda: asyncio.run(FlexibleGraphExecutor(Runtime()).execute_plan(ONE, GOAL)),
    r"the class Runtime: pass Runtime\(\)": lambda: GraphExecutor(Runtime),  # type: ignore[arg-type]
    "pass a CheckpointManager": lambda: GraphExecutor(Runtime(), "store"),  # type: ignore[arg-type]
    "node_registry is a mapping": lambda: GraphExecutor(Runtime(), None, [print]),  # type: ignore[arg-type]
    "functions is a mapping": lambda: FlexibleGraphExecutor(Runtime(), None, [print]),  # type: ignore[arg-type]
    "pass an ExecutorConfig": lambda: FlexibleGraphExecutor(Runtime(), config={}),  # type: ignore[arg-type]
    "pass a CheckpointConfig": lambda: CheckpointManager("store", {}),  # type: ignore[arg-type]
    "pass a StateSchema": lambda: CheckpointManager("store", schema=2),  # type: ignore[arg-type]
    "pass a str": lambda: CheckpointManager("store").save({}, "r"),  # type: ignore[arg-type]
    "pass an Agent": lambda: AgentRunner(ONE, "store"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_what_is_no_graph_goal_or_manager_is_named(message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        MISTAKES[message]()


def test_a_printed_result_leaves_out_what_only_a_program_reads() -> None:
    result = execute(chain(NodeSpec(id="a", function=lambda: 1 / 0, max_retries=0)))
    assert "entry_node" in str(result.session_state)
    assert len(repr(result)) < 600


def test_two_runs_of_one_executor_do_not_mix() -> None:
    async def slow(ctx: NodeContext, n: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        ctx.decide("count", chosen=str(n))
        return {"n": n + 1}

    async def main() -> tuple[list[ExecutionResult], Runtime]:
        runtime = Runtime()
        executor = GraphExecutor(runtime)
        executor.register_function("work", slow)
        runs: list[Awaitable[ExecutionResult]] = [
            executor.execute(counting(), GOAL, {"n": number}, run=f"r{number}")
            for number in range(5)
        ]
        return list(await asyncio.gather(*runs)), runtime

    results, runtime = asyncio.run(main())
    assert [result.steps_executed for result in results] == [5, 4, 3, 2, 1]
    assert [len(record.decisions) for record in runtime.runs()] == [5, 4, 3, 2, 1]


def test_without_a_manager_no_store_is_imported_and_nothing_written(tmp_path: Any) -> None:
    program = """
import asyncio, os, sys
from hive.graph import GraphExecutor, GraphSpec, Goal, NodeSpec, Runtime
node = NodeSpec(id="a", function=lambda ctx: {"k": ctx.idempotency_key})
graph = GraphSpec(id="g", entry_node="a", nodes=[node])
result = asyncio.run(GraphExecutor(Runtime()).execute(graph, Goal(id="x")))
assert len(result.output["k"]) == 64
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"cas", "manifests", "lmdb", "cbor2", "zstandard", "numpy", "typer"}))
print(os.listdir("."))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "[]\n[]\n"
