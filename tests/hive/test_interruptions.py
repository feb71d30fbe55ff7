"""Runs that are interrupted: who may go on with them, Ctrl-C, SIGTERM, cancellation at any wait."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from hive import CheckpointConfig, CheckpointManager, ConflictError, StoreFullError
from hive.graph import (
    EdgeSpec,
    ExecutionResult,
    Goal,
    GraphExecutor,
    GraphSpec,
    NodeContext,
    NodeSpec,
    ParallelSpec,
    Runtime,
    routing,
    walk,
)
from hive.graph.background import in_thread
from hive.graph.events import RunEnded
from hive.graph.outcome import Outcome
from hive.graph.run_recorder import RunRecorder
from manifests import Repository
from manifests.events import Saved
from tests.hive.crashing import in_child
from tests.hive.moments import SavedBranches

PROJECT = Path(__file__).resolve().parents[2]
GOAL = Goal(id="goal")


class Crash(BaseException):
    """Ends an execution where it is."""


@pytest.fixture
def manager(home: Path) -> Iterator[CheckpointManager]:
    with CheckpointManager(home) as made:
        yield made


def chain(function: Any, **changes: Any) -> GraphSpec:
    """Nodes a, b and c, one after the other."""
    return GraphSpec(
        id="chain",
        entry_node="a",
        nodes=[NodeSpec(id=name, function=function, max_retries=0) for name in "abc"],
        edges=[EdgeSpec(id=s + t, source=s, target=t) for s, t in itertools.pairwise("abc")],
        **changes,
    )


async def note(ctx: NodeContext) -> dict[str, Any]:
    return {ctx.node_id: os.getpid()}


def execute(
    manager: CheckpointManager, graph: GraphSpec, given: Any = None, **options: Any
) -> ExecutionResult:
    executor = GraphExecutor(Runtime(), manager)
    return asyncio.run(executor.execute(graph, GOAL, given, **{"run": "r", **options}))


def crashing_at(node: str, how: Any) -> Any:
    """A function that stops a run in one node."""

    async def work(ctx: NodeContext) -> dict[str, Any]:
        if ctx.node_id == node:
            how()
        return await note(ctx)

    return work


def crash() -> None:
    raise Crash


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_of_a_killed_process_is_found_and_resumed_by_another(home: Path) -> None:
    def job() -> None:
        with CheckpointManager(home) as manager:
            execute(manager, chain(note), run="completed")
            execute(manager, chain(note, pause_nodes=["a"]), run="paused")
            execute(manager, chain(crashing_at("b", kill)))

    assert in_child(job) == -signal.SIGKILL
    with CheckpointManager(home) as manager:
        (found,) = manager.interrupted_runs()
        assert (found.run, found.head.node, found.head.next_nodes) == ("r", "a", ("b",))
        assert found.owner is not None
        assert not found.owner.is_alive()
        result = execute(manager, chain(note), resume=True)
        assert result.path == ["a", "b", "c"]
        assert result.output["b"] == os.getpid() != result.output["a"]
        assert manager.interrupted_runs() == []


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_two_processes_that_resume_one_run_one_wins_before_it_does_anything(
    home: Path, tmp_path: Path, durability: Any
) -> None:
    config = CheckpointConfig(durability=durability)
    with CheckpointManager(home, config) as manager, pytest.raises(Crash):
        execute(manager, chain(crashing_at("b", lambda: (_ for _ in ()).throw(Crash()))))
    reading, writing = os.pipe()
    go_on, release = os.pipe()

    def winner() -> None:
        def wait() -> None:
            os.write(writing, b"x")  # the claim is there, and nothing is committed
            os.read(go_on, 1)

        with CheckpointManager(home, config) as manager:
            assert execute(manager, chain(crashing_at("b", wait)), resume=True).success

    pid = os.fork()
    if not pid:
        os._exit(in_child(winner))
    os.read(reading, 1)
    ran: list[str] = []
    with CheckpointManager(home, config) as manager:
        assert manager.interrupted_runs() == []  # somebody goes on with it
        with pytest.raises(ConflictError, match="is being executed by process"):
            execute(manager, chain(crashing_at("b", lambda: ran.append("b"))), resume=True)
    assert ran == []
    os.write(release, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with CheckpointManager(home) as manager:
        assert manager.history("r")[0].kind == "final"
    for descriptor in (reading, writing, go_on, release):
        os.close(descriptor)


def test_two_processes_that_begin_one_new_run_one_wins(home: Path) -> None:
    with CheckpointManager(home) as manager:
        manager.save("other", {})
    lost = 0
    for number in range(4):
        pids = []
        for _ in range(2):
            pid = os.fork()
            if not pid:
                status = 3
                try:
                    with CheckpointManager(home) as manager:
                        execute(manager, chain(note), run=f"new {number}")
                    status = 0
                except ConflictError:
                    status = 2
                finally:
                    os._exit(status)
            pids.append(pid)
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
        assert codes in ([0, 0], [0, 2]), codes
        lost += codes == [0, 2]
        with CheckpointManager(home) as manager:
            assert len(manager.history(f"new {number}")) == 4
    # [0, 0] cannot be: the second one finds the run, whether it is over or not.
    assert lost == 4


def test_a_process_that_lives_gives_up_what_it_paused_or_cancelled(home: Path) -> None:
    """A server that paused a run must not keep it from another process."""
    graph = chain(note, pause_nodes=["a"])
    with CheckpointManager(home) as manager:
        assert execute(manager, graph).paused_at == "a"
        with pytest.raises(Crash):
            execute(
                manager,
                chain(crashing_at("c", lambda: (_ for _ in ()).throw(Crash()))),
                run="cancelled",
            )

        def other() -> None:
            with CheckpointManager(home) as mine:
                assert [found.run for found in mine.interrupted_runs()] == ["cancelled"]
                assert execute(mine, graph, resume=True).success
                assert execute(mine, chain(note), run="cancelled", resume=True).success

        assert in_child(other) == 0


def test_a_resumed_pause_whose_process_dies_at_once_is_interrupted(home: Path) -> None:
    graph = chain(crashing_at("b", kill), pause_nodes=["a"])

    def job() -> None:
        with CheckpointManager(home) as manager:
            execute(manager, graph)
            execute(manager, graph, resume=True)

    assert in_child(job) == -signal.SIGKILL
    with CheckpointManager(home) as manager:
        (found,) = manager.interrupted_runs()
        assert found.head.kind == "paused"


def test_a_run_that_is_deleted_and_begun_again_has_no_old_claim(manager: CheckpointManager) -> None:
    with pytest.raises(Crash):
        execute(manager, chain(crashing_at("b", lambda: (_ for _ in ()).throw(Crash()))))
    manager.repository.delete_run("r")
    assert manager.interrupted_runs() == []
    assert manager.repository.claims() == []
    assert execute(manager, chain(note)).success


def test_what_nobody_executed_is_not_interrupted(manager: CheckpointManager) -> None:
    manager.save("by hand", {"n": 1})
    manager.repository.commit("another", {"n": 1})
    assert manager.interrupted_runs() == []


_PROGRAM = """
import asyncio, os, sys
from hive import CheckpointConfig, CheckpointManager
from hive.graph import EdgeSpec, Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime

async def fast():
    return {"fast": True}

async def slow():
    print("in slow", flush=True)
    await asyncio.sleep(60)

graph = GraphSpec(
    id="g", entry_node="fast",
    nodes=[NodeSpec(id="fast", function=fast), NodeSpec(id="slow", function=slow)],
    edges=[EdgeSpec(id="e", source="fast", target="slow")],
)
with CheckpointManager(sys.argv[1], CheckpointConfig(durability=sys.argv[2])) as manager:
    executor = GraphExecutor(Runtime(), manager)
    asyncio.run(executor.execute(graph, Goal(id="g"), {"n": 1}, run="r", resume=True))
"""


def signalled(home: Path, durability: str, number: signal.Signals) -> int:
    """Run a program, send it a signal while a node is in flight, and return its exit status."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(home), durability],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in slow\n"
        # Python 3.11 itself sleeps on, at times, if the signal comes while another thread has the
        # interpreter and the event loop is about to wait.
        time.sleep(0.2)
        process.send_signal(number)
        return process.wait()


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_ctrl_c_pauses_the_run_which_goes_on_with_the_same_input(
    home: Path, durability: str
) -> None:
    assert signalled(home, durability, signal.SIGINT) != 0
    with CheckpointManager(home) as manager:
        head = manager.latest("r")
        assert head is not None
        assert (head.kind, head.node, head.next_nodes) == ("paused", "fast", ("slow",))
        assert manager.interrupted_runs() == []  # nobody has to look after it
    # The program is started again as it was: its input is not taken for something new.
    assert signalled(home, durability, signal.SIGINT) != 0
    with Repository.open(home) as repo:
        record = repo.execution("r")
        assert record["inputs"] == [{"n": 1}]
        assert record["path"] == ["fast"]


def interrupting_in(node: str) -> Any:
    """A function that never waits, in one node of which Ctrl-C is pressed."""
    return crashing_at(node, lambda: signal.raise_signal(signal.SIGINT))


@pytest.mark.parametrize("durability", ["sync", "async", "exit", None])
def test_ctrl_c_comes_in_between_nodes_that_never_wait(home: Path, durability: Any) -> None:
    """Where neither nodes nor saving wait for anything, the event loop gets its turns."""
    ran: list[str] = []

    def node(ctx: NodeContext) -> None:
        ran.append(ctx.node_id)
        if ran == ["a"]:
            signal.raise_signal(signal.SIGINT)

    config = CheckpointConfig(durability=durability or "sync", enabled=durability is not None)
    with CheckpointManager(home, config) as manager:
        with pytest.raises(KeyboardInterrupt):
            execute(manager, chain(node))
        assert ran == ["a"]
        if durability is None:
            return
        head = manager.latest("r")
        assert head is not None
        assert (head.kind, head.node, head.next_nodes) == ("paused", "a", ("b",))
        assert execute(manager, chain(node), resume=True).path == ["a", "b", "c"]
    assert ran == ["a", "b", "c"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize(
    ("node", "changes", "status", "narrative"),
    [
        ("c", {}, "completed", "completed in 3 steps"),
        ("b", {"pause_nodes": ["b"]}, "paused", "paused after b (2 steps)"),
        ("b", {}, "interrupted", "interrupted by CancelledError"),
    ],
)
def test_a_run_that_is_over_when_ctrl_c_comes_in_is_not_called_interrupted(
    home: Path, durability: Any, node: str, changes: Any, status: str, narrative: str
) -> None:
    """A node that holds up the event loop ends first, and then there may be nothing left to do."""
    events: list[Any] = []
    runtime = Runtime()
    config = CheckpointConfig(durability=durability)
    with CheckpointManager(home, config, on_event=events.append) as manager:
        executor = GraphExecutor(runtime, manager)
        graph = chain(interrupting_in(node), **changes)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(executor.execute(graph, GOAL, run="r"))
        assert [event.status for event in events if isinstance(event, RunEnded)] == [status]
        report = runtime.record("r")
        assert (report.success, report.narrative) == (status != "interrupted", narrative)
        head = manager.latest("r")
        assert head is not None
        assert head.kind == ("final" if status == "completed" else "paused")


def test_a_run_whose_end_is_not_saved_is_called_interrupted(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain(note, pause_nodes=["c"])  # its head is one at which it stopped
    assert execute(manager, graph).paused_at == "c"
    runtime = Runtime()

    def pressed(*_arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Repository, "write", pressed)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(GraphExecutor(runtime, manager).execute(graph, GOAL, run="r", resume=True))
    assert runtime.record("r").narrative == "interrupted by KeyboardInterrupt"


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_sigterm_writes_what_waits_and_ends_the_process(home: Path, durability: str) -> None:
    assert signalled(home, durability, signal.SIGTERM) == -signal.SIGTERM
    with CheckpointManager(home) as manager:
        head = manager.latest("r")
        assert head is not None
        assert (head.kind, head.node) == ("node_complete", "fast")
        assert [found.run for found in manager.interrupted_runs()] == ["r"]


def test_handlers_of_signals_are_put_back(home: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        execute(manager, chain(note))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_handler_that_a_node_leaves_until_later_is_put_back_once(home: Path) -> None:
    pressed: list[int] = []
    found: list[Any] = []

    def node() -> dict[str, Any]:
        found.append(signal.signal(signal.SIGINT, signal.default_int_handler))
        return {}

    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        with CheckpointManager(home) as manager:
            execute(manager, chain(node), run="1")
            signal.signal(signal.SIGINT, found[0])  # what the first run watched with
            execute(manager, chain(lambda: os.kill(os.getpid(), signal.SIGINT)), run="2")
        assert set(pressed) == {signal.SIGINT}
    finally:
        signal.signal(signal.SIGINT, before)


def test_somebody_elses_handler_is_left_alone(home: Path) -> None:
    def mine(number: int, frame: Any) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
            execute(manager, chain(note))
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_execution_in_another_thread_watches_no_signals(home: Path) -> None:
    async def main() -> Any:
        with CheckpointManager(home) as manager:
            return await asyncio.to_thread(execute, manager, chain(note))

    assert asyncio.run(main()).success


def test_threads_with_loops_of_their_own_share_manager_and_executor(
    manager: CheckpointManager,
) -> None:
    executor = GraphExecutor(Runtime(), manager)

    def work(number: int) -> list[ExecutionResult]:
        async def main() -> list[ExecutionResult]:
            runs = [f"{number}-{index}" for index in range(3)]
            return await asyncio.gather(
                *(executor.execute(chain(note), GOAL, {"n": number}, run=run) for run in runs)
            )

        return asyncio.run(main())

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert [result.output["n"] for group in results for result in group] == [
        number for number in range(4) for _ in range(3)
    ]
    assert {len(manager.history(info.name)) for info in manager.repository.runs()} == {4}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_manager_keeps_nothing_of_runs_that_were_broken_off(home: Path, durability: Any) -> None:
    async def broken_off(manager: CheckpointManager) -> None:
        graph = chain(lambda: asyncio.Event().wait())
        task = asyncio.ensure_future(GraphExecutor(Runtime(), manager).execute(graph, GOAL))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])

    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        for _ in range(3):
            asyncio.run(broken_off(manager))
        with pytest.raises(Crash):
            execute(manager, chain(crashing_at("b", crash)))
        assert not manager._writers


def test_what_a_broken_off_run_could_not_write_is_written_when_the_manager_is_closed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> Any:
        raise StoreFullError("no room")

    with CheckpointManager(home, CheckpointConfig(durability="exit")) as manager:
        with monkeypatch.context() as patch:
            patch.setattr(Repository, "write", full)
            with pytest.raises(Crash):
                execute(manager, chain(crashing_at("b", crash)))
        assert manager.repository.runs() == []
    with CheckpointManager(home) as manager:
        assert manager.history("r")[0].node == "a"


def test_an_interruption_surfaces_where_the_claim_cannot_be_ended(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_options: Any) -> Any:
        raise StoreFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "end_claim", full)
        with pytest.raises(Crash):
            execute(manager, chain(crashing_at("b", crash)))
    assert manager.history("r")[0].node == "a"


def branching() -> tuple[GraphSpec, list[str]]:
    """A graph with a fork; the list notes the visits that came to their end."""
    ran: list[str] = []

    async def work(ctx: NodeContext) -> dict[str, Any]:
        await asyncio.sleep(0)
        await ctx.effect("done", ran.append, ctx.node_id)
        await asyncio.sleep(0)
        return {ctx.node_id: ctx.visit}

    graph = GraphSpec(
        id="branching",
        entry_node="a",
        nodes=[NodeSpec(id=name, function=work, max_retries=0) for name in "abcdj"],
        edges=[
            EdgeSpec(id=name, source=name[0], target=name[1])
            for name in ("ab", "ac", "bd", "dj", "cj")
        ],
        parallel=[ParallelSpec(source="a", join="j")],
    )
    return graph, ran


def test_a_run_that_is_torn_down_before_its_first_checkpoint_is_written_is_free(home: Path) -> None:
    """Nothing can be awaited then, and what waits is written later, by another thread."""
    opened = threading.Event()

    def hold_up() -> None:
        opened.wait(30)

    def closed() -> None:
        raise GeneratorExit

    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        manager._background.submit(object(), hold_up)
        with pytest.raises(GeneratorExit):
            execute(manager, chain(crashing_at("b", closed)))
        opened.set()
        assert [each.kind for each in manager.history("r")] == ["node_complete", "input"]
        assert not any(claim.is_held for claim in manager.repository.claims())
        assert execute(manager, chain(note), resume=True).path == ["a", "b", "c"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("runs", [1, 3])
def test_a_listener_that_ends_the_program_leaves_nobody_waiting(
    home: Path, durability: Any, runs: int
) -> None:
    """Also in the thread that writes, whose end nobody else would see."""

    def job() -> None:
        told = itertools.count()

        def listen(event: Any) -> None:
            if isinstance(event, Saved) and next(told) == 0:
                sys.exit()

        async def main(manager: CheckpointManager) -> None:
            executor = GraphExecutor(Runtime(), manager)
            names = [f"{number}" for number in range(runs)]
            await asyncio.gather(
                *(executor.execute(chain(note), GOAL, run=name, resume=True) for name in names),
                return_exceptions=True,  # else asyncio leaves the other tasks where they are
            )

        config = CheckpointConfig(durability=durability)
        with CheckpointManager(home, config, on_event=listen) as manager:
            with contextlib.suppress(SystemExit):
                asyncio.run(main(manager))
            asyncio.run(main(manager))
            assert {manager.history(str(number))[0].kind for number in range(runs)} == {"final"}

    assert in_child(job) == 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_task_ends_though_nobody_tells_it_what_a_thread_did(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Ctrl-C may come in the very function that tells it, which is not called again."""

    async def main() -> list[Any]:
        begun, may_end = threading.Event(), threading.Event()
        outcome: Outcome[int] = Outcome()

        def job() -> None:
            begun.set()
            may_end.wait(30)
            if fails:
                raise StoreFullError("no room")

        tasks = [asyncio.ensure_future(each) for each in (in_thread(job), outcome.wait())]
        while not begun.is_set():
            await asyncio.sleep(0.001)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", lambda *_: None)
            if fails:
                outcome.fail(StoreFullError("no room"))
            else:
                outcome.succeed(1)
            for task in tasks:
                task.cancel()
            may_end.set()
            await asyncio.wait(tasks, timeout=30)
        return await asyncio.gather(*tasks, return_exceptions=True)

    expected = StoreFullError if fails else asyncio.CancelledError
    assert [type(found) for found in asyncio.run(main())] == [expected] * 2


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("how", ["cancelled", "flushed and killed"])
def test_a_branch_that_ended_is_not_repeated_where_another_is_broken_off(
    home: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, how: str
) -> None:
    """Also under ``exit`` durability, which holds back what branches did with the checkpoint."""
    ran = home.with_suffix(".ran")
    branches = SavedBranches(monkeypatch)

    def graph(reached: Callable[[], Awaitable[None]]) -> GraphSpec:
        async def work(ctx: NodeContext) -> dict[str, Any]:
            if ctx.node_id == "q":
                await reached()
            with ran.open("a") as file:
                file.write(ctx.node_id)
            return {ctx.node_id: ctx.visit}

        return GraphSpec(
            id="branches",
            entry_node="a",
            nodes=[NodeSpec(id=name, function=work, max_retries=0) for name in "apsqj"],
            edges=[
                EdgeSpec(id=name, source=name[0], target=name[1])
                for name in ("ap", "aq", "ps", "sj", "qj")
            ],
            parallel=[ParallelSpec(source="a", join="j")],
        )

    def broken_off() -> None:
        async def main(manager: CheckpointManager) -> None:
            hangs = asyncio.Event()

            async def hang() -> None:
                await branches.wait_for("s")
                hangs.set()
                await asyncio.Event().wait()

            executor = GraphExecutor(Runtime(), manager)
            task = asyncio.ensure_future(executor.execute(graph(hang), GOAL, {"n": 1}, run="r"))
            await hangs.wait()
            if how == "cancelled":
                task.cancel()
                await asyncio.wait([task])
            else:
                await manager.aflush()
                kill()

        with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
            asyncio.run(main(manager))

    assert in_child(broken_off) == (0 if how == "cancelled" else -signal.SIGKILL)
    assert ran.read_text() == "aps"
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        graph_of_now = graph(lambda: asyncio.sleep(0))
        result = execute(manager, graph_of_now, {"n": 1}, resume=True)
    assert ran.read_text() == "apsqj"
    assert result.path == ["a", "p", "s", "q", "j"]
    assert result.output == {"n": 1, **dict.fromkeys("apsqj", 1)}


def test_ctrl_c_while_a_manager_is_closed_loses_nothing_that_it_held(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Repository.write
    presses = iter([signal.SIGINT])

    def pressed(*arguments: Any) -> Any:
        for number in presses:
            signal.raise_signal(number)
        return write(*arguments)

    manager = CheckpointManager(home, CheckpointConfig(durability="exit"))
    manager.save("first", {"n": 1})
    manager.save("second", {"n": 2})
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "write", pressed)
        with pytest.raises(KeyboardInterrupt):
            manager.close()
    with Repository.open(home) as repo:
        assert [repo.restore(run) for run in ("first", "second")] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("turn", range(1, 5))
def test_ctrl_c_between_a_node_and_its_checkpoint_counts_nothing_twice(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """Where Ctrl-C is raised at once: in a notebook, in a loop of one's own, or pressed twice."""
    handler = signal.getsignal(signal.SIGINT)
    graph, ran = branching()
    expected = execute(manager, graph, {"n": 1}, run="whole")
    turns = itertools.count(1)

    def interrupted(choose: Any, *arguments: Any, **options: Any) -> Any:
        if next(turns) == turn:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return choose(*arguments, **options)

    with monkeypatch.context() as patch:
        for name in ("choose", "choose_all"):
            patch.setattr(walk, name, partial(interrupted, getattr(routing, name)))
        with pytest.raises(KeyboardInterrupt):
            execute(manager, graph, {"n": 1})
    assert signal.getsignal(signal.SIGINT) is handler
    result = execute(manager, graph, {"n": 1}, resume=True)
    assert (result.output, result.path) == (expected.output, expected.path)
    assert sorted(ran) == sorted("abcdj" * 2)  # effects: once each


def test_a_write_in_a_thread_ends_before_a_run_that_the_loop_leaves_behind(
    manager: CheckpointManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its main task ends, ``asyncio.run`` cancels every task, not only that of the run."""
    record, give_up = Repository.record_effect, RunRecorder.give_up
    begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []
    paid: list[str] = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        begun.set()
        may_end.wait(10)
        order.append("effect")
        return record(*arguments, **options)

    async def given_up(recorder: RunRecorder) -> None:
        order.append("given up")
        may_end.set()
        await give_up(recorder)

    async def pay(ctx: NodeContext) -> None:
        await ctx.effect("pay", paid.append, ctx.node_id)

    graph = chain(pay)

    async def main() -> None:
        executor = GraphExecutor(Runtime(), manager)
        task = asyncio.ensure_future(executor.execute(graph, GOAL, run="r"))
        while not begun.is_set():
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, may_end.set)  # the tasks are cancelled by then
        assert not task.done()
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "record_effect", recorded)
        patch.setattr(RunRecorder, "give_up", given_up)
        with pytest.raises(Crash):
            asyncio.run(main())
    assert order == ["effect", "given up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # for the next loop
    assert execute(manager, graph, resume=True).path == ["a", "b", "c"]
    assert paid == ["a", "b", "c"]


@pytest.mark.parametrize("loop", [asyncio, uvloop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_branch_that_ends_the_program_leaves_no_handler_behind(
    manager: CheckpointManager, error: type[BaseException], loop: Any
) -> None:
    """It ends the event loop, and ``asyncio.run`` looks for its handler before the run ends."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    graph, ran = branching()
    stops = iter([error])

    def stop() -> dict[str, Any]:
        for each in stops:
            raise each
        return {"b": 1}

    executor = GraphExecutor(Runtime(), manager)
    executor.register_function("b", stop)
    with pytest.raises(error), asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        runner.run(executor.execute(graph, GOAL, {"n": 1}, run="r", resume=True))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = asyncio.run(executor.execute(graph, GOAL, {"n": 1}, run="r", resume=True))
    assert result.path == ["a", "b", "d", "c", "j"]
    assert sorted(ran) == sorted("acdj")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_run_may_be_cancelled_at_every_wait(home: Path, durability: Any) -> None:
    """Cancel after n turns of the event loop, for every n, and resume in the same process."""
    turns_of_a_run = 0

    async def cancelled_after(turns: int, manager: CheckpointManager, run: str) -> bool:
        graph, ran = branching()
        executor = GraphExecutor(Runtime(), manager, timer=lambda: 0.0)
        task = asyncio.ensure_future(executor.execute(graph, GOAL, {"n": 1}, run=run))
        for turn in itertools.count():
            if task.done() or turn == turns:
                break
            nonlocal turns_of_a_run
            turns_of_a_run = max(turns_of_a_run, turn)
            await asyncio.sleep(0.0005)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(result, asyncio.CancelledError):
            assert isinstance(result, ExecutionResult)
            assert result.success
            return False
        done = await executor.execute(graph, GOAL, {"n": 1}, run=run, resume=True)
        assert done.output == {"n": 1, **dict.fromkeys("abcdj", 1)}, turns
        assert done.path == ["a", "b", "d", "c", "j"], turns
        assert sorted(ran) == sorted("abcdj"), turns  # effects: once each
        return True

    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        stopped = 0
        for turns in range(60):
            if not asyncio.run(cancelled_after(turns, manager, f"run {turns}")):
                break
            stopped += 1
    assert stopped
