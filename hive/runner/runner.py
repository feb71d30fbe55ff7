"""``AgentRunner``: runs an agent, resumes its runs, lists them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hive import errors
from hive.closing import Closing
from hive.graph import abandoned
from hive.graph.arguments import check_instance
from hive.graph.background import in_thread
from hive.graph.checkpoint_manager import CheckpointManager
from hive.graph.runtime import Runtime
from hive.graph.standing import Standing, standing_of
from hive.plan.plan import Plan
from hive.runner.agent import Agent
from hive.runner.execution import AgentExecution, RunResult
from hive.runner.loading import load_agent
from hive.runner.waiting import Wait, waits_of
from hive.schemas.checkpoint import CheckpointConfig

if TYPE_CHECKING:
    from hive.plan.approval import Answer
    from manifests import Checkpoint, Repository

__all__ = ["AgentRun", "AgentRunner"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One run of an agent, as its last checkpoint has it.

    Attributes:
        name: Its name.
        status: ``done``, ``failed``, ``paused``, ``abandoned``, ``running``, or ``interrupted``:
            its process is gone.
        steps: How many visits of nodes, or attempts of steps, ended.
        waits: What it waits for.
        head: Its last checkpoint.
    """

    name: str
    status: Standing
    steps: int
    waits: list[Wait]
    head: Checkpoint


class AgentRunner(Closing):
    """Runs one agent with checkpoints.

    ::

        with AgentRunner.load("support/agent.yaml") as runner:
            result = runner.run({"question": "Where is my order?"}, run="ticket-7")
            if result.paused_at:
                result = runner.resume("ticket-7", {"answer": "It was sent on Monday."})

    ``run`` and ``resume`` can be called with or without a running event loop (a notebook has one);
    async code awaits ``arun`` and ``aresume``, which do the same.

    Args:
        agent: What to run.
        storage: A repository, which stays the caller's to close; the path of a home directory; or
            None for the default home.
        config: How to save and what to keep; by default as the agent says.
        runtime: Receives the reports of the runs.

    Raises:
        InvalidInputError: The agent has rules for its secrets, and the repository has none.
        HiveError: The store cannot be opened.
    """

    def __init__(
        self,
        agent: Agent,
        storage: Repository | str | os.PathLike[str] | None = None,
        config: CheckpointConfig | None = None,
        *,
        runtime: Runtime | None = None,
    ) -> None:
        check_instance(agent, Agent, "agent")
        self.agent = agent
        self.runtime = Runtime() if runtime is None else runtime
        self._opened: Repository | None = None
        needs_own = agent.registry is not None or agent.redact is not None
        if needs_own and isinstance(storage, str | os.PathLike | None):
            from hive.home import open_repository

            place = None if storage is None else os.fspath(storage)
            storage = self._opened = open_repository(
                place, registry=agent.registry, redact=agent.redact
            )
        elif agent.redact is not None and getattr(storage, "redaction", None) is None:
            raise errors.InvalidInputError(
                "the agent's secrets would be stored: open the repository with redact=agent.redact"
            )
        self.manager = CheckpointManager(
            storage, config or agent.checkpoints or CheckpointConfig(), schema=agent.schema
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        storage: Repository | str | os.PathLike[str] | None = None,
        config: CheckpointConfig | None = None,
        *,
        runtime: Runtime | None = None,
    ) -> Self:
        """Load an agent and return a runner of it.

        Args:
            path: A description in JSON or YAML, a Python file or module, with or without ``:name``,
                or a folder with one of ``agent.json``, ``agent.yaml``, ``agent.yml``, ``agent.py``.
                Loading runs code, of a description too: it names the functions to import.
            storage: As for the class.
            config: As for the class.
            runtime: As for the class.

        Raises:
            InvalidInputError: There is no agent, or something that it names is missing.
        """
        agent = load_agent(os.fspath(path), Path.cwd())
        return cls(agent, storage, config, runtime=runtime)

    async def arun(
        self,
        input_data: Mapping[str, Any] | None = None,
        session_state: Mapping[str, Any] | None = None,
        *,
        run: str | None = None,
        approvals: Mapping[str, Answer] | None = None,
    ) -> RunResult:
        """Begin a run and go on until it ends, fails or waits.

        Args:
            input_data: The input of a graph, the context of a plan.
            session_state: Of an earlier result of the graph: continues there.
            run: Name of the run, which must not exist; a fresh one if None.
            approvals: For a plan: answers known in advance.

        Raises:
            ConflictError: There is a run of that name.
            HiveError: What the executor raises.
        """
        return await self._execution(input_data, run=run, approvals=approvals).drive(session_state)

    async def aresume(
        self,
        run: str,
        input_data: Mapping[str, Any] | None = None,
        *,
        approvals: Mapping[str, Answer] | None = None,
        accept_changes: bool = False,
    ) -> RunResult:
        """Continue a run where it stands. A completed one gives its recorded result.

        Args:
            run: Name of the run, or a reference such as ``run@7``, which continues as a fork.
            input_data: What a paused run of a graph waits for; more context for a plan.
            approvals: For a plan: ``{step id: answer}``, as for ``execute_plan``.
            accept_changes: Resume although the agent is not what the run was made with.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: Somebody else continues it, or the agent changed.
            HiveError: What the executor raises.
        """
        known = await in_thread(lambda: self.manager.latest(run)) is not None
        if not known:
            await in_thread(lambda: self.manager.repository.resolve(run))  # says what is missing
        execution = self._execution(
            input_data,
            run=run if known else None,
            resume=True if known else run,
            approvals=approvals,
            accept_changes=accept_changes,
        )
        return await execution.drive()

    def run(
        self,
        input_data: Mapping[str, Any] | None = None,
        session_state: Mapping[str, Any] | None = None,
        *,
        run: str | None = None,
        approvals: Mapping[str, Answer] | None = None,
    ) -> RunResult:
        """Do what ``arun`` does, and return when it is done."""
        return to_end(self.arun(input_data, session_state, run=run, approvals=approvals))

    def resume(
        self,
        run: str,
        input_data: Mapping[str, Any] | None = None,
        *,
        approvals: Mapping[str, Answer] | None = None,
        accept_changes: bool = False,
    ) -> RunResult:
        """Do what ``aresume`` does, and return when it is done."""
        return to_end(
            self.aresume(run, input_data, approvals=approvals, accept_changes=accept_changes)
        )

    def runs(self) -> list[AgentRun]:
        """Return the runs of this agent, those of its graph's or plan's id, the latest first."""
        repository = self.manager.repository
        found = []
        for info in sorted(repository.runs(), key=lambda info: info.updated_at, reverse=True):
            execution = repository.execution(info.head)
            if self._is_of_agent(execution):
                status = standing_of(repository, info.head)
                waits = waits_of(execution) if status == "paused" else []
                found.append(AgentRun(info.name, status, execution["steps"], waits, info.head))
        return found

    def abandon(self, run: str) -> Checkpoint:
        """Mark a run as one that nobody will go on with; see :mod:`hive.graph.abandoned`."""
        self.manager.flush(run)
        return abandoned.abandon(self.manager.repository, run)

    def reinstate(self, run: str) -> Checkpoint:
        """Take that mark back."""
        return abandoned.reinstate(self.manager.repository, run)

    def close(self) -> None:
        """Wait until everything is on disk, and close what this runner opened."""
        try:
            self.manager.close()
        finally:
            if self._opened is not None:
                self._opened.close()

    def _execution(self, input_data: Mapping[str, Any] | None, **request: Any) -> AgentExecution:
        return AgentExecution(self.agent, self.manager, self.runtime, input_data, **request)

    def _is_of_agent(self, execution: Mapping[str, Any]) -> bool:
        kind = "plan" if isinstance(self.agent.work, Plan) else "graph"
        # The text of a graph or plan is short beside a state, and read only to compare the id.
        made_by = execution.get("executor") == kind
        return made_by and json.loads(execution[kind])["id"] == self.agent.id


def to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop is running already, as in a notebook.

    There it runs in a thread with an event loop of its own, and the running loop waits. Ctrl-C,
    which comes to the thread that waits, cancels it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    started: Future[Callable[[], object]] = Future()

    async def main() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        started.set_result(partial(loop.call_soon_threadsafe, task.cancel))
        return await coroutine

    with ThreadPoolExecutor(1, "hive-runner") as pool:
        ended = pool.submit(asyncio.run, main())
        try:
            return ended.result()
        except BaseException:
            either: list[Future[Any]] = [started, ended]
            if started in wait(either, return_when=FIRST_COMPLETED).done:
                with suppress(RuntimeError):  # its loop is closed: it has ended
                    started.result()()
            raise
