"""What the execution of a plan gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hive.plan.approval import ApprovalRequest
from hive.plan.plan import Plan
from hive.plan.status import ExecutionStatus

__all__ = ["PlanExecutionResult"]


@dataclass(slots=True)
class PlanExecutionResult:
    """The outcome of one call of ``FlexibleGraphExecutor.execute_plan``.

    Counters cover the whole run, also what happened before a pause, a crash or a resume.

    Attributes:
        status: Where the run stands.
        plan: The plan, with its steps as they stand now.
        results: The context at the end: what was given, and what the steps added. A copy.
        feedback: Why the run stopped, for the planner or the person.
        feedback_context: For a planner: completed and failed steps, the context, the revision.
        completed_steps: The completed steps, in the order of the plan.
        steps_executed: Attempts of steps that ended.
        total_tokens: Tokens of all attempts.
        total_latency_ms: Milliseconds of all attempts.
        error: Why the run failed.
        approvals: What a person has to answer, in the order of the plan.
        replans: How often the plan was replaced.
        run_id: Name of the run.
        checkpoint_id: Id of the last checkpoint, 64 hex digits; None without a manager.
    """

    status: ExecutionStatus
    plan: Plan
    results: dict[str, Any] = field(default_factory=dict)
    feedback: str | None = None
    feedback_context: dict[str, Any] = field(default_factory=dict)
    completed_steps: list[str] = field(default_factory=list)
    steps_executed: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    error: str | None = None
    approvals: list[ApprovalRequest] = field(default_factory=list)
    replans: int = 0
    run_id: str = ""
    checkpoint_id: str | None = None

    @property
    def success(self) -> bool:
        """Whether every step was completed, or skipped by the plan itself."""
        return self.status is ExecutionStatus.COMPLETED
