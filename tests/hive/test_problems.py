"""``GraphSpec.validate``: every problem, each with its place."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError, computed_field

from hive.graph import EdgeCondition, EdgeSpec, Goal, GraphSpec, NodeSpec
from hive.plan import EvaluationRule, HybridJudge, JudgmentAction, PlanStep, judge


def graph(**changes: Any) -> GraphSpec:
    fields: dict[str, Any] = {
        "id": "g",
        "entry_node": "a",
        "nodes": [NodeSpec(id="a"), NodeSpec(id="b")],
        "edges": [EdgeSpec(id="ab", source="a", target="b")],
    }
    return GraphSpec(**{**fields, **changes})


def test_a_good_graph_has_no_problems() -> None:
    assert graph(terminal_nodes=["b"], entry_points={"b_resume": "b"}).validate() == []


def test_all_problems_are_reported_each_with_its_place() -> None:
    broken = graph(
        id="\x07",
        entry_node="x",
        entry_points={"start": "y"},
        terminal_nodes=["z"],
        pause_nodes=["a", "w"],
        nodes=[
            NodeSpec(id="a", routes={"on": "b"}),
            NodeSpec(id="a", node_type="router", routes={"on": "v"}),
            NodeSpec(id="b", backoff_seconds=9, backoff_max_seconds=1),
        ],
        edges=[
            EdgeSpec(id="e", source="a", target="u"),
            EdgeSpec(id="e", source="t", target="b"),
            EdgeSpec(id="no", source="a", target="b", condition=EdgeCondition.CONDITIONAL),
            EdgeSpec(id="odd", source="a", target="b", condition_expr="1"),
        ],
    )
    found = broken.validate()
    places = [line.partition(": ")[0] for line in found]
    assert places == [
        "graph.id",
        "graph.entry_node",
        "graph.entry_points['start']",
        "graph.terminal_nodes[0]",
        "graph.pause_nodes[1]",
        "nodes['a']",
        "nodes['a'].routes",
        "nodes['a'].routes['on']",
        "nodes['b'].backoff_max_seconds",
        "edges['e']",
        "edges['e'].target",
        "edges['e'].source",
        "edges['no'].condition_expr",
        "edges['odd'].condition_expr",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": [], "edges": []}, "graph.nodes: there are none"),
        ({"edges": []}, r"nodes\['b'\]: cannot be reached from entry node 'a'"),
        ({"entry_points": {"both": ["a", "b"]}}, r"names 2 nodes to start in parallel"),
        ({"terminal_nodes": ["a", "b"]}, r"edges\['ab'\]: never followed"),
        (
            {
                "edges": [
                    EdgeSpec(
                        id="ab",
                        source="a",
                        target="b",
                        condition=EdgeCondition.CONDITIONAL,
                        condition_expr=")",
                    )
                ]
            },
            r"edges\['ab'\].condition_expr: not an expression",
        ),
        (
            {"nodes": [NodeSpec(id="a", node_type="llm", function=print), NodeSpec(id="b")]},
            r"nodes\['a'\].function: node_type 'llm' takes a registered node object",
        ),
    ],
)
def test_a_problem_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    (problem,) = graph(**changes).validate()
    assert re.search(message, problem)


def test_a_node_that_something_may_jump_to_is_not_called_unreachable() -> None:
    nodes = [NodeSpec(id="a", node_type="planner"), NodeSpec(id="b")]
    assert graph(nodes=nodes, edges=[]).validate() == []


@pytest.mark.parametrize(
    ("condition", "problems"),
    [
        ("visits.a < 3 and visits['b'] < 3 and goal.context.x and visits.get('c')", []),
        ("any_key_of_the_input.x and steps < 3 and len(output) > 0 and true", []),
        ("visits.A < 3", ["visits.A: there is no node 'A'"]),
        ("steps < 2 or visits['c'] < 3", ["visits.c: there is no node 'c'"]),
        ("goal.contxt.x", ["goal.contxt: a goal has no 'contxt'"]),
    ],
)
def test_names_in_conditions_that_no_run_has(condition: str, problems: list[str]) -> None:
    """They were found when the edge was tried, which may be hours into a run."""
    when = EdgeCondition.CONDITIONAL
    edge = EdgeSpec(id="ab", source="a", target="b", condition=when, condition_expr=condition)
    assert graph(edges=[edge]).validate() == [
        f"edges['ab'].condition_expr: {problem}" for problem in problems
    ]


def test_a_goal_of_a_class_of_its_own_has_fields_of_its_own() -> None:
    """They can be known of every program that has such a goal; the graph was refused."""

    class RankedGoal(Goal):
        rank: int = 0

        @computed_field
        def is_first(self) -> bool:
            return self.rank == 1

    edge = EdgeSpec(
        id="ab",
        source="a",
        target="b",
        condition=EdgeCondition.CONDITIONAL,
        condition_expr="goal.rank > 2 or goal.is_first or goal.runk",
    )
    place = "edges['ab'].condition_expr"
    assert graph(edges=[edge]).validate() == [f"{place}: goal.runk: a goal has no 'runk'"]
    rule = EvaluationRule(id="r", condition="goal.rank > 2", action=JudgmentAction.ACCEPT)
    HybridJudge([rule])


def test_what_rules_may_name_is_what_they_are_given() -> None:
    step = PlanStep.model_validate({"id": "s", "action": "f"})
    given = judge._names(step, judge.StepOutcome(True), Goal(id="g"), {})
    assert given.keys() == judge._NAMES


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_retry"):
        NodeSpec(id="a", max_retry=3)  # type: ignore[call-arg]


def test_a_graph_survives_json_without_its_functions() -> None:
    spec = graph(nodes=[NodeSpec(id="a", function=len), NodeSpec(id="b")])
    again = GraphSpec.model_validate_json(spec.model_dump_json())
    assert again.nodes == [NodeSpec(id="a"), NodeSpec(id="b")]
    assert again.edges == spec.edges


def test_edges_are_tried_by_priority_then_by_declaration() -> None:
    edges = [
        EdgeSpec(id="low", source="a", target="b", priority=-1),
        EdgeSpec(id="first", source="a", target="b", priority=5),
        EdgeSpec(id="second", source="a", target="b", priority=5),
        EdgeSpec(id="other", source="b", target="a", priority=9),
    ]
    assert [edge.id for edge in graph(edges=edges).get_outgoing_edges("a")] == [
        "first",
        "second",
        "low",
    ]
