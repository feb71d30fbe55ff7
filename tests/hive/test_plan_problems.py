"""What is wrong with a plan is said in full, each problem with its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive.plan import ActionSpec, ActionType, Plan, PlanStep
from hive.plan.order import Order, cycle_in


def step(name: str, **changes: Any) -> PlanStep:
    return PlanStep(id=name, **{"action": ActionSpec(name="f"), **changes})


@pytest.mark.parametrize(
    ("steps", "problems"),
    [
        ([], ["plan.steps: there are none"]),
        ([step("a"), step("a")], ["steps: 'a' is there 2 times"]),
        ([step("")], ["steps[''].id: a name has 1 to 1024 bytes, this one 0"]),
        (
            [step("a", dependencies=["x", "a", "a"])],
            [
                "steps['a'].dependencies[0]: there is no step 'x'",
                "steps['a'].dependencies: 'a' is there 2 times",
                "steps: 'a' -> 'a' wait for each other",
            ],
        ),
        (
            [step("a", dependencies=["b"]), step("b", dependencies=["a"])],
            ["steps: 'a' -> 'b' -> 'a' wait for each other"],
        ),
        (
            [step("a", expected_outputs=["x", "x"])],
            ["steps['a'].expected_outputs: 'x' is there 2 times"],
        ),
        (
            [
                step("a", expected_outputs=["x"]),
                step("b", expected_outputs=["x"], dependencies=["a"]),
                step("c", expected_outputs=["y", "x"]),
            ],
            [
                f"steps['c'].expected_outputs: ['x'] are also those of step {other!r}, and neither "
                "depends on the other, so it is not known whose value would stay"
                for other in "ab"
            ],
        ),
        (
            [step("a", expected_outputs=["x"]), step("b", inputs={"i": ["$x", "$given"]})],
            ["steps['b'].inputs['i']: 'x' comes from ['a'], on which it does not depend"],
        ),
        (
            [step("a"), step("b", inputs={"i": "$steps.a.x", "j": "$steps"})],
            [
                "steps['b'].inputs['i']: 'a' is no step that this one depends on",
                "steps['b'].inputs['j']: '' is no step that this one depends on",
            ],
        ),
        (
            [step("a/b", action=ActionSpec(action_type=ActionType.SUB_GRAPH, name="g"))],
            [
                "steps['a/b'].id: the run of its graph is named after it, so it must not hold a "
                "'/'"
            ],
        ),
    ],
    ids=[
        "empty", "twice", "unnamed", "unknown", "circle", "output-twice", "same-output",
        "reference", "step-reference", "slash",
    ],
)  # fmt: skip
def test_every_problem_is_said_with_its_place(steps: list[PlanStep], problems: list[str]) -> None:
    assert Plan(id="p", steps=steps).validate() == problems


def test_a_plan_can_come_from_json() -> None:
    text = """{"id": "p", "steps": [{"id": "a", "action": "search", "inputs": {"topic": "$t"}},
        {"id": "b", "action": {"action_type": "node", "name": "n"}, "dependencies": ["a"]}]}"""
    plan = Plan.model_validate_json(text)
    assert plan.validate() == []
    assert plan.steps[0].action == ActionSpec(name="search")
    assert plan.get_step("b") is plan.steps[1]
    assert plan.get_step("c") is None
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@given(st.data())
def test_the_order_follows_dependencies_and_the_plan_alone(data: st.DataObject) -> None:
    names = data.draw(st.permutations("abcdef"))
    dependencies = {
        name: data.draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else []
        for place, name in enumerate(names)
    }
    given_in = {name: dependencies[name] for name in data.draw(st.permutations(names))}
    assert cycle_in(given_in) == []
    order = Order(given_in)
    for place, name in enumerate(order.steps):
        assert order.before[name] <= set(order.steps[:place])
        assert set(dependencies[name]) <= order.before[name]
    shuffled = {name: given_in[name][::-1] for name in given_in}
    assert Order(shuffled).steps == order.steps
    assert sorted(order.steps) == sorted(names)
