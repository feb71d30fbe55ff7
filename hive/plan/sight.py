"""What a step sees, and what all steps together made: one context, whoever finished first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hive.plan.order import Order
from hive.plan.progress import StepState
from hive.plan.status import StepStatus

__all__ = ["clashes", "context_after", "results_of"]


def results_of(states: Mapping[str, StepState]) -> dict[str, dict[str, Any]]:
    """Return what each completed step gave."""
    return {
        step: state.outputs or {}
        for step, state in states.items()
        if state.status is StepStatus.COMPLETED
    }


def context_after(
    order: Order,
    given: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
    *,
    before: str | None = None,
) -> dict[str, Any]:
    """Return the given context with what completed steps added, of dependent steps the later.

    Args:
        order: The order of the steps.
        given: The given context.
        results: What completed steps gave.
        before: Only what this step depends on; everything if None.
    """
    context = dict(given)
    for step in order.steps:
        if step in results and (before is None or step in order.before[before]):
            context.update(results[step])
    return context


def clashes(
    order: Order, results: Mapping[str, Mapping[str, Any]], step: str, outputs: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return (key, other step) wherever a step gave what another, independent one gave too."""
    return [
        (key, other)
        for other in order.steps
        if other in results and not order.are_ordered(step, other)
        for key in outputs
        if key in results[other]
    ]
