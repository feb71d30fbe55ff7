"""``GraphExecutor``: runs graphs, saves a checkpoint after every node, resumes exactly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.arguments import (
    check_instance,
    check_resume,
    check_services,
    enabled,
    text_keyed,
)
from hive.graph.execution import Execution
from hive.graph.goal import Goal
from hive.graph.implementation import node_for
from hive.graph.node import Node
from hive.graph.recorder import Recorder
from hive.graph.recording import recording
from hive.graph.services import Effects
from hive.graph.spec import GraphSpec
from hive.graph.start import Start, StartRequest
from hive.graph.walk import Setting, Walk
from hive.text import kind_of

if TYPE_CHECKING:
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.result import ExecutionResult
    from hive.graph.runtime import Runtime

__all__ = ["GraphExecutor"]


class GraphExecutor:
    """Runs graphs of nodes, one node after the other.

    ::

        executor = GraphExecutor(Runtime(), CheckpointManager(storage, CheckpointConfig()))
        executor.register_function("double", lambda number: {"number": number * 2})
        result = await executor.execute(graph, goal, {"number": 21}, run="first")

    A run that was interrupted at any moment and is resumed ends as one that was not: same output,
    path and counters; finished nodes ran once. The node that was in flight runs again, with the
    same ``ctx.attempt`` and ``ctx.idempotency_key``.

    Args:
        runtime: Receives the reports of the runs.
        checkpoint_manager: Where checkpoints go; without one nothing is saved and no store is
            imported.
        node_registry: ``{node id: node object}``, as ``register_node`` would add them.
        sleep: Waits before retries, in seconds.
        timer: A monotonic clock in seconds, for latencies.
    """

    def __init__(
        self,
        runtime: Runtime,
        checkpoint_manager: CheckpointManager | None = None,
        node_registry: Mapping[str, Node] | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_services(runtime, checkpoint_manager)
        self.runtime = runtime
        self.checkpoint_manager = checkpoint_manager
        self._nodes: dict[str, Node] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._sleep = sleep
        self._timer = timer
        for node_id, node in text_keyed("node_registry", node_registry).items():
            self.register_node(node_id, node)

    def register_function(self, node_id: str, function: Callable[..., Any]) -> None:
        """Make a sync or async function what runs for a function or router node.

        It is called with the node's input as keyword arguments; a parameter named ``ctx`` receives
        the ``NodeContext``. A mapping that it returns is written to memory under its own keys,
        those of ``output_keys`` where the node declares them; any other value goes to the single
        output key. It may also return a ``NodeResult``.
        """
        if not callable(function):
            raise errors.InvalidInputError(
                f"node {node_id!r}: {kind_of(function)} cannot be called"
            )
        self._functions[node_id] = function

    def register_node(self, node_id: str, node: Node) -> None:
        """Make an object with ``async execute(ctx) -> NodeResult`` what runs for a node."""
        if not callable(getattr(node, "execute", None)):
            raise errors.InvalidInputError(
                f"node {node_id!r}: {kind_of(node)} has no method execute(ctx)"
            )
        self._nodes[node_id] = node

    async def execute(
        self,
        graph: GraphSpec,
        goal: Goal,
        input_data: Mapping[str, Any] | None = None,
        session_state: Mapping[str, Any] | None = None,
        *,
        run: str | None = None,
        resume: bool | str = False,
        accept_changed_graph: bool = False,
        renamed_nodes: Mapping[str, str] | None = None,
    ) -> ExecutionResult:
        """Run a graph until it completes, pauses or fails.

        Args:
            graph: What to run.
            goal: What it is for.
            input_data: Written to memory; the input of the first node. At a resume after a pause
                it is added to memory and to the next node's input.
            session_state: Of an earlier result: continues there, without a store if need be.
            run: Name of the run; a fresh one if None.
            resume: True: continue ``run`` where it stands; a run that does not exist starts at the
                entry node. A reference such as ``"run@7"``: continue from that checkpoint, as a
                fork named by ``run`` (else ``<run>-fork-<n>``) unless it is the run's head. A
                completed run gives its recorded result and nothing runs; a failed run continues
                at the node that failed, with new attempts.
            accept_changed_graph: Resume although graph or goal are not what the run was made with.
            renamed_nodes: ``{old id: new id}`` of nodes that were renamed since. The run goes on
                under the new ids, with the idempotency keys and effects that it had. What differs
                besides is refused as ever. Names that a run has already change nothing: a program
                may give them at every start.

        Returns:
            The result. A node that fails is a result with ``success`` False, not an exception.

        Raises:
            InvalidInputError: The graph has problems, a node has no implementation, or the
                arguments do not fit together.
            ConflictError: The run exists and ``resume`` is False, somebody else continues it, or
                the graph changed.
            HiveError: A checkpoint could not be read, or not be written (see
                ``CheckpointConfig.on_save_error``).
        """
        check_instance(graph, GraphSpec, "graph")
        check_instance(goal, Goal, "goal")
        check_resume(resume)
        nodes = self.implementations(graph)
        manager = enabled(self.checkpoint_manager)
        request = StartRequest(
            graph,
            goal,
            text_keyed("input_data", input_data),
            run,
            accept_changed_graph,
            dict(renamed_nodes or {}),
        )
        start = await _start(request, manager, session_state, resume)
        self.runtime.start_run(
            goal.id,
            goal.description,
            start.progress.inputs[0] if start.progress.inputs else None,
            run=start.run,
            decisions=start.decisions,
        )
        result = await self._go_on(request, start, nodes, manager)
        self._report(result)
        return result

    async def _go_on(
        self,
        request: StartRequest,
        start: Start,
        nodes: dict[str, Node],
        manager: CheckpointManager | None,
    ) -> ExecutionResult:
        """Execute a run from where it stands until it stops, and save its checkpoints."""
        writer = None if manager is None else manager.writer(start.run, start.tip)
        recorder = Recorder(
            writer,
            run=start.run,
            graph=request.graph,
            goal=request.goal,
            runtime=self.runtime,
            checkpoint_id=None if start.tip is None else str(start.tip.id),
            last_kind=None if start.tip is None else start.tip.kind,
        )
        setting = Setting(
            graph=request.graph,
            goal=request.goal,
            run=start.run,
            nodes=nodes,
            effects=Effects(recorder),
            sleep=self._sleep,
            timer=self._timer,
        )
        progress = start.progress
        execution = Execution(Walk(setting, start.memory, progress, self.runtime, recorder))
        began = self._timer()
        recorder.tell_begin(progress.steps)
        status = "interrupted"
        goes_on = progress.status == "running"
        try:
            async with recording(
                recorder, self.runtime, start.run, goes_on=goes_on, pause=execution.pause
            ):
                if start.unsaved:
                    await recorder.save(start.unsaved, None, progress, start.memory)
                result = await execution.drive()
                status = progress.status
        except BaseException:
            if execution.is_over:  # Ctrl-C came while its last node worked, or while it was saved
                status = progress.status
                self._report(execution.result())
            raise
        finally:
            if manager is not None and writer is not None:
                manager.release(writer)
            recorder.tell_end(status, progress.steps, self._timer() - began)
        return result

    def _report(self, result: ExecutionResult) -> None:
        self.runtime.end_run(result.success, _narrative(result), result.output, run=result.run_id)

    def implementations(self, graph: GraphSpec) -> dict[str, Node]:
        """Return what would run for each node of a graph.

        Raises:
            InvalidInputError: The graph has problems, or a node has no implementation.
        """
        problems = graph.validate()
        nodes: dict[str, Node] = {}
        for spec in graph.nodes:
            try:
                nodes[spec.id] = node_for(
                    spec, self._nodes.get(spec.id), self._functions.get(spec.id)
                )
            except errors.InvalidInputError as error:
                problems.append(str(error))
        if problems:
            raise errors.InvalidInputError(
                f"graph {graph.id!r} cannot be run: {'; '.join(problems)}"
            )
        return nodes


async def _start(
    request: StartRequest,
    manager: CheckpointManager | None,
    session_state: Mapping[str, Any] | None,
    resume: bool | str,
) -> Start:
    if resume is not False and session_state:
        raise errors.InvalidInputError("pass resume or session_state, not both")
    if resume is not False:
        if manager is None:
            raise errors.InvalidInputError("resume needs an enabled checkpoint_manager")
        return await request.from_checkpoint(manager, None if resume is True else resume)
    if session_state:
        return await request.from_session(session_state, manager)
    return await request.new_run(manager)


def _narrative(result: ExecutionResult) -> str:
    if result.paused_at is not None:
        return f"paused after {result.paused_at} ({result.steps_executed} steps)"
    if result.success:
        return f"completed in {result.steps_executed} steps"
    return f"failed after {result.steps_executed} steps: {result.error}"
