"""One run of a graph, from where it stands to where it ends, pauses or fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hive.graph.result import ExecutionResult
from hive.graph.totals import totals_of

if TYPE_CHECKING:
    from hive.graph.walk import Walk

__all__ = ["Execution"]


@dataclass(frozen=True, slots=True)
class Execution:
    """Drives the walk of a whole run."""

    walk: Walk

    async def drive(self) -> ExecutionResult:
        """Go on until the run completes, pauses or fails, and return the result."""
        await self.walk.drive()
        await self.walk.recorder.flush()
        return self.result()

    async def pause(self) -> None:
        """Save that a person stopped the run where it is."""
        await self.walk.recorder.pause(self.walk.progress, self.walk.memory)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do or to save: what interrupts the run now comes too late."""
        return self.walk.progress.status != "running" and self.walk.recorder.has_stopped

    def result(self) -> ExecutionResult:
        """Return the result of a run that stopped."""
        progress = self.walk.progress
        totals = totals_of(progress)
        result = ExecutionResult(
            success=progress.status != "failed",
            output=self.walk.memory.read_all(),
            error=progress.error,
            steps_executed=totals.steps,
            total_tokens=totals.total_tokens,
            total_latency_ms=totals.total_latency_ms,
            path=totals.path,
            paused_at=progress.paused_at,
            run_id=self.walk.setting.run,
            checkpoint_id=self.walk.recorder.checkpoint_id,
            visits=totals.visits,
            retries=totals.retries,
        )
        if progress.status in {"paused", "failed"}:
            result.session_state = self.walk.recorder.session_state(progress, result)
        return result
