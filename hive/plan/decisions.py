"""What a person's answer does to a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.plan.approval import ApprovalDecision, ApprovalResult, result_of
from hive.plan.order import Order
from hive.plan.sight import clashes, results_of
from hive.plan.status import ExecutionStatus, StepStatus

if TYPE_CHECKING:
    from hive.plan.plan import Plan, PlanStep
    from hive.plan.progress import PlanProgress, StepState

__all__ = ["answer_all", "answered", "came_too_late"]

_AGAINST: Final = frozenset({ApprovalDecision.REJECT, ApprovalDecision.ABORT})


def answered(state: StepState, answer: ApprovalResult) -> StepState:
    """Return where a step stands that waited for an answer and now has it.

    Of a step that its judge escalated, a result that is approved is accepted as it is, a failed
    attempt that is approved is made again, and with other inputs the step starts anew.
    """
    match answer.decision:
        case ApprovalDecision.REJECT:
            reason = answer.reason or "rejected by a person"
            return state.but(status=StepStatus.REJECTED, error=reason, escalated=False)
        case ApprovalDecision.ABORT:
            return state.but(status=StepStatus.PENDING, escalated=False)
        case ApprovalDecision.MODIFY:
            return state.but(
                status=StepStatus.PENDING,
                approved=True,
                escalated=False,
                outputs=None,
                saved=None,
                inputs={**(state.inputs or {}), **answer.inputs},
                failed_attempts=0,
                visit=state.visit + (state.attempts > 0),
            )
        case ApprovalDecision.APPROVE:
            if state.escalated and state.outputs is not None:
                done = StepStatus.COMPLETED
                return state.but(status=done, escalated=False, error=None, failed_attempts=0)
            return state.but(status=StepStatus.PENDING, approved=True, escalated=False)


def answer_all(plan: Plan, progress: PlanProgress, answers: Mapping[str, Any]) -> bool:
    """Give the answers that a caller brought; tell whether they changed anything.

    A step that has its answer already keeps it: a process that is started again may bring the same
    answers again. One that will ask later has its answer from now on.

    Raises:
        InvalidInputError: An answer is none, nobody asks, or it contradicts what was answered
            before; nothing was changed then.
    """
    parsed = {step: result_of(answer, f"approvals[{step!r}]") for step, answer in answers.items()}
    known = {step.id: step for step in plan.steps}
    for name in parsed:
        if name not in known:
            raise errors.InvalidInputError(f"approvals[{name!r}]: the plan has no such step")
    if progress.status is ExecutionStatus.ABORTED:
        return False  # `came_too_late` tells which of them change nothing for that reason
    changed: dict[str, StepState] = {}
    aborts: str | None = None
    for name, answer in parsed.items():
        step = known[name]
        state = progress.step_states[name]
        waits = state.status is StepStatus.AWAITING_APPROVAL
        will_ask = step.requires_approval and state.status is StepStatus.PENDING
        if waits or (will_ask and not state.approved):
            changed[name] = answered(state, answer)
            if changed[name].status is StepStatus.COMPLETED:
                _refuse_clashes(plan, progress, name)
            if answer.decision is ApprovalDecision.ABORT:
                aborts = answer.reason or "aborted by a person"
        else:
            _refuse_late(step, state, answer)
    for name, state in changed.items():
        if state.status is StepStatus.COMPLETED:
            progress.path.append(name)
        progress.step_states[name] = state
    if aborts is not None:
        progress.status, progress.feedback = ExecutionStatus.ABORTED, aborts
    elif changed and progress.status.is_waiting:
        progress.status, progress.feedback = ExecutionStatus.RUNNING, None
    return bool(changed)


def came_too_late(progress: PlanProgress, answers: Mapping[str, Any]) -> list[str]:
    """Return the steps of an aborted run whose answers change nothing, as nothing runs any more.

    An answer that was given before did what it says, and so did one that aborts the run.
    """
    if progress.status is not ExecutionStatus.ABORTED:
        return []
    late = []
    for name, given in answers.items():
        decision = result_of(given, f"approvals[{name!r}]").decision
        state = progress.step_states[name]
        rejected = decision is ApprovalDecision.REJECT and state.status is StepStatus.REJECTED
        waits = state.status is StepStatus.AWAITING_APPROVAL
        had = (state.approved and not waits) or state.status is StepStatus.COMPLETED
        approved = decision not in _AGAINST and had
        if not (decision is ApprovalDecision.ABORT or rejected or approved):
            late.append(name)
    return late


def _refuse_late(step: PlanStep, state: StepState, answer: ApprovalResult) -> None:
    """Refuse an answer to a step that does not wait, unless it is the one that it had."""
    place = f"approvals[{step.id!r}]"
    if not state.approved and not step.requires_approval and not state.attempts:
        raise errors.InvalidInputError(f"{place}: this step is {state.status} and asks nobody")
    if (answer.decision in _AGAINST) is not (state.status is StepStatus.REJECTED):
        raise errors.InvalidInputError(
            f"{place}: this step is {state.status}; it is too late to {answer.decision} it"
        )


def _refuse_clashes(plan: Plan, progress: PlanProgress, step: str) -> None:
    order = Order({other.id: other.dependencies for other in plan.steps})
    outputs = progress.step_states[step].outputs or {}
    for key, other in clashes(order, results_of(progress.step_states), step, outputs):
        raise errors.InvalidInputError(
            f"approvals[{step!r}]: what it gave cannot be accepted, since {key!r} also comes from "
            f"step {other!r} and neither depends on the other"
        )
