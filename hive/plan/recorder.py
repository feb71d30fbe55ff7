"""Writes the progress of one run of a plan into checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hive.graph.fingerprint import canonical_text, text_of
from hive.graph.run_recorder import RunRecorder

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.run_writer import RunWriter
    from hive.graph.runtime import Runtime
    from hive.plan.plan import Plan
    from hive.plan.progress import PlanProgress
    from manifests.kinds import Kind

__all__ = ["PlanRecorder"]


class PlanRecorder(RunRecorder):
    """Saves the checkpoints of one run of a plan. Their state is the context."""

    def __init__(
        self,
        writer: RunWriter | None,
        *,
        run: str,
        plan: Plan,
        goal: Goal,
        runtime: Runtime,
        checkpoint_id: str | None = None,
    ) -> None:
        """Record ``run``, whose last checkpoint so far is ``checkpoint_id``."""
        super().__init__(writer, run=run, runtime=runtime, checkpoint_id=checkpoint_id)
        self._plan = plan
        self._goal = goal

    def specifications(self) -> dict[str, str]:
        """Return the canonical texts of the plan and its goal."""
        return {"plan": text_of(self._plan.definition()), "goal": canonical_text(self._goal)}

    async def save(
        self,
        kind: Kind,
        step: str | None,
        progress: PlanProgress,
        context: Mapping[str, Any],
        next_steps: Sequence[str],
    ) -> None:
        """Save a checkpoint, as durably as the manager is configured.

        Raises:
            HiveError: It could not be saved and the manager's policy is to raise.
        """
        if kind != "attempt_failed" or self.saves_failed_attempts:
            await self.record(kind, step, dict(context), progress.to_record(), next_steps)
