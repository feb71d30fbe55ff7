"""Resuming runs: where, with what input, against which graph, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hive
from hive import (
    CheckpointConfig,
    CheckpointManager,
    ConflictError,
    CorruptObjectError,
    InvalidInputError,
    NotFoundError,
    Repository,
    StoreFullError,
    UnsupportedFormatError,
)
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
    ParallelSpec,
    Runtime,
)
from hive.graph.abandoned import abandon, reinstate
from hive.graph.checkpoint_manager import CheckpointWarning
from hive.plan import ActionSpec, FlexibleGraphExecutor, Plan, PlanStep
from tests.hive.moments import SavedBranches

GOAL = Goal(id="goal")


class Crash(BaseException):
    """Ends an execution where it is, as a signal handler's exception would."""


@pytest.fixture
def manager(home: Path) -> Iterator[CheckpointManager]:
    with CheckpointManager(home) as made:
        yield made


def count_to(last: int, *, crash_at: int = 0, pause: bool = False, **changes: Any) -> GraphSpec:
    """A loop that counts up to ``last`` and crashes when it comes to ``crash_at``."""

    def step(n: int) -> dict[str, int]:
        if n + 1 == crash_at:
            raise Crash
        return {"n": n + 1}

    fields: dict[str, Any] = {
        "id": "count",
        "entry_node": "step",
        "pause_nodes": ["step"] if pause else [],
        "nodes": [NodeSpec(id="step", input_keys=["n"], output_keys=["n"], function=step)],
        "edges": [
            EdgeSpec(
                id="again",
                source="step",
                target="step",
                condition=EdgeCondition.CONDITIONAL,
                condition_expr=f"n < {last}",
            )
        ],
    }
    return GraphSpec(**{**fields, **changes})


def forked(work: Any) -> GraphSpec:
    """Node ``s`` begins the branches ``a`` and ``b``, which meet at ``j``."""
    return GraphSpec(
        id="forked",
        entry_node="s",
        nodes=[NodeSpec(id=name, function=work, max_retries=0) for name in "sabj"],
        edges=[EdgeSpec(id=s + t, source=s, target=t) for s, t in ("sa", "sb", "aj", "bj")],
        parallel=[ParallelSpec(source="s", join="j")],
    )


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def no_room(*_arguments: Any, **_options: Any) -> Any:
    raise StoreFullError("no room")


def execute(
    manager: CheckpointManager | None,
    graph: GraphSpec,
    given: dict[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
    **options: Any,
) -> ExecutionResult:
    executor = GraphExecutor(runtime or Runtime(), manager)
    return asyncio.run(executor.execute(graph, GOAL, given, **options))


def crash(manager: CheckpointManager, run: str = "r", at: int = 3) -> None:
    """Leave a run that counted to ``at - 1`` and was interrupted there."""
    with pytest.raises(Crash):
        execute(manager, count_to(5, crash_at=at), {"n": 0}, run=run)


def test_a_checkpoint_holds_the_memory_as_its_state_and_the_rest_beside_it(
    manager: CheckpointManager,
) -> None:
    result = execute(manager, count_to(2), {"n": 0, "kept": ("a", 1)}, run="r")
    first, second, last = reversed(manager.history("r"))
    assert [cp.kind for cp in (first, second, last)] == ["input", "node_complete", "final"]
    assert [cp.node for cp in (first, second, last)] == [None, "step", "step"]
    assert [cp.next_nodes for cp in (first, second, last)] == [("step",), ("step",), ()]
    assert first.graph == last.graph
    assert len(first.graph or "") == 64
    assert manager.restore("r") == result.output == {"n": 2, "kept": ("a", 1)}
    record = manager.repository.execution(second)
    assert record["status"] == "running"
    assert record["path"] == ["step"]
    assert (record["steps"], record["visits"]) == (1, {"step": 1})
    assert record["next_node"] == "step"
    assert record["input_data"] == {"n": 1}
    assert record["inputs"] == [{"n": 0, "kept": ("a", 1)}]


def test_without_a_manager_a_run_keeps_no_checkpoint(home: Path) -> None:
    assert execute(None, count_to(2), {"n": 0}).checkpoint_id is None
    off = CheckpointManager(home, CheckpointConfig(enabled=False))
    assert execute(off, count_to(2), {"n": 0}).checkpoint_id is None
    assert not home.exists()
    with pytest.raises(InvalidInputError, match="enabled"):
        execute(off, count_to(2), {"n": 0}, run="r", resume=True)


def test_resume_starts_a_run_that_does_not_exist(manager: CheckpointManager) -> None:
    assert execute(manager, count_to(3), {"n": 0}, run="r", resume=True).output == {"n": 3}


def test_a_run_that_exists_is_not_started_again_by_mistake(manager: CheckpointManager) -> None:
    crash(manager)
    with pytest.raises(ConflictError, match=r"there is a run 'r' already .*resume=True"):
        execute(manager, count_to(5), {"n": 0}, run="r")


@pytest.mark.parametrize("resume", [None, 0, 1])
def test_what_says_neither_yes_nor_no_is_no_resume(manager: CheckpointManager, resume: Any) -> None:
    """None continued a run, and 0 was taken for a reference."""
    executor = GraphExecutor(Runtime(), manager)
    with pytest.raises(InvalidInputError, match="resume is True, False or a reference"):
        asyncio.run(executor.execute(count_to(2), GOAL, {"n": 0}, run="r", resume=resume))
    plans = FlexibleGraphExecutor(Runtime(), manager, {"f": dict})
    plan = Plan(id="p", steps=[PlanStep(id="s", action=ActionSpec(name="f"))])
    with pytest.raises(InvalidInputError, match="resume is True, False or a reference"):
        asyncio.run(plans.execute_plan(plan, GOAL, run="r", resume=resume))
    assert manager.repository.runs() == []


def test_resume_needs_the_name_of_the_run(manager: CheckpointManager) -> None:
    with pytest.raises(InvalidInputError, match="pass run="):
        execute(manager, count_to(5), {"n": 0}, resume=True)


@pytest.mark.parametrize("given", [None, {}, {"n": 0}])
def test_an_interrupted_run_takes_its_own_input_again_or_none(
    manager: CheckpointManager, given: dict[str, Any] | None
) -> None:
    crash(manager)
    result = execute(manager, count_to(5), given, run="r", resume=True)
    assert result.output == {"n": 5}
    assert result.path == ["step"] * 5


def test_an_input_with_arrays_and_nan_is_recognized(manager: CheckpointManager) -> None:
    numpy = pytest.importorskip("numpy")

    def given(last: int = 3) -> dict[str, Any]:
        nan = float("nan")
        return {"n": 0, "nan": [nan, numpy.array([nan])], "array": numpy.array([1, 2, last])}

    with pytest.raises(Crash):
        execute(manager, count_to(5, crash_at=3), given(), run="r")
    with pytest.raises(InvalidInputError, match="takes no new input"):
        execute(manager, count_to(5), given(4), run="r", resume=True)
    for other in ([1], [1, 2]):
        changed = {**given(), "array": numpy.array(other)}
        with pytest.raises(InvalidInputError, match="takes no new input"):
            execute(manager, count_to(5), changed, run="r", resume=True)
    assert execute(manager, count_to(5), given(), run="r", resume=True).output["n"] == 5


def test_a_list_in_two_places_is_two_lists_resumed_or_not(manager: CheckpointManager) -> None:
    def first() -> dict[str, Any]:
        shared = [1]
        return {"v": {"a": shared, "b": shared}}

    def second(v: dict[str, list[int]]) -> dict[str, Any]:
        v["a"].append(2)
        return {"v": v}

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id="a", function=first), NodeSpec(id="b", function=second)],
        edges=[EdgeSpec(id="ab", source="a", target="b")],
    )
    whole = execute(manager, graph, run="whole")
    resumed = execute(manager, graph, resume="whole@2")
    assert whole.output == resumed.output == {"v": {"a": [1, 2], "b": [1]}}


def test_an_interrupted_run_takes_no_other_input(manager: CheckpointManager) -> None:
    crash(manager)
    with pytest.raises(InvalidInputError, match="under way and takes no new input"):
        execute(manager, count_to(5), {"n": 9}, run="r", resume=True)


def test_a_completed_run_gives_its_result_again_and_takes_no_other_input(
    manager: CheckpointManager,
) -> None:
    first = execute(manager, count_to(4), {"n": 0}, run="r")
    head = manager.latest("r")
    assert execute(manager, count_to(4), {"n": 0}, run="r", resume=True) == first
    assert execute(manager, count_to(4), run="r", resume=True) == first
    assert manager.latest("r") == head
    with pytest.raises(InvalidInputError, match="over and takes no new input"):
        execute(manager, count_to(4), {"n": 1}, run="r", resume=True)


def test_a_pause_takes_new_input_each_time_even_the_same(manager: CheckpointManager) -> None:
    graph = count_to(9, pause=True)
    result = execute(manager, graph, {"n": 0}, run="r")
    for _ in range(2):
        assert result.paused_at == "step"
        result = execute(manager, graph, {"n": 5}, run="r", resume=True)
        assert result.output == {"n": 6}
    assert [cp.kind for cp in reversed(manager.history("r"))] == [
        "input",
        "paused",
        "input",
        "paused",
        "input",
        "paused",
    ]
    assert manager.repository.execution("r")["inputs"] == [{"n": 0}, {"n": 5}, {"n": 5}]


def test_a_pause_may_be_continued_without_input(manager: CheckpointManager) -> None:
    graph = count_to(2, pause=True)
    execute(manager, graph, {"n": 0}, run="r")
    assert execute(manager, graph, run="r", resume=True).output == {"n": 2}
    assert [cp.kind for cp in manager.history("r")] == ["paused", "paused", "input"]
    done = execute(manager, graph, run="r", resume=True)
    assert (done.paused_at, done.path) == (None, ["step", "step"])
    latest = manager.latest("r")
    assert latest is not None
    assert latest.kind == "final"


def test_a_session_continues_its_run_in_the_store(manager: CheckpointManager) -> None:
    graph = count_to(3, pause=True)
    paused = execute(manager, graph, {"n": 0}, run="r")
    again = execute(manager, graph, {"n": 1}, session_state=paused.session_state)
    assert (again.run_id, again.output) == ("r", {"n": 2})
    with pytest.raises(ConflictError, match="not where this session_state left it"):
        execute(manager, graph, {"n": 1}, session_state=paused.session_state)
    other = execute(manager, graph, {"n": 1}, session_state=paused.session_state, run="other")
    assert (other.run_id, other.output) == ("other", {"n": 2})


def flaky() -> tuple[GraphSpec, list[int]]:
    """A graph whose node fails until somebody appends to the list."""
    mended: list[int] = []

    def work(n: int) -> dict[str, int]:
        if not mended:
            raise RuntimeError("broken")
        return {"n": n + 1}

    node = NodeSpec(id="work", input_keys=["n"], max_retries=1, backoff_seconds=0, function=work)
    return GraphSpec(id="flaky", entry_node="work", nodes=[node]), mended


def test_a_failed_run_continues_at_the_failed_node_and_takes_new_input(
    manager: CheckpointManager,
) -> None:
    graph, mended = flaky()
    failed = execute(manager, graph, {"n": 0}, run="r")
    assert not failed.success
    assert (failed.retries, failed.visits) == ({"work": 1}, {"work": 1})
    assert [cp.kind for cp in manager.history("r")] == ["failed", "attempt_failed", "input"]
    still = execute(manager, graph, {"n": 0}, run="r", resume=True)
    assert still.error == failed.error
    mended.append(1)
    done = execute(manager, graph, {"n": 4}, run="r", resume=True)
    assert done.success
    assert (done.output, done.path, done.retries) == ({"n": 5}, ["work"], {})
    assert done.error is None


def test_attempts_are_not_saved_where_that_is_not_wanted(home: Path) -> None:
    graph, _ = flaky()
    with CheckpointManager(home, CheckpointConfig(save_failed_attempts=False)) as manager:
        execute(manager, graph, {"n": 0}, run="r")
        assert [cp.kind for cp in manager.history("r")] == ["failed", "input"]


def test_a_pause_in_a_branch_is_what_the_run_stops_at(home: Path) -> None:
    async def work(ctx: NodeContext) -> dict[str, Any]:
        return {ctx.node_id: ctx.memory.read("said")}

    graph = forked(work).model_copy(update={"pause_nodes": ["a"]})
    with CheckpointManager(home) as manager:
        assert execute(manager, graph, run="r").paused_at == "a"
        head = manager.history("r")[0]
        assert (head.kind, head.node) == ("paused", "a")
    with CheckpointManager(home) as manager:
        done = execute(manager, graph, {"said": 1}, run="r", resume=True)
        assert done.output == {"s": None, "a": None, "b": None, "said": 1, "j": 1}


def test_a_session_without_new_input_is_saved_where_it_goes_on(
    manager: CheckpointManager,
) -> None:
    paused = execute(None, count_to(2, pause=True), {"n": 0}, run="elsewhere")
    session = paused.session_state
    done = execute(manager, count_to(2, pause=True), session_state=session, run="here")
    assert done.output == {"n": 2}
    assert [cp.kind for cp in manager.history("here")] == ["paused", "input"]


def test_a_fork_where_a_run_was_over_is_over_too(manager: CheckpointManager) -> None:
    done = execute(manager, count_to(3), {"n": 0}, run="r")
    fork = execute(manager, count_to(3), run="again", resume="r")
    assert (fork.success, fork.output, fork.path) == (True, done.output, done.path)
    assert [cp.kind for cp in manager.history("again", limit=1)] == ["final"]


def test_a_pause_with_nothing_behind_it_ends_where_it_was(manager: CheckpointManager) -> None:
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id=name, function=dict) for name in "ab"],
        edges=[EdgeSpec(id="ab", source="a", target="b")],
        pause_nodes=["b"],
    )
    assert execute(manager, graph, run="r").paused_at == "b"
    assert execute(manager, graph, run="r", resume=True).paused_at is None
    assert [(cp.kind, cp.node) for cp in manager.history("r", limit=2)] == [
        ("final", "b"),
        ("paused", "b"),
    ]


def test_an_earlier_checkpoint_is_continued_as_a_fork(manager: CheckpointManager) -> None:
    whole = execute(manager, count_to(5), {"n": 0}, run="r")
    first = execute(manager, count_to(5), resume="r@3")
    assert (first.run_id, first.output, first.path) == ("r-fork-1", whole.output, whole.path)
    named = execute(manager, count_to(5), resume="r~4", run="mine")
    assert (named.run_id, named.output) == ("mine", whole.output)
    other = execute(manager, count_to(5), {"n": 4}, resume="r@3")
    assert (other.run_id, other.output, other.steps_executed) == ("r-fork-2", {"n": 5}, 3)
    assert len(manager.history("r")) == 6
    with pytest.raises(ConflictError):
        execute(manager, count_to(5), resume="r@3", run="mine")
    with pytest.raises(InvalidInputError, match="where the run was over"):
        execute(manager, count_to(5), {"n": 1}, resume="r", run="after")


def test_a_reference_to_the_head_continues_the_run_itself(manager: CheckpointManager) -> None:
    crash(manager)
    assert execute(manager, count_to(5), resume="r@3").run_id == "r"
    crash(manager, "s")
    forked = execute(manager, count_to(5), resume="s", run="t")
    assert (forked.run_id, forked.output) == ("t", {"n": 5})
    crash(manager, "u")
    assert execute(manager, count_to(5), resume="u", run="u").run_id == "u"


def test_a_fork_has_idempotency_keys_of_its_own(manager: CheckpointManager) -> None:
    keys: list[str] = []

    def node(ctx: NodeContext) -> None:
        keys.append(ctx.idempotency_key)

    graph = GraphSpec(id="g", entry_node="a", nodes=[NodeSpec(id="a", function=node)])
    execute(manager, graph, run="r")
    execute(manager, graph, resume="r@1")
    assert len(set(keys)) == 2


@pytest.mark.parametrize("ref", ["nowhere", "r@99", "tag:none", "r~99", "ffffff"])
def test_an_unknown_checkpoint_is_not_found(manager: CheckpointManager, ref: str) -> None:
    crash(manager)
    with pytest.raises(NotFoundError):
        execute(manager, count_to(5), resume=ref)


def test_a_changed_graph_or_goal_is_refused_with_what_changed(
    manager: CheckpointManager, home: Path
) -> None:
    crash(manager)
    changed = count_to(5, max_steps=50)
    with pytest.raises(ConflictError, match=r"graph.max_steps: 100 -> 50") as caught:
        execute(manager, changed, run="r", resume=True)
    assert caught.value.run == "r"
    with pytest.raises(ConflictError, match=r"graph.edges.again.condition_expr"):
        execute(manager, count_to(6), resume="r@2")
    assert [info.name for info in manager.repository.runs()] == ["r"]  # no fork is left behind
    other_goal = Goal(id="goal", description="other")
    executor = GraphExecutor(Runtime(), manager)
    with pytest.raises(ConflictError, match=r"goal.description"):
        asyncio.run(executor.execute(count_to(5), other_goal, run="r", resume=True))
    done = execute(manager, changed, run="r", resume=True, accept_changed_graph=True)
    assert done.output == {"n": 5}


def test_a_graph_without_the_next_node_cannot_go_on(manager: CheckpointManager) -> None:
    crash(manager)
    renamed = count_to(5, entry_node="new", nodes=[NodeSpec(id="new", function=dict)], edges=[])
    with pytest.raises(InvalidInputError, match="'step', which the graph does not have"):
        execute(manager, renamed, run="r", resume=True, accept_changed_graph=True)


def test_functions_and_the_order_of_nodes_are_not_part_of_the_graph(
    manager: CheckpointManager,
) -> None:
    def graph(*names: str, function: Callable[..., Any]) -> GraphSpec:
        return GraphSpec(
            id="g",
            entry_node="a",
            nodes=[NodeSpec(id=name, function=function) for name in names],
            edges=[EdgeSpec(id="ab", source="a", target="b")],
            pause_nodes=["a"],
        )

    execute(manager, graph("a", "b", function=lambda: {"x": 1}), run="r")
    again = graph("b", "a", function=lambda: {"x": 2})
    assert execute(manager, again, run="r", resume=True).output == {"x": 2}


def test_what_an_executor_did_not_write_is_not_continued(
    manager: CheckpointManager,
) -> None:
    manager.save("by hand", {"n": 1})
    with pytest.raises(InvalidInputError, match="not written by a graph executor"):
        execute(manager, count_to(5), resume="by hand@1")
    with pytest.raises(ConflictError):
        execute(manager, count_to(5), {"n": 0}, run="by hand", resume=True)
    crash(manager)
    manager.save("r", {"n": 7})
    with pytest.raises(ConflictError, match="continue from 'r@3' as a fork"):
        execute(manager, count_to(5), run="r", resume=True)
    assert execute(manager, count_to(5), resume="r@3").output == {"n": 5}


def test_a_damaged_checkpoint_stops_the_resume_and_starts_nothing(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> None:
        raise CorruptObjectError("an object does not hash to its address")

    crash(manager)
    for method in ("restore", "execution", "resolve"):
        with monkeypatch.context() as patch:
            patch.setattr(Repository, method, damaged)
            with pytest.raises(CorruptObjectError):
                execute(manager, count_to(5), {"n": 0}, run="r", resume=True)
    assert len(manager.history("r")) == 3
    assert execute(manager, count_to(5), {"n": 0}, run="r", resume=True).output == {"n": 5}


def test_a_newer_record_is_not_guessed_at(manager: CheckpointManager) -> None:
    record = {"executor": "graph", "format": 99}
    manager.save("r", {}, graph="0" * 64, execution=record)
    with pytest.raises(UnsupportedFormatError, match="upgrade"):
        execute(manager, count_to(5), run="r", resume=True)


def test_of_two_executions_that_resume_one_run_one_wins(home: Path) -> None:
    def resume(one: CheckpointManager, two: CheckpointManager) -> list[Any]:
        async def work(ctx: NodeContext) -> NodeResult:
            await asyncio.sleep(0.01)
            return NodeResult(success=True, output={"n": ctx.visit})

        graph = count_to(3, nodes=[NodeSpec(id="step", output_keys=["n"], function=work)])

        async def main() -> list[Any]:
            return await asyncio.gather(
                *(
                    GraphExecutor(Runtime(), manager).execute(graph, GOAL, run="r", resume=True)
                    for manager in (one, two)
                ),
                return_exceptions=True,
            )

        return sorted(asyncio.run(main()), key=lambda item: isinstance(item, Exception))

    for folder, shared in ((home / "shared", True), (home / "apart", False)):
        with CheckpointManager(folder) as one, CheckpointManager(folder) as other:
            two = CheckpointManager(one.repository) if shared else other
            graph = count_to(3, nodes=[NodeSpec(id="step", output_keys=["n"])])
            executor = GraphExecutor(Runtime(), one)

            def interrupted() -> None:
                raise Crash

            executor.register_function("step", interrupted)
            with pytest.raises(Crash):
                asyncio.run(executor.execute(graph, GOAL, run="r"))
            winner, loser = resume(one, two)
            assert winner.output == {"n": 3}
            assert isinstance(loser, ConflictError)
            assert [cp.kind for cp in one.history("r")] == [
                "final",
                "node_complete",
                "node_complete",
                "input",
            ]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_cancelled_run_is_resumed(home: Path, durability: Any) -> None:
    started: list[int] = []

    async def slow(ctx: NodeContext) -> dict[str, int]:
        started.append(ctx.visit)
        await asyncio.sleep(60 if len(started) == 3 else 0)
        return {"n": ctx.visit}

    graph = count_to(4, nodes=[NodeSpec(id="step", output_keys=["n"], function=slow)])

    async def main(manager: CheckpointManager) -> None:
        executor = GraphExecutor(Runtime(), manager)
        task = asyncio.create_task(executor.execute(graph, GOAL, run="r"))
        while len(started) < 3:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        asyncio.run(main(manager))
        result = execute(manager, graph, run="r", resume=True)
    assert result.output == {"n": 4}
    assert started == [1, 2, 3, 3, 4]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_checkpoint_that_cannot_be_saved_reaches_caller_and_report(
    home: Path, durability: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(repository: Repository, prepared: Any) -> Any:
        repository._seen.take_back(prepared.place)
        raise StoreFullError("no room")

    runtime = Runtime()
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        manager.save("other", {})
        manager.flush()
        with monkeypatch.context() as patch:
            patch.setattr(Repository, "write", full)
            with pytest.raises(StoreFullError):
                execute(manager, count_to(3), {"n": 0}, run="r", runtime=runtime)
            with contextlib.suppress(StoreFullError):
                manager.flush()  # a second write of the queue may have failed meanwhile
        (problem,) = runtime.record("r").problems
        assert (problem.severity, "StoreFullError" in problem.description) == ("critical", True)
        assert runtime.record("r").success is False
        assert execute(manager, count_to(3), {"n": 0}, run="r", resume=True).output == {"n": 3}


def test_with_warnings_a_run_goes_on_without_its_checkpoints(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime()
    write = Repository.write
    fail = [True, False, True, True, False]

    def sometimes(repository: Repository, prepared: Any) -> Any:
        if fail.pop(0):
            repository._seen.take_back(prepared.place)
            raise StoreFullError("no room")
        return write(repository, prepared)

    with CheckpointManager(home, CheckpointConfig(on_save_error="warn")) as manager:
        monkeypatch.setattr(Repository, "write", sometimes)
        with pytest.warns(CheckpointWarning, match="no room"):
            result = execute(manager, count_to(4), {"n": 0}, run="r", runtime=runtime)
        assert result.success
        assert [cp.kind for cp in manager.history("r")] == ["final", "node_complete"]
        assert [problem.severity for problem in runtime.record("r").problems] == ["warning"] * 3
        assert result.checkpoint_id == str(manager.history("r")[0].id)


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_with_warnings_a_run_goes_on_without_its_claim_and_its_branches(
    home: Path, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    ran: list[str] = []
    broken = [True]

    async def work(ctx: NodeContext) -> dict[str, Any]:
        ran.append(ctx.node_id)
        if ctx.node_id == "s" and broken[0]:
            raise Crash
        return {ctx.node_id: 1}

    graph = forked(work)
    config = CheckpointConfig(on_save_error="warn", durability=durability)
    with CheckpointManager(home, config) as manager:
        with pytest.raises(Crash):
            execute(manager, graph, run="r")
        broken[0] = False
        for name in ("claim", "put_pending", "record_effect"):
            monkeypatch.setattr(Repository, name, no_room)
        runtime = Runtime()
        with pytest.warns(CheckpointWarning, match="no room"):
            result = execute(manager, graph, run="r", resume=True, runtime=runtime)
        assert result.success, result.error
        assert ran == ["s", "s", "a", "b", "j"]
        assert manager.history("r")[0].kind == "final"  # a lost branch takes nothing with it
        problems = runtime.record("r").problems
        assert {problem.severity for problem in problems} == {"warning"}
        assert len(problems) >= 2  # the claim, and at least one branch


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_run_without_any_checkpoint_goes_on_through_branches(
    home: Path, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    async def work(ctx: NodeContext) -> dict[str, Any]:
        return {ctx.node_id: 1}

    monkeypatch.setattr(Repository, "write", no_room)
    config = CheckpointConfig(on_save_error="warn", durability=durability)
    with CheckpointManager(home, config) as manager:
        with pytest.warns(CheckpointWarning, match="no room"):
            result = execute(manager, forked(work), run="r")
        assert result.output == {"s": 1, "a": 1, "b": 1, "j": 1}


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_branch_that_ended_is_not_run_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    ran: list[str] = []
    broken = [True]
    branches = SavedBranches(monkeypatch)

    async def work(ctx: NodeContext) -> dict[str, Any]:
        if ctx.node_id == "b" and broken[0]:
            await branches.wait_for("a")
            raise Crash
        ran.append(ctx.node_id)
        return {ctx.node_id: 1}

    graph = forked(work)
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        with pytest.raises(Crash):
            execute(manager, graph, run="r")
    broken[0] = False
    with CheckpointManager(home) as manager:
        result = execute(manager, graph, run="r", resume=True)
    assert result.output == {"s": 1, "a": 1, "b": 1, "j": 1}
    assert ran == ["s", "a", "b", "j"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize(
    ("value", "place"),
    [
        (lambda: [1, object()], r"state\['x'\]\[1\]"),
        (lambda: (number for number in [1]), r"output\['x'\]"),
        (lambda: {"deep": {object(): 1}}, r"state\['x'\]\['deep'\]"),
        (lambda: nested(120), r"state\['x'\](\[0\]){97}: nested deeper"),
        (lambda: {float("nan"): 1, float("nan"): 2}, r"state\['x'\]: two keys encode alike"),
        (lambda: {"k" * 70_000: 1}, r"state\['x'\]: a key is longer"),
    ],
)
@pytest.mark.parametrize("through_memory", [False, True])
def test_a_value_that_cannot_be_stored_fails_its_node_at_once(
    home: Path, durability: Any, value: Callable[[], Any], place: str, through_memory: bool
) -> None:
    good: list[Any] = []
    calls = []

    def bad(ctx: NodeContext) -> dict[str, Any]:
        calls.append(ctx.attempt)
        if good:
            return {"x": good[0]}
        if not through_memory:
            return {"x": value()}
        ctx.memory.write("x", value())
        return {}

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", function=lambda: {"n": {1, 2}}),
            NodeSpec(id="bad", function=bad),
        ],
        edges=[EdgeSpec(id="e", source="a", target="bad")],
    )
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        result = execute(manager, graph, run="r")
        assert calls == [1]
        assert not result.success
        assert re.search(
            rf"node 'bad' failed after 1 attempt: .*({place}|memory)", str(result.error)
        )
        assert manager.history("r")[0].kind == "failed"
        good.append(3)
        assert execute(manager, graph, run="r", resume=True).output == {"n": {1, 2}, "x": 3}


HALF = "\ud83d"
"""Half of a surrogate pair, as of an emoji that was cut in two."""


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize(
    ("half", "place"),
    [
        ({"x": HALF}, r"state\['x'\]"),
        ({"x": {"deep": ["é", f"a {HALF} b"]}}, r"state\['x'\]\['deep'\]\[1\]"),
        ({"x": [{HALF: 1}]}, r"state\['x'\]\[0\]"),
        ({HALF: 1}, "state"),
    ],
)
@pytest.mark.parametrize("through_memory", [False, True])
def test_a_text_that_cannot_be_stored_fails_the_attempt(
    home: Path, durability: Any, half: dict[str, Any], place: str, through_memory: bool
) -> None:
    """It came from outside, and may be whole the next time."""
    ran: list[int] = []

    def work(ctx: NodeContext) -> dict[str, Any]:
        ran.append(ctx.attempt)
        if len(ran) == 3:
            return {"x": "whole"}
        if not through_memory:
            return half
        for key, value in half.items():
            ctx.memory.write(key, value)
        return {}

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id="a", function=work, max_retries=1, backoff_seconds=0)],
    )
    runtime = Runtime()
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        result = execute(manager, graph, run="r", runtime=runtime)
        assert not result.success
        said = f"node 'a' failed after 2 attempts: .* cannot be stored: {place}: the text has a"
        assert re.search(said, str(result.error))
        assert [problem.node_id for problem in runtime.record("r").problems] == ["a", "a"]
        stored = ["failed"] if durability == "exit" else ["failed", "attempt_failed", "input"]
        assert [checkpoint.kind for checkpoint in manager.history("r")] == stored
        assert manager.restore("r") == {}
    with CheckpointManager(home) as manager:
        assert execute(manager, graph, run="r", resume=True).output == {"x": "whole"}


def test_an_edge_takes_what_could_not_be_stored(manager: CheckpointManager) -> None:
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", function=lambda: {"x": HALF}, max_retries=0),
            NodeSpec(id="b", function=lambda why: {"said": why}),
        ],
        edges=[
            EdgeSpec(
                id="e",
                source="a",
                target="b",
                condition=EdgeCondition.ON_FAILURE,
                input_mapping={"why": "error"},
            )
        ],
    )
    result = execute(manager, graph, run="r")
    assert result.success
    assert "state['x']: the text has a lone surrogate" in result.output["said"]


def test_a_failure_does_without_what_cannot_be_stored(manager: CheckpointManager) -> None:
    class Fails:
        async def execute(self, ctx: NodeContext) -> NodeResult:
            return NodeResult(success=False, output={"part": object()}, error="half done")

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", node_type="own", max_retries=0),
            NodeSpec(id="b", function=lambda why: {"said": why}),
        ],
        edges=[
            EdgeSpec(
                id="e",
                source="a",
                target="b",
                condition=EdgeCondition.ON_FAILURE,
                input_mapping={"why": "error", "part": "part"},
            )
        ],
    )
    executor = GraphExecutor(Runtime(), manager, {"a": Fails()})
    result = asyncio.run(executor.execute(graph, GOAL, run="r"))
    assert not result.success
    said = r"failed after 1 attempt: half done; .* stored: state\['part'\]: .*; edge 'e'"
    assert re.search(said, str(result.error))
    assert manager.history("r")[0].kind == "failed"


def test_an_error_that_cannot_be_stored_as_it_is_is_stored_readably(
    manager: CheckpointManager,
) -> None:
    def fails() -> None:
        raise ValueError(f"no {HALF}, but é")

    graph = GraphSpec(
        id="g", entry_node="a", nodes=[NodeSpec(id="a", function=fails, max_retries=0)]
    )
    result = execute(manager, graph, run="r")
    assert str(result.error).endswith(r"ValueError: no \ud83d, but é")
    assert manager.repository.execution("r")["error"] == result.error


def test_a_decision_that_cannot_be_stored_fails_its_node(manager: CheckpointManager) -> None:
    def decides(ctx: NodeContext) -> None:
        ctx.decide("which", options=["a", "b"], chosen="a", reasoning=HALF)

    graph = GraphSpec(
        id="g", entry_node="a", nodes=[NodeSpec(id="a", function=decides, max_retries=0)]
    )
    result = execute(manager, graph, run="r")
    assert "state['decision'][3]: the text has a lone surrogate" in str(result.error)
    assert manager.history("r")[0].kind == "failed"


@pytest.mark.parametrize("giver", ["s", "a"])
def test_a_value_of_any_depth_is_stored_or_fails_its_node(
    manager: CheckpointManager, giver: str
) -> None:
    """Also where it stands in the records of branches that fork again, and pause."""

    def work(ctx: NodeContext) -> dict[str, Any]:
        return {"x": nested(levels)} if ctx.node_id == giver else {}

    edges = [("sa", {}), ("sb", {}), ("ac", {"y": "x"}), ("ad", {"y": "x"})]
    edges += [("ce", {}), ("de", {}), ("ej", {}), ("bj", {})]
    graph = GraphSpec(
        id="g",
        entry_node="s",
        nodes=[NodeSpec(id=name, function=work) for name in "sabcdej"],
        edges=[
            EdgeSpec(id=way, source=way[0], target=way[1], input_mapping=mapping)
            for way, mapping in edges
        ],
        parallel=[ParallelSpec(source="s", join="j"), ParallelSpec(source="a", join="e")],
        pause_nodes=["s", "a", "c"],
    )
    stored = []
    for levels in range(84, 102):
        result = execute(manager, graph, run=f"r{levels}")
        while result.paused_at:
            result = execute(manager, graph, run=f"r{levels}", resume=True)
        assert result.success or f"node '{giver}' failed" in str(result.error)
        stored.append(result.success)
    assert stored == sorted(stored, reverse=True)
    assert (stored[0], stored[-1]) == (True, False)


def test_a_saved_state_that_cannot_be_stored_fails_its_node(manager: CheckpointManager) -> None:
    async def bad(ctx: NodeContext) -> None:
        await ctx.checkpoint({"client": object()})

    graph = GraphSpec(id="g", entry_node="a", nodes=[NodeSpec(id="a", function=bad)])
    result = execute(manager, graph, run="r")
    assert "failed after 1 attempt" in str(result.error)
    assert "'client'" in str(result.error)
    assert manager.history("r")[0].kind == "failed"


@pytest.mark.parametrize("made", [object, lambda: nested(150)])
def test_an_effect_that_cannot_be_recorded_is_not_repeated(
    manager: CheckpointManager, made: Callable[[], object]
) -> None:
    sent = []

    def send() -> object:
        sent.append(1)
        return made()

    async def bad(ctx: NodeContext) -> None:
        await ctx.effect("send", send)

    graph = GraphSpec(id="g", entry_node="a", nodes=[NodeSpec(id="a", function=bad)])
    result = execute(manager, graph, run="r")
    assert "failed after 1 attempt" in str(result.error)
    assert sent == [1]


def test_an_effect_that_could_not_be_recorded_yet_is_recorded_by_the_next_attempt(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    record = Repository.record_effect
    fail = [True, True, False]

    def sometimes(repository: Repository, run: str, name: str, value: Any, **more: Any) -> Any:
        if fail.pop(0):
            raise StoreFullError("no room")
        return record(repository, run, name, value, **more)

    def send(attempt: int) -> list[int]:
        sent.append(attempt)
        return sent

    async def work(ctx: NodeContext) -> dict[str, Any]:
        return {"sent": await ctx.effect("send", send, ctx.attempt), "attempt": ctx.attempt}

    nodes = [NodeSpec(id="a", function=work, backoff_seconds=0)]
    monkeypatch.setattr(Repository, "record_effect", sometimes)
    result = execute(manager, GraphSpec(id="g", entry_node="a", nodes=nodes), run="r")
    assert result.output == {"sent": [1], "attempt": 3}
    assert sent == [1]
    assert manager.repository.effects("r") == {'["a", 1, "send"]': [1]}


def test_input_that_a_pause_waits_for_may_be_given_late(manager: CheckpointManager) -> None:
    graph = GraphSpec(
        id="g",
        entry_node="ask",
        nodes=[
            NodeSpec(id="ask", function=lambda: {"question": "where to?"}),
            NodeSpec(id="fly", function=lambda city: {"flown": city}),
        ],
        edges=[EdgeSpec(id="e", source="ask", target="fly")],
        pause_nodes=["ask"],
    )
    assert execute(manager, graph, run="r").paused_at == "ask"
    forgotten = execute(manager, graph, run="r", resume=True)
    assert "needs 'city'" in str(forgotten.error)
    assert execute(manager, graph, {"city": "Rome"}, run="r", resume=True).output["flown"] == "Rome"


def test_missing_input_is_not_tried_again_and_a_resume_gives_it(manager: CheckpointManager) -> None:
    calls = []

    def fly(city: str, seats: int = 1) -> dict[str, Any]:
        calls.append(city)
        return {"flown": city}

    spec = NodeSpec(id="fly", input_keys=["city", "seats"], function=fly)
    graph = GraphSpec(id="g", entry_node="fly", nodes=[spec])
    result = execute(manager, graph, run="r")
    assert "failed after 1 attempt: InvalidInputError: its function needs 'city'" in str(
        result.error
    )
    assert "--input" in str(result.error)
    assert calls == []
    assert execute(manager, graph, {"city": "Rome"}, run="r", resume=True).success
    assert calls == ["Rome"]


def test_input_that_a_wrapper_passes_is_not_missing(manager: CheckpointManager) -> None:
    def ask(client: str, city: str = "Rome") -> dict[str, str]:
        return {"answer": client + city}

    @functools.wraps(ask)
    def wrapped(**arguments: Any) -> dict[str, str]:
        return ask("client of ", **arguments)

    graph = GraphSpec(id="g", entry_node="a", nodes=[NodeSpec(id="a", function=wrapped)])
    assert execute(manager, graph, run="r").output == {"answer": "client of Rome"}


def test_decisions_are_part_of_the_checkpoint(manager: CheckpointManager) -> None:
    def node(ctx: NodeContext) -> None:
        ctx.decide("way", options=["x", "y"], chosen="y")

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id="a", function=node), NodeSpec(id="b", function=node)],
        edges=[EdgeSpec(id="ab", source="a", target="b")],
        pause_nodes=["a"],
    )
    execute(manager, graph, run="r")
    runtime = Runtime()
    execute(manager, graph, run="r", resume=True, runtime=runtime)
    assert [(d.id, d.node_id) for d in runtime.record("r").decisions] == [("d1", "a"), ("d2", "b")]


def test_old_checkpoints_are_dropped_while_a_graph_runs(home: Path) -> None:
    with CheckpointManager(home, CheckpointConfig(retention="latest_only")) as manager:
        execute(manager, count_to(6), {"n": 0}, run="r")
        (only,) = manager.history("r")
        assert (only.kind, only.sequence) == ("final", 7)


def test_a_step_costs_one_commit_and_what_changed(home: Path) -> None:
    kept = {f"key {number}": "x" * 200 for number in range(200)}
    with hive.open(home) as repo:
        writes = 0
        write = repo.write

        def counted(prepared: Any) -> Any:
            nonlocal writes
            writes += 1
            return write(prepared)

        repo.write = counted  # type: ignore[method-assign]
        execute(CheckpointManager(repo), count_to(50), {"n": 0, **kept}, run="r")
        assert writes == 51
        history = repo.log("r")
        assert max(cp.new_objects for cp in history[:-1]) <= 8
        assert sum(cp.new_bytes for cp in history[:-1]) < 50 * 2_000
        assert history[0].logical_bytes > 40_000


def test_renamed_nodes_go_on_with_their_keys_and_effects(manager: CheckpointManager) -> None:
    keys: list[str] = []
    called: list[str] = []
    crashes = [True]

    async def node(ctx: NodeContext) -> dict[str, Any]:
        keys.append(ctx.idempotency_key)
        await ctx.effect("once", called.append, ctx.node_id)
        if len(called) == 2 and crashes:
            crashes.clear()
            raise Crash
        return {ctx.node_id: ctx.visit}

    def graph(*names: str, **changes: Any) -> GraphSpec:
        nodes = [NodeSpec(id=name, function=node, **changes) for name in names]
        first, second, third = names
        return GraphSpec(
            id="g",
            entry_node=first,
            terminal_nodes=[third],
            nodes=nodes,
            edges=[
                EdgeSpec(id="1", source=first, target=second),
                EdgeSpec(id="2", source=second, target=third),
            ],
        )

    with pytest.raises(Crash):
        execute(manager, graph("a", "b", "c"), run="r")
    with pytest.raises(ConflictError, match=r"graph.nodes.b: removed.*renamed_nodes"):
        execute(manager, graph("a", "x", "y"), run="r", resume=True)
    names = {"b": "x", "c": "y"}
    changed = graph("a", "x", "y", max_retries=9)
    with pytest.raises(ConflictError, match=r"max_retries: 3 -> 9"):
        execute(manager, changed, run="r", resume=True, renamed_nodes=names)
    with pytest.raises(InvalidInputError, match="'z', which was no node"):
        execute(manager, changed, run="r", resume=True, renamed_nodes={"z": "x"})
    with pytest.raises(InvalidInputError, match="two nodes the same id"):
        execute(manager, changed, run="r", resume=True, renamed_nodes={"b": "a"})
    result = execute(manager, graph("a", "x", "y"), run="r", resume=True, renamed_nodes=names)
    assert result.path == ["a", "x", "y"]
    assert result.visits == {"a": 1, "x": 1, "y": 1}
    assert called == ["a", "b", "y"]
    assert keys[1] == keys[2]
    # From the first checkpoint on it is a run of the new graph, and needs no names any more.
    assert [cp.kind for cp in manager.history("r")][2] == "resumed"
    assert execute(manager, graph("a", "x", "y"), run="r", resume=True).path == ["a", "x", "y"]


def test_names_of_renamed_nodes_may_be_given_at_every_resume(manager: CheckpointManager) -> None:
    crashes = [True, True]

    def node(ctx: NodeContext) -> dict[str, Any]:
        if ctx.node_id != "a" and crashes:
            crashes.pop()
            raise Crash
        return {ctx.node_id: ctx.visit}

    def graph(names: str) -> GraphSpec:
        nodes = [NodeSpec(id=name, function=node) for name in names]
        edge = EdgeSpec(id="1", source=names[0], target=names[1])
        return GraphSpec(id="g", entry_node=names[0], nodes=nodes, edges=[edge])

    with pytest.raises(Crash):
        execute(manager, graph("ab"), run="r")
    options: Any = {"resume": True, "renamed_nodes": {"b": "x"}}
    with pytest.raises(Crash):
        execute(manager, graph("ax"), run="r", **options)
    for _ in range(2):
        assert execute(manager, graph("ax"), run="r", **options).path == ["a", "x"]
    kinds = [cp.kind for cp in reversed(manager.history("r"))]
    assert kinds == ["input", "node_complete", "resumed", "final"]
    assert execute(manager, graph("ax"), run="new", **options).path == ["a", "x"]


def test_nodes_are_renamed_within_branches_too(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    crashes = [True]
    branches = SavedBranches(monkeypatch)

    async def node(ctx: NodeContext) -> dict[str, Any]:
        if ctx.node_id == "d" and crashes:
            await branches.wait_for("b")
            crashes.clear()
            raise Crash
        ran.append(ctx.node_id)
        return {ctx.node_id: 1}

    def graph(names: str) -> GraphSpec:
        a, b, c, d, j = list(names)
        return GraphSpec(
            id="g",
            entry_node=a,
            nodes=[NodeSpec(id=name, function=node, output_keys=[name]) for name in names],
            edges=[
                EdgeSpec(id="1", source=a, target=b),
                EdgeSpec(id="2", source=a, target=c),
                EdgeSpec(id="3", source=c, target=d),
                EdgeSpec(id="4", source=b, target=j),
                EdgeSpec(id="5", source=d, target=j),
            ],
            parallel=[ParallelSpec(source=a, join=j)],
        )

    with pytest.raises(Crash):
        execute(manager, graph("abcdj"), run="r")
    assert ran == ["a", "b", "c"]
    swapped = {"a": "A", "b": "c", "c": "b"}
    graph_now = graph("Acbdj")
    # The output keys were renamed as well, which is a change of its own.
    with pytest.raises(ConflictError, match="output_keys"):
        execute(manager, graph_now, run="r", resume=True, renamed_nodes=swapped)
    result = execute(
        manager, graph_now, run="r", resume=True, renamed_nodes=swapped, accept_changed_graph=True
    )
    assert ran == ["a", "b", "c", "d", "j"]
    assert result.path == ["A", "c", "b", "d", "j"]
    assert result.output == dict.fromkeys("abcdj", 1)


def crashed_in_a_section(manager: CheckpointManager) -> tuple[GraphSpec, list[str]]:
    """A graph, and the nodes that ran before the run crashed in the second of two branches."""
    ran: list[str] = []
    crashes = [True]

    async def node(ctx: NodeContext) -> dict[str, Any]:
        if ctx.node_id == "c" and crashes:
            await branches.wait_for("b")
            crashes.clear()
            raise Crash
        ran.append(ctx.node_id)
        return {ctx.node_id: 1}

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id=name, function=node) for name in "abcj"],
        edges=[
            EdgeSpec(id=f"{a}{b}", source=a, target=b)
            for a, b in (("a", "b"), ("a", "c"), ("b", "j"), ("c", "j"))
        ],
        parallel=[ParallelSpec(source="a", join="j")],
    )
    with pytest.MonkeyPatch.context() as patch:
        branches = SavedBranches(patch)
        with pytest.raises(Crash):
            execute(manager, graph, run="r")
    return graph, ran


def test_a_section_is_forked_with_what_its_branches_have_done(manager: CheckpointManager) -> None:
    graph, ran = crashed_in_a_section(manager)
    forked = execute(manager, graph, run="fork", resume="r@2")
    assert forked.path == ["a", "b", "c", "j"]
    assert ran == ["a", "b", "c", "j"]
    assert [cp.kind for cp in reversed(manager.history("fork"))][1:] == [
        "resumed",
        "branches_complete",
        "final",
    ]
    assert execute(manager, graph, run="r", resume=True).path == ["a", "b", "c", "j"]
    assert ran == ["a", "b", "c", "j", "c", "j"]


@pytest.mark.parametrize("undo", [False, True])
def test_a_section_is_abandoned_with_what_its_branches_have_done(
    manager: CheckpointManager, undo: bool
) -> None:
    graph, ran = crashed_in_a_section(manager)
    abandon(manager.repository, "r")
    if undo:
        reinstate(manager.repository, "r")
    result = execute(manager, graph, run="r", resume=True)
    assert result.path == ["a", "b", "c", "j"]
    assert ran == ["a", "b", "c", "j"]


def lied(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A record with some fields changed, or removed where they are to be ``...``."""
    return {name: value for name, value in {**record, **changes}.items() if value is not ...}


LIES: list[dict[str, Any]] = [
    {"graph": ...},
    {"graph": None},
    {"graph": {"nodes": []}},
    {"graph": "{"},
    {"graph": "[" * 3_000},
    {"graph": "null"},
    {"goal": ...},
    {"goal": 7},
    {"decisions": 7},
    {"decisions": ["x"]},
    {"decisions": [{}]},
    {"section": {}},
    {"section": "x"},
    {"section": {"source": "step", "branches": 7}},
    {"visits": 7},
    {"path": None},
    {"executor": ["graph"]},
    {"executor": {1}},
]


def test_a_record_that_no_executor_wrote_is_refused(manager: CheckpointManager) -> None:
    """A bundle can bring any record under the name of a run, and a person may resume that."""
    crash(manager)
    repo = manager.repository
    state, record, head = repo.restore("r"), repo.execution("r"), repo.resolve("r")
    for number, lie in enumerate(LIES):
        name = f"lie {number}"
        repo.commit(name, state, execution=lied(record, **lie), graph=head.graph)
        for resume in (True, name):
            with pytest.raises((InvalidInputError, ConflictError)):
                execute(manager, count_to(5), run=name, resume=resume)
        assert repo.resolve(name).sequence == 1
    for number, odd in enumerate((7, ["n"], "n")):
        repo.commit(f"odd {number}", odd, execution=record, graph=head.graph)
        with pytest.raises(InvalidInputError):
            execute(manager, count_to(5), run=f"odd {number}", resume=True)
    repo.commit("renamed", state, execution=lied(record, section=...), graph=head.graph)
    renamed = {"old": "step"}, {"step": "new"}
    for names in renamed:
        with pytest.raises((InvalidInputError, ConflictError)):
            execute(manager, count_to(4), run="renamed", resume=True, renamed_nodes=names)
