"""Going on with a plan after it stopped: the same one once more, or another one in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hive.plan.order import Order
from hive.plan.progress import PlanProgress, StepState
from hive.plan.sight import results_of
from hive.plan.status import ExecutionStatus, StepStatus

if TYPE_CHECKING:
    from hive.plan.plan import Plan

__all__ = ["adopt", "restart"]


def restart(progress: PlanProgress) -> None:
    """Let steps that failed be tried again, with new attempts."""
    for name, state in progress.step_states.items():
        if state.status is StepStatus.FAILED:
            progress.step_states[name] = state.but(
                status=StepStatus.PENDING, failed_attempts=0, error=None
            )
    progress.status, progress.stopping = ExecutionStatus.RUNNING, None
    progress.error = progress.feedback = None


def adopt(plan: Plan, progress: PlanProgress, before: str, after: str) -> None:
    """Put a plan in the place of the one that a run had.

    A completed step is kept where the new plan has the same step and all steps before it are kept
    too; else it runs again, as other work with other idempotency keys. What steps gave that the
    new plan no longer has becomes part of the given context.

    Args:
        plan: The new plan.
        progress: The run's progress, which is changed.
        before: The canonical text of the old plan, as it was stored.
        after: That of the new plan, as it will be stored.
    """
    old, new = (
        {step["id"]: step for step in json.loads(text)["steps"]} for text in (before, after)
    )
    states = progress.step_states
    order = Order({step.id: step.dependencies for step in plan.steps})
    # What a caller gave by hand stands above what a plan brings along.
    by_hand = {key for given in progress.inputs for key in given}
    progress.given |= {key: plan.context[key] for key in plan.context if key not in by_hand}
    for gone, outputs in results_of(states).items():
        if plan.get_step(gone) is None:
            progress.given |= outputs
    same = {
        step.id
        for step in plan.steps
        if step.id in old and old[step.id] in (new[step.id], step.definition())
    }
    progress.step_states = {
        step.id: _state(states, step.id, kept={step.id, *order.before[step.id]} <= same)
        for step in plan.steps
    }
    progress.path = [
        step
        for step in progress.path
        if step not in progress.step_states
        or progress.step_states[step].status is StepStatus.COMPLETED
    ]
    progress.revision = plan.revision
    progress.replans += 1
    restart(progress)


def _state(states: Mapping[str, StepState], step: str, *, kept: bool) -> StepState:
    state = states.get(step, StepState())
    if kept and state.status is not StepStatus.SKIPPED:
        return state
    changes: dict[str, Any] = {"attempts": state.attempts, "visit": state.visit}
    if state.attempts:
        changes["visit"] += 1
    return StepState(**changes)
