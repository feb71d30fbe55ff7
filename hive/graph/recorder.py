"""Writes the progress of one run into checkpoints, or nowhere when there is no manager."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.background import in_thread
from hive.graph.fingerprint import canonical_text, digest_of
from hive.graph.progress import Progress

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.result import ExecutionResult
    from hive.graph.run_writer import RunWriter
    from hive.graph.runtime import Decision, Runtime, Severity
    from hive.graph.spec import GraphSpec

__all__ = ["Recorder"]


class Recorder:
    """Saves the checkpoints of one run.

    A checkpoint's state is the memory; its execution record is the progress together with the
    canonical texts of graph and goal and the decisions so far.
    """

    def __init__(
        self,
        writer: RunWriter | None,
        *,
        run: str,
        graph: GraphSpec,
        goal: Goal,
        runtime: Runtime,
        checkpoint_id: str | None = None,
    ) -> None:
        """Record ``run``, whose last checkpoint so far is ``checkpoint_id``."""
        self.checkpoint_id = checkpoint_id
        self._writer = writer
        self._run = run
        self._graph = graph
        self._goal = goal
        self._runtime = runtime
        self._recorded: list[tuple[Decision, dict[str, Any]]] = []

    async def save(
        self, kind: str, node: str | None, progress: Progress, memory: SharedMemory
    ) -> None:
        """Save a checkpoint, as durably as the manager is configured.

        Raises:
            HiveError: It could not be saved and the manager's policy is to raise.
        """
        if self._writer is None:
            return
        with self._reporting(node):
            staged = self._writer.stage(
                memory.lend(),
                kind=kind,
                node=node,
                next_nodes=() if progress.next_node is None else (progress.next_node,),
                execution=self._record(progress),
                graph=self._graph_digest,
                # Values in memory are replaced and never changed, so what is the same object as
                # at the last checkpoint need not be looked into.
                trust_identity=True,
            )
            saved = staged.id
            if staged.finish is not None:
                saved = await in_thread(staged.finish)
            if saved is not None:
                self.checkpoint_id = str(saved)

    async def save_attempt(self, node: str, progress: Progress, memory: SharedMemory) -> None:
        """Save a checkpoint after a failed attempt, if those are wanted."""
        if self._writer is not None and self._writer.config.save_failed_attempts:
            await self.save("attempt_failed", node, progress, memory)

    async def flush(self) -> None:
        """Wait until what was saved is durable."""
        if self._writer is not None:
            with self._reporting(None):
                last = await in_thread(self._writer.flush)
                self.checkpoint_id = None if last is None else str(last)

    def session_state(self, progress: Progress, result: ExecutionResult) -> dict[str, Any]:
        """Return what continues this run in ``execute(..., session_state=...)``."""
        return {
            "run_id": self._run,
            "checkpoint_id": self.checkpoint_id,
            "paused_at": progress.paused_at,
            "resume_from": f"{progress.paused_at}_resume" if progress.paused_at else None,
            "next_node": progress.next_node,
            "memory": copy.deepcopy(result.output),
            "progress": copy.deepcopy(self._record(progress)),
        }

    def _record(self, progress: Progress) -> dict[str, Any]:
        return {
            **progress.to_record(),
            "graph": self._graph_text,
            "goal": self._goal_text,
            "decisions": self._decisions(),
        }

    def _decisions(self) -> list[dict[str, Any]]:
        """Return the decisions as records, the same objects as the last time where possible.

        So the next checkpoint encodes only those that are new.
        """
        decisions = self._runtime.record(self._run).decisions
        self._recorded[len(decisions) :] = []
        for index, decision in enumerate(decisions):
            if index == len(self._recorded):
                self._recorded.append((decision, decision.to_record()))
            elif self._recorded[index][0] is not decision:
                self._recorded[index] = decision, decision.to_record()
        return [record for _, record in self._recorded]

    @contextmanager
    def _reporting(self, node: str | None) -> Iterator[None]:
        """Put what goes wrong with saving into the run's report, raised or not."""
        try:
            yield
        except errors.HiveError as error:
            self._report("critical", error, node)
            raise
        while self._writer is not None and self._writer.problems:
            self._report("warning", self._writer.problems.pop(0), node)

    def _report(self, severity: Severity, error: Exception, node: str | None) -> None:
        self._runtime.report_problem(
            severity,
            f"checkpoint not saved: {type(error).__name__}: {error}",
            node_id=node,
            run=self._run,
        )

    @cached_property
    def _graph_text(self) -> str:
        return canonical_text(self._graph)

    @cached_property
    def _goal_text(self) -> str:
        return canonical_text(self._goal)

    @cached_property
    def _graph_digest(self) -> str:
        return digest_of(self._graph_text)
