"""What a rule names reaches no byte of a store, wherever it was put in, and runs still go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hive import CheckpointConfig, CheckpointManager, ConflictError, InvalidInputError
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
)
from hive.graph.abandoned import abandon, reinstate
from hive.graph.discretion import Discretion
from hive.graph.fingerprint import text_of
from hive.graph.goal import SuccessCriterion
from hive.plan import (
    ActionSpec,
    ActionType,
    ApprovalDecision,
    ApprovalResult,
    ExecutionStatus,
    FlexibleGraphExecutor,
    Judgment,
    JudgmentAction,
    Plan,
    PlanExecutionResult,
    PlanStep,
)
from hive.runner import Agent, AgentRunner
from manifests import Redaction, Registry, Repository
from manifests.parts import Structure
from tests.hive.command_line import fresh_imports, hive
from tests.hive.moments import SavedBranches
from tests.manifests.stored import stored

MASK = "***"
DURABILITIES = ["sync", "async", "exit"]


def masked(*patterns: str) -> Redaction:
    return Redaction(patterns, lambda _path, _value: MASK)


class Crash(BaseException):
    """Ends an execution where it is."""


@dataclass(frozen=True)
class Login:
    secret: str


class Places:
    """Hides a secret of its own at each place, somewhere in a value."""

    def __init__(self, seed: int, *, plain: bool = False) -> None:
        self._random = random.Random(seed)
        self._plain = plain
        self._values: dict[str, Any] = {}
        self.markers: dict[str, str] = {}

    def bare(self, place: str) -> str:
        """Return the secret of a place itself."""
        number = self._random.getrandbits(64)
        return self.markers.setdefault(place, f"marker-{place}-{number:016x}-")

    def at(self, place: str) -> Any:
        """Return a value in which the secret stands under ``secret``; the same one each time."""
        if place not in self._values:
            self._values[place] = self._value(self.bare(place))
        return self._values[place]

    def _value(self, marker: str) -> Any:
        value: Any = {"secret": marker}
        if not self._random.randrange(3):
            value = {"secret": {"deeper": [marker * self._random.randrange(1, 9)]}}
        elif not self._plain and not self._random.randrange(3):
            value = Login(marker)
        for _ in range(self._random.randrange(3)):
            value = self._random.choice([[value], {"in": value}, [1, {"other": value}, 2]])
        return value

    def found(self, home: Path) -> set[str]:
        """Return the places whose secrets are on the disk."""
        data = stored(home)
        return {place for place, marker in self.markers.items() if marker.encode() in data}


def registry() -> Registry:
    made = Registry()
    made.register(Login)
    return made


@dataclass
class Store:
    """Opens one store again and again, under the same rules."""

    home: Path
    redact: Redaction | None
    durability: Any = "sync"

    def __enter__(self) -> CheckpointManager:
        self.repository = Repository.open(self.home, redact=self.redact, registry=registry())
        config = CheckpointConfig(durability=self.durability, save_node_starts=True)
        self.manager = CheckpointManager(self.repository, config)
        return self.manager

    def __exit__(self, *_exception: object) -> None:
        self.manager.close()
        assert self.repository.check().ok
        self.repository.close()


def run_graph(
    manager: CheckpointManager, graph: GraphSpec, given: Any = None, **options: Any
) -> ExecutionResult:
    goal = options.pop("goal", Goal(id="goal"))
    return asyncio.run(GraphExecutor(Runtime(), manager).execute(graph, goal, given, **options))


def node(name: str, function: Callable[..., Any], **changes: Any) -> NodeSpec:
    return NodeSpec(id=name, function=function, max_retries=0, **changes)


def edge(ends: str, **changes: Any) -> EdgeSpec:
    return EdgeSpec(id=ends, source=ends[0], target=ends[1], **changes)


# -- everywhere, in graphs ------------------------------------------------------------------------


class GraphJob:
    """A run with branches that crashes in its nodes, pauses, fails to lead on, and goes on."""

    def __init__(self, seed: int) -> None:
        self.places = Places(seed)
        self.crashes = {"a", "c"}
        self.ran: list[str] = []
        self.done: list[str] = []

    def _crash(self, name: str) -> None:
        if name in self.crashes:
            self.crashes.remove(name)
            raise Crash

    def _do(self, name: str, value: Any) -> Any:
        self.done.append(name)
        return value

    async def _a(self, ctx: NodeContext) -> dict[str, Any]:
        at = self.places.at
        await ctx.effect("charge", self._do, "charge", at("effect"))
        await ctx.effect("secret", self._do, "secret", self.places.bare("named"))
        await ctx.checkpoint(at("saved"))
        self._crash("a")
        self.ran.append("a")
        return {"out": at("output"), "secret": self.places.bare("key")}

    async def _b(self, ctx: NodeContext) -> dict[str, Any]:
        self.ran.append("b")
        return {"b": self.places.at("branch")}

    async def _c(self, ctx: NodeContext) -> dict[str, Any]:
        await self.branches.wait_for("b")
        await ctx.checkpoint({"so far": self.places.at("saved in a branch")})
        self._crash("c")
        self.ran.append("c")
        return {"c": self.places.at("other branch")}

    def _d(self) -> dict[str, Any]:
        self.ran.append("d")
        return {"d": self.places.at("before the pause")}

    def _e(self, more: Any, n: int) -> dict[str, Any]:
        self.ran.append("e")
        return {"e": self.places.at("not led on"), "more": more, "n": n}

    def _f(self) -> dict[str, Any]:
        self.ran.append("f")
        return {}

    def graph(self) -> GraphSpec:
        settings = {"secret": self.places.bare("settings"), "prompt": "p"}
        return GraphSpec(
            id="graph",
            entry_node="a",
            pause_nodes=["d"],
            terminal_nodes=["f"],
            nodes=[
                node("a", self._a, settings=settings),
                *(node(name, getattr(self, f"_{name}")) for name in "bcdf"),
                node("e", self._e, input_keys=["more", "n"]),
            ],
            edges=[
                edge("ab", input_mapping={"for b": "out"}),
                edge("ac"),
                edge("bd"),
                edge("cd"),
                edge("de"),
                edge("ef", condition=EdgeCondition.CONDITIONAL, condition_expr="n > 1"),
            ],
            parallel=[ParallelSpec(source="a", join="d")],
        )

    def goal(self) -> Goal:
        target: Any = {"secret": self.places.bare("target")}
        return Goal(
            id="goal",
            context={"secret": self.places.bare("goal"), "for": "people"},
            success_criteria=[SuccessCriterion(id="good", target=target)],
        )

    def drive(self, store: Store) -> ExecutionResult:
        """Go on from every crash in a store that is opened anew, with the input it began with."""
        with pytest.MonkeyPatch.context() as patch:
            self.branches = SavedBranches(patch)
            return self._drive(store)

    def _drive(self, store: Store) -> ExecutionResult:
        given = {"given": self.places.at("input"), "secret": self.places.bare("input key"), "n": 1}
        stops: list[ExecutionResult] = []
        for options in (
            {},
            {"resume": True},
            {"resume": True},
            {"resume": True, "given": {"more": self.places.at("pause input")}},
            {"resume": True, "given": {"n": 2}},
        ):
            with store as manager:
                arguments: dict[str, Any] = {"given": given, "run": "r", "goal": self.goal()}
                graph = self.graph()
                try:
                    stops.append(run_graph(manager, graph, **{**arguments, **options}))
                except Crash:
                    continue
        with store as manager:
            memory = {"session": self.places.at("session"), "n": 2, "more": 1}
            session = {"memory": memory, "resume_from": "e"}
            run_graph(manager, self.graph(), session_state=session, run="session")
            manager.save("by hand", {}, execution={"note": self.places.at("record by hand")})
        assert [stop.paused_at for stop in stops] == ["d", None, None]
        assert "no edge leads on" in str(stops[1].error)
        return stops[-1]


@pytest.mark.parametrize("durability", DURABILITIES)
def test_no_secret_of_a_graph_reaches_the_disk(home: Path, seed: int, durability: Any) -> None:
    job, plain = GraphJob(seed), GraphJob(seed)
    result = job.drive(Store(home, masked("**.secret"), durability))
    assert job.places.found(home) == set()
    control = home.with_name("control")
    expected = plain.drive(Store(control, None, durability))
    kept = set(plain.places.markers)
    if durability != "sync":  # a crash loses what was on its way
        kept -= {"saved", "saved in a branch", "branch"}
    assert plain.places.found(control) >= kept
    # What was needed to go on was there.
    assert result.success
    assert expected.success
    assert result.path == expected.path == ["a", "b", "c", "d", "e", "f"]
    assert job.ran == plain.ran
    assert job.done == plain.done
    assert (result.visits, result.retries) == (expected.visits, expected.retries)
    assert result.output.keys() == expected.output.keys()
    with Repository.open(home) as after, Repository.open(control) as before:
        assert {found.graph for found in after.log("r")} == {
            found.graph for found in before.log("r")
        }


def test_rules_for_everything_leave_a_run_of_a_graph_whole(home: Path, seed: int) -> None:
    job = GraphJob(seed)

    def replace(path: str, value: Any) -> Any:
        return value if path.endswith(("['n']", "n")) and isinstance(value, int) else MASK

    result = job.drive(Store(home, Redaction(["**", "*.*", "**.*"], replace)))
    assert result.success
    assert result.path == ["a", "b", "c", "d", "e", "f"]
    assert job.places.found(home) == set()


# -- everywhere, in plans -------------------------------------------------------------------------


def step(name: str, **changes: Any) -> PlanStep:
    return PlanStep(id=name, action=ActionSpec(name=name), backoff_seconds=0, **changes)


class PlanJob:
    """A plan whose steps crash, ask, are escalated, given other inputs and made anew."""

    def __init__(self, seed: int) -> None:
        self.places = Places(seed)
        self.texts = Places(seed + 1, plain=True)
        self.crashes = {"first", "sub"}
        self.ran: list[str] = []

    def _crash(self, name: str) -> None:
        if name in self.crashes:
            self.crashes.remove(name)
            raise Crash

    async def _first(self, ctx: NodeContext, arg: Any) -> dict[str, Any]:
        await ctx.effect("pay", lambda: self.places.at("effect"))
        await ctx.checkpoint(self.places.at("saved"))
        self._crash("first")
        self.ran.append("first")
        return {"one": self.places.at("result"), "secret": self.places.bare("result key")}

    def _asked(self, arg: Any) -> dict[str, Any]:
        self.ran.append("asked")
        return {"two": self.places.at("result of an asked step")}

    def _judged(self) -> dict[str, Any]:
        self.ran.append("judged")
        return {"three": self.places.at("escalated result")}

    def _last(self, one: Any) -> dict[str, Any]:
        self._crash("last")
        self.ran.append("last")
        return {"four": 4}

    def _node(self, given: Any) -> dict[str, Any]:
        self._crash("sub")
        self.ran.append("sub")
        return {"five": self.places.at("result of a graph")}

    def plan(self, **changes: Any) -> Plan:
        return Plan(
            id="plan",
            context={"in plan": self.texts.at("context of the plan"), "n": 1},
            steps=[
                step("first", inputs={"arg": self.texts.at("inputs of a step")}),
                step(
                    "asked",
                    inputs={"arg": "$one"},
                    dependencies=["first"],
                    requires_approval=True,
                ),
                step("judged", dependencies=["first"]),
                PlanStep(
                    id="sub",
                    action=ActionSpec(name="sub", action_type=ActionType.SUB_GRAPH),
                    inputs={"given": "$one"},
                    dependencies=["first"],
                    max_retries=1,
                    backoff_seconds=0,
                ),
                step("last", dependencies=["asked", "judged", "sub"]),
            ],
            **changes,
        )

    def _judge(self, step: PlanStep, outcome: Any, _goal: Any, _context: Any) -> Judgment:
        action = JudgmentAction.ESCALATE if step.id == "judged" else JudgmentAction.ACCEPT
        return Judgment(action=action if outcome.success else JudgmentAction.RETRY)

    def go(self, store: Store, **options: Any) -> PlanExecutionResult | None:
        functions = {
            name: getattr(self, f"_{name}") for name in ("first", "asked", "judged", "last")
        }
        sub = GraphSpec(id="sub", entry_node="n", nodes=[node("n", self._node)])
        goal = Goal(id="goal", context={"secret": self.texts.bare("goal")})
        context = {"given": self.places.at("context"), "secret": self.places.bare("context key")}
        with store as manager:
            executor = FlexibleGraphExecutor(Runtime(), manager, functions, self._judge)
            executor.register_graph("sub", sub)
            arguments = {"context": context, "run": "p", "resume": True, **options}
            plan = arguments.pop("plan", None) or self.plan()
            try:
                return asyncio.run(executor.execute_plan(plan, goal, **arguments))
            except Crash:
                return None

    def drive(self, store: Store) -> PlanExecutionResult:
        assert self.go(store) is None
        assert self.go(store) is None
        waits = self.go(store)
        assert waits is not None
        assert waits.status is ExecutionStatus.NEEDS_ESCALATION, waits
        inputs = {"arg": self.places.at("inputs of a person")}
        answers = {
            "asked": ApprovalResult(decision=ApprovalDecision.MODIFY, inputs=inputs),
            "judged": True,
        }
        done = self.go(store, approvals=answers)
        assert done is not None
        return done


@pytest.mark.parametrize("durability", DURABILITIES)
def test_no_secret_of_a_plan_reaches_the_disk(home: Path, seed: int, durability: Any) -> None:
    job, plain = PlanJob(seed), PlanJob(seed)
    result = job.drive(Store(home, masked("**.secret"), durability))
    assert job.places.found(home) | job.texts.found(home) == set()
    control = home.with_name("control")
    expected = plain.drive(Store(control, None, durability))
    kept = set(plain.places.markers) - ({"saved"} if durability != "sync" else set())
    assert plain.places.found(control) >= kept
    assert plain.texts.found(control) == set(plain.texts.markers)
    assert result.status is expected.status is ExecutionStatus.COMPLETED
    assert job.ran == plain.ran == ["first", "judged", "sub", "asked", "last"]
    assert result.completed_steps == expected.completed_steps
    assert result.steps_executed == expected.steps_executed
    assert result.results.keys() == expected.results.keys()
    with Repository.open(home) as after, Repository.open(control) as before:
        assert {found.graph for found in after.log("p")} == {
            found.graph for found in before.log("p")
        }


def test_rules_for_everything_leave_a_run_of_a_plan_whole(home: Path, seed: int) -> None:
    job = PlanJob(seed)
    result = job.drive(Store(home, masked("**", "*.*", "**.*")))
    assert result.status is ExecutionStatus.COMPLETED
    assert job.ran == ["first", "judged", "sub", "asked", "last"]
    assert job.places.found(home) | job.texts.found(home) == set()


def test_an_agent_keeps_its_secrets(home: Path) -> None:
    def work(token: str) -> dict[str, Any]:
        return {"done": len(token)}

    graph = GraphSpec(id="g", entry_node="a", nodes=[node("a", work)])
    agent = Agent(work=graph, redact=masked("token"))
    for run in ("default home", "path", "repository"):
        with contextlib.ExitStack() as stack:
            storage: Any = None if run == "default home" else home
            if run == "repository":
                storage = stack.enter_context(Repository.open(home, redact=masked("token", "x")))
            runner = stack.enter_context(AgentRunner(agent, storage))
            done = runner.run({"token": "marker-1"}, run=run)
            assert isinstance(done, ExecutionResult)
            assert done.output["done"] == len("marker-1")
            assert runner.resume(run, {"token": "marker-1"}).success
    assert b"marker-1" not in stored(home)
    with Repository.open(home) as plain, pytest.raises(InvalidInputError, match="redact=") as error:
        AgentRunner(agent, plain)
    assert "secrets would be stored" in str(error.value)


def test_a_described_agent_names_its_rules_also_for_the_command_line(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "parts.py").write_text(
        "from manifests import Redaction\n"
        "redact = Redaction(['**.token'], lambda path, value: '***')\n"
        "def work(token): return {'token': token}\n"
    )
    graph = {"id": "g", "entry_node": "a", "pause_nodes": ["a"], "nodes": [{"id": "a"}]}
    described = {"graph": graph, "functions": {"a": "parts:work"}, "redact": "parts:redact"}
    (tmp_path / "agent.json").write_text(json.dumps(described))
    given = json.dumps({"token": "marker-1"})
    with fresh_imports():
        first = hive("run", str(tmp_path / "agent.json"), "--input", given, "--run", "r")
        assert first.code == 0, first.errors
        second = hive("resume", "r", "--input", json.dumps({"token": "marker-2"}))
        assert second.code == 0, second.errors
    data = stored(home)
    assert MASK.encode() in data
    assert b"marker" not in data


# -- going on -------------------------------------------------------------------------------------


def crashing(seen: list[Any] | None = None, *, crashes: bool = True) -> GraphSpec:
    """Two nodes, the second of which crashes; it sees a token."""

    def second(token: Any, n: int) -> dict[str, Any]:
        if crashes:
            raise Crash
        if seen is not None:
            seen.append(token)
        return {"n": n + 1}

    return GraphSpec(
        id="g",
        entry_node="a",
        nodes=[node("a", lambda: {"n": 1}), node("b", second)],
        edges=[edge("ab", input_mapping={"token": "token", "n": "n"})],
    )


def crash(store: Store, given: Any) -> None:
    with store as manager, pytest.raises(Crash):
        run_graph(manager, crashing(), given, run="r")


def hashed(_path: str, value: Any) -> Any:
    """What is replaced already stays."""
    if isinstance(value, str) and value.startswith("hashed "):
        return value
    return f"hashed {hash(str(value))}"


@pytest.mark.parametrize("replace", [lambda _path, _value: MASK, hashed])
def test_a_run_is_resumed_with_the_input_it_was_given(home: Path, replace: Any) -> None:
    store = Store(home, Redaction(["token"], replace))
    given = {"token": "marker-1", "also": [1]}
    crash(store, given)
    with store as manager, pytest.raises(Crash):
        run_graph(manager, crashing(), given, run="r", resume=True)
    seen: list[Any] = []
    with store as manager:
        result = run_graph(manager, crashing(seen, crashes=False), given, run="r", resume=True)
        record = manager.repository.execution("r")
    assert result.success
    assert seen == [replace("", "marker-1")]  # as in a state that is restored
    assert record["inputs"] == [{"token": replace("", "marker-1"), "also": [1]}]
    with store as manager:
        again = run_graph(manager, crashing(), given, run="r", resume=True)
    assert again.output == result.output


def test_other_input_is_refused_without_its_values(home: Path) -> None:
    store = Store(home, masked("token"))
    crash(store, {"token": "marker-1", "also": 1})
    with store as manager, pytest.raises(InvalidInputError, match="takes no new input") as caught:
        run_graph(manager, crashing(), {"token": "marker-1", "also": 2}, run="r", resume=True)
    assert "marker" not in str(caught.value)


@pytest.mark.parametrize("redact", [None, masked("other"), masked("**.token", "also")])
def test_input_under_other_rules_is_refused_without_its_values(
    home: Path, redact: Redaction | None
) -> None:
    given = {"token": "marker-1", "also": "marker-2"}
    crash(Store(home, masked("token")), given)
    with Store(home, redact) as manager:
        with pytest.raises(InvalidInputError, match="takes no new input") as caught:
            run_graph(manager, crashing(), given, run="r", resume=True)
        assert "marker" not in str(caught.value)
        assert run_graph(manager, crashing(crashes=False), run="r", resume=True).success


def test_what_was_stored_without_rules_is_known_under_rules(home: Path) -> None:
    crash(Store(home, None), {"token": "marker-1"})
    with Store(home, masked("token")) as manager:
        graph = crashing(crashes=False)
        assert run_graph(manager, graph, {"token": "marker-1"}, run="r", resume=True).success


def test_a_run_that_failed_takes_its_secrets_anew(home: Path) -> None:
    """Whether they are others cannot be told; what else it has come to stays."""
    seen: list[Any] = []

    def work(token: str, n: int) -> dict[str, Any]:
        seen.append((token, n))
        if n and token != "marker-right":
            raise ValueError("refused")
        return {"n": n + 1}

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[node("a", work), node("b", work)],
        edges=[edge("ab", input_mapping={"n": "n", "token": "token"})],
    )
    store = Store(home, masked("token"))
    for token in ("marker-wrong", "marker-wrong", "marker-right"):
        with store as manager:
            given = {"token": token, "n": 0}
            success = run_graph(manager, graph, given, run="r", resume=True).success
            assert success is (token == "marker-right")
    with store as manager:
        inputs = manager.repository.execution("r")["inputs"]
    assert seen == [
        ("marker-wrong", 0),
        ("marker-wrong", 1),
        ("marker-wrong", 1),
        ("marker-right", 1),
    ]
    assert inputs == [{"token": MASK, "n": 0}, {"token": MASK}, {"token": MASK}]
    assert b"marker" not in stored(home)


@pytest.mark.parametrize("asks", [True, False])
def test_a_plan_that_stopped_takes_its_secrets_anew(home: Path, asks: bool) -> None:
    seen: list[str] = []

    def work(token: str) -> dict[str, Any]:
        seen.append(token)
        if token != "marker-right":
            raise ValueError("refused")
        return {"done": 1}

    made = Plan(id="p", steps=[step("a", requires_approval=asks, max_retries=0)])
    store = Store(home, masked("token"))

    def go(token: str, **options: Any) -> PlanExecutionResult:
        with store as manager:
            executor = FlexibleGraphExecutor(Runtime(), manager, {"a": work})
            context = {"token": token, "n": 1}
            return asyncio.run(
                executor.execute_plan(
                    made, Goal(id="goal"), context, run="p", resume=True, **options
                )
            )

    def checkpoints() -> int:
        with Repository.open(home) as repository:
            return len(repository.log("p"))

    go("marker-wrong")
    if asks:
        before = checkpoints()
        go("marker-wrong")  # nobody answered yet
        assert checkpoints() == before
    done = go("marker-right", approvals={"a": True} if asks else {})
    assert done.status is ExecutionStatus.COMPLETED
    assert seen == (["marker-right"] if asks else ["marker-wrong", "marker-right"])
    assert go("marker-right").status is ExecutionStatus.COMPLETED
    assert len(seen) == 1 + (not asks)
    assert b"marker" not in stored(home)


def with_settings(value: str) -> GraphSpec:
    graph = crashing()
    nodes = [each.model_copy(update={"settings": {"api": {"key": value}}}) for each in graph.nodes]
    return graph.model_copy(update={"nodes": nodes})


def test_a_graph_is_compared_as_it_is_stored_and_shows_no_settings(home: Path) -> None:
    store = Store(home, masked("api.key"))
    with store as manager, pytest.raises(Crash):
        run_graph(manager, with_settings("marker-1"), {"token": "t"}, run="r")
    assert b"marker-1" not in stored(home)
    with store as manager, pytest.raises(Crash):  # a key was changed for another one
        run_graph(manager, with_settings("marker-2"), run="r", resume=True)
    with Store(home, None) as manager, pytest.raises(ConflictError) as caught:
        run_graph(manager, with_settings("marker-1"), run="r", resume=True)
    assert "graph.nodes.a.settings.api.key: another value" in str(caught.value)
    assert "marker" not in str(caught.value)


def test_what_a_run_needs_to_go_on_is_never_replaced(home: Path) -> None:
    """Rules for words of the record are for keys of that name alone, also where it is copied."""
    store = Store(home, masked("**.status", "next_node", "**.path", "inputs.*", "**.graph"))
    crash(store, {"token": "t", "status": "marker-1", "path": "marker-2"})
    with store as manager:
        abandon(manager.repository, "r")
        reinstate(manager.repository, "r")
        record = manager.repository.execution("r")
        assert record["inputs"] == [{"token": "t", "status": MASK, "path": MASK}]
        assert run_graph(manager, crashing(crashes=False), run="r", resume=True).success
    assert b"marker" not in stored(home)


def plan_of(value: str, **changes: Any) -> Plan:
    first = step("first", inputs={"token": value})
    return Plan(
        id="plan", context={"api": {"key": value}}, steps=[first, step("second")], **changes
    )


def run_plan(manager: CheckpointManager, plan: Plan, ran: list[str], **options: Any) -> Any:
    def first(token: str) -> dict[str, Any]:
        ran.append("first")
        return {"one": 1}

    def second() -> dict[str, Any]:
        ran.append("second")
        raise ValueError("no")

    executor = FlexibleGraphExecutor(Runtime(), manager, {"first": first, "second": second})
    return asyncio.run(executor.execute_plan(plan, Goal(id="goal"), run="p", **options))


def test_a_step_with_replaced_inputs_is_not_made_anew_by_another_plan(home: Path) -> None:
    store = Store(home, masked("token", "api.*"))
    ran: list[str] = []
    with store as manager:
        stopped = run_plan(manager, plan_of("marker-1"), ran)
        assert stopped.status is ExecutionStatus.NEEDS_REPLAN
    with store as manager:
        changed = plan_of("marker-1", revision=2, description="better")
        assert run_plan(manager, changed, ran, resume=True).replans == 1
    assert ran.count("first") == 1
    assert b"marker" not in stored(home)


def test_a_plan_that_changed_is_refused_without_its_values(home: Path) -> None:
    ran: list[str] = []
    with Store(home, masked("token", "api.*")) as manager:
        run_plan(manager, plan_of("marker-1"), ran)
    with Store(home, None) as manager, pytest.raises(ConflictError) as caught:
        run_plan(manager, plan_of("marker-1"), ran, resume=True)
    assert "plan.context.api.key: another value" in str(caught.value)
    assert "plan.steps.first.inputs.token: another value" in str(caught.value)
    assert "marker" not in str(caught.value)


def test_what_replaces_a_part_of_a_plan_is_data(home: Path) -> None:
    for other in (b"bytes", np.arange(3), Login("x")):
        with Store(home, Redaction(["token"], lambda _path, _value: other)) as manager:  # noqa: B023
            with pytest.raises(InvalidInputError, match="has to be JSON data"):
                run_plan(manager, plan_of("marker-1"), [])


# -- the names of values --------------------------------------------------------------------------


def test_effects_stand_under_both_of_their_names(home: Path) -> None:
    async def work(ctx: NodeContext) -> dict[str, Any]:
        a = await ctx.effect("token", lambda: "marker-1")
        b = await ctx.effect("charge", lambda: {"card": "marker-2", "sum": 3})
        c = await ctx.effect("pay", lambda: {"card": "marker-3", "sum": 4})
        d = await ctx.effect("open", lambda: "marker-4")
        return {"result": [a, b, c, d]}

    graph = GraphSpec(id="g", entry_node="a", nodes=[node("a", work)])
    store = Store(home, masked("token", "charge.card", '*"pay"*.card', "[[]*open*"))
    with store as manager:
        result = run_graph(manager, graph, run="r")
        effects = manager.repository.effects("r")
    # The node gets what is stored, as after a crash.
    assert result.output["result"] == [
        MASK,
        {"card": MASK, "sum": 3},
        {"card": MASK, "sum": 4},
        MASK,
    ]
    assert {json.loads(name)[-1] for name in effects} == {"token", "charge", "pay", "open"}
    assert b"marker" not in stored(home)


@pytest.mark.parametrize(
    ("saved", "pattern"),
    [
        ({"token": "marker-1"}, "token"),
        ({"a": [{"token": "marker-1"}]}, "a.*.token"),
        (["marker-1"], "saved_state.0"),
        ("marker-1", "saved_state"),
        (Login("marker-1"), "saved_state.secret"),
        (Login("marker-1"), "**.secret"),
    ],
)
def test_what_a_node_saves_has_its_own_keys_or_one_name(
    home: Path, saved: Any, pattern: str
) -> None:
    seen: list[Any] = []

    async def work(ctx: NodeContext) -> dict[str, Any]:
        seen.append(ctx.saved_state)
        if len(seen) == 1:
            await ctx.checkpoint(saved)
            raise Crash
        return {}

    graph = GraphSpec(id="g", entry_node="a", nodes=[node("a", work)])
    store = Store(home, masked(pattern))
    with store as manager, pytest.raises(Crash):
        run_graph(manager, graph, run="r")
    assert b"marker" not in stored(home)
    with store as manager:
        assert run_graph(manager, graph, run="r", resume=True).success
    assert MASK in repr(seen[1])


def test_what_branches_write_stands_under_the_names_of_the_state(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that begins at the state finds it in the pending write of a branch too."""
    branches = SavedBranches(monkeypatch)

    async def b() -> dict[str, Any]:
        return {"token": "marker-1", "x": {"card": "marker-2"}}

    async def c() -> dict[str, Any]:
        await branches.wait_for("b")
        raise Crash

    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[node("a", lambda: {}), node("b", b), node("c", c), node("d", lambda: {})],
        edges=[edge(ends) for ends in ("ab", "ac", "bd", "cd")],
        parallel=[ParallelSpec(source="a", join="d")],
    )
    with Store(home, masked("token", "x.card")) as manager, pytest.raises(Crash):
        run_graph(manager, graph, run="r")
    with Repository.open(home) as repository:
        head = repository.resolve("r")
        written = [write.value["written"] for write in repository.pending("r", head.sequence)]
    assert {"token": MASK, "x": {"card": MASK}} in written
    assert b"marker" not in stored(home)


def test_a_record_of_another_framework_is_redacted_from_its_root(home: Path) -> None:
    record = {"token": "marker-1", "in": [{"token": "marker-2"}], "n": 1}
    redact = masked("token", "in.*.token")
    with Repository.open(home, redact=redact) as repository:
        repository.commit("r", {}, execution=record)
        assert repository.execution("r") == {"token": MASK, "in": [{"token": MASK}], "n": 1}
    assert b"marker" not in stored(home)
    with Repository.open(home, redact=redact) as repository:
        repository.commit("r", {}, execution=Structure(record))
        assert repository.execution("r") == record


# -- values that are replaced ---------------------------------------------------------------------


def test_fields_are_returned_as_they_would_be_stored(home: Path) -> None:
    fields = {
        "token": "marker",
        "n": 1,
        "login": Login("marker"),
        "list": [1, {"token": [2]}],
        "same": [{"a": 1}],
        "long": ["marker" * 9_000, {"token": 1}],
    }
    redact = masked("token", "**.secret", "list.*.token", "long.*")
    with Repository.open(home, redact=redact, registry=registry()) as repository:
        found = repository.redacted(fields)
        assert found == {
            "token": MASK,
            "n": 1,
            "login": Login(MASK),
            "list": [1, {"token": MASK}],
            "same": [{"a": 1}],
            "long": [MASK, MASK],
        }
        assert found["same"] is fields["same"]
        assert fields["token"] == "marker"
        untyped = repository.redacted(fields, typed=False)
        assert untyped["login"].fields == {"secret": MASK}
        repository.commit("a", untyped)
        repository.commit("b", fields)
        assert repository.restore("a") == repository.restore("b") == found
        untouched = {"a": [1], "b": {"c": 2}}
        assert repository.redacted(untouched) is untouched
        assert repository.redaction is redact
    with Repository.open(home) as repository:
        assert repository.redacted(fields) is fields
        assert repository.redaction is None


class Replaced:
    """Counts how often a redaction is asked."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, path: str, _value: Any) -> str:
        self.paths.append(path)
        return MASK


@pytest.fixture
def discretion(home: Path) -> Iterator[tuple[Discretion, Replaced]]:
    asked = Replaced()
    with Repository.open(home, redact=Redaction(["token", "**.key"], asked)) as repository:
        found = Discretion.of(repository)
        assert found is not None
        yield found, asked


def record_of(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"executor": "graph", "inputs": inputs, "finished": None, "status": "running"}


def test_what_was_looked_through_before_is_not_again(
    discretion: tuple[Discretion, Replaced],
) -> None:
    made, asked = discretion
    deep = [{"key": "marker"}]
    first = made.record(record_of([{"token": "marker", "deep": deep}])).content
    assert first["inputs"] == [{"token": MASK, "deep": [{"key": MASK}]}]
    assert asked.paths == ["state['token']", "state['deep'][0]['key']"]
    # The same values in other mappings, as executors have them, and a new one.
    again = made.record(record_of([{"token": "marker", "deep": deep}, {"key": "other"}])).content
    assert again["inputs"] == [*first["inputs"], {"key": MASK}]
    assert again["inputs"][0]["deep"] is first["inputs"][0]["deep"]
    assert asked.paths[2:] == ["state['key']"]
    # What is in no record any more is forgotten.
    made.record(record_of([]))
    made.record(record_of([{"deep": deep}]))
    assert asked.paths[3:] == ["state['deep'][0]['key']"]


def test_what_no_rule_names_is_the_same_object(discretion: tuple[Discretion, Replaced]) -> None:
    made, _ = discretion
    inputs = [{"a": [1], "b": {"c": 2}}]
    record = made.record(record_of(inputs)).content
    assert record["inputs"][0] is inputs[0]
    text = text_of({"nodes": [{"id": "a", "settings": {"prompt": "p"}}]})
    assert made.text(text) is text
