"""A walk through a graph: node after node, each step recorded.

A run is one walk; where it forks, each branch is a walk of its own (see
:mod:`hive.graph.together`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.progress import FailedVisit, Finished, Progress, deepest_place
from hive.graph.routing import Choice, choose, choose_all
from hive.graph.services import NodeServices
from hive.graph.together import fork, go_on_together
from hive.graph.totals import Totals
from hive.graph.visit import Attempt, Visit

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.node import Node, NodeSpec
    from hive.graph.recorder import Recorder
    from hive.graph.runtime import Runtime
    from hive.graph.services import Effects
    from hive.graph.spec import GraphSpec
    from manifests.kinds import Kind

__all__ = ["Setting", "Walk"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all walks of one run share.

    Attributes:
        graph: What to run; it has no problems.
        goal: What it is for.
        run: Name of the run.
        nodes: What runs for each node id.
        effects: The side effects that are recorded.
        sleep: Waits before retries.
        timer: A monotonic clock in seconds.
    """

    graph: GraphSpec
    goal: Goal
    run: str
    nodes: Mapping[str, Node]
    effects: Effects
    sleep: Callable[[float], Awaitable[None]]
    timer: Callable[[], float]

    def spec(self, node: str) -> NodeSpec:
        """Return the specification of a node.

        Raises:
            InvalidInputError: There is no such node.
        """
        spec = self.graph.get_node(node)
        if spec is None:
            raise errors.InvalidInputError(f"the graph has no node {node!r} to go on with")
        return spec


@dataclass(slots=True)
class Walk:
    """Goes from node to node and keeps the progress, which is recorded after each change.

    Attributes:
        setting: What all walks of the run share.
        memory: What the nodes read and write.
        progress: Where the walk stands.
        runtime: Has an open report for the run.
        recorder: Saves checkpoints, where there is a manager.
        until: The node at which a branch ends; None for the run itself.
        branch: Which branch this is, from the outermost inwards; empty for the run itself.
        before: What the run had done when the branch began.
    """

    setting: Setting
    memory: SharedMemory
    progress: Progress
    runtime: Runtime
    recorder: Recorder
    until: str | None = None
    branch: tuple[str, ...] = ()
    before: Totals = field(default_factory=Totals)

    async def drive(self) -> None:
        """Go on until the walk completes, pauses or fails."""
        while self.progress.status == "running":
            await self._step()
            # Nodes may never wait, and saving may not either: here a cancellation, such as Ctrl-C,
            # comes in, and other tasks get a turn.
            await asyncio.sleep(0)

    async def _step(self) -> None:
        progress = self.progress
        if progress.finished is not None:
            await self._go_on(progress.finished)
        elif progress.section is not None:
            await go_on_together(self, progress.section)
        elif progress.next_node is None:  # after a pause with nothing behind it
            await self.end("final", progress.path[-1])
        else:
            await self._enter(self.setting.spec(progress.next_node))

    # Nodes

    async def _enter(self, spec: NodeSpec) -> None:
        limit = self._limit(spec)
        if limit is not None:
            await self.fail(spec.id, limit)
            return
        attempt = await self._visit(spec)
        if attempt.result.success:
            await self._go_on(self._finish(spec, attempt))
        else:
            await self._after_failure(spec, attempt)

    def _limit(self, spec: NodeSpec) -> str | None:
        limit = self.setting.graph.max_steps
        if self.steps() >= limit:
            return f"max_steps ({limit}) reached before node {spec.id!r}"
        if spec.max_visits is not None and self.visits().get(spec.id, 0) >= spec.max_visits:
            return f"max_visits ({spec.max_visits}) of node {spec.id!r} reached"
        return None

    def steps(self) -> int:
        """Return how many visits ended, with those before the branch began."""
        return self.before.steps + self.progress.steps

    def visits(self) -> Mapping[str, int]:
        """Return how often each node was visited, also before the branch began."""
        if not self.branch:
            return self.progress.visits
        totals = Totals(visits=dict(self.before.visits))
        totals.add(self.progress)
        return totals.visits

    async def _visit(self, spec: NodeSpec) -> Attempt:
        """Make attempts until one is final; each failed one before it is recorded."""
        progress = self.progress
        await self.recorder.save_start(spec.id, progress, self.memory)
        visit = self._next_visit(spec)
        while True:
            attempt = await visit.attempt(progress.failed_attempts + 1, progress.node_state)
            self.recorder.is_whole = False
            progress.total_tokens += attempt.result.tokens_used
            progress.total_latency_ms += attempt.latency_ms
            self.recorder.tell_attempt(
                spec.id,
                visit=visit.number,
                attempt=progress.failed_attempts + 1,
                success=attempt.result.success,
                seconds=attempt.latency_ms / 1000,
                branch=self.branch,
            )
            if attempt.result.success:
                return attempt
            progress.failed_attempts += 1
            if attempt.final:
                return attempt
            self.runtime.report_problem(
                "warning",
                f"attempt {progress.failed_attempts} failed: {attempt.result.error}",
                node_id=spec.id,
                run=self.setting.run,
            )
            await self.recorder.save_attempt(spec.id, progress, self.memory)

    def _next_visit(self, spec: NodeSpec) -> Visit:
        progress, setting = self.progress, self.setting
        return Visit(
            run=setting.run,
            spec=spec,
            node=setting.nodes[spec.id],
            number=self.visits().get(spec.id, 0) + 1,
            input_data=progress.input_data,
            memory=self.memory,
            goal=setting.goal,
            runtime=self.runtime,
            targets=setting.nodes,
            sleep=setting.sleep,
            timer=setting.timer,
            services=NodeServices(
                progress.first_id(spec.id),
                setting.effects,
                deepest_place(setting.graph),
                self._save_state,
            ),
            branch=self.branch,
        )

    async def _save_state(self, state: Any) -> None:
        """Record what the node in flight wants to find when it is interrupted."""
        self.progress.node_state = state
        await self.recorder.save(
            "node_progress", self.progress.next_node, self.progress, self.memory
        )

    def _finish(self, spec: NodeSpec, attempt: Attempt) -> Finished:
        """Count a successful visit."""
        progress = self.progress
        self.memory.adopt(attempt.written)
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
        """Follow an edge that takes failures, else fail."""
        progress = self.progress
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
            progress.failed_visit = FailedVisit(node=spec.id, retries=attempts - 1)
            progress.failed_attempts = 0
            await self.fail(spec.id, reason)
            return
        self.runtime.report_problem("warning", reason, node_id=spec.id, run=self.setting.run)
        self._count(spec.id, retries=attempts - 1)
        await self._advance("node_failed", spec.id, choice)

    def _count(self, node: str, *, retries: int) -> None:
        progress = self.progress
        totals = Totals(progress.path, progress.steps, 0, 0, progress.visits, progress.retries)
        totals.add_visit(node, retries)
        progress.steps = totals.steps
        progress.failed_attempts = 0
        progress.node_state = None

    # What follows

    async def _go_on(self, finished: Finished) -> None:
        """Find what follows a node that succeeded, and record the step."""
        progress = self.progress
        self.recorder.is_whole = False
        pauses = finished.node in self.setting.graph.pause_nodes
        try:
            following = self._after_success(finished)
        except errors.InvalidInputError as error:
            progress.finished = finished
            progress.next_node = None
            progress.input_data = {}
            await self.fail(finished.node, str(error))
            return
        if pauses:
            progress.status = "paused"
            progress.paused_at = finished.node
        kind: Kind = "paused" if pauses else "node_complete"
        if isinstance(following, Choice):
            await self._advance(kind, finished.node, following)
        elif following:
            await fork(self, kind, finished.node, following)
        else:
            await self.end("paused" if pauses else "final", finished.node)

    def _after_success(self, finished: Finished) -> Choice | dict[str, Choice] | None:
        """Return what follows a node that succeeded, or all that does; None if the walk is over.

        Raises:
            InvalidInputError: Nothing follows where something should, or that cannot be told.
        """
        node, graph = finished.node, self.setting.graph
        if node in graph.terminal_nodes:
            return None
        if node in graph.pause_nodes:
            entry = graph.get_entry_point(f"{node}_resume")
            if entry is not None:
                return Choice(entry, finished.output, {}, f"entry point {node}_resume")
        following: Choice | dict[str, Choice] | None
        if graph.get_parallel(node) is not None and finished.next_node is None:
            following = self._choose_all(finished)
        else:
            following = self._choose(finished)
        if not following and graph.terminal_nodes and graph.get_outgoing_edges(node):
            raise errors.InvalidInputError(
                f"no edge leads on from node {node!r}, and it is not among the terminal nodes "
                f"{graph.terminal_nodes}"
            )
        return following

    def _choose(self, finished: Finished) -> Choice | None:
        setting = self.setting
        choice = choose(
            setting.graph,
            finished,
            self.memory.lend(),
            goal=setting.goal,
            visits=self.visits(),
            steps=self.steps(),
        )
        spec = setting.spec(finished.node)
        edges = setting.graph.get_outgoing_edges(finished.node)
        options = list(dict.fromkeys([*(edge.target for edge in edges), *spec.routes.values()]))
        if choice is not None and (len(options) > 1 or spec.node_type == "router"):
            self._decide(finished.node, options, choice.target, choice.reason)
        return choice

    def _choose_all(self, finished: Finished) -> dict[str, Choice]:
        setting = self.setting
        choices = choose_all(
            setting.graph,
            finished,
            self.memory.lend(),
            goal=setting.goal,
            visits=self.visits(),
            steps=self.steps(),
        )
        options = [edge.target for edge in setting.graph.edges if edge.source == finished.node]
        if choices:
            chosen = ", ".join(choice.target for choice in choices.values())
            self._decide(finished.node, options, chosen, f"in parallel: edges {', '.join(choices)}")
        return choices

    def _decide(self, node: str, options: list[str], chosen: str, reason: str) -> None:
        self.runtime.decide(
            f"what follows {node}",
            chosen=chosen,
            options=options,
            reasoning=reason,
            node_id=node,
            run=self.setting.run,
        )

    async def _advance(self, kind: Kind, node: str, choice: Choice) -> None:
        progress = self.progress
        self.memory.adopt(choice.mapped)
        progress.input_data = choice.input_data
        progress.finished = None
        if choice.target == self.until:
            await self.end("paused" if kind == "paused" else "final", node)
            return
        progress.next_node = choice.target
        await self.recorder.save(kind, node, progress, self.memory)

    async def end(self, kind: Kind, node: str) -> None:
        """Record that nothing follows ``node``; the walk is over unless it pauses there."""
        progress = self.progress
        if kind == "final":
            progress.status = "completed"
        progress.next_node = None
        progress.input_data = {}
        progress.finished = None
        await self.recorder.save(kind, node, progress, self.memory)

    async def fail(self, node: str, error: str) -> None:
        """Record that the walk failed at ``node``."""
        self.progress.status = "failed"
        self.progress.error = error
        self.runtime.report_problem("critical", error, node_id=node, run=self.setting.run)
        await self.recorder.save("failed", node, self.progress, self.memory)
