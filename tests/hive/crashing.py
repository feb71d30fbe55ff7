"""Run a graph of the family in a process of its own that may die at a chosen moment."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import pytest

from cas.store import ObjectStore
from hive.graph import ExecutionResult, GraphExecutor, Runtime
from hive.graph.checkpoint_manager import CheckpointManager
from hive.schemas.checkpoint import CheckpointConfig
from manifests import Repository, commits
from tests.hive.crash_graphs import FAMILY, GOAL, RUN, Case, Effects

__all__ = [
    "Crash",
    "Moment",
    "arm",
    "arm_transactions",
    "break_off",
    "comparable",
    "in_child",
    "launch",
    "memory_folder",
    "run_case",
]

T = TypeVar("T")

Phase = Literal["before", "inside", "after", "attempt"]
Moment = tuple[Phase, int] | None
"""When to die: before, inside or after the n-th commit, or transaction, of the process; or after
its n-th attempt of a node, before anything is saved of that. None for never."""


def die() -> NoReturn:
    """End this process as a power cut would: no handler, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def arm(moment: Moment, *, slow_seconds: float = 0.0) -> Callable[[int], None]:
    """Make this process die at ``moment``; return the part that effects call.

    ``slow_seconds`` delays every write, so that a background writer falls behind.
    """
    phase, number = moment or ("never", 0)
    written = itertools.count(1)
    write, write_commit = Repository.write, commits.write_commit
    current = 0

    def armed_write(self: Repository, prepared: Any) -> Any:
        nonlocal current
        current = next(written)
        time.sleep(slow_seconds)
        if (phase, number) == ("before", current):
            die()
        checkpoint = write(self, prepared)
        if (phase, number) == ("after", current):
            die()
        return checkpoint

    def armed_commit(*arguments: Any) -> Any:
        checkpoint = write_commit(*arguments)
        if (phase, number) == ("inside", current):
            die()  # everything is put, and the transaction is open
        return checkpoint

    Repository.write = armed_write  # type: ignore[method-assign, assignment]
    for module in list(sys.modules.values()):
        if getattr(module, "write_commit", None) is write_commit:
            module.__dict__["write_commit"] = armed_commit

    def attempted(count: int) -> None:
        if (phase, number) == ("attempt", count):
            die()

    return attempted


def arm_transactions(moment: Moment, count: Path, *, slow_seconds: float = 0.0) -> Any:
    """Do what ``arm`` does for all transactions that change the store, and note how many there are.

    Checkpoints, what branches did, effects and claims: whatever is made durable.
    """
    phase, number = moment or ("never", 0)
    written = itertools.count(1)
    write = ObjectStore.write

    def armed(store: ObjectStore, work: Callable[[Any], Any]) -> Any:
        current = next(written)
        time.sleep(slow_seconds)
        if (phase, number) == ("before", current):
            die()

        def dying(writer: Any) -> Any:
            work(writer)
            die()  # everything is put, and the transaction is open

        done = write(store, dying if (phase, number) == ("inside", current) else work)
        if (phase, number) == ("after", current):
            die()
        count.write_text(str(current))
        return done

    ObjectStore.write = armed  # type: ignore[method-assign,assignment]

    def attempted(times: int) -> None:
        if (phase, number) == ("attempt", times):
            die()

    return attempted


def launch(
    case: Case, home: Path, effects: Effects, config: CheckpointConfig | None = None
) -> ExecutionResult:
    """Do what a program does at every start: begin the run, or continue it, to its end."""
    ticks = itertools.count()
    graph = case.build(effects)
    with CheckpointManager(home, config) as manager:
        executor = GraphExecutor(
            runtime=Runtime(),
            checkpoint_manager=manager,
            # Where nodes run at the same time, how often the clock is looked at is left to chance.
            timer=lambda: next(ticks) / 64 if case.at_once == 1 else 0.0,
        )

        def execute(given: dict[str, Any]) -> ExecutionResult:
            return asyncio.run(executor.execute(graph, GOAL, given, run=RUN, resume=True))

        head = manager.latest(RUN)
        result = execute(case.answer if head and head.kind == "paused" else case.given)
        while result.paused_at:
            result = execute(case.answer)
        return result


def run_case(
    name: str,
    folder: Path,
    moment: Moment = None,
    config: CheckpointConfig | None = None,
    *,
    slow_seconds: float = 0.0,
) -> ExecutionResult:
    """Launch a case in this process, which may die of it. Its store and log lie in ``folder``."""
    attempted = arm_transactions(moment, folder / "transactions", slow_seconds=slow_seconds)
    return launch(FAMILY[name], folder / "home", Effects(folder / "effects", attempted), config)


def in_child(job: Callable[[], object]) -> int:
    """Do a job in a forked process; return its exit status, negative if a signal ended it."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            job()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """An empty folder, in memory where there is such a place.

    A killed process loses nothing that it handed to the system, so these tests need no disk, and
    hundreds of them would wait for one most of the time.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def comparable(result: ExecutionResult) -> dict[str, Any]:
    """Return everything of a result but what names one checkpoint."""
    fields = dataclasses.asdict(result)
    del fields["checkpoint_id"], fields["session_state"]
    return fields


class Crash(Exception):  # noqa: N818
    """The process died."""


def break_off(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    dice: random.Random,
    launch: Callable[[CheckpointManager, str], T],
) -> tuple[T, str, str]:
    """Launch a run to its end, and another one until it dies before a random commit.

    Returns what came of the first, and the names of both.
    """
    number = len(repository.runs())
    whole, broken = f"whole {number}", f"broken {number}"
    with CheckpointManager(repository) as manager:
        expected = launch(manager, whole)
        commits = len(manager.history(whole))
    manager = CheckpointManager(repository, CheckpointConfig())
    with monkeypatch.context() as patch:
        _stop_writes(patch, before=dice.randint(1, commits))
        with pytest.raises(Crash):
            launch(manager, broken)
    return expected, whole, broken


def _stop_writes(patch: pytest.MonkeyPatch, *, before: int) -> None:
    """Let this write of any repository (from 1), and all behind it, end in a ``Crash``."""
    write = Repository.write
    written = 0

    def crashing(repo: Repository, prepared: Any) -> Any:
        nonlocal written
        written += 1
        if written >= before:
            repo._seen.take_back(prepared.place)
            raise Crash
        return write(repo, prepared)

    patch.setattr(Repository, "write", crashing)
