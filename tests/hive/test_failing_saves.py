"""Saves that fail: every write of a run, under every durability and policy, in every way.

One graph comes by every moment at which something is written. In an undisturbed run they are
counted; then each is made to fail in a run of its own, which goes on, or is continued, to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from hive import AccessError, CheckpointConfig, CheckpointManager, HiveError, StoreFullError
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
from hive.graph.checkpoint_manager import CheckpointWarning
from hive.graph.runtime import Problem
from manifests import PreparedCommit
from manifests.claims import PreparedClaim
from manifests.effects import PreparedEffect
from manifests.group import GroupCommitter
from manifests.pending import PreparedWrites
from tests.hive.crashing import in_child, memory_folder
from tests.hive.moments import SavedBranches

Durability = Literal["sync", "async", "exit"]
Policy = Literal["raise", "warn"]
Moment = tuple[str, int]
"""What is written, and the how many'th write of that kind it is."""

GOAL = Goal(id="goal")
RUN = "r"
GIVEN, ANSWER = {"topic": "bees"}, {"answer": "yes"}


def busy() -> HiveError:
    error = AccessError("busy")
    error.__cause__ = OSError(errno.EAGAIN, "busy")
    return error


def full() -> HiveError:
    return StoreFullError("no room")


@dataclass
class Disk:
    """What every write to a store goes through; from ``moment`` on, ``times`` of them fail."""

    error: Callable[[], HiveError] = full
    times: float = 0
    moment: Moment | None = None
    seen: list[Moment] = field(default_factory=list)
    failed: list[Moment] = field(default_factory=list)

    def write(self, job: Any) -> HiveError | None:
        """Note a write; returns what it fails with."""
        kind = _kind(job)
        moment = kind, sum(known == kind for known, _ in self.seen)
        self.seen.append(moment)
        if not self.times or (not self.failed and moment != self.moment):
            return None
        self.times -= 1
        self.failed.append(moment)
        return self.error()


def _kind(job: Any) -> str:
    if isinstance(job, PreparedWrites):
        return f"pending {job.writes[0].task}"
    if isinstance(job, PreparedEffect):
        return "effect"
    if isinstance(job, PreparedClaim):
        return "claim"
    assert isinstance(job, PreparedCommit)
    return job.manifest.kind


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Stands between group commits and the disk."""
    disk = Disk()
    write_all = GroupCommitter.write_all

    def failing(committer: GroupCommitter, jobs: Sequence[Any]) -> list[Any]:
        outcomes: list[Any] = []
        for job in jobs:
            error = disk.write(job)
            outcomes += write_all(committer, [job]) if error is None else [error]
        return outcomes

    monkeypatch.setattr(GroupCommitter, "write_all", failing)
    return disk


@dataclass
class Program:
    """A program that executes one run, whatever has to be repeated for that."""

    folder: Path
    config: CheckpointConfig
    ran: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    raised: list[HiveError] = field(default_factory=list)
    runtime: Runtime = field(default_factory=Runtime)
    reported: list[Problem] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    fails: bool = True
    killed: bool = False

    @contextlib.contextmanager
    def started(self) -> Iterator[CheckpointManager]:
        """The program, from its start to its end, of which nothing may remain."""
        before = _left_behind()
        manager = CheckpointManager(self.folder, self.config, sleep=self.waits.append)
        try:
            yield manager
        finally:
            try:
                manager.close()
            except HiveError as error:
                self.raised.append(error)
            assert _left_behind() == before

    def run(
        self, manager: CheckpointManager, goes_on: Callable[[], bool]
    ) -> ExecutionResult | None:
        """Begin the run, or continue it, to its end; as long as the program ``goes_on``."""
        executor = GraphExecutor(self.runtime, manager)
        result = None
        starts = iter(range(9))
        while goes_on() and (result is None or result.paused_at or not result.success):
            assert next(starts, None) is not None, "it begins again and again"
            given = GIVEN
            manager.flush()  # a pause may be held back that could not be written before
            head = manager.latest(RUN)
            if head is not None and head.kind == "paused":
                given = ANSWER
            try:
                result = asyncio.run(
                    executor.execute(self.graph(), GOAL, given, run=RUN, resume=True)
                )
            except HiveError as error:
                result = None
                self.raised.append(error)
            self.reported += self.runtime.record(RUN).problems
        return result

    def graph(self) -> GraphSpec:
        """Comes by everything that is saved."""
        functions: dict[str, Callable[..., Any]] = {
            "plan": lambda topic: self.did("plan", {"about": topic}),
            "search": self.search,
            "fork": lambda: self.did("fork", {}),
            "left": lambda: self.did("left", {"left": 1}),
            "right": lambda: self.did("right", {}),
            "more": lambda: self.did("more", {"right": 2}),
            "meet": lambda left, right: self.did("meet", {"sum": left + right}),
            "ask": lambda: self.did("ask", {}),
            "write": self.write,
        }
        ways = ["plan search", "search fork", "fork left", "fork right", "left meet"]
        ways += ["right more", "more meet", "meet ask", "ask write"]
        return GraphSpec(
            id="all",
            entry_node="plan",
            nodes=[
                NodeSpec(id=name, function=function, backoff_seconds=0, max_retries=name != "write")
                for name, function in functions.items()
            ],
            edges=[
                EdgeSpec(id=way.replace(" ", "-"), source=way.split()[0], target=way.split()[1])
                for way in ways
            ],
            parallel=[ParallelSpec(source="fork", join="meet")],
            pause_nodes=["ask"],
        )

    def did(self, node: str, output: dict[str, Any]) -> dict[str, Any]:
        self.ran.append(node)
        return output

    async def search(self, ctx: NodeContext) -> dict[str, Any]:
        found = await ctx.effect("send", self.send)
        if ctx.saved_state is None:
            await ctx.checkpoint({"found": found})
            raise ConnectionError("later")
        return self.did("search", {"found": found})

    def send(self) -> str:
        self.sent.append("request")
        return "answer"

    async def write(self, about: str, found: str, answer: str) -> dict[str, Any]:
        if self.killed:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        if self.fails:
            self.fails = False
            raise ConnectionError("for good")
        return self.did("write", {"report": [about, found, answer]})


def _left_behind() -> tuple[list[str], int]:
    """The threads and open files that a program of this module would leave behind."""
    threads = [item.name for item in threading.enumerate() if item.name.startswith("hive-")]
    return threads, len(os.listdir("/proc/self/fd"))


def done_at(record: dict[str, Any]) -> Counter[str]:
    """How often each node was done, by a progress as a record."""
    done = Counter(record["path"])
    for branch in (record["section"] or {"branches": {}})["branches"].values():
        done += done_at(branch["progress"])
    return done


def comparable(result: ExecutionResult | None) -> Any:
    assert result is not None
    return result.success, result.output, result.path, result.steps_executed, result.visits


def kinds(manager: CheckpointManager) -> list[str]:
    history = manager.history(RUN)
    parents = [*(checkpoint.id for checkpoint in history[1:]), None]
    assert [checkpoint.parent for checkpoint in history] == parents[: len(history)]
    return [checkpoint.kind for checkpoint in reversed(history)]


EVERY = pytest.mark.parametrize("durability", ["sync", "async", "exit"])
BOTH = pytest.mark.parametrize("policy", ["raise", "warn"])


@dataclass
class Course:
    """What came of one run."""

    program: Program
    result: ExecutionResult | None
    kinds: list[str]
    warned: list[str]
    durable: Counter[str]
    """How often each node was done, by what was stored when the program ended."""
    failed: list[Moment]


def course(folder: Path, disk: Disk, config: CheckpointConfig, then: str = "goes on") -> Course:
    """Run a program to its end, or until a write fails; ``then`` it "ends", or the disk "heals"."""
    program = Program(folder, config)
    with warnings.catch_warnings(record=True) as caught, program.started() as manager:
        warnings.simplefilter("always")
        result = program.run(manager, lambda: then == "goes on" or not disk.failed)
        if then == "heals":
            disk.times = 0
            result = program.run(manager, lambda: True)
    told = [str(item.message) for item in caught if item.category is CheckpointWarning]
    disk.times = 0  # there is room again
    with CheckpointManager(folder) as manager:
        point = manager.resume_point(RUN)
        durable = Counter[str]() if point is None else done_at(point.execution)
        return Course(program, result, kinds(manager), told, durable, disk.failed)


def continued(first: Course) -> tuple[ExecutionResult | None, list[str], list[str], list[str]]:
    """Start the program again; returns the result, what ran, what it sent, and the checkpoints."""
    program = Program(first.program.folder, first.program.config, fails=first.program.fails)
    with program.started() as manager:
        result = program.run(manager, lambda: True)
        stored = kinds(manager)
    assert program.raised == []
    return result, program.ran, program.sent, stored


def config_of(durability: Durability, policy: Policy = "raise") -> CheckpointConfig:
    return CheckpointConfig(durability=durability, on_save_error=policy, save_node_starts=True)


class Bench:
    """Runs the program once for each moment at which it writes, and that write fails."""

    def __init__(self, folder: Path, disk: Disk, durability: Durability, policy: Policy) -> None:
        self.disk = disk
        self.config = config_of(durability, policy)
        self._folder = folder
        self.undisturbed = course(folder / "undisturbed", disk, self.config)
        # One start of a node is like another, and one failed attempt.
        alike = {"node_start", "attempt_failed"}
        self._moments = [seen for seen in disk.seen if seen[0] not in alike or not seen[1]]

    def courses(
        self, *errors: Callable[[], HiveError], times: float, then: str = "goes on"
    ) -> Iterator[tuple[Moment, Course]]:
        """Run the program once for each moment; the errors take turns."""
        for number, moment in enumerate(self._moments):
            error = errors[number % len(errors)]
            self.disk.__init__(error, times, moment)  # type: ignore[misc]
            found = course(self._folder / str(number), self.disk, self.config, then)
            assert self.disk.failed, f"{moment} never came"
            yield moment, found


@pytest.fixture
def bench(tmp_path: Path, disk: Disk, durability: Durability, policy: Policy) -> Iterator[Bench]:
    with memory_folder(tmp_path) as folder:
        yield Bench(folder, disk, durability, policy)


@EVERY
@BOTH
def test_a_failure_that_passes_is_noticed_by_nobody(bench: Bench) -> None:
    expected = bench.undisturbed
    for moment, found in bench.courses(busy, times=1):
        assert found.program.raised == [], moment
        assert found.warned == [], moment
        assert found.program.waits == [0.05], moment
        assert comparable(found.result) == comparable(expected.result), moment
        assert found.kinds == expected.kinds, moment
        assert sorted(found.program.ran) == sorted(expected.program.ran), moment
        assert found.program.sent == ["request"], moment


@EVERY
@BOTH
def test_one_write_without_room(bench: Bench) -> None:
    expected = bench.undisturbed
    warns = bench.config.on_save_error == "warn"
    for moment, found in bench.courses(full, times=1):
        kind, number = moment
        assert comparable(found.result) == comparable(expected.result), moment
        assert found.program.sent == ["request"], moment
        told = found.warned if warns else found.program.raised
        # What a node saves itself fails its attempt, and is saved by the next one.
        within = kind == "effect" or (kind == "node_progress" and bench.config.durability == "sync")
        assert len(told) == (0 if within and not warns else 1), (moment, told)
        if not warns:
            continue
        # A pause that was not saved has to be made again.
        lost = kind in expected.kinds and kind != "paused" and bench.config.durability != "exit"
        left = list(expected.kinds)
        if lost:
            place = [place for place, known in enumerate(left) if known == kind][number]
            # Where a node was begun, and its failure was not saved, it is not begun once more.
            del left[place : place + 2 if kind == "failed" else place + 1]
        assert found.kinds == left, moment
        assert set(found.program.ran) == set(expected.program.ran), moment
        repeated = ["ask"] if kind == "paused" and bench.config.durability != "exit" else []
        assert sorted(found.program.ran) == sorted([*expected.program.ran, *repeated]), moment


def assert_told(found: Course, policy: Policy, moment: Moment) -> None:
    report = {problem.severity for problem in found.program.reported}
    if policy == "raise":
        assert found.program.raised, moment
        assert found.warned == [], moment
    else:
        assert found.program.raised == [], moment
        assert found.warned, moment
        assert "warning" in report, moment


@EVERY
@BOTH
def test_a_program_that_ends_without_room_is_continued_where_it_stands(
    bench: Bench, policy: Policy
) -> None:
    expected = bench.undisturbed
    for moment, found in bench.courses(full, busy, times=math.inf, then="ends"):
        assert_told(found, policy, moment)
        # What is there is what was written before, without a gap.
        assert found.kinds == expected.kinds[: len(found.kinds)], moment
        assert found.durable <= Counter(found.program.ran), moment
        if bench.config.durability == "sync" and policy == "raise":
            at_once = 2 if moment[0].startswith("pending") else 1
            assert (Counter(found.program.ran) - found.durable).total() <= at_once, moment
        result, ran, sent, stored = continued(found)
        assert comparable(result) == comparable(expected.result), moment
        assert Counter(ran) == Counter(expected.program.ran) - found.durable, moment
        assert stored[-1] == "final", moment
        if ("effect", 0) not in found.failed:
            assert [*found.program.sent, *sent] == ["request"], moment


@EVERY
@BOTH
def test_a_program_that_gets_room_again_goes_on(bench: Bench, policy: Policy) -> None:
    expected = bench.undisturbed
    for moment, found in bench.courses(busy, full, times=math.inf, then="heals"):
        assert_told(found, policy, moment)
        assert comparable(found.result) == comparable(expected.result), moment
        assert found.kinds[-1] == "final", moment
        result, ran, _, stored = continued(found)
        assert comparable(result) == comparable(expected.result), moment
        assert (ran, stored) == ([], found.kinds), moment


@pytest.mark.parametrize("durability", ["async", "exit"])
@pytest.mark.parametrize("error", [busy, full])
def test_a_program_that_is_terminated_writes_what_it_can(
    tmp_path: Path, disk: Disk, durability: Durability, error: Callable[[], HiveError]
) -> None:
    """What passes is waited for; what does not keeps no process from its end."""
    expected = course(tmp_path / "undisturbed", disk, config_of(durability))
    program = Program(tmp_path / "store", config_of(durability), killed=True)
    at = {"async": ("input", 1), "exit": ("node_start", 0)}[durability]
    disk.__init__(error, 1 if error is busy else math.inf, at)  # type: ignore[misc]

    def job() -> None:
        with program.started() as manager:
            program.run(manager, lambda: True)

    assert in_child(job) == -signal.SIGTERM
    disk.times = 0
    with CheckpointManager(program.folder) as manager:
        last = "node_start" if error is busy else "paused"
        assert kinds(manager)[-1] == last
    program.killed = False
    with program.started() as manager:
        result = program.run(manager, lambda: True)
    assert program.ran == ["write"]
    assert comparable(result) == comparable(expected.result)


@pytest.mark.parametrize("durability", ["async", "exit"])
@BOTH
def test_closing_tells_of_what_could_not_be_written(
    home: Path, disk: Disk, durability: Durability, policy: Policy
) -> None:
    before = _left_behind()[0]
    manager = CheckpointManager(home, config_of(durability, policy), sleep=lambda _seconds: None)
    manager.save(RUN, {"n": 1}, kind="paused")
    manager.flush()
    disk.error, disk.times, disk.moment = busy, math.inf, ("node_complete", 0)
    manager.save(RUN, {"n": 2})
    if policy == "raise":
        with pytest.raises(AccessError, match="busy"):
            manager.close()
    else:
        with pytest.warns(CheckpointWarning, match="busy"):
            manager.close()
    manager.close()
    assert _left_behind()[0] == before
    disk.times = 0
    with CheckpointManager(home) as again:
        assert again.restore(RUN) == {"n": 1}


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_what_branches_do_behind_a_lost_checkpoint_is_not_saved_with_another(
    home: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, durability: Durability
) -> None:
    """That one says nothing of what they began with, such as the answer to a question."""
    branches = SavedBranches(monkeypatch)

    class Crash(BaseException):
        pass

    async def work(ctx: NodeContext) -> dict[str, Any]:
        if ctx.node_id == "b":
            await branches.wait_for("a")
            raise Crash
        return {ctx.node_id: 1}

    graph = GraphSpec(
        id="forked",
        entry_node="s",
        nodes=[NodeSpec(id=name, function=work) for name in "sabj"],
        edges=[EdgeSpec(id=s + t, source=s, target=t) for s, t in ("sa", "sb", "aj", "bj")],
        parallel=[ParallelSpec(source="s", join="j")],
    )
    disk.times, disk.moment = 1, ("node_complete", 0)
    config = CheckpointConfig(durability=durability, on_save_error="warn")
    with CheckpointManager(home, config) as manager:
        with pytest.warns(CheckpointWarning, match="no room"), pytest.raises(Crash):
            asyncio.run(GraphExecutor(Runtime(), manager).execute(graph, GOAL, run=RUN))
        assert kinds(manager) == ["input"]
        assert manager.repository.pending(RUN, 1) == []


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_node_is_not_to_blame_for_what_was_lost_before_it(
    home: Path, disk: Disk, durability: Durability
) -> None:
    """Else it would be tried again, or an edge take its failure, for a disk that was full."""
    ran: list[str] = []

    async def saves(ctx: NodeContext) -> dict[str, Any]:
        ran.append(ctx.node_id)
        manager._writer(RUN).settle()
        with contextlib.suppress(StoreFullError):  # sync: its own
            await ctx.checkpoint([1])
        return {}

    def instead() -> None:
        ran.append("instead")

    failing = EdgeCondition.ON_FAILURE
    graph = GraphSpec(
        id="two",
        entry_node="a",
        nodes=[
            NodeSpec(id="a", function=lambda: {}),
            NodeSpec(id="saves", function=saves, max_retries=0),
            NodeSpec(id="instead", function=instead),
        ],
        edges=[
            EdgeSpec(id="on", source="a", target="saves"),
            EdgeSpec(id="off", source="saves", target="instead", condition=failing),
        ],
    )
    disk.times = 1
    disk.moment = ("node_progress" if durability == "sync" else "node_complete", 0)
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        execution = GraphExecutor(Runtime(), manager).execute(graph, GOAL, run=RUN)
        if durability == "sync":
            assert asyncio.run(execution).success
        else:
            with pytest.raises(StoreFullError):
                asyncio.run(execution)
    assert ran == ["saves"]
