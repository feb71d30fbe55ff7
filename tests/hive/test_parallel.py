"""Parallel branches: fan-out, memory of their own, merging, failures, pauses, nesting."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from hive import InvalidInputError
from hive.graph import (
    EdgeCondition,
    EdgeSpec,
    ExecutionResult,
    Goal,
    GraphExecutor,
    GraphSpec,
    MergeRule,
    NodeContext,
    NodeResult,
    NodeSpec,
    ParallelSpec,
    Runtime,
)
from hive.graph.merging import merge

GOAL = Goal(id="goal")


def edge(name: str, condition: str = "on_success", **changes: Any) -> EdgeSpec:
    """An edge from its name, such as ``a-b``."""
    source, target = name.split("-")
    return EdgeSpec(
        id=name, source=source, target=target, condition=EdgeCondition(condition), **changes
    )


def fan(functions: Mapping[str, Any], edges: list[EdgeSpec | str], **changes: Any) -> GraphSpec:
    """A graph whose node ``s`` begins branches that meet at ``j``."""
    everything: dict[str, Any] = {"s": lambda: {}, "j": lambda: {}, **functions}
    nodes = [
        node
        if isinstance(node, NodeSpec)
        else NodeSpec(id=name, function=node, max_retries=0, backoff_seconds=0)
        for name, node in everything.items()
    ]
    parallel = changes.pop("parallel", [{}])
    fields: dict[str, Any] = {
        "id": "fan",
        "entry_node": "s",
        "nodes": nodes,
        "edges": [edge(item) if isinstance(item, str) else item for item in edges],
        "parallel": [ParallelSpec(**{"source": "s", "join": "j", **spec}) for spec in parallel],
        **changes,
    }
    return GraphSpec(**fields)


def execute(
    graph: GraphSpec,
    given: dict[str, Any] | None = None,
    session: dict[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
    **options: Any,
) -> ExecutionResult:
    executor = GraphExecutor(runtime or Runtime(), timer=lambda: 0.0)
    return asyncio.run(executor.execute(graph, GOAL, given, session, run="r", **options))


def test_branches_run_at_the_same_time_and_meet_once() -> None:
    going: list[str] = []

    def branch(name: str) -> Any:
        async def work() -> dict[str, Any]:
            going.append(name)
            while len(going) < 3:  # all three have begun before any ends
                await asyncio.sleep(0)
            return {name: name.upper()}

        return work

    joined: list[dict[str, Any]] = []

    def join(**seen: Any) -> dict[str, Any]:
        joined.append(seen)
        return {"done": True}

    graph = fan(
        {"a": branch("a"), "b": branch("b"), "c": branch("c"), "j": join},
        ["s-a", "s-b", "s-c", "a-j", "b-j", "c-j"],
    )
    result = execute(graph, {"n": 1})
    assert result.success
    assert result.output == {"n": 1, "a": "A", "b": "B", "c": "C", "done": True}
    assert result.path == ["s", "a", "b", "c", "j"]
    assert result.steps_executed == 5
    assert joined == [{"a": "A", "b": "B", "c": "C"}]


def test_each_branch_sees_what_was_there_and_what_it_wrote_and_nothing_else() -> None:
    seen: dict[str, Any] = {}

    def first(ctx: NodeContext) -> dict[str, Any]:
        seen[ctx.node_id] = ctx.memory.read_all()
        return {"mine": ctx.node_id}

    graph = fan(
        {"a": first, "a2": first, "b": first, "b2": first},
        [
            edge("s-a", input_mapping={"part": "left"}),
            edge("s-b", input_mapping={"part": "right"}),
            *("a-a2", "a2-j", "b-b2", "b2-j"),
        ],
        parallel=[{"merge": {"mine": "collect"}}],
    )
    result = execute(graph, {"left": 1, "right": 2})
    before = {"left": 1, "right": 2}
    assert seen == {
        "a": {**before, "part": 1},
        "a2": {**before, "part": 1, "mine": "a"},
        "b": {**before, "part": 2},
        "b2": {**before, "part": 2, "mine": "b"},
    }
    # What an edge gave to one branch is not written by it.
    assert result.output == {**before, "mine": ["a2", "b2"]}
    assert result.path == ["s", "a", "a2", "b", "b2", "j"]


def test_the_order_of_merging_is_declared_and_not_that_of_ending() -> None:
    def branch(name: str, ticks: int) -> Any:
        async def work(ctx: NodeContext) -> dict[str, Any]:
            ctx.decide("what", chosen=name)
            for _ in range(ticks):
                await asyncio.sleep(0)
            return {"all": [name], "last": name}

        return work

    for ticks in ((0, 9), (9, 0)):
        runtime = Runtime()
        graph = fan(
            {"a": branch("a", ticks[0]), "b": branch("b", ticks[1])},
            ["s-b", "s-a", "a-j", "b-j"],
            parallel=[{"merge": {"all": "append", "last": "last"}}],
        )
        result = execute(graph, runtime=runtime)
        assert result.output == {"all": ["b", "a"], "last": "a"}
        assert result.path == ["s", "b", "a", "j"]
        assert [item.id for item in runtime.record("r").decisions] == [
            "d1", "s-b#1.d1", "s-a#1.d1",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "before", "left", "right", "merged"),
    [
        ("error", 0, 5, 5, 5),
        ("first", 0, 1, 2, 1),
        ("last", 0, 1, 2, 2),
        ("collect", 0, 1, 2, [1, 2]),
        ("append", ["x"], ["x", "l"], ["x", "r", "r"], ["x", "l", "r", "r"]),
        ("update", {"x": 0, "y": 0}, {"x": 1, "y": 0}, {"x": 0, "z": 2}, {"x": 1, "z": 2}),
        ("add", 10, 11, 15, 16),
        ("drop", "kept", 1, 2, "kept"),
    ],
)
def test_what_several_branches_wrote_is_merged_as_declared(
    rule: str, before: Any, left: Any, right: Any, merged: Any
) -> None:
    graph = fan(
        {"a": lambda: {"k": left}, "b": lambda: {"k": right}},
        ["s-a", "s-b", "a-j", "b-j"],
        parallel=[{"merge": {"k": rule}}],
    )
    result = execute(graph, {"k": before})
    assert result.success, result.error
    assert result.output == {"k": merged}


@pytest.mark.parametrize(
    ("rule", "before", "left", "right", "message"),
    [
        ("error", 0, 1, 2, "'s-a' and 's-b' wrote different values to memory key 'k'"),
        ("error", 0, 1, True, "different values"),
        ("append", ["x"], ["x", 1], [2], "'s-b' changed what the list held before"),
        ("append", "x", "xy", "xz", "was no list"),
        ("update", {"x": 0}, {"x": 1}, {"x": 2}, "'s-a' and 's-b' changed the same entry"),
        ("add", "x", 1, 2, "no number"),
        ("add", 1, 1.5, Decimal(2), "'k' cannot be merged by 'add': TypeError"),
    ],
)
def test_a_conflict_fails_the_run_and_a_changed_rule_mends_it(
    rule: str, before: Any, left: Any, right: Any, message: str
) -> None:
    ran: list[str] = []

    def writes(value: Any) -> Any:
        def work(ctx: NodeContext) -> dict[str, Any]:
            ran.append(ctx.node_id)
            return {"k": value}

        return work

    def graph(rule: str) -> GraphSpec:
        return fan(
            {"a": writes(left), "b": writes(right)},
            ["s-a", "s-b", "a-j", "b-j"],
            parallel=[{"merge": {"k": rule}}],
        )

    failed = execute(graph(rule), {"k": before})
    assert not failed.success
    assert message in str(failed.error)
    assert failed.output == {"k": before}
    assert failed.path == ["s", "a", "b"]
    mended = execute(graph("last"), None, failed.session_state, accept_changed_graph=True)
    assert mended.output == {"k": right}
    assert sorted(ran) == ["a", "b"]  # what was done is not done again


NONE = object()
"""Stands for a key that was not in memory before, or that a branch did not write."""


def merged(rule: str, before: Any, left: Any, right: Any) -> Any:
    """Merge what two branches wrote to one memory key."""
    written = {"l": left, "r": right}
    return merge(
        {} if before is NONE else {"k": before},
        {name: {"k": value} for name, value in written.items() if value is not NONE},
        {"k": MergeRule(rule)},
    )["k"]


@pytest.mark.parametrize(
    ("rule", "before", "left", "right", "result"),
    [
        # What one branch alone wrote stands as it is, whatever the rule; but collected is listed.
        ("append", ["x"], ["y"], NONE, ["y"]),
        ("update", "x", NONE, 1, 1),
        ("add", "x", "y", NONE, "y"),
        ("collect", 0, NONE, 1, [1]),
        # What was not there before is as good as empty.
        ("append", NONE, [1], [1, 2], [1, 1, 2]),
        ("update", NONE, {"x": 1}, {"y": 2}, {"x": 1, "y": 2}),
        ("add", NONE, 1, 2.5, 3.5),
        # Entries may be changed alike, be taken out, and change their type alone.
        ("update", {"x": 0}, {"x": 1}, {"x": 1}, {"x": 1}),
        ("update", {"x": 0, "y": 0}, {"y": 0}, {"y": 0}, {"y": 0}),
        ("update", {"x": 0, "y": 0}, {"y": 0}, {"x": 0, "y": 1}, {"y": 1}),
        ("update", {"x": 1}, {"x": True}, {"x": 1}, {"x": True}),
    ],
)
def test_the_rules_of_merging(rule: str, before: Any, left: Any, right: Any, result: Any) -> None:
    found = merged(rule, before, left, right)
    assert (repr(found), type(found)) == (repr(result), type(result))


@pytest.mark.parametrize(
    ("rule", "before", "left", "right", "reason"),
    [
        ("append", [1], [1, 2], [], "'r' changed what the list held before"),
        ("append", [], [], "x", "'r' wrote a str"),
        ("append", NONE, None, [], "'l' wrote a NoneType"),
        ("update", [], {}, {}, "it was no dict before the branches"),
        ("update", {}, {}, [("x", 1)], "'r' wrote a list"),
        ("update", {"x": 0}, {}, {"x": 1}, "'l' and 'r' changed the same entry"),
        ("update", {"x": 0}, {"x": 1}, {"x": True}, "'l' and 'r' changed the same entry"),
        ("add", 1, 2, True, "r is no number"),
        ("add", False, 1, 1, "it is no number"),
    ],
)
def test_what_a_rule_cannot_merge_is_said_with_its_reason(
    rule: str, before: Any, left: Any, right: Any, reason: str
) -> None:
    said = f"branches are in conflict: memory key 'k' cannot be merged by '{rule}': {reason}"
    with pytest.raises(InvalidInputError, match=f"^{re.escape(said)}$"):
        merged(rule, before, left, right)


def test_a_failed_branch_fails_the_run_when_the_others_have_ended() -> None:
    ran: list[str] = []
    broken = [True]

    def fails() -> dict[str, Any]:
        ran.append("a")
        if broken[0]:
            raise OSError("gone")
        return {"a": 1}

    async def slow() -> dict[str, Any]:
        for _ in range(5):
            await asyncio.sleep(0)
        ran.append("b")
        return {"b": 1}

    graph = fan({"a": fails, "b": slow}, ["s-a", "s-b", "a-j", "b-j"])
    failed = execute(graph)
    assert failed.error == "branch 's-a': node 'a' failed after 1 attempt: OSError: gone"
    assert ran == ["a", "b"]
    assert failed.path == ["s", "a", "b"]
    broken[0] = False
    done = execute(graph, None, failed.session_state)
    assert done.output == {"a": 1, "b": 1}
    assert done.path == ["s", "a", "b", "j"]
    assert ran == ["a", "b", "a"]  # only the one that had failed


def test_a_failure_can_cancel_the_others_which_go_on_after_a_resume() -> None:
    ran: list[str] = []
    broken = [True]

    def fails() -> dict[str, Any]:
        if broken[0]:
            raise OSError("gone")
        return {"a": 1}

    async def slow() -> dict[str, Any]:
        ran.append("began")
        await asyncio.sleep(60 if broken[0] else 0)
        ran.append("ended")
        return {"b": 1}

    graph = fan(
        {"a": fails, "b": slow}, ["s-b", "s-a", "a-j", "b-j"], parallel=[{"on_failure": "cancel"}]
    )
    failed = execute(graph)
    assert "gone" in str(failed.error)
    assert ran == ["began"]
    broken[0] = False
    assert execute(graph, None, failed.session_state).output == {"a": 1, "b": 1}
    assert ran == ["began", "began", "ended"]


def test_the_run_can_continue_without_a_failed_branch() -> None:
    def fails() -> dict[str, Any]:
        raise OSError("gone")

    graph = fan(
        {"a": fails, "b": lambda: {"b": 1}},
        ["s-a", "s-b", "a-j", "b-j"],
        parallel=[{"on_failure": "continue", "errors_key": "errors"}],
    )
    result = execute(graph)
    assert result.success
    assert result.output == {
        "b": 1,
        "errors": {"s-a": "node 'a' failed after 1 attempt: OSError: gone"},
    }
    assert result.path == ["s", "a", "b", "j"]


def test_conditions_choose_the_branches_and_loops_and_failure_edges_work_within() -> None:
    def loops(ctx: NodeContext) -> dict[str, Any]:
        return {"count": ctx.visit}

    def fails() -> dict[str, Any]:
        raise OSError("gone")

    graph = fan(
        {"a": loops, "b": fails, "c": lambda error: {"why": error}, "d": lambda: {"d": 1}},
        [
            edge("s-a", "conditional", condition_expr="n > 0"),
            edge("s-d", "conditional", condition_expr="n > 1"),
            edge("a-a", "conditional", condition_expr="visits.a < 3"),
            *("s-b", "a-j", "b-j", "c-j", "d-j"),
            edge("b-c", "on_failure", input_mapping={"error": "error"}),
        ],
    )
    result = execute(graph, {"n": 1})
    assert result.output == {"n": 1, "count": 3, "error": "OSError: gone", "why": "OSError: gone"}
    assert result.path == ["s", "a", "a", "a", "b", "c", "j"]
    assert result.visits == {"s": 1, "a": 3, "b": 1, "c": 1, "j": 1}


def test_a_branch_may_be_an_edge_to_the_join_and_all_may_be_refused() -> None:
    graph = fan({"a": lambda: {"a": 1}}, ["s-j", "s-a", "a-j"])
    assert execute(graph).path == ["s", "a", "j"]
    none = fan({}, [edge("s-j", "conditional", condition_expr="n > 0")])
    assert execute(none, {"n": 0}).path == ["s"]


def test_a_condition_on_an_array_fails_the_run_and_does_not_raise() -> None:
    condition = edge("a-b", "conditional", condition_expr="output.a")
    nodes = [NodeSpec(id="a", function=lambda: {"a": np.arange(3)}), NodeSpec(id="b", function=int)]
    graph = GraphSpec(id="g", entry_node="a", nodes=nodes, edges=[condition])
    result = execute(graph)
    assert "edge 'a-b': expression 'output.a' cannot be evaluated" in str(result.error)
    assert result.path == ["a"]


def test_branches_within_branches() -> None:
    keys: list[str] = []

    def note(ctx: NodeContext) -> dict[str, Any]:
        keys.append(ctx.idempotency_key)
        return {"done": [*ctx.memory.read("done", []), ctx.node_id]}

    graph = fan(
        {name: note for name in ("a", "a1", "a2", "aj", "b")},
        ["s-a", "s-b", "a-a1", "a-a2", "a1-aj", "a2-aj", "aj-j", "b-j"],
        parallel=[
            {"merge": {"done": "append"}},
            {"source": "a", "join": "aj", "merge": {"done": "append"}},
        ],
    )
    result = execute(graph)
    assert result.path == ["s", "a", "a1", "a2", "aj", "b", "j"]
    assert result.output == {"done": ["a", "a1", "a2", "aj", "b"]}
    assert len(set(keys)) == 5


def test_a_node_in_two_branches_has_a_key_in_each() -> None:
    keys: list[str] = []
    same = [EdgeSpec(id="one", source="s", target="a"), EdgeSpec(id="two", source="s", target="a")]
    graph = fan({"a": lambda ctx: keys.append(ctx.idempotency_key)}, [*same, "a-j"])
    result = execute(graph)
    assert result.visits == {"s": 1, "a": 2, "j": 1}
    assert len(set(keys)) == 2


def test_a_pause_in_a_branch_waits_for_the_others_and_takes_input() -> None:
    ran: list[str] = []

    def work(ctx: NodeContext) -> dict[str, Any]:
        ran.append(ctx.node_id)
        return {ctx.node_id: ctx.memory.read("said")}

    graph = fan(
        {"a": work, "a2": work, "b": work}, ["s-a", "s-b", "a-a2", "a2-j", "b-j"], pause_nodes=["a"]
    )
    paused = execute(graph)
    assert paused.paused_at == "a"
    assert paused.path == ["s", "a", "b"]
    done = execute(graph, {"said": "yes"}, paused.session_state)
    assert done.output == {"a": None, "a2": "yes", "b": None, "said": "yes"}
    assert ran == ["a", "b", "a2"]


def test_new_input_replaces_what_a_branch_had_written_and_goes_to_its_next_node() -> None:
    graph = fan(
        {
            "a": lambda: {"said": "nothing", "more": 1},
            "a2": lambda ctx: {"got": [ctx.memory.read("said"), dict(ctx.input_data)]},
            "b": lambda ctx: {"b": ctx.memory.read("said")},
        },
        ["s-a", "s-b", "a-a2", "a2-j", "b-j"],
        pause_nodes=["a"],
        parallel=[{"merge": {"said": "collect"}}],
    )
    paused = execute(graph)
    done = execute(graph, {"said": "yes"}, paused.session_state)
    assert done.output["got"] == ["yes", {"said": "yes", "more": 1}]
    # The other branch had ended: it is not given what it did not wait for.
    assert (done.output["said"], done.output["b"]) == (["yes"], None)


def test_visits_before_the_branches_count_within_them() -> None:
    seen: list[tuple[int, str]] = []

    def note(ctx: NodeContext) -> None:
        seen.append((ctx.visit, ctx.idempotency_key))

    again = edge("j-s", "conditional", condition_expr="visits['j'] < 3")
    result = execute(fan({"a": note, "b": dict}, ["s-a", "s-b", "a-j", "b-j", again]))
    assert result.success, result.error
    assert [visit for visit, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 3
    assert result.visits == {"s": 3, "a": 3, "b": 3, "j": 3}


def test_a_branch_that_forks_may_end_where_its_own_branches_meet() -> None:
    def note(ctx: NodeContext) -> dict[str, int]:
        return {ctx.node_id: ctx.visit}

    graph = fan(
        dict.fromkeys(["a", "b", "x", "y", "j"], note),
        ["s-a", "s-b", "a-x", "a-y", "x-j", "y-j", "b-j"],
        parallel=[{}, {"source": "a", "join": "j"}],
    )
    result = execute(graph)
    assert result.success, result.error
    assert result.output == {"a": 1, "b": 1, "x": 1, "y": 1, "j": 1}
    assert result.path[-1] == "j"
    assert result.visits["j"] == 1


def test_steps_before_the_branches_count_towards_their_limit() -> None:
    graph = fan({"a": dict, "a2": dict, "b": dict}, ["s-a", "s-b", "a-a2", "a2-j", "b-j"])
    failed = execute(graph.model_copy(update={"max_steps": 2}))
    assert failed.error == "branch 's-a': max_steps (2) reached before node 'a2'"


@pytest.mark.parametrize("key", [None, "errors"])
@pytest.mark.parametrize("fails", [True, False])
def test_what_a_branch_wrote_before_it_failed_is_not_merged(key: str | None, fails: bool) -> None:
    def ends() -> dict[str, Any]:
        if fails:
            raise OSError("gone")
        return {}

    graph = fan(
        {"a": lambda: {"half": 1}, "a2": ends, "b": lambda: {"b": 1}},
        ["s-a", "s-b", "a-a2", "a2-j", "b-j"],
        parallel=[{"on_failure": "continue", "errors_key": key}],
    )
    result = execute(graph)
    assert result.success, result.error
    errors = {"s-a": "node 'a2' failed after 1 attempt: OSError: gone"}
    expected: dict[str, Any] = {"b": 1} if fails else {"half": 1, "b": 1}
    assert result.output == {**expected, **({key: errors} if fails and key else {})}


def test_a_pause_before_branches_gives_its_input_to_all() -> None:
    graph = fan(
        {
            "a": lambda ctx: {"a": ctx.input_data["said"]},
            "b": lambda ctx: {"b": ctx.input_data["said"]},
        },
        ["s-a", "s-b", "a-j", "b-j"],
        pause_nodes=["s"],
    )
    paused = execute(graph)
    assert (paused.paused_at, paused.path) == ("s", ["s"])
    assert execute(graph, {"said": 1}, paused.session_state).output == {"said": 1, "a": 1, "b": 1}


def test_no_more_branches_run_at_once_than_allowed() -> None:
    going: list[str] = []
    most = [0]

    async def work(ctx: NodeContext) -> None:
        going.append(ctx.node_id)
        most[0] = max(most[0], len(going))
        await asyncio.sleep(0)
        going.remove(ctx.node_id)

    names = "abcdef"
    graph = fan(
        dict.fromkeys(names, work),
        [*(f"s-{name}" for name in names), *(f"{name}-j" for name in names)],
        parallel=[{"max_concurrency": 2}],
    )
    assert execute(graph).success
    assert most == [2]


def test_the_steps_of_branches_count_in_all() -> None:
    graph = fan({"a": lambda: {}, "b": lambda: {}}, ["s-a", "s-b", "a-j", "b-j"], max_steps=3)
    result = execute(graph)
    assert result.error == "max_steps (3) reached before node 'j'"
    endless = fan({"a": lambda: {}}, ["s-a", "a-a", "s-j"], max_steps=6)
    assert "max_steps (6) reached before node 'a'" in str(execute(endless).error)


def test_a_node_that_chooses_itself_begins_no_branches() -> None:
    class Chooses:
        async def execute(self, ctx: NodeContext) -> NodeResult:
            return NodeResult(success=True, next_node="b")

    graph = fan({"a": lambda: {}, "b": lambda: {}}, ["s-a", "s-b", "a-j", "b-j"])
    executor = GraphExecutor(Runtime(), node_registry={"s": Chooses()})
    assert asyncio.run(executor.execute(graph, GOAL)).path == ["s", "b", "j"]


def test_a_branch_that_comes_back_is_refused() -> None:
    problems = fan({"a": lambda: {}}, ["s-a", "a-s", "a-j"]).validate()
    assert problems == ["parallel['s']: a branch leads back to 's' without coming to 'j'"]

    class Back:
        async def execute(self, ctx: NodeContext) -> NodeResult:
            return NodeResult(success=True, next_node="s")

    node = NodeSpec(id="a", node_type="object", max_retries=0)
    executor = GraphExecutor(Runtime(), node_registry={"a": Back()})
    result = asyncio.run(executor.execute(fan({"a": node}, ["s-a"]), GOAL))
    assert "came back to it before 'j'" in str(result.error)


def test_everything_wrong_with_a_parallel_is_said() -> None:
    graph = fan(
        {"a": lambda: {}},
        ["s-a"],
        parallel=[
            {"source": "x", "join": "y"},
            {"errors_key": "e"},
            {"source": "a"},
        ],
        terminal_nodes=["s"],
    )
    assert [text for text in graph.validate() if text.startswith("parallel")] == [
        "parallel['x'].source: there is no node 'x'",
        "parallel['x'].join: there is no node 'y'",
        "parallel['s'].source: the run ends when terminal node 's' succeeds",
        "parallel['s'].errors_key: only for on_failure 'continue'",
        "parallel['a'].source: no edge leaves it, so no branch begins",
    ]


def test_every_rule_is_tested_here() -> None:
    assert {rule.value for rule in MergeRule} == {
        "error", "first", "last", "collect", "append", "update", "add", "drop",
    }  # fmt: skip
