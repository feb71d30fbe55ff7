"""Where the run of a plan stands, told to whoever executed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive.graph.copies import copy_value
from hive.plan.result import PlanExecutionResult
from hive.plan.status import ExecutionStatus, StepStatus

if TYPE_CHECKING:
    from hive.plan.execution import PlanExecution
    from hive.plan.plan import Plan
    from hive.plan.progress import PlanProgress

__all__ = ["summary"]


def summary(plan: Plan, progress: PlanProgress, execution: PlanExecution) -> PlanExecutionResult:
    """Say where a run stands, in copies that are the caller's."""
    steps = []
    for step in plan.steps:
        state = progress.step_states[step.id]
        outputs = state.outputs if state.status is StepStatus.COMPLETED else None
        changes = {
            "status": state.status,
            "result": copy_value(outputs, f"result of step {step.id!r}"),
            "error": state.error or state.feedback,
            "attempts": state.attempts,
        }
        steps.append(step.model_copy(update=changes))
    stands = plan.model_copy(update={"steps": steps})
    context = copy_value(execution.context(), "results")
    return PlanExecutionResult(
        status=progress.status,
        plan=stands,
        results=context,
        feedback=progress.feedback,
        feedback_context=_feedback_context(stands, progress, context),
        completed_steps=[step.id for step in steps if step.status is StepStatus.COMPLETED],
        steps_executed=progress.steps,
        total_tokens=progress.total_tokens,
        total_latency_ms=progress.total_latency_ms,
        error=progress.error,
        approvals=execution.requests() if progress.status.is_waiting else [],
        replans=progress.replans,
    )


def _feedback_context(
    plan: Plan, progress: PlanProgress, context: dict[str, Any]
) -> dict[str, Any]:
    """Say what a planner needs to make the next plan; empty where none is needed."""
    if progress.status in {ExecutionStatus.COMPLETED, ExecutionStatus.RUNNING}:
        return {}
    return {
        "plan_id": plan.id,
        "revision": plan.revision,
        "feedback": progress.feedback,
        "completed_steps": [
            {"id": step.id, "description": step.description, "result": step.result}
            for step in plan.steps
            if step.status is StepStatus.COMPLETED
        ],
        "failed_steps": [
            {
                "id": step.id,
                "description": step.description,
                "error": step.error,
                "attempts": step.attempts,
            }
            for step in plan.steps
            if step.status is StepStatus.FAILED
        ],
        "context": context,
    }
