"""Writes the progress of one run of a graph into checkpoints."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.fingerprint import canonical_text
from hive.graph.records import branch_task
from hive.graph.run_recorder import WITHIN_NODE, RunRecorder

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.progress import BranchProgress, Progress
    from hive.graph.result import ExecutionResult
    from hive.graph.run_writer import RunWriter
    from hive.graph.runtime import Runtime
    from hive.graph.spec import GraphSpec
    from manifests.kinds import Kind

__all__ = ["BranchRecorder", "Recorder"]

_IN_NODE: Final = frozenset({"node_start", "node_progress"})
"""Kinds of checkpoint after which a node has begun already."""


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
        last_kind: str | None = None,
    ) -> None:
        """Record ``run``, whose last checkpoint so far is ``checkpoint_id``, of ``last_kind``."""
        super().__init__(writer, run=run, runtime=runtime, checkpoint_id=checkpoint_id)
        self.last_kind = last_kind
        self._graph = graph
        self._goal = goal
        self._branches: list[BranchRecorder] = []

    def specifications(self) -> dict[str, str]:
        """Return the canonical texts of the graph and its goal."""
        return {"graph": canonical_text(self._graph), "goal": canonical_text(self._goal)}

    async def save(
        self, kind: Kind, node: str | None, progress: Progress, memory: SharedMemory
    ) -> None:
        """Save a checkpoint, as durably as the manager is configured.

        Raises:
            HiveError: It could not be saved and the manager's policy is to raise.
        """
        self.last_kind = kind
        self.is_whole = True
        if progress.section is None:
            self._branches.clear()
        if self._writer is None:
            return
        await self.record(
            kind, node, dict(memory.lend()), progress.to_record(), _next_nodes_of(progress)
        )

    async def save_start(self, node: str, progress: Progress, memory: SharedMemory) -> None:
        """Save a checkpoint before the first attempt of a visit, if those are wanted."""
        wanted = self._writer is not None and self._writer.config.save_node_starts
        if wanted and not progress.failed_attempts and self.last_kind not in _IN_NODE:
            await self.save("node_start", node, progress, memory)

    async def save_attempt(self, node: str, progress: Progress, memory: SharedMemory) -> None:
        """Save a checkpoint after a failed attempt, if those are wanted."""
        self.is_whole = True
        if self.saves_failed_attempts:
            await self.save("attempt_failed", node, progress, memory)

    async def pause(self, progress: Progress, memory: SharedMemory) -> None:
        """Save that a person stopped the run where it is; it waits for no input."""
        stands = progress.status == "running" and self.last_kind is not None
        if self._writer is not None and stands and self._all_are_whole():
            with contextlib.suppress(errors.HiveError):  # it is in the report
                await self.save("paused", _last_node(progress), progress, memory)

    def branch(
        self, path: Sequence[str], progress: BranchProgress, runtime: Runtime
    ) -> BranchRecorder:
        """Return what records a branch of this run.

        Args:
            path: Names the branch.
            progress: Of the branch; kept up to date, also without a manager.
            runtime: What the branch reports to.
        """
        recorder = BranchRecorder(self, path, progress, runtime)
        self._branches.append(recorder)
        return recorder

    def _all_are_whole(self) -> bool:
        return self.is_whole and all(branch._all_are_whole() for branch in self._branches)

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


class BranchRecorder(Recorder):
    """Saves where one branch stands, as a pending write of the checkpoint at which it began.

    So the results of branches that ended are there after a crash, whatever the others had done.
    """

    def __init__(
        self, whole: Recorder, path: Sequence[str], progress: BranchProgress, runtime: Runtime
    ) -> None:
        """Record the branch ``path`` of the run that ``whole`` records."""
        super().__init__(
            whole._writer,
            run=whole._run,
            graph=whole._graph,
            goal=whole._goal,
            runtime=runtime,
            checkpoint_id=whole.checkpoint_id,
        )
        self._task = branch_task(path)
        self._branch = progress

    async def save(
        self, kind: Kind, node: str | None, progress: Progress, memory: SharedMemory
    ) -> None:
        """Save where the branch stands."""
        self.last_kind = kind
        self._branch.written = memory.written()
        self._branch.decisions = self._decisions()
        self.is_whole = True
        if progress.section is None:
            self._branches.clear()
        if self._writer is not None:
            with self._reporting(node):
                record, within = self._branch.to_record(), kind == WITHIN_NODE
                await self._writer.pend(self._task, record, surface=not within)

    async def save_start(self, node: str, progress: Progress, memory: SharedMemory) -> None:
        """Save nothing: where the branch stands has been saved when the node before it ended."""


def _last_node(progress: Progress) -> str | None:
    return progress.path[-1] if progress.path else None


def _next_nodes_of(progress: Progress) -> list[str]:
    """Return the nodes that come next: one, or that of each branch, or none."""
    if progress.section is not None:
        branches = progress.section.branches.values()
        return [node for branch in branches for node in _next_nodes_of(branch.progress)]
    return [] if progress.next_node is None else [progress.next_node]
