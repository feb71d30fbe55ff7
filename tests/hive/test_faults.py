"""Faults of an executor of this kind that was studied before; each is shown to be absent here.

What several other tests cover in depth has one plain case here all the same.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hive import (
    CheckpointConfig,
    CheckpointManager,
    CorruptionError,
    Repository,
    StoreFullError,
)
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
    SharedMemory,
)
from tests.damage import data_file

PROJECT = Path(__file__).resolve().parents[2]
GOAL = Goal(id="goal")


@pytest.fixture
def manager(home: Path) -> Iterator[CheckpointManager]:
    with CheckpointManager(home) as made:
        yield made


def execute(
    manager: CheckpointManager | None, graph: GraphSpec, given: Any = None, **options: Any
) -> ExecutionResult:
    executor = GraphExecutor(Runtime(), manager)
    return asyncio.run(executor.execute(graph, GOAL, given, **{"run": "r", **options}))


def loop(function: Any, **changes: Any) -> GraphSpec:
    """A node that follows itself for ever."""
    fields: dict[str, Any] = {
        "id": "loop",
        "entry_node": "a",
        "nodes": [NodeSpec(id="a", function=function, max_retries=0)],
        "edges": [EdgeSpec(id="again", source="a", target="a")],
        **changes,
    }
    return GraphSpec(**fields)


def pair(first: Any, second: Any, condition: str = "on_success", **changes: Any) -> GraphSpec:
    """Two nodes, one after the other."""
    fields: dict[str, Any] = {
        "id": "pair",
        "entry_node": "a",
        "nodes": [
            NodeSpec(id="a", function=first, max_retries=2, backoff_seconds=0),
            NodeSpec(id="b", function=second),
        ],
        "edges": [
            EdgeSpec(id="e", source="a", target="b", condition=EdgeCondition(condition)),
        ],
        **changes,
    }
    return GraphSpec(**fields)


def test_pausing_does_not_get_around_max_steps(manager: CheckpointManager) -> None:
    graph = loop(lambda: {}, pause_nodes=["a"], max_steps=3)
    results = [execute(manager, graph, run="r", resume=True) for _ in range(4)]
    assert [result.success for result in results] == [True, True, True, False]
    assert results[-1].steps_executed == 3


def test_a_resume_after_a_pause_goes_on_behind_it(manager: CheckpointManager) -> None:
    ran: list[str] = []

    def note(ctx: NodeContext) -> None:
        ran.append(ctx.node_id)

    graph = pair(note, note, pause_nodes=["a"])
    execute(manager, graph)
    execute(manager, graph, resume=True)
    assert ran == ["a", "b"]


def test_running_out_of_steps_is_no_success() -> None:
    result = execute(None, loop(lambda: {}, max_steps=5))
    assert (result.success, result.steps_executed) == (False, 5)
    assert "max_steps" in str(result.error)


def test_an_edge_for_failures_is_reached() -> None:
    def fails() -> None:
        raise ValueError("no")

    result = execute(None, pair(fails, lambda: {"handled": True}, "on_failure"))
    assert result.success
    assert result.output == {"handled": True}


def test_an_exception_is_retried_as_often_as_the_node_says() -> None:
    attempts: list[int] = []

    def fails(ctx: NodeContext) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("no")

    assert not execute(None, pair(fails, fails)).success
    assert attempts == [1, 2, 3]


def test_a_snapshot_of_memory_is_no_alias_of_it() -> None:
    memory = SharedMemory({"list": [{"deep": [1]}]})
    snapshot = memory.read_all()
    snapshot["list"][0]["deep"].append(2)
    assert memory.read("list") == [{"deep": [1]}]


def test_routing_that_was_decided_is_not_decided_again(manager: CheckpointManager) -> None:
    asked: list[int] = []

    class Crash(BaseException):
        pass

    def route() -> str:
        asked.append(1)
        return "left" if len(asked) == 1 else "right"

    def crashes(ctx: NodeContext) -> dict[str, Any]:
        if len(asked) == 1 and manager.latest("r") is not None and not crashed:
            crashed.append(1)
            raise Crash
        return {"came to": ctx.node_id}

    crashed: list[int] = []
    graph = GraphSpec(
        id="routed",
        entry_node="r",
        nodes=[
            NodeSpec(
                id="r", node_type="router", routes={"left": "a", "right": "b"}, function=route
            ),
            NodeSpec(id="a", function=crashes),
            NodeSpec(id="b", function=crashes),
        ],
    )
    with pytest.raises(Crash):
        execute(manager, graph)
    assert execute(manager, graph, resume=True).output == {"came to": "a"}
    assert asked == [1]


def test_checkpoints_made_within_one_second_do_not_collide(home: Path) -> None:
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with Repository.open(home, clock=lambda: moment) as repo:
        ids = {repo.commit("r", {"n": 1}).id for _ in range(50)}
        assert len(ids) == len(repo.log("r")) == 50


def test_two_store_objects_on_one_folder_lose_nothing(home: Path) -> None:
    with CheckpointManager(home) as one, CheckpointManager(home) as two:
        for number in range(10):
            one.save(f"one {number}", {"n": number})
            two.save(f"two {number}", {"n": number})
        assert len(one.repository.runs()) == len(two.repository.runs()) == 20


@pytest.mark.parametrize("run", ["../../evil", "/etc/passwd", "a/../b", "C:\\evil"])
def test_the_name_of_a_run_is_never_a_path(home: Path, tmp_path: Path, run: str) -> None:
    before = {path for path in tmp_path.rglob("*") if home not in path.parents and path != home}
    with CheckpointManager(home) as manager:
        result = execute(manager, pair(lambda: {}, lambda: {"done": 1}), run=run)
        assert manager.restore((run, 3)) == result.output == {"done": 1}
    after = {path for path in tmp_path.rglob("*") if home not in path.parents and path != home}
    assert before == after
    assert not any("evil" in path.name for path in home.rglob("*"))


def test_values_keep_their_types_over_a_crash(manager: CheckpointManager) -> None:
    class Crash(BaseException):
        pass

    value = {
        "tuple": (1, [2]),
        "set": {1, "a"},
        "keys": {1: "int", "1": "text", (1, 2): "tuple", None: "none"},
        "bytes": b"\xff\0",
        "when": dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=5))),
        "zero": -0.0,
        "big": 2**200,
    }
    crashes = [True]
    seen: list[Any] = []

    def second(given: Any, nan: float) -> None:
        seen.append((given, nan))
        if crashes:
            crashes.clear()
            raise Crash

    graph = pair(lambda: {"given": value, "nan": math.nan}, second)
    with pytest.raises(Crash):
        execute(manager, graph)
    execute(manager, graph, resume=True)
    (before, nan_before), (after, nan_after) = seen
    assert repr(after["keys"]) == repr(before["keys"]) == repr(value["keys"])
    assert after == before == value
    assert [type(part) for part in after.values()] == [type(part) for part in value.values()]
    assert math.copysign(1, after["zero"]) == -1
    assert math.isnan(nan_before)
    assert math.isnan(nan_after)


def test_a_damaged_checkpoint_does_not_restart_the_run(home: Path) -> None:
    ran: list[str] = []

    def note(ctx: NodeContext) -> dict[str, Any]:
        ran.append(ctx.node_id)
        return {ctx.node_id: ["x" * 50_000]}

    graph = pair(note, note, pause_nodes=["a"])
    with CheckpointManager(home) as manager:
        execute(manager, graph)
    path = data_file(home / "objects")
    data = bytearray(path.read_bytes())
    for place in range(4096 * 4, len(data), 512):
        data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptionError), CheckpointManager(home) as manager:
        execute(manager, graph, resume=True)
    assert ran == ["a"]


def test_saves_keep_their_order_and_failures_are_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CheckpointConfig(durability="async")
    with CheckpointManager(home, config) as manager:
        for number in range(30):
            manager.save("r", {"n": number})
        manager.flush()
        restored = [manager.restore(cp)["n"] for cp in reversed(manager.history("r"))]
        assert restored == list(range(30))

        def full(*_arguments: Any) -> None:
            raise StoreFullError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(Repository, "write", full)
            manager.save("r", {"n": 30})
            with pytest.raises(StoreFullError):
                manager.flush()


def test_the_last_save_is_not_lost_at_exit(home: Path) -> None:
    program = (
        "import sys; from hive import CheckpointConfig, CheckpointManager\n"
        "manager = CheckpointManager(sys.argv[1], CheckpointConfig(durability='async'))\n"
        "for number in range(20): manager.save('r', {'n': number})\n"
    )
    subprocess.run([sys.executable, "-c", program, str(home)], cwd=PROJECT, check=True)
    with CheckpointManager(home) as manager:
        assert manager.restore("r") == {"n": 19}
        assert len(manager.history("r")) == 20
