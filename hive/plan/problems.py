"""What is wrong with a plan: every problem, each with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from hive.graph.names import bad_name
from hive.plan.order import Order, cycle_in
from hive.plan.references import STEPS, references_in

if TYPE_CHECKING:
    from hive.plan.plan import Plan, PlanStep

__all__ = ["problems_of"]


def problems_of(plan: Plan, given: Collection[str] | None = ()) -> list[str]:
    """Return every problem of a plan, each with its place, in the order of the plan's fields.

    Args:
        plan: The plan.
        given: Keys of the context that a run gets besides those of the plan; None if unknown.
    """
    known = {step.id for step in plan.steps}
    problems = [
        *bad_name("plan.id", plan.id),
        *(["plan.steps: there are none"] if not plan.steps else ()),
        *_duplicates("steps", (step.id for step in plan.steps)),
        *(problem for step in plan.steps for problem in _step(step, known)),
    ]
    dependencies = {step.id: step.dependencies for step in plan.steps}
    if cycle := cycle_in(dependencies):
        problems.append(f"steps: {' -> '.join(map(repr, cycle))} wait for each other")
    if not problems:  # what follows needs an order
        order = Order(dependencies)
        problems += _unordered_outputs(plan, order)
        for step in plan.steps:
            problems += _references(step, plan, order, given)
    return problems


def _step(step: PlanStep, known: set[str]) -> Iterator[str]:
    place = f"steps[{step.id!r}]"
    yield from bad_name(f"{place}.id", step.id)
    yield from bad_name(f"{place}.action.name", step.action.name)
    if step.action.action_type == "sub_graph" and "/" in step.id:
        yield f"{place}.id: the run of its graph is named after it, so it must not hold a '/'"
    for index, other in enumerate(step.dependencies):
        if other not in known:
            yield f"{place}.dependencies[{index}]: there is no step {other!r}"
    yield from _duplicates(f"{place}.dependencies", step.dependencies)
    yield from _duplicates(f"{place}.expected_outputs", step.expected_outputs)


def _unordered_outputs(plan: Plan, order: Order) -> Iterator[str]:
    for one, other in combinations(plan.steps, 2):
        both = [key for key in one.expected_outputs if key in other.expected_outputs]
        if both and not order.are_ordered(one.id, other.id):
            yield (
                f"steps[{other.id!r}].expected_outputs: {both} are also those of step {one.id!r}, "
                "and neither depends on the other, so it is not known whose value would stay"
            )


def _references(
    step: PlanStep, plan: Plan, order: Order, given: Collection[str] | None
) -> Iterator[str]:
    before = order.before[step.id]
    for key, value in step.inputs.items():
        place = f"steps[{step.id!r}].inputs[{key!r}]"
        for name, *parts in references_in(value):
            if name == STEPS:
                source = parts[0] if parts else ""
                if source not in before:
                    yield f"{place}: {source!r} is no step that this one depends on"
            elif given is not None and name not in given and name not in plan.context:
                makers = [other.id for other in plan.steps if name in other.expected_outputs]
                if makers and not before & {*makers}:
                    yield f"{place}: {name!r} comes from {makers}, on which it does not depend"


def _duplicates(place: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{place}: {name!r} is there {count} times"
