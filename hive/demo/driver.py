"""Drive the demo: launch the survey, kill it, resume it, and check what is left.

Everything the driver knows about the survey's processes comes from outside them: exit statuses, the
side-effect log, and the store, read like anybody else would.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from cas.errors import NotFoundError
from hive.demo.checks import Check, Survey, check_demo
from hive.demo.effects import LOG_NAME, read_effects
from hive.demo.files import Limits
from hive.demo.survey import REPORT_NAME, hold_path
from manifests import Checkpoint, Repository, StoreStats

__all__ = ["DemoError", "Outcome", "run_demo"]

TARGET: Final = "hive.demo.survey:graph"
KILLED_NODE: Final = "rank"
START_SECONDS: Final = 60.0
"""How long the survey may take to reach the node in which it is killed; a slow machine's worst."""
FINISH_SECONDS: Final = 120.0


class DemoError(Exception):
    """The demo could not be carried out; the message holds what its process said last."""


@dataclass(frozen=True)
class Outcome:
    """What happened, for whoever prints or tests it."""

    killed_pid: int
    resumed_pid: int
    unbroken_pid: int
    killed: Survey
    unbroken: Survey
    checkpoints: tuple[Checkpoint, ...]
    """Of the run that was killed and resumed; oldest first."""
    unbroken_new_bytes: int
    """What storing the second, equal run took."""
    stats: StoreStats
    checks: tuple[Check, ...]


def run_demo(
    folder: Path,
    home: Path,
    *,
    hive: Sequence[str],
    environment: Mapping[str, str],
    limits: Limits,
    tell: Callable[[str], None],
) -> Outcome:
    """Survey ``folder`` twice, once killed and resumed, and compare.

    Args:
        folder: What to survey.
        home: Hive's folder; the store is created when there is none.
        hive: The command that starts Hive's command line.
        environment: Of the child processes.
        limits: How much of the folder to look at.
        tell: Called with one line before each stage.

    Raises:
        DemoError: A process ended in another way than it was meant to, or took too long.
    """
    home = home.resolve()
    run, unbroken_run = _free_names(home)
    start = _Start(folder.resolve(), home, tuple(hive), dict(environment), limits)

    tell(f"survey {run!r} starts")
    killed_pid = _run_and_kill(start, run)
    tell(f"process {killed_pid} got SIGKILL while {KILLED_NODE!r} was under way; {run!r} resumes")
    resumed_pid = start.finish(run, "resume", run)
    tell("the same survey runs once more, uninterrupted, to compare")
    unbroken_pid = start.launch(unbroken_run)

    killed, unbroken = start.survey(run), start.survey(unbroken_run)
    with Repository.open(home, create=False, read_only=True) as repo:
        if _documents(repo, run) != _documents(repo, unbroken_run):
            raise DemoError(f"files in {folder} changed while the demo read them; run it again")
        return Outcome(
            killed_pid=killed_pid,
            resumed_pid=resumed_pid,
            unbroken_pid=unbroken_pid,
            killed=killed,
            unbroken=unbroken,
            checkpoints=tuple(reversed(repo.log(run))),
            unbroken_new_bytes=sum(cp.new_bytes for cp in repo.log(unbroken_run)),
            stats=repo.stats(),
            checks=check_demo(
                killed,
                unbroken,
                killed_pid=killed_pid,
                resumed_pid=resumed_pid,
                killed_node=KILLED_NODE,
                differences=len(repo.diff(run, unbroken_run)),
            ),
        )


@dataclass(frozen=True)
class _Start:
    """How the demo's child processes are started."""

    folder: Path
    home: Path
    hive: tuple[str, ...]
    environment: dict[str, str]
    limits: Limits

    def work(self, run: str) -> Path:
        return self.home / "demo" / run

    def launch_arguments(self, run: str) -> list[str]:
        """The arguments of ``hive`` that launch the survey as ``run``."""
        self.work(run).mkdir(parents=True, mode=0o700)
        # Equal for both runs, so that their states can be compared key by key: what differs
        # (pids, where they write) stays out of the state.
        given = {
            "folder": str(self.folder),
            "skip": [str(self.home)],
            "max_files": self.limits.max_files,
            "max_bytes": self.limits.max_bytes,
        }
        return ["run", TARGET, "--run", run, "--input", json.dumps(given)]

    def launch(self, run: str) -> int:
        """Run the survey to its end; return the pid."""
        return self.finish(run, *self.launch_arguments(run))

    def finish(self, run: str, *arguments: str) -> int:
        """Start a process that works on ``run`` and wait for its end; return its pid."""
        with self.process(run, *arguments) as process:
            try:
                status = process.wait(FINISH_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise DemoError(f"{run!r} took more than {FINISH_SECONDS:.0f} s") from error
        if status != 0:
            raise DemoError(f"{run!r} ended with status {status}: {self.last_words(run)}")
        return process.pid

    @contextlib.contextmanager
    def process(self, run: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start ``hive`` in the work folder of ``run``; it never outlives the block."""
        work = self.work(run)
        with (work / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [*self.hive, arguments[0], "--home", str(self.home), *arguments[1:]],
                cwd=work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def last_words(self, run: str) -> str:
        """The last line that a process of the run printed."""
        lines = (self.work(run) / "output.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def survey(self, run: str) -> Survey:
        work = self.work(run)
        return Survey(
            run=run,
            work=work,
            effects=tuple(read_effects(work / LOG_NAME)),
            report_digest=blake3((work / REPORT_NAME).read_bytes()).hexdigest(),
        )


def _run_and_kill(start: _Start, run: str) -> int:
    """Launch the survey and kill its process with SIGKILL while a node is under way."""
    arguments = start.launch_arguments(run)
    # The node waits for this file to go, so that it is under way when the signal comes, however
    # small the folder and however late this process is woken.
    hold = hold_path(start.work(run), KILLED_NODE)
    hold.touch()
    with start.process(run, *arguments) as process:
        deadline = time.monotonic() + START_SECONDS
        while not any(
            effect.node == KILLED_NODE for effect in read_effects(start.work(run) / LOG_NAME)
        ):
            if process.poll() is not None:
                raise DemoError(
                    f"{run!r} ended with status {process.returncode} before it could be killed: "
                    f"{start.last_words(run)}"
                )
            if time.monotonic() > deadline:
                raise DemoError(f"{run!r} did not reach {KILLED_NODE!r} in {START_SECONDS:.0f} s")
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        status = process.wait()
    hold.unlink()
    if status != -signal.SIGKILL:
        raise DemoError(f"{run!r} ended with status {status}, not by SIGKILL")
    return process.pid


def _documents(repo: Repository, run: str) -> Any:
    """What a survey read, with the digest of each file."""
    return repo.restore(run, keys=["documents"])["documents"]


def _free_names(home: Path) -> tuple[str, str]:
    """Names for the two runs that nothing in this home has yet."""
    try:
        with Repository.open(home, create=False, read_only=True) as repo:
            infos, unreadable = repo.readable_runs()
            taken = {info.name for info in infos} | {each.name for each in unreadable}
    except NotFoundError:
        taken = set()
    number = 1
    while True:
        run = "demo" if number == 1 else f"demo-{number}"
        names = (run, f"{run}-unbroken")
        if taken.isdisjoint(names) and not any((home / "demo" / name).exists() for name in names):
            return names
        number += 1
