"""One run of a graph, from where it stands to where it ends, pauses or fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from hive import errors
from hive.graph.progress import Finished, Progress
from hive.graph.result import ExecutionResult
from hive.graph.routing import Choice, choose
from hive.graph.visit import Attempt, Visit

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.node import Node, NodeSpec
    from hive.graph.recorder import Recorder
    from hive.graph.runtime import Runtime
    from hive.graph.spec import GraphSpec

__all__ = ["Execution"]


class Execution:
    """Drives a run and keeps its progress, which is recorded after each change.

    Args:
        graph: What to run; it has no problems.
        goal: What it is for.
        run: Name of the run.
        memory: The run's memory.
        progress: Where the run stands.
        nodes: What runs for each node id.
        runtime: Has an open report for the run.
        recorder: Saves checkpoints, where there is a manager.
        sleep: Waits before retries.
        timer: A monotonic clock in seconds.
    """

    def __init__(
        self,
        *,
        graph: GraphSpec,
        goal: Goal,
        run: str,
        memory: SharedMemory,
        progress: Progress,
        nodes: Mapping[str, Node],
        runtime: Runtime,
        recorder: Recorder,
        sleep: Callable[[float], Awaitable[None]],
        timer: Callable[[], float],
    ) -> None:
        self._graph = graph
        self._goal = goal
        self._run = run
        self._memory = memory
        self._progress = progress
        self._nodes = nodes
        self._runtime = runtime
        self._recorder = recorder
        self._sleep = sleep
        self._timer = timer
        self._failed_visit: tuple[str, int] | None = None

    async def drive(self) -> ExecutionResult:
        """Go on until the run completes, pauses or fails, and return the result."""
        while self._progress.status == "running":
            await self._step()
        await self._recorder.flush()
        return self._result()

    async def _step(self) -> None:
        progress = self._progress
        if progress.finished is not None:
            await self._go_on(progress.finished)
            return
        if progress.next_node is None:  # after a pause with nothing behind it
            await self._end("final", progress.path[-1])
            return
        spec = self._spec(progress.next_node)
        limit = self._limit(spec)
        if limit is not None:
            await self._fail(spec.id, limit)
            return
        attempt = await self._visit(spec)
        if attempt.result.success:
            await self._go_on(self._finish(spec, attempt))
        else:
            await self._after_failure(spec, attempt)

    def _limit(self, spec: NodeSpec) -> str | None:
        progress = self._progress
        if progress.steps >= self._graph.max_steps:
            return f"max_steps ({self._graph.max_steps}) reached before node {spec.id!r}"
        if spec.max_visits is not None and progress.visits.get(spec.id, 0) >= spec.max_visits:
            return f"max_visits ({spec.max_visits}) of node {spec.id!r} reached"
        return None

    async def _visit(self, spec: NodeSpec) -> Attempt:
        """Make attempts until one is final; each failed one before it is recorded."""
        progress = self._progress
        visit = Visit(
            run=self._run,
            spec=spec,
            node=self._nodes[spec.id],
            number=progress.visits.get(spec.id, 0) + 1,
            input_data=progress.input_data,
            memory=self._memory,
            goal=self._goal,
            runtime=self._runtime,
            targets=self._nodes,
            sleep=self._sleep,
            timer=self._timer,
        )
        while True:
            attempt = await visit.attempt(progress.failed_attempts + 1)
            progress.total_tokens += attempt.result.tokens_used
            progress.total_latency_ms += attempt.latency_ms
            if attempt.result.success:
                return attempt
            progress.failed_attempts += 1
            if attempt.final:
                return attempt
            self._runtime.report_problem(
                "warning",
                f"attempt {progress.failed_attempts} failed: {attempt.result.error}",
                node_id=spec.id,
                run=self._run,
            )
            await self._recorder.save_attempt(spec.id, progress, self._memory)

    def _finish(self, spec: NodeSpec, attempt: Attempt) -> Finished:
        """Count a successful visit."""
        progress = self._progress
        self._count(spec.id, retries=progress.failed_attempts)
        return Finished(
            node=spec.id,
            success=True,
            output=attempt.result.output,
            error=None,
            next_node=attempt.result.next_node,
            node_input=progress.input_data,
        )

    async def _after_failure(self, spec: NodeSpec, attempt: Attempt) -> None:
        """Follow an edge that takes failures, else fail the run."""
        progress = self._progress
        attempts = progress.failed_attempts
        failure = Finished(
            node=spec.id,
            success=False,
            output=attempt.result.output,
            error=str(attempt.result.error),
            next_node=None,
            node_input=progress.input_data,
        )
        count = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        reason = f"node {spec.id!r} failed after {count}: {failure.error}"
        try:
            choice = self._choose(failure)
        except errors.InvalidInputError as error:
            choice, reason = None, f"{reason}; {error}"
        if choice is None:
            # The failed visit is not counted: after a resume it is made again, with new attempts.
            self._failed_visit = (spec.id, attempts - 1)
            progress.failed_attempts = 0
            await self._fail(spec.id, reason)
            return
        self._runtime.report_problem("warning", reason, node_id=spec.id, run=self._run)
        self._count(spec.id, retries=attempts - 1)
        await self._advance("node_failed", spec.id, choice)

    def _count(self, node: str, *, retries: int) -> None:
        progress = self._progress
        progress.path.append(node)
        progress.steps += 1
        progress.visits[node] = progress.visits.get(node, 0) + 1
        if retries:
            progress.retries[node] = progress.retries.get(node, 0) + retries
        progress.failed_attempts = 0

    async def _go_on(self, finished: Finished) -> None:
        """Find what follows a node that succeeded, and record the step."""
        progress = self._progress
        pauses = finished.node in self._graph.pause_nodes
        try:
            choice = self._after_success(finished)
        except errors.InvalidInputError as error:
            progress.finished = finished
            progress.next_node = None
            progress.input_data = {}
            await self._fail(finished.node, str(error))
            return
        if pauses:
            progress.status = "paused"
            progress.paused_at = finished.node
        if choice is not None:
            await self._advance("paused" if pauses else "node_complete", finished.node, choice)
        else:
            await self._end("paused" if pauses else "final", finished.node)

    def _after_success(self, finished: Finished) -> Choice | None:
        """Return what follows a node that succeeded; None if the run is over.

        Raises:
            InvalidInputError: Nothing follows where something should, or that cannot be told.
        """
        node = finished.node
        if node in self._graph.terminal_nodes:
            return None
        if node in self._graph.pause_nodes:
            entry = self._graph.get_entry_point(f"{node}_resume")
            if entry is not None:
                return Choice(entry, finished.output, {}, f"entry point {node}_resume")
        choice = self._choose(finished)
        if choice is None and self._graph.terminal_nodes and self._graph.get_outgoing_edges(node):
            raise errors.InvalidInputError(
                f"no edge leads on from node {node!r}, and it is not among the terminal nodes "
                f"{self._graph.terminal_nodes}"
            )
        return choice

    def _choose(self, finished: Finished) -> Choice | None:
        choice = choose(
            self._graph,
            finished,
            self._memory.lend(),
            goal=self._goal,
            visits=self._progress.visits,
            steps=self._progress.steps,
        )
        spec = self._spec(finished.node)
        edges = self._graph.get_outgoing_edges(finished.node)
        options = list(dict.fromkeys([*(edge.target for edge in edges), *spec.routes.values()]))
        if choice is not None and (len(options) > 1 or spec.node_type == "router"):
            self._runtime.decide(
                f"what follows {finished.node}",
                chosen=choice.target,
                options=options,
                reasoning=choice.reason,
                node_id=finished.node,
                run=self._run,
            )
        return choice

    async def _advance(self, kind: str, node: str, choice: Choice) -> None:
        self._memory.adopt(choice.mapped)
        self._progress.next_node = choice.target
        self._progress.input_data = choice.input_data
        self._progress.finished = None
        await self._recorder.save(kind, node, self._progress, self._memory)

    async def _end(self, kind: str, node: str) -> None:
        progress = self._progress
        if kind == "final":
            progress.status = "completed"
        progress.next_node = None
        progress.input_data = {}
        progress.finished = None
        await self._recorder.save(kind, node, progress, self._memory)

    async def _fail(self, node: str, error: str) -> None:
        self._progress.status = "failed"
        self._progress.error = error
        self._runtime.report_problem("critical", error, node_id=node, run=self._run)
        await self._recorder.save("failed", node, self._progress, self._memory)

    def _spec(self, node: str) -> NodeSpec:
        spec = self._graph.get_node(node)
        if spec is None:
            raise errors.InvalidInputError(f"the graph has no node {node!r} to go on with")
        return spec

    def _result(self) -> ExecutionResult:
        progress = self._progress
        result = ExecutionResult(
            success=progress.status != "failed",
            output=self._memory.read_all(),
            error=progress.error,
            steps_executed=progress.steps,
            total_tokens=progress.total_tokens,
            total_latency_ms=progress.total_latency_ms,
            path=list(progress.path),
            paused_at=progress.paused_at,
            run_id=self._run,
            checkpoint_id=self._recorder.checkpoint_id,
            visits=dict(progress.visits),
            retries=dict(progress.retries),
        )
        if self._failed_visit is not None:
            node, retries = self._failed_visit
            result.path.append(node)
            result.steps_executed += 1
            result.visits[node] = result.visits.get(node, 0) + 1
            if retries:
                result.retries[node] = result.retries.get(node, 0) + retries
        if progress.status in {"paused", "failed"}:
            result.session_state = self._recorder.session_state(progress, result)
        return result
