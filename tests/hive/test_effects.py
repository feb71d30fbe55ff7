"""What a node may ask for while it runs: effects, saved states, time, and checkpoints at starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hive import CheckpointConfig, CheckpointManager, InvalidInputError, StoreFullError
from hive.graph import (
    EdgeCondition,
    EdgeSpec,
    ExecutionResult,
    Goal,
    GraphExecutor,
    GraphSpec,
    NodeContext,
    NodeSpec,
    ParallelSpec,
    Runtime,
    SharedMemory,
)
from hive.graph.checkpoint_manager import CheckpointWarning
from manifests import Repository
from tests.hive.moments import let_pass

GOAL = Goal(id="goal")


class Crash(BaseException):
    """Ends an execution where it is."""


def crash(times: list[Any]) -> None:
    """Stop the run, as often as the list has items."""
    times.pop(0)
    raise Crash


@pytest.fixture
def manager(home: Path) -> Iterator[CheckpointManager]:
    with CheckpointManager(home) as made:
        yield made


def one(function: Callable[..., Any], **changes: Any) -> GraphSpec:
    """A graph of one node."""
    node = NodeSpec(id="a", function=function, backoff_seconds=0, **changes)
    return GraphSpec(id="one", entry_node="a", nodes=[node])


def execute(
    manager: CheckpointManager | None, graph: GraphSpec, given: Any = None, **options: Any
) -> ExecutionResult:
    executor = GraphExecutor(Runtime(), manager)
    return asyncio.run(executor.execute(graph, GOAL, given, **{"run": "r", **options}))


class Bank:
    """Something outside, which counts."""

    def __init__(self) -> None:
        self.charges: list[Any] = []

    def charge(self, amount: Any) -> dict[str, Any]:
        self.charges.append(amount)
        return {"receipt": len(self.charges), "of": (amount, None)}


@pytest.mark.parametrize("stored", [True, False])
def test_an_effect_is_not_repeated_by_the_retries_of_a_visit(
    manager: CheckpointManager, stored: bool
) -> None:
    bank = Bank()

    async def node(ctx: NodeContext) -> dict[str, Any]:
        receipt = await ctx.effect("charge", bank.charge, 10)
        receipt["of"] = "changed by the node"  # it has a copy
        again = await ctx.effect("charge", bank.charge, 99)
        if ctx.attempt < 3:
            raise ConnectionError("later")
        return {"receipt": again}

    result = execute(manager if stored else None, one(node))
    assert result.output == {"receipt": {"receipt": 1, "of": (10, None)}}
    assert bank.charges == [10]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_an_effect_is_not_repeated_after_a_crash(home: Path, durability: Any) -> None:
    bank = Bank()
    crashes = [True]

    async def node(ctx: NodeContext) -> dict[str, Any]:
        receipt = await ctx.effect("charge", bank.charge, ctx.visit)
        if crashes:
            crash(crashes)
        return {"receipt": receipt["receipt"]}

    config = CheckpointConfig(durability=durability)
    with CheckpointManager(home, config) as manager, pytest.raises(Crash):
        execute(manager, one(node))
    with CheckpointManager(home, config) as manager:
        assert execute(manager, one(node), resume=True).output == {"receipt": 1}
        effects = manager.repository.effects("r")
    assert bank.charges == [1]
    assert effects == {'["a", 1, "charge"]': {"receipt": 1, "of": (1, None)}}


def test_effects_belong_to_their_visit_name_and_branch(manager: CheckpointManager) -> None:
    bank = Bank()

    async def node(ctx: NodeContext) -> dict[str, Any]:
        await ctx.effect("one", bank.charge, (*ctx.branch, ctx.node_id, 1))
        await ctx.effect("two", bank.charge, (*ctx.branch, ctx.node_id, 2))
        return {}

    graph = GraphSpec(
        id="g",
        entry_node="s",
        nodes=[NodeSpec(id=name, function=node) for name in ("s", "a", "j")],
        edges=[
            EdgeSpec(id="left", source="s", target="a"),
            EdgeSpec(id="right", source="s", target="a"),
            EdgeSpec(id="end", source="a", target="j"),
        ],
        parallel=[ParallelSpec(source="s", join="j")],
    )
    execute(manager, graph)
    assert len(set(bank.charges)) == len(bank.charges) == 8
    assert len(manager.repository.effects("r")) == 8


def test_two_tasks_that_name_one_effect_do_it_once(manager: CheckpointManager) -> None:
    called: list[int] = []

    async def slow() -> int:
        await asyncio.sleep(0)
        called.append(1)
        return len(called)

    async def node(ctx: NodeContext) -> dict[str, Any]:
        return {"both": await asyncio.gather(ctx.effect("x", slow), ctx.effect("x", slow))}

    assert execute(manager, one(node)).output == {"both": [1, 1]}


def test_an_effect_that_fails_is_not_recorded(manager: CheckpointManager) -> None:
    calls: list[int] = []

    def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("later")
        return "done"

    async def node(ctx: NodeContext) -> dict[str, Any]:
        return {"x": await ctx.effect("x", flaky)}

    assert execute(manager, one(node)).output == {"x": "done"}
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_an_effect_needs_a_name(name: str) -> None:
    async def node(ctx: NodeContext) -> None:
        await ctx.effect(name, lambda: None)

    result = execute(None, one(node, max_retries=0))
    assert "1 to 200 characters" in str(result.error)


def test_a_context_without_an_executor_says_so() -> None:
    ctx = NodeContext(Runtime(), "a", NodeSpec(id="a"), SharedMemory(), {}, GOAL)
    with pytest.raises(InvalidInputError, match="not made by an executor"):
        asyncio.run(ctx.checkpoint(1))


def test_an_effect_that_cannot_be_stored_reaches_the_node_or_is_warned_of(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_more: Any) -> None:
        raise StoreFullError("no room")

    async def node(ctx: NodeContext) -> dict[str, Any]:
        return {"x": await ctx.effect("x", lambda: 1)}

    monkeypatch.setattr(Repository, "record_effect", full)
    with CheckpointManager(home) as manager:
        result = execute(manager, one(node, max_retries=0))
        assert "StoreFullError" in str(result.error)
    with CheckpointManager(home, CheckpointConfig(on_save_error="warn")) as manager:
        with pytest.warns(CheckpointWarning, match="no room"):
            assert execute(manager, one(node), run="s").output == {"x": 1}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_long_node_goes_on_where_it_saved(home: Path, durability: Any) -> None:
    done: list[int] = []
    crashes = [3, 6]

    async def node(ctx: NodeContext) -> dict[str, Any]:
        state = ctx.saved_state or {"next": 0}
        while state["next"] < 8:
            if crashes and state["next"] == crashes[0]:
                crash(crashes)
            done.append(state["next"])
            state["next"] += 1
            await ctx.checkpoint(state)
        return {"all": state["next"]}

    config = CheckpointConfig(durability=durability)
    for _ in range(2):
        with CheckpointManager(home, config) as manager, pytest.raises(Crash):
            execute(manager, one(node), resume=True)
    with CheckpointManager(home, config) as manager:
        result = execute(manager, one(node), resume=True)
        kinds = [cp.kind for cp in manager.history("r")]
    assert result.output == {"all": 8}
    assert result.steps_executed == 1
    assert done == list(range(8))
    assert kinds.count("node_progress") == (8 if durability != "exit" else 2)


def test_a_saved_state_is_there_for_the_next_attempt_and_gone_after_the_visit(
    manager: CheckpointManager,
) -> None:
    seen: list[Any] = []

    async def node(ctx: NodeContext, n: int) -> dict[str, Any]:
        seen.append(ctx.saved_state)
        if ctx.attempt == 1:
            await ctx.checkpoint([ctx.visit])
            raise ConnectionError("later")
        return {"n": n + 1}

    graph = one(node, max_visits=2)
    again = EdgeCondition.CONDITIONAL
    loop = EdgeSpec(id="l", source="a", target="a", condition=again, condition_expr="n < 2")
    result = execute(manager, graph.model_copy(update={"edges": [loop]}), {"n": 0})
    assert result.success
    assert seen == [None, [1], None, [2]]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_tasks_of_a_node_may_save_its_state_at_the_same_time(home: Path, durability: Any) -> None:
    async def node(ctx: NodeContext) -> dict[str, Any]:
        await asyncio.gather(*(ctx.checkpoint({"task": number}) for number in range(4)))
        return {"saved": ctx.saved_state}

    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        result = execute(manager, one(node, max_retries=0))
        assert result.output == {"saved": {"task": 3}}, result.error
        assert manager.history("r")[0].kind == "final"


def test_a_task_that_outlives_its_node_saves_nothing(manager: CheckpointManager) -> None:
    late: list[asyncio.Task[None]] = []
    seen: list[Any] = []

    async def save_late(ctx: NodeContext) -> None:
        await asyncio.sleep(0.01)
        await ctx.checkpoint({"of": ctx.node_id})

    async def a(ctx: NodeContext) -> dict[str, Any]:
        late.append(asyncio.create_task(save_late(ctx)))
        return {}

    async def b(ctx: NodeContext) -> dict[str, Any]:
        await asyncio.wait(late)
        seen.append(ctx.saved_state)
        if ctx.attempt == 1:
            raise ConnectionError("later")
        return {}

    nodes = [
        NodeSpec(id=name, function=f, backoff_seconds=0)
        for name, f in zip("ab", (a, b), strict=True)
    ]
    edge = EdgeSpec(id="ab", source="a", target="b")
    graph = GraphSpec(id="two", entry_node="a", nodes=nodes, edges=[edge])
    assert execute(manager, graph).success
    assert seen == [None, None]
    with pytest.raises(InvalidInputError, match="'a' is over"):
        late[0].result()
    assert "node_progress" not in {cp.kind for cp in manager.history("r")}


def test_an_attempt_that_takes_too_long_is_cancelled_and_retried() -> None:
    ended: list[str] = []

    async def node(ctx: NodeContext) -> dict[str, Any]:
        try:
            if ctx.attempt == 1:
                let_pass(61)
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {"attempt": ctx.attempt}

    runtime = Runtime()
    graph = one(node, timeout_seconds=60, retry_on=["TimeoutError"])
    result = asyncio.run(GraphExecutor(runtime).execute(graph, GOAL, run="r"))
    assert result.output == {"attempt": 2}
    assert ended == ["cancelled"]
    (problem,) = runtime.record("r").problems
    assert problem.description == "attempt 1 failed: TimeoutError: no result within 60 seconds"


def test_what_cannot_be_interrupted_cannot_have_a_timeout() -> None:
    with pytest.raises(InvalidInputError, match="not async, so nothing can interrupt it"):
        execute(None, one(lambda: {}, timeout_seconds=1))


def test_a_timeout_error_of_the_node_itself_is_its_own() -> None:
    async def node() -> None:
        raise TimeoutError("the service")

    result = execute(None, one(node, timeout_seconds=60, max_retries=0))
    assert str(result.error).endswith("TimeoutError: the service")


def test_starts_of_nodes_are_saved_where_that_is_wanted(home: Path) -> None:
    crashes = [True]

    def node(ctx: NodeContext) -> dict[str, Any]:
        if ctx.attempt == 1:
            raise ConnectionError("later")
        if crashes:
            crash(crashes)
        return {"x": ctx.attempt}

    config = CheckpointConfig(save_node_starts=True)
    with CheckpointManager(home, config) as manager:
        with pytest.raises(Crash):
            execute(manager, one(node))
        assert execute(manager, one(node), resume=True).output == {"x": 2}
        history = list(reversed(manager.history("r")))
    assert [cp.kind for cp in history] == ["input", "node_start", "attempt_failed", "final"]
    assert history[1].node == "a"


def test_names_of_effects_are_stored_as_they_are_written(home: Path) -> None:
    """What is looked up in a store of an earlier version must have the same name."""

    async def work(ctx: NodeContext) -> None:
        await ctx.effect("überweisen", list)

    graph = GraphSpec(id="g", entry_node="é", nodes=[NodeSpec(id="é", function=work)])
    with CheckpointManager(home) as manager:
        executor = GraphExecutor(Runtime(), manager)
        assert asyncio.run(executor.execute(graph, GOAL, run="r")).success
        assert manager.repository.effects("r") == {'["é", 1, "überweisen"]': []}
