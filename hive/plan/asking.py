"""Asking a person at once: what is asked about a step, and what came of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.copies import copy_value
from hive.plan.actions import check_answer
from hive.plan.approval import Answer, ApprovalRequest, ApprovalResult, result_of
from hive.plan.work import inputs_of
from hive.text import told

if TYPE_CHECKING:
    from hive.graph.node import Node
    from hive.plan.plan import PlanStep
    from hive.plan.progress import StepState

__all__ = ["ApprovalCallback", "Asked", "ask_about", "request_of"]

ApprovalCallback = Callable[[ApprovalRequest], "Answer | Awaitable[Answer]"]
"""Asks a person at once, sync or async, instead of pausing the run."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking about a step: the answer, or why there is none."""

    step: PlanStep
    answer: ApprovalResult | None
    error: str = ""


async def ask_about(
    step: PlanStep, action: Node, request: Callable[[], ApprovalRequest], ask: ApprovalCallback
) -> Asked:
    """Make a request about a step and ask. An answer that is none counts as not asked."""
    try:
        answer: Any = ask(request())
        if inspect.isawaitable(answer):
            answer = await answer
        place = f"the answer about step {step.id!r}"
        result = result_of(answer, place)
        check_answer(action, step, result, place)
        return Asked(step, result)
    except Exception as error:  # nobody was asked: the run pauses, as without a callback
        return Asked(step, None, told(error))


def request_of(
    step: PlanStep,
    state: StepState,
    context: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
) -> ApprovalRequest:
    """Return what a person is asked about a step that sees this context and these results."""
    message = state.feedback if state.escalated else step.approval_message
    try:
        inputs = inputs_of(step, state, context, results)
    except errors.InvalidInputError as error:
        inputs, message = {}, f"{message or ''} ({error})".strip()
    place = f"step {step.id!r}"
    return ApprovalRequest(
        step_id=step.id,
        description=step.description,
        action=step.action.name,
        message=message,
        inputs=copy_value(inputs, f"{place}, inputs"),
        outputs=copy_value(state.outputs, f"{place}, outputs") if state.escalated else None,
        error=state.error if state.escalated else None,
        escalated=state.escalated,
    )
