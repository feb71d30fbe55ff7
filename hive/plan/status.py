"""Where a step and a plan can stand."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ExecutionStatus", "StepStatus"]


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting_approval"  # before it runs, or because its judge asked a person
    IN_PROGRESS = "in_progress"  # only in checkpoints that another step caused meanwhile
    COMPLETED = "completed"  # and accepted by the judge
    FAILED = "failed"
    SKIPPED = "skipped"  # it depends on one that was rejected or skipped
    REJECTED = "rejected"  # by a person


class ExecutionStatus(StrEnum):
    """Where the execution of a plan stands."""

    RUNNING = "running"  # only in checkpoints
    COMPLETED = "completed"
    AWAITING_APPROVAL = "awaiting_approval"
    NEEDS_REPLAN = "needs_replan"
    NEEDS_ESCALATION = "needs_escalation"  # the judge wants a person to look at a step
    REJECTED = "rejected"  # a person rejected a step; what does not depend on it was done
    ABORTED = "aborted"  # by a person
    FAILED = "failed"

    @property
    def is_waiting(self) -> bool:
        """Whether a person has to answer before anything goes on."""
        return self in {ExecutionStatus.AWAITING_APPROVAL, ExecutionStatus.NEEDS_ESCALATION}
