"""Writes the progress of one run of a graph into checkpoints."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hive.graph.fingerprint import canonical_text
from hive.graph.run_recorder import RunRecorder

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.progress import Progress
    from hive.graph.result import ExecutionResult
    from hive.graph.run_writer import RunWriter
    from hive.graph.runtime import Runtime
    from hive.graph.spec import GraphSpec

__all__ = ["Recorder"]


class Recorder(RunRecorder):
    """Saves the checkpoints of one run of a graph. Their state is the memory."""

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
        super().__init__(writer, run=run, runtime=runtime, checkpoint_id=checkpoint_id)
        self._graph = graph
        self._goal = goal

    def specifications(self) -> dict[str, str]:
        """Return the canonical texts of the graph and its goal."""
        return {"graph": canonical_text(self._graph), "goal": canonical_text(self._goal)}

    async def save(
        self, kind: str, node: str | None, progress: Progress, memory: SharedMemory
    ) -> None:
        """Save a checkpoint, as durably as the manager is configured.

        Raises:
            HiveError: It could not be saved and the manager's policy is to raise.
        """
        if self._writer is None:
            return
        next_nodes = () if progress.next_node is None else (progress.next_node,)
        await self.record(kind, node, memory.lend(), progress.to_record(), next_nodes)

    async def save_attempt(self, node: str, progress: Progress, memory: SharedMemory) -> None:
        """Save a checkpoint after a failed attempt, if those are wanted."""
        if self.saves_failed_attempts:
            await self.save("attempt_failed", node, progress, memory)

    def session_state(self, progress: Progress, result: ExecutionResult) -> dict[str, Any]:
        """Return what continues this run in ``execute(..., session_state=...)``."""
        return {
            "run_id": self._run,
            "checkpoint_id": self.checkpoint_id,
            "paused_at": progress.paused_at,
            "resume_from": f"{progress.paused_at}_resume" if progress.paused_at else None,
            "next_node": progress.next_node,
            "memory": copy.deepcopy(result.output),
            "progress": copy.deepcopy(self.execution_of(progress.to_record())),
        }
