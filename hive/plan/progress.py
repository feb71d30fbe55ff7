"""How far the run of a plan has come: everything that a checkpoint must hold to resume it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from hive.graph.records import read_record
from hive.plan.plan import Plan, PlanStep
from hive.plan.status import ExecutionStatus, StepStatus

__all__ = ["EXECUTOR", "PlanProgress", "StepState"]

EXECUTOR: Final = "plan"
"""Marks the execution records of the executor of plans."""

FORMAT: Final = 1


class StepState(BaseModel):
    """Where one step stands. It is replaced, not changed, whenever something of it changes.

    Attributes:
        status: The status.
        attempts: All attempts that ended.
        failed_attempts: Those since the step last started anew; ``max_retries`` bounds them.
        visit: How often the step was made anew by a changed plan or changed inputs, from 1. It is
            part of the idempotency key: other work must not be taken for a repetition.
        outputs: What the accepted, or the escalated, attempt gave.
        error: Why it failed, or what was wrong with the last attempt.
        feedback: What the judge said of the last attempt.
        approved: A person said yes; it is not asked again.
        inputs: Inputs that a person gave in place of the plan's.
        escalated: It waits because its judge asks a person.
        saved: What the action saved with ``ctx.checkpoint``, for the next attempt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: StepStatus = StepStatus.PENDING
    attempts: int = 0
    failed_attempts: int = 0
    visit: int = 1
    outputs: dict[str, Any] | None = None
    error: str | None = None
    feedback: str | None = None
    approved: bool = False
    inputs: dict[str, Any] | None = None
    escalated: bool = False
    saved: Any = None

    def but(self, **changes: Any) -> StepState:
        """Return a state with some fields changed."""
        kept = {name: getattr(self, name) for name in StepState.model_fields}
        return StepState.model_validate({**kept, **changes})

    @cached_property
    def record(self) -> dict[str, Any]:
        """The state as plain data, always the same object: encoded once while it stays."""
        fields = {name: getattr(self, name) for name in StepState.model_fields}
        return {**fields, "status": str(self.status)}

    @classmethod
    def of(cls, step: PlanStep) -> StepState:
        """Return where a step stands that a plan brings along: anew unless it is over."""
        over = step.status in {StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.REJECTED}
        result = step.result
        if result is not None and not isinstance(result, dict):
            result = {step.id: result}
        return cls(
            status=step.status if over else StepStatus.PENDING,
            attempts=step.attempts,
            outputs=(result or {}) if step.status is StepStatus.COMPLETED else None,
            error=step.error if over else None,
            feedback=None if over else step.error,
        )


class PlanProgress(BaseModel):
    """The mutable progress of one run of a plan.

    An attempt that has not ended counts nowhere: a resumed run makes it again, under its number.

    Attributes:
        status: Where the run stands.
        stopping: How the run will end once what is under way is finished; no step is started.
        given: The context that the run was given.
        inputs: Every context the run was given: the original one first, then those at resumes.
        step_states: Where each step stands.
        steps: How many attempts ended; compared with ``max_total_steps``.
        total_tokens: Tokens of all attempts.
        total_latency_ms: Milliseconds of all attempts.
        path: The steps in the order in which they were completed.
        revision: Of the plan.
        replans: How often the plan was replaced.
        feedback: For the planner or the person, where the run stopped.
        error: Why the run failed.
    """

    model_config = ConfigDict(extra="forbid")

    status: ExecutionStatus = ExecutionStatus.RUNNING
    stopping: ExecutionStatus | None = None
    given: dict[str, Any] = Field(default_factory=dict)
    inputs: list[dict[str, Any]] = Field(default_factory=list)
    step_states: dict[str, StepState] = Field(default_factory=dict)
    steps: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    path: list[str] = Field(default_factory=list)
    revision: int = 1
    replans: int = 0
    feedback: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, plan: Plan, given: dict[str, Any]) -> PlanProgress:
        """Return the progress of a run that starts with a plan, whose steps may be over in part."""
        states = {step.id: StepState.of(step) for step in plan.steps}
        done = [key for key, state in states.items() if state.status is StepStatus.COMPLETED]
        return cls(
            given={**plan.context, **given},
            inputs=[given],
            step_states=states,
            # So that limits also count what a run without a store did before.
            steps=sum(state.attempts for state in states.values()),
            path=done,
            revision=plan.revision,
        )

    def to_record(self) -> dict[str, Any]:
        """Return the progress as it is now, as plain data.

        Containers that change in place are copied: the record may be encoded later.
        """
        fields = {
            name: value.copy() if type(value) is list or type(value) is dict else value
            for name, value in self.__dict__.items()
        }
        fields["status"] = str(self.status)
        fields["stopping"] = None if self.stopping is None else str(self.stopping)
        fields["step_states"] = {step: state.record for step, state in self.step_states.items()}
        return {"executor": EXECUTOR, "format": FORMAT, **fields}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> PlanProgress:
        """Rebuild the progress from a record, ignoring what else the record carries.

        Raises:
            UnsupportedFormatError: The record is of a newer Hive.
            InvalidInputError: It is no record of this executor.
        """
        return read_record(cls, record, executor=EXECUTOR, version=FORMAT)
