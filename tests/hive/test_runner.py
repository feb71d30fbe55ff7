"""``AgentRunner``: loading descriptions, running, resuming, listing, abandoning."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hive import (
    AgentRunner,
    CheckpointConfig,
    CheckpointManager,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    Repository,
)
from hive.graph import ExecutionResult, Goal, GraphSpec, NodeSpec, Runtime
from hive.graph.abandoned import abandon
from hive.plan import ActionSpec, Plan, PlanExecutionResult, PlanStep
from hive.runner import Agent, Wait
from hive.runner.loading import load_agent
from manifests import Registry
from tests.hive.command_line import fresh_imports, hive

MODULE = """
from hive import StateSchema
from hive.graph import NodeResult
from manifests import Registry

registry = Registry()
schema = StateSchema(2, {1: lambda state: {**state, "migrated": True}})

def add(number, by=1):
    return {"number": number + by}

class Double:
    async def execute(self, ctx):
        return NodeResult(True, {"number": ctx.input_data["number"] * 2})

double = Double()

def judge(step, outcome, goal, context):
    return "accept" if outcome.success else "replan"
"""
GRAPH = {
    "id": "sum",
    "entry_node": "add",
    "terminal_nodes": ["double"],
    "nodes": [
        {"id": "add", "function": "parts:add", "output_keys": ["number"]},
        {"id": "double", "node_type": "doubling"},
    ],
    "edges": [{"id": "next", "source": "add", "target": "double"}],
}
PLAN = {
    "id": "steps",
    "steps": [
        {"id": "one", "action": "add", "inputs": {"number": "$number"}},
        {
            "id": "two",
            "action": {"action_type": "node", "name": "double"},
            "inputs": {"number": "$steps.one.number"},
            "dependencies": ["one"],
            "requires_approval": True,
        },
    ],
}
WITH_PLAN = {
    "plan": PLAN,
    "functions": {"add": "parts:add"},
    "nodes": {"double": "parts.py:double"},
    "judge": {
        "rules": [{"id": "r", "condition": "not success", "action": "retry"}],
        "function": "parts:judge",
    },
    "limits": {"max_total_steps": 5},
    "checkpoints": {"durability": "async"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the module that descriptions name; the current folder is another one."""
    work = tmp_path / "agent"
    work.mkdir()
    (work / "parts.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    with fresh_imports():
        yield work


def describe(folder: Path, description: Any, name: str = "agent.json") -> Path:
    (folder / name).write_text(json.dumps(description))
    return folder / name


def test_a_described_graph_runs(folder: Path, home: Path) -> None:
    described = {
        "format": 1,
        "goal": {"id": "aim"},
        "graph": GRAPH,
        "nodes": {"double": "parts:double"},
        "registry": "parts:registry",
    }
    with AgentRunner.load(describe(folder, described)) as runner:
        result = runner.run({"number": 1}, run="r")
        assert isinstance(result, ExecutionResult)
        assert result.output == {"number": 4}
        assert runner.resume("r") == result
        assert runner.agent.purpose.id == "aim"
    assert (home / "objects").is_dir(), "the default home"
    with AgentRunner.load(folder) as runner:  # the folder itself
        assert [run.name for run in runner.runs()] == ["r"]


def test_a_described_plan_runs_and_waits(folder: Path) -> None:
    with AgentRunner.load(describe(folder, WITH_PLAN), folder / "home") as runner:
        assert runner.manager.config.durability == "async"
        result = runner.run({"number": 1}, run="r")
        assert isinstance(result, PlanExecutionResult)
        assert result.status == "awaiting_approval"
        (run,) = runner.runs()
        assert (run.name, run.status, run.steps) == ("r", "paused", 1)
        assert run.waits == [Wait("approval", "two")]
        result = runner.resume("r", approvals={"two": True})
        assert isinstance(result, PlanExecutionResult)
        assert result.results["number"] == 4
        assert [(run.status, run.waits) for run in runner.runs()] == [("done", [])]


def test_yaml_is_read_like_json(folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    (folder / "agent.yaml").write_text(yaml.safe_dump(WITH_PLAN))
    from_yaml = load_agent("agent.yaml", folder)
    assert from_yaml.work == load_agent("agent.json", describe(folder, WITH_PLAN).parent).work
    with pytest.raises(InvalidInputError, match=r"and has agent\.json and agent\.yaml"):
        load_agent(".", folder)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ([], "agent.json' describes no agent: the whole: must be an object with keys, not a list"),
        ({}, "either a graph or a plan, and has neither"),
        ({"graph": GRAPH, "plan": PLAN}, "either a graph or a plan, and has both"),
        ({"format": 2, "graph": GRAPH}, "format: must be 1, not 2"),
        ({"graph": {"id": "g"}}, "graph.entry_node: is missing"),
        ({"graph": {**GRAPH, "nodes": 5}}, "graph.nodes: must be a list, not 5"),
        (
            {"graph": {**GRAPH, "nodes": ["a", *GRAPH["nodes"]]}},
            r"graph.nodes\[0\]: must be an object with keys, not 'a'",
        ),
        (
            {"graph": {"id": 5}, "functions": {"a": "parts"}},
            "graph.id: must be a text, not 5; .*functions.*'parts' names nothing",
        ),
        ({"graph": GRAPH, "nods": {}}, "nods: there is no such field"),
        ({"graph": GRAPH, "checkpoints": {"keep_last": 1}}, "checkpoints: keep_last, max_age"),
        ({"plan": PLAN, "judge": {"function": "parts:__name__"}}, "a str is no judge"),
        ({"graph": GRAPH, "limits": {"max_replans": 1}}, "are for a description with a plan"),
        (
            {
                "plan": PLAN,
                "functions": {"add": "parts:nothing", "x": "nowhere:f"},
                "nodes": {"double": "parts"},
            },
            r"functions\['add'\]: 'parts' has no 'nothing'; functions\['x'\]: cannot import "
            r"'nowhere'.*; nodes\['double'\]: 'parts' names nothing",
        ),
        ({"plan": PLAN, "limits": {"max_total_steps": 0}}, "at least 1"),
        ({"plan": PLAN, "limits": {"max_steps": 1}}, "there is no 'max_steps'"),
        ({"plan": PLAN, "judge": {"rules": [{"id": "r", "condition": "1 +"}]}}, "action: "),
    ],
    ids=[
        "list", "empty", "both", "format", "graph", "nodes", "node", "several", "unknown",
        "checkpoints", "judge", "limits", "names", "limit", "limit-name", "rule",
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_used_says_why(
    folder: Path, description: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_agent("agent.json", describe(folder, description).parent)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("agent.json", "{", "agent.json': "),
        ("agent.json", "[" * 100_000, "agent.json': "),
        ("agent.json", '{"graph": {}, "graph": {}}', "'graph' stands there twice"),
        ("agent.yaml", "graph: [\n}", r"no YAML: line 2, column 1: [^\n]+$"),
        ("agent.yaml", "graph: {}\ngraph: {}\n", "'graph' stands there twice"),
        ("agent.yaml", "plan: !!python/object/apply:os.system [echo]\n", "no YAML"),
        (
            "agent.yml",
            "plan: {id: p, steps: [{id: a, action: f, inputs: {d: 2026-01-01}}]}",
            "inputs",
        ),
    ],
    ids=["torn", "deep", "twice", "torn-yaml", "twice-yaml", "python-object", "date"],
)
def test_a_file_that_is_no_description_says_so(
    folder: Path, name: str, text: str, message: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        load_agent(name, folder)
    with pytest.raises(InvalidInputError, match="cannot read"):
        load_agent("other.json", folder)


def test_an_agent_in_python_can_hold_everything(folder: Path) -> None:
    (folder / "bees.py").write_text(
        "from hive.graph import Goal, GraphSpec, NodeSpec\n"
        "from hive.plan import Plan, PlanStep\n"
        "from hive.runner import Agent\n"
        "plan = Plan(id='p', steps=[PlanStep(id='a', action='f')])\n"
        "goal = Goal(id='of-the-module')\n"
        "def make(): return Agent(work=plan, goal=Goal(id='x'), functions={'f': lambda: 1})\n"
    )
    found = load_agent("bees", folder)
    assert isinstance(found.work, Plan)
    assert found.purpose.id == "of-the-module"
    assert load_agent("bees.py:make", folder).purpose.id == "x"
    assert load_agent("bees.py:plan", folder).purpose.id == "p"


@dataclass
class Bee:
    name: str


def test_classes_that_are_registered_come_back(tmp_path: Path) -> None:
    registry = Registry()
    registry.register(Bee)
    graph = GraphSpec(
        id="g",
        entry_node="a",
        pause_nodes=["a"],
        nodes=[NodeSpec(id="a", function=lambda: {"bee": Bee("ada")})],
    )
    agent = Agent(work=graph, registry=registry)
    with AgentRunner(agent, tmp_path) as runner:
        runner.run(run="r")
    with AgentRunner(agent, tmp_path) as runner:
        result = runner.resume("r")
        assert isinstance(result, ExecutionResult)
        assert result.output == {"bee": Bee("ada")}


@pytest.mark.parametrize("ref", ["r", "r@2"])
def test_an_agent_without_a_goal_goes_on_with_that_of_the_run(tmp_path: Path, ref: str) -> None:
    agent = counting([])
    with AgentRunner(agent, tmp_path) as runner:
        runner.run({"n": 1}, run="r")
    with AgentRunner(replace(agent, goal=None), tmp_path) as runner:
        again = runner.resume(ref, {"n": 5})
        assert isinstance(again, ExecutionResult)
        assert again.success
        assert (
            runner.manager.repository.execution(again.run_id)["goal"]
            == (runner.manager.repository.execution("r@1")["goal"])
        )


def counting(calls: list[int]) -> Agent:
    def work(n: int = 0) -> dict[str, int]:
        calls.append(n)
        return {"n": n + 1}

    return Agent(
        work=GraphSpec(
            id="count",
            entry_node="a",
            pause_nodes=["a"],
            nodes=[NodeSpec(id="a", function=work)],
        ),
        goal=Goal(id="goal"),
    )


def test_ctrl_c_ends_a_run_inside_a_running_loop(tmp_path: Path) -> None:
    async def pressed() -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)  # the thread that waits gets it
        await asyncio.Event().wait()
        return {}

    async def notebook(runner: AgentRunner) -> None:
        with pytest.raises(KeyboardInterrupt):
            runner.run(run="r")

    graph = GraphSpec(id="g", entry_node="a", nodes=[NodeSpec(id="a", function=pressed)])
    loop = asyncio.new_event_loop()  # asyncio.run would turn Ctrl-C into a cancellation
    with AgentRunner(Agent(work=graph), tmp_path) as runner:
        loop.run_until_complete(notebook(runner))
        loop.close()
        assert [run.status for run in runner.runs()] == ["interrupted"]


def test_runs_can_be_made_and_resumed_inside_a_running_loop(tmp_path: Path) -> None:
    calls: list[int] = []

    async def notebook() -> None:
        async with AgentRunner(counting(calls), tmp_path) as runner:
            assert runner.run({"n": 1}, run="sync") is not None
            assert await runner.arun({"n": 2}, run="async") is not None
            assert await runner.aresume("async") is not None

    asyncio.run(notebook())
    assert calls == [1, 2]


def test_a_session_state_continues(tmp_path: Path) -> None:
    calls: list[int] = []
    with AgentRunner(counting(calls), tmp_path) as runner:
        paused = runner.run({"n": 1}, run="r")
        assert isinstance(paused, ExecutionResult)
        result = runner.run({"n": 5}, paused.session_state)
        assert isinstance(result, ExecutionResult)
        assert result.paused_at is None
        assert result.output == {"n": 5}
        with pytest.raises(InvalidInputError, match="approvals are for plans"):
            runner.run(approvals={"a": True})
    plan = Plan(id="p", steps=[PlanStep(id="a", action=ActionSpec(name="f"))])
    with AgentRunner(Agent(work=plan, functions={"f": lambda: 1}), tmp_path) as runner:
        with pytest.raises(InvalidInputError, match="session_state is for graphs"):
            runner.run(None, {"memory": {}})


def test_resume_wants_a_run_and_takes_a_reference(tmp_path: Path) -> None:
    calls: list[int] = []
    with AgentRunner(counting(calls), tmp_path) as runner:
        with pytest.raises(NotFoundError):
            runner.resume("nobody")
        runner.run({"n": 1}, run="r")
        with pytest.raises(ConflictError):
            runner.run({"n": 1}, run="r")
        fork = runner.resume("r@1")
        assert isinstance(fork, ExecutionResult)
        assert fork.run_id == "r-fork-1"
        assert {run.name for run in runner.runs()} == {"r", "r-fork-1"}


def test_only_the_agents_own_runs_are_listed(tmp_path: Path) -> None:
    with Repository.open(tmp_path) as repo:
        repo.commit("by-hand", {})
        other = GraphSpec(id="other", entry_node="a", nodes=[NodeSpec(id="a", function=lambda: {})])
        AgentRunner(Agent(work=other), repo).run(run="other")
        with AgentRunner(counting([]), repo) as runner:
            runner.run({"n": 1}, run="mine")
            (run,) = runner.runs()
            assert (run.name, run.status) == ("mine", "paused")
            assert run.waits == [Wait("input", "a")]
            assert run.head.sequence == 2
        assert len(repo.runs()) == 3, "a repository that was lent stays open"


def test_a_run_can_be_abandoned_and_taken_back(tmp_path: Path) -> None:
    with AgentRunner(counting([]), tmp_path) as runner:
        runner.run({"n": 1}, run="r")
        mark = runner.abandon("r")
        assert mark.kind == "abandoned"
        assert runner.abandon("r") == mark
        assert [(run.status, run.waits) for run in runner.runs()] == [("abandoned", [])]
        assert runner.reinstate("r").kind == "paused"
        assert runner.runs()[0].status == "paused"
        with pytest.raises(ConflictError, match="not abandoned"):
            runner.reinstate("r")
        runner.abandon("r")
        result = runner.resume("r", {"n": 7})
        assert isinstance(result, ExecutionResult)
        assert result.output == {"n": 7}
        with pytest.raises(ConflictError, match="completed"):
            runner.abandon("r")
        with pytest.raises(NotFoundError):
            runner.abandon("nobody")


def test_a_run_that_is_being_executed_is_not_abandoned(tmp_path: Path) -> None:
    with Repository.open(tmp_path) as repo:
        node = NodeSpec(id="a", max_retries=0, function=lambda: abandon(repo, "r"))
        agent = Agent(work=GraphSpec(id="g", entry_node="a", nodes=[node]))
        result = AgentRunner(agent, repo).run(run="r")
        assert isinstance(result, ExecutionResult)
        assert "run 'r' is being executed" in (result.error or "")
        assert abandon(repo, "r").kind == "abandoned"


def test_a_run_is_running_then_interrupted_then_resumed(tmp_path: Path) -> None:
    class Crash(BaseException):
        pass

    seen: list[str] = []

    def agent(crashes: bool) -> Agent:
        def work() -> dict[str, int]:
            seen.append(runner.runs()[0].status)
            if crashes:
                raise Crash
            return {"n": 1}

        nodes = [NodeSpec(id="a", function=work)]
        return Agent(work=GraphSpec(id="g", entry_node="a", nodes=nodes))

    with AgentRunner(agent(True), tmp_path) as runner, pytest.raises(Crash):
        runner.run(run="r")
    with AgentRunner(agent(False), tmp_path) as runner:
        assert [(run.name, run.status) for run in runner.runs()] == [("r", "interrupted")]
        runner.abandon("r")
        assert runner.runs()[0].status == "abandoned"
        runner.reinstate("r")
        assert runner.runs()[0].status == "interrupted"
        runner.resume("r")
        assert runner.runs()[0].status == "done"
    assert seen == ["running", "running"]
    assert hive("runs", "--home", str(tmp_path), "--json").json[0]["status"] == "done"


def test_the_runner_is_told_how_to_save(tmp_path: Path) -> None:
    agent = counting([])
    runtime = Runtime()
    off = CheckpointConfig(enabled=False)
    with AgentRunner(agent, tmp_path / "home", off, runtime=runtime) as runner:
        result = runner.run({"n": 1})
        assert isinstance(result, ExecutionResult)
        assert result.checkpoint_id is None
        assert runtime.record(result.run_id).success
    assert not (tmp_path / "home").exists()
    manager = CheckpointManager(tmp_path / "other")
    with manager, AgentRunner(agent, manager.repository) as runner:
        runner.run({"n": 1}, run="r")
        assert manager.latest("r") is not None
