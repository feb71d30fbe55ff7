"""Executing plans: order, inputs, judging, retries, limits, actions, errors."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cas.store import ObjectStore
from hive import (
    CheckpointConfig,
    CheckpointManager,
    ConflictError,
    InvalidInputError,
    LimitError,
    Repository,
    UnsupportedFormatError,
)
from hive.graph import (
    EdgeSpec,
    FlexibleGraphExecutor,
    Goal,
    GraphSpec,
    NodeContext,
    NodeResult,
    NodeSpec,
    Runtime,
)
from hive.graph.abandoned import abandon, reinstate
from hive.plan import (
    ActionSpec,
    ActionType,
    ApprovalDecision,
    ApprovalRequest,
    ApprovalResult,
    EvaluationRule,
    ExecutionStatus,
    ExecutorConfig,
    HybridJudge,
    Judgment,
    JudgmentAction,
    Plan,
    PlanExecutionResult,
    PlanStep,
    StepOutcome,
    StepStatus,
    execution,
)
from manifests import Registry
from tests.hive.moments import let_pass

GOAL = Goal(id="goal", description="Do it.")


def step(name: str, action: str = "", **changes: Any) -> PlanStep:
    fields = {"backoff_seconds": 0, **changes}
    return PlanStep(id=name, action=ActionSpec(name=action or name), **fields)


def plan(*steps: PlanStep, **changes: Any) -> Plan:
    return Plan(id="plan", steps=list(steps), **changes)


def execute(
    made: Plan,
    functions: dict[str, Callable[..., Any]],
    context: dict[str, Any] | None = None,
    *,
    executor: FlexibleGraphExecutor | None = None,
    manager: CheckpointManager | None = None,
    judge: Any = None,
    config: ExecutorConfig | None = None,
    ask: Any = None,
    **arguments: Any,
) -> PlanExecutionResult:
    if executor is None:
        executor = FlexibleGraphExecutor(
            Runtime(), manager, functions, judge, config=config, approval_callback=ask
        )
    return asyncio.run(executor.execute_plan(made, GOAL, context, **arguments))


def test_steps_run_after_what_they_depend_on_and_see_what_it_gave() -> None:
    ran: list[str] = []

    def first(topic: str) -> str:
        ran.append("first")
        return topic.upper()

    async def second(text: str, topic: str) -> dict[str, str]:
        ran.append("second")
        return {"report": f"{topic}: {text}"}

    result = execute(
        plan(
            step("second", inputs={"text": "$steps.first.title"}, dependencies=["first"]),
            step("first", expected_outputs=["title"]),
        ),
        {"first": first, "second": second},
        {"topic": "bees"},
    )
    assert ran == ["first", "second"]
    assert result.success
    assert result.status is ExecutionStatus.COMPLETED
    assert result.results == {"topic": "bees", "title": "BEES", "report": "bees: BEES"}
    assert result.completed_steps == ["second", "first"]
    assert [found.status for found in result.plan.steps] == [StepStatus.COMPLETED] * 2
    assert result.plan.steps[1].result == {"title": "BEES"}
    assert result.steps_executed == 2
    assert result.feedback_context == {}


def test_the_callers_plan_and_context_do_not_change() -> None:
    made = plan(step("a", expected_outputs=["items"]))
    given: dict[str, Any] = {"items": [1]}

    def work(items: list[int]) -> list[int]:
        items.append(2)
        return items

    before = made.model_dump()
    result = execute(made, {"a": work}, given)
    assert made.model_dump() == before
    assert given == {"items": [1]}
    result.results["items"].append(3)
    assert result.plan.steps[0].result == {"items": [1, 2]}


def test_independent_steps_run_at_the_same_time_and_do_not_see_each_other() -> None:
    async def meet(barrier: Any, ctx: NodeContext, other: Any = None) -> Any:
        barriers[barrier] -= 1
        while barriers[barrier]:
            await asyncio.sleep(0)  # for ever, if the other one never starts
        return other

    barriers = {"x": 3}
    steps = [step(name, "meet", inputs={"barrier": "x"}) for name in "abc"]
    last = step("last", "keys", dependencies=["a", "b", "c"])
    seen: list[Any] = []
    result = execute(
        plan(*steps, last),
        {"meet": meet, "keys": lambda ctx: seen.append(sorted(ctx.memory.read_all()))},
        {"other": 1},
    )
    assert result.success
    assert seen == [["a", "b", "c", "other"]]


def test_at_most_so_many_steps_are_under_way() -> None:
    now = most = 0

    async def work() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    config = ExecutorConfig(max_parallel=2)
    assert execute(plan(*(step(n, "work") for n in "abcde")), {"work": work}, config=config).success
    assert most == 2


def test_a_sync_function_can_run_in_a_thread() -> None:
    barrier = threading.Barrier(2, timeout=30)
    executor = FlexibleGraphExecutor(Runtime())
    executor.register_function("wait", lambda: barrier.wait() * 0, in_thread=True)
    assert execute(plan(step("a", "wait"), step("b", "wait")), {}, executor=executor).success


@pytest.mark.parametrize(
    ("returned", "expected", "outputs"),
    [
        (None, [], {}),
        (7, [], {"a": 7}),
        (7, ["x"], {"x": 7}),
        ({"x": 1, "y": 2}, [], {"x": 1, "y": 2}),
        ({"x": 1, "y": 2}, ["x"], {"x": 1}),
        ({"z": 1}, ["x"], {"x": {"z": 1}}),
        (NodeResult(True, {"x": 1}, tokens_used=5), ["x"], {"x": 1}),
    ],
)
def test_what_a_function_returns_becomes_outputs(
    returned: Any, expected: list[str], outputs: dict[str, Any]
) -> None:
    result = execute(plan(step("a", expected_outputs=expected)), {"a": lambda: returned})
    assert result.plan.steps[0].result == outputs
    assert result.total_tokens == (5 if isinstance(returned, NodeResult) else 0)


def test_a_missing_expected_output_is_a_failed_attempt() -> None:
    made = plan(step("a", expected_outputs=["x", "y"], max_retries=1))
    result = execute(made, {"a": lambda: {"x": 1}})
    assert result.status is ExecutionStatus.NEEDS_REPLAN
    assert result.steps_executed == 2
    assert result.plan.steps[0].error == "the step gave no 'y'"
    assert result.results == {}, "half a step is none"


def test_what_cannot_be_stored_fails_the_attempt_at_its_step(home: Path) -> None:
    half = "\ud83d"
    deep: list[Any] = []
    for _ in range(95):
        deep = [deep]

    def work(ctx: NodeContext) -> dict[str, Any]:
        if ctx.attempt == 1:
            return {"text": f"an emoji that was cut: {half}"}
        return {"text": "whole", "deep": deep if ctx.node_id == "a" else [deep]}

    with CheckpointManager(home) as manager:
        result = execute(plan(step("a")), {"a": work}, manager=manager, run="a")
        assert result.success
        assert result.plan.steps[0].attempts == 2
        record = manager.repository.execution("a@2")
        said = "cannot be stored: state['text']: the text has a lone surrogate"
        assert said in record["step_states"]["a"]["error"]
        result = execute(plan(step("b")), {"b": work}, manager=manager, run="b")
        assert result.status is ExecutionStatus.NEEDS_REPLAN
        assert "step 'b' needs another plan" in str(result.feedback)
        assert "nested deeper than 97 containers" in str(result.feedback)


def test_failures_are_retried_and_then_need_another_plan() -> None:
    attempts: list[tuple[int, str | None]] = []

    def shaky(ctx: NodeContext, feedback: str | None) -> str:
        attempts.append((ctx.attempt, feedback))
        if ctx.attempt < 3:
            raise TimeoutError(f"no answer {ctx.attempt}")
        return "at last"

    runtime = Runtime()
    executor = FlexibleGraphExecutor(runtime, functions={"a": shaky})
    result = execute(plan(step("a")), {}, executor=executor, run="r")
    assert result.success
    assert attempts == [
        (1, None),
        (2, "TimeoutError: no answer 1"),
        (3, "TimeoutError: no answer 2"),
    ]
    assert result.plan.steps[0].attempts == 3
    assert result.plan.steps[0].error is None
    problems = [problem.description for problem in runtime.record("r").problems]
    assert problems[0] == "attempt 1 of step 'a': TimeoutError: no answer 1"

    stopped = execute(plan(step("a", max_retries=1)), {"a": shaky})
    assert stopped.status is ExecutionStatus.NEEDS_REPLAN
    assert not stopped.success
    assert stopped.feedback == (
        "step 'a' needs another plan after 2 attempts: TimeoutError: no answer 2"
    )
    assert stopped.feedback_context["failed_steps"][0]["attempts"] == 2


def test_what_is_under_way_is_finished_when_the_run_stops() -> None:
    async def slow() -> str:
        for _ in range(20):
            await asyncio.sleep(0)
        return "done"

    def broken() -> None:
        raise ValueError("no")

    made = plan(step("slow"), step("broken", max_retries=0), step("later", "slow"))
    functions = {"slow": slow, "broken": broken}
    result = execute(made, functions, config=ExecutorConfig(max_parallel=2))
    assert result.completed_steps == ["slow"]
    assert [found.status for found in result.plan.steps] == ["completed", "failed", "pending"]


def test_two_independent_steps_must_not_give_the_same_key() -> None:
    made = plan(step("a"), step("b"), step("c", dependencies=["a", "b"]))
    result = execute(made, {"a": lambda: {"x": 1}, "b": lambda: {"x": 2}, "c": lambda: 0})
    assert result.status is ExecutionStatus.FAILED
    assert result.error is not None
    assert "'a' and 'b' both gave 'x'" in result.error

    ordered = plan(step("a"), step("b", dependencies=["a"]))
    result = execute(ordered, {"a": lambda: {"x": 1}, "b": lambda: {"x": 2}})
    assert result.results == {"x": 2}


def test_limits_count_attempts() -> None:
    config = ExecutorConfig(max_total_steps=3)

    def fail(ctx: NodeContext) -> None:
        if ctx.attempt == 1:
            raise ValueError

    made = plan(step("a", "fail"), step("b", "fail", dependencies=["a"]))
    result = execute(made, {"fail": fail}, config=config)
    assert result.status is ExecutionStatus.FAILED
    assert result.error == "max_total_steps (3) reached before step 'b'"
    assert result.steps_executed == 3
    # Without a store, the plan itself carries the count.
    again = execute(result.plan, {"fail": fail}, config=config)
    assert again.error == result.error
    for wrong in ({"max_total_steps": 0}, {"max_parallel": 0}, {"max_replans": -1}):
        with pytest.raises(InvalidInputError):
            ExecutorConfig(**wrong)


def test_a_plan_that_was_executed_goes_on_from_there() -> None:
    made = plan(step("a"), step("b", inputs={"value": "$a"}, dependencies=["a"], max_retries=0))
    calls: list[str] = []

    def once() -> int:
        calls.append("a")
        return 3

    def broken(value: int) -> int:
        raise ValueError("not yet")

    stopped = execute(made, {"a": once, "b": broken})
    done = execute(stopped.plan, {"a": once, "b": lambda value: value + 1})
    assert done.results == {"a": 3, "b": 4}
    assert calls == ["a"]


def test_a_judge_decides() -> None:
    def judge(step: PlanStep, outcome: StepOutcome, goal: Goal, context: Any) -> Any:
        seen.append((step.id, outcome.success, outcome.outputs, outcome.error_type, dict(context)))
        return actions.pop(0)

    seen: list[Any] = []
    actions: list[Any] = [
        Judgment(action=JudgmentAction.RETRY, feedback="try harder"),
        JudgmentAction.ACCEPT,
        "accept",
    ]
    feedbacks: list[Any] = []

    def work(feedback: Any = None) -> dict[str, int]:
        feedbacks.append(feedback)
        return {"x": len(feedbacks)}

    def fail() -> None:
        raise KeyError("y")

    made = plan(step("a", "work"), step("b", "fail", dependencies=["a"]))
    runtime = Runtime()
    executor = FlexibleGraphExecutor(runtime, None, {"work": work, "fail": fail}, judge)
    result = execute(made, {}, {"given": 0}, executor=executor, run="r")
    assert result.success, "even a failure, if the judge says so"
    assert feedbacks == [None, "try harder"]
    assert seen == [
        ("a", True, {"x": 1}, None, {"given": 0}),
        ("a", True, {"x": 2}, None, {"given": 0}),
        ("b", False, {}, "KeyError", {"given": 0, "x": 2}),
    ]
    assert result.results == {"given": 0, "x": 2}
    chosen = [(each.intent, each.chosen) for each in runtime.record("r").decisions]
    assert chosen == [("judge step a", "retry")]


def cut_short(*_given: Any) -> Any:
    raise ValueError("half of a pair: \ud83d")


@pytest.mark.parametrize(
    "judge",
    [
        lambda *given: 1 / 0,
        cut_short,
        lambda *given: "maybe",
        lambda *given: None,
    ],
    ids=["raises", "raises what is no text", "word", "nothing"],
)
def test_a_judge_that_fails_asks_a_person(judge: Any, home: Path) -> None:
    with CheckpointManager(home) as manager:
        result = execute(plan(step("a")), {"a": lambda: 5}, judge=judge, manager=manager)
    assert result.status is ExecutionStatus.NEEDS_ESCALATION
    request = result.approvals[0]
    assert request.escalated
    assert request.outputs == {"a": 5}
    assert "the judge failed" in (request.message or "")
    assert result.results == {}, "not accepted yet"


def test_rules_come_before_the_function_in_order_of_priority() -> None:
    rules = [
        EvaluationRule(id="low", condition="success", action=JudgmentAction.REPLAN),
        EvaluationRule(
            id="high",
            condition="result.score > 0.5 and step.id == 'a' and goal.id == 'goal'",
            action=JudgmentAction.ACCEPT,
            priority=1,
        ),
    ]
    judge = HybridJudge(rules, lambda *given: "escalate")
    assert execute(plan(step("a")), {"a": lambda: {"score": 0.7}}, judge=judge).success
    low = execute(plan(step("a")), {"a": lambda: {"score": 0.2}}, judge=judge)
    assert low.status is ExecutionStatus.NEEDS_REPLAN
    broken = execute(plan(step("a")), {"a": lambda: {"points": 1}}, judge=judge)
    assert broken.status is ExecutionStatus.NEEDS_ESCALATION
    assert "rule 'high' cannot be evaluated" not in (broken.results or {})
    assert "score" in (broken.approvals[0].message or "")


def test_a_judge_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no judge"):
        FlexibleGraphExecutor(Runtime(), judge=7)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="an int is no judge"):
        HybridJudge(function=7)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="approval_callback is a function or None"):
        FlexibleGraphExecutor(Runtime(), approval_callback=True)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"rules\['x'\].condition.*rules\['y'\]"):
        HybridJudge(
            [
                EvaluationRule(id=name, condition="import os", action=JudgmentAction.ACCEPT)
                for name in "xy"
            ]
        )


def test_node_objects_and_graphs_are_actions(home: Any) -> None:
    class Double:
        async def execute(self, ctx: NodeContext) -> NodeResult:
            return NodeResult(True, {"doubled": ctx.input_data["number"] * 2}, tokens_used=1)

    graph = GraphSpec(
        id="inner",
        entry_node="x",
        terminal_nodes=["y"],
        nodes=[
            NodeSpec(id="x", function=lambda number: {"number": number + 1}),
            NodeSpec(id="y", function=lambda number: {"answer": number * 10}),
        ],
        edges=[EdgeSpec(id="x-y", source="x", target="y")],
    )
    made = plan(
        PlanStep(
            id="d",
            action=ActionSpec(action_type=ActionType.NODE, name="double"),
            inputs={"number": 4},
        ),
        PlanStep(
            id="g",
            action=ActionSpec(action_type=ActionType.SUB_GRAPH, name="graph"),
            inputs={"number": "$doubled"},
            expected_outputs=["answer"],
            dependencies=["d"],
        ),
    )
    with CheckpointManager(home) as manager:
        executor = FlexibleGraphExecutor(Runtime(), manager)
        executor.register_node("double", Double())
        executor.register_graph("graph", graph)
        result = execute(made, {}, executor=executor, run="r")
        assert result.results == {"doubled": 8, "answer": 90}
        assert sorted(info.name for info in manager.repository.runs()) == ["r", "r/g/1.1"]
    pausing = graph.model_copy(update={"pause_nodes": ["x"]})
    with pytest.raises(InvalidInputError, match="pause_nodes"):
        executor.register_graph("graph", pausing)


def test_a_graph_that_nothing_implements_is_refused_before_the_run() -> None:
    executor = FlexibleGraphExecutor(Runtime())
    graph = GraphSpec(id="g", entry_node="x", nodes=[NodeSpec(id="x")])
    executor.register_graph("graph", graph)
    action = ActionSpec(action_type=ActionType.SUB_GRAPH, name="graph")
    made = plan(PlanStep(id="a", action=action))
    message = r"steps\['a'\]\.action: graph 'g' .*nothing implements it"
    with pytest.raises(InvalidInputError, match=message):
        asyncio.run(executor.execute_plan(made, GOAL))


def test_what_cannot_be_executed_is_refused_with_every_problem() -> None:
    made = plan(
        step("a", "nothing"),
        step("b", "known", inputs={"x": 1, "z": 2}),
        step("c", "known", dependencies=["d"]),
    )
    with pytest.raises(InvalidInputError) as caught:
        execute(made, {"known": lambda x: None})
    text = str(caught.value)
    assert "steps['c'].dependencies[0]: there is no step 'd'" in text
    assert "steps['a'].action: there is no function 'nothing': give it under functions" in text
    assert "steps['b'].inputs: the function 'known' has no parameter for ['z']" in text
    for wrong in ({"context": [1]}, {"context": {1: 2}}, {"approvals": "a"}):
        with pytest.raises(InvalidInputError):
            execute(plan(step("a")), {"a": lambda: 1}, **wrong)
    with pytest.raises(InvalidInputError, match="cannot be called"):
        FlexibleGraphExecutor(Runtime(), functions={"a": 7})  # type: ignore[dict-item]


def test_an_input_that_leads_nowhere_says_so_once() -> None:
    made = plan(step("a", inputs={"x": "$nowhere.at"}))
    result = execute(made, {"a": lambda x: x})
    assert result.status is ExecutionStatus.NEEDS_REPLAN
    assert "there is no 'nowhere'" in (result.plan.steps[0].error or "")
    assert result.plan.steps[0].attempts == 1, "another attempt would fail in the same way"


def test_a_success_that_its_judge_refuses_is_tried_again() -> None:
    answers = iter(["retry", "accept"])
    result = execute(plan(step("a")), {"a": lambda: 1}, judge=lambda *given: next(answers))
    assert result.status is ExecutionStatus.COMPLETED
    assert result.plan.steps[0].attempts == 2


def test_references_stand_inside_lists_and_objects() -> None:
    inputs: dict[str, Any] = {"x": ["$list", {"deep": "$map.k"}, "$$5", "plain $", 3]}
    context = {"list": [1], "map": {"k": "v"}}
    result = execute(plan(step("a", inputs=inputs)), {"a": lambda x: {"y": x}}, context)
    assert result.results["y"] == [[1], {"deep": "v"}, "$5", "plain $", 3]


# Approvals


def approving(**changes: Any) -> Plan:
    return plan(
        step("a"),
        step(
            "b",
            inputs={"n": "$a"},
            dependencies=["a"],
            requires_approval=True,
            approval_message="Sure?",
            **changes,
        ),
        step("c", dependencies=["b"]),
        step("d"),
    )


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "a": lambda: 1,
    "b": lambda n: n + 1,
    "c": lambda: 3,
    "d": lambda: 4,
}


def test_a_step_that_needs_an_approval_pauses_when_nothing_else_can_be_done() -> None:
    result = execute(approving(), FUNCTIONS)
    assert result.status is ExecutionStatus.AWAITING_APPROVAL
    assert result.completed_steps == ["a", "d"]
    assert result.approvals == [
        ApprovalRequest(step_id="b", action="b", message="Sure?", inputs={"n": 1})
    ]
    assert result.plan.steps[1].status is StepStatus.AWAITING_APPROVAL
    assert result.plan.steps[2].status is StepStatus.PENDING


@pytest.mark.parametrize(
    "answer", [True, "approve", ApprovalDecision.APPROVE], ids=["bool", "word", "decision"]
)
def test_an_approved_step_runs(answer: Any) -> None:
    result = execute(approving(), FUNCTIONS, approvals={"b": answer})
    assert result.success
    assert result.results == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_a_rejected_step_takes_what_depends_on_it_along() -> None:
    why = ApprovalResult(decision=ApprovalDecision.REJECT, reason="too dear")
    result = execute(approving(), FUNCTIONS, approvals={"b": why})
    assert result.status is ExecutionStatus.REJECTED
    assert [found.status for found in result.plan.steps] == [
        "completed", "rejected", "skipped", "completed",
    ]  # fmt: skip
    assert result.plan.steps[1].error == "too dear"
    assert result.plan.steps[2].error == "it depends on step 'b', which is rejected"
    assert result.feedback == "rejected: 'b'"


def test_a_modified_step_runs_with_other_inputs() -> None:
    other = ApprovalResult(decision=ApprovalDecision.MODIFY, inputs={"n": 10})
    assert execute(approving(), FUNCTIONS, approvals={"b": other}).results["b"] == 11


def test_an_aborted_run_stops() -> None:
    result = execute(approving(), FUNCTIONS, approvals={"b": "abort"})
    assert result.status is ExecutionStatus.ABORTED
    assert result.completed_steps == []
    assert result.feedback == "aborted by a person"


def test_a_callback_asks_at_once() -> None:
    asked: list[ApprovalRequest] = []

    async def ask(request: ApprovalRequest) -> bool:
        asked.append(request)
        await asyncio.sleep(0)
        return True

    assert execute(approving(), FUNCTIONS, ask=ask).success
    assert [request.inputs for request in asked] == [{"n": 1}]
    rejected = execute(approving(), FUNCTIONS, ask=lambda request: "reject")
    assert rejected.status is ExecutionStatus.REJECTED
    aborted = execute(approving(), FUNCTIONS, ask=lambda request: "abort")
    assert aborted.status is ExecutionStatus.ABORTED
    assert aborted.feedback == "aborted by a person"
    broken = execute(approving(), FUNCTIONS, ask=lambda request: 1 / 0)
    assert broken.status is ExecutionStatus.AWAITING_APPROVAL
    misspelt = ApprovalResult(decision=ApprovalDecision.MODIFY, inputs={"m": 1})
    waits = execute(approving(), FUNCTIONS, ask=lambda request: misspelt)
    assert waits.status is ExecutionStatus.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("approvals", "message"),
    [
        ({"x": True}, "no such step"),
        ({"a": True}, "asks nobody"),
        ({"b": "yes"}, "is no answer"),
        ({"b": 1}, "is no answer"),
        ({"b": "modify"}, "comes with inputs"),
        (
            {"b": ApprovalResult(decision=ApprovalDecision.APPROVE, inputs={"n": 1})},
            "comes with inputs",
        ),
        (
            {"b": ApprovalResult(decision=ApprovalDecision.MODIFY, inputs={"m": 1})},
            r"approvals\['b'\].inputs: .* no parameter for \['m'\]",
        ),
    ],
)
def test_answers_that_fit_nowhere_are_refused(approvals: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        execute(approving(), FUNCTIONS, approvals=approvals)


def test_an_answer_does_not_contradict_an_earlier_one(home: Any) -> None:
    with CheckpointManager(home) as manager:

        def run(name: str, answer: Any) -> PlanExecutionResult:
            return execute(
                approving(),
                FUNCTIONS,
                manager=manager,
                run=name,
                resume=True,
                approvals={"b": answer},
            )

        for first, second in ((True, False), (True, "abort"), (False, True)):
            done = run(f"{first} {second}", first)
            assert run(f"{first} {second}", first) == done
            with pytest.raises(InvalidInputError, match="too late to"):
                run(f"{first} {second}", second)
        aborted = run("aborted", "abort")
        assert run("aborted", True) == aborted, "an aborted run stays so"


def test_an_answer_to_an_aborted_run_is_told(home: Any) -> None:
    """It was ignored, and whoever gave it could believe that the step would run."""
    with CheckpointManager(home) as manager:

        def run(answers: dict[str, Any]) -> list[str]:
            runtime = Runtime()
            executor = FlexibleGraphExecutor(runtime, manager, FUNCTIONS)
            made = executor.execute_plan(
                approving(), Goal(id="g", name="g"), run="r", resume=True, approvals=answers
            )
            assert asyncio.run(made).status in ("aborted", "awaiting_approval")
            return [problem.description for problem in runtime.record("r").problems]

        assert run({}) == []
        assert run({"b": "abort"}) == []
        assert run({"b": "abort"}) == []
        assert run({}) == []
        late = ["the run was aborted before, so the answer about 'b' changes nothing"]
        assert run({"b": True}) == late
        assert run({"b": False}) == late
        with pytest.raises(InvalidInputError, match="no such step"):
            run({"x": True})
        with pytest.raises(InvalidInputError, match="is no answer"):
            run({"b": "yes"})


def test_a_callback_that_fails_is_told() -> None:
    def fail(_request: ApprovalRequest) -> bool:
        raise RuntimeError("no line")

    for ask, why in ((fail, "RuntimeError: no line"), (lambda _request: "perhaps", "is no answer")):
        runtime = Runtime()
        executor = FlexibleGraphExecutor(runtime, None, FUNCTIONS, approval_callback=ask)
        made = executor.execute_plan(approving(), Goal(id="g", name="g"), run="r")
        assert asyncio.run(made).status is ExecutionStatus.AWAITING_APPROVAL
        (problem,) = runtime.record("r").problems
        assert (problem.severity, why in problem.description) == ("warning", True)


def test_an_escalated_result_can_be_accepted_rejected_or_made_anew(home: Any) -> None:
    def judge(step: PlanStep, outcome: StepOutcome, goal: Goal, context: Any) -> str:
        return "escalate" if outcome.outputs.get("a") == 1 else "accept"

    made = plan(step("a", inputs={"n": 1}), step("b", dependencies=["a"]))
    keys: list[str] = []

    def work(ctx: NodeContext, n: int) -> int:
        keys.append(ctx.idempotency_key)
        return n

    with CheckpointManager(home) as manager:

        def run(name: str, **arguments: Any) -> PlanExecutionResult:
            return execute(
                made,
                {"a": work, "b": lambda: 2},
                manager=manager,
                judge=judge,
                run=name,
                resume=True,
                **arguments,
            )

        for name, answer, status in (
            ("accepted", True, "completed"),
            ("rejected", False, "rejected"),
            (
                "anew",
                ApprovalResult(decision=ApprovalDecision.MODIFY, inputs={"n": 5}),
                "completed",
            ),
        ):
            waits = run(name)
            assert waits.status is ExecutionStatus.NEEDS_ESCALATION
            assert waits.approvals[0].outputs == {"a": 1}
            assert run(name).status is ExecutionStatus.NEEDS_ESCALATION, "nobody answered"
            result = run(name, approvals={"a": answer})
            assert result.status == status
            assert run(name, approvals={"a": answer}) == result, "the same answer once more"
        assert run("anew").results == {"a": 5, "b": 2}
        assert len(keys) == 4, "other inputs are other work, with another key"
        assert len(set(keys)) == 4


# Resuming


def test_resume_begins_a_run_that_does_not_exist_and_gives_the_result_of_one_that_is_over(
    home: Any,
) -> None:
    calls: list[int] = []
    made = plan(step("a"))
    with CheckpointManager(home) as manager:
        for _ in range(2):
            result = execute(
                made,
                {"a": lambda: calls.append(1)},
                {"x": 1},
                manager=manager,
                run="r",
                resume=True,
            )
            assert result.success
        assert calls == [1]
        with pytest.raises(ConflictError, match="resume=True"):
            execute(made, {"a": lambda: 1}, manager=manager, run="r")
        with pytest.raises(InvalidInputError, match="takes no new context"):
            execute(made, {"a": lambda: 1}, {"x": 2}, manager=manager, run="r", resume=True)
        with pytest.raises(InvalidInputError, match="pass run="):
            execute(made, {"a": lambda: 1}, manager=manager, resume=True)
    with pytest.raises(InvalidInputError, match="checkpoint_manager"):
        execute(made, {"a": lambda: 1}, run="r", resume=True)
    off = CheckpointManager(home / "off", CheckpointConfig(enabled=False))
    assert execute(made, {"a": lambda: 1}, manager=off).checkpoint_id is None
    assert not (home / "off").exists()


def test_a_changed_plan_is_refused_with_what_changed(home: Any) -> None:
    with CheckpointManager(home) as manager:
        execute(approving(), FUNCTIONS, manager=manager, run="r")
        changed = approving(max_retries=7)
        with pytest.raises(ConflictError, match=r"plan.steps.b.max_retries: 3 -> 7"):
            execute(changed, FUNCTIONS, manager=manager, run="r", resume=True)
        other = Goal(id="goal", description="Do another thing.")
        executor = FlexibleGraphExecutor(Runtime(), manager, FUNCTIONS)
        with pytest.raises(ConflictError, match=r"goal\.description"):
            asyncio.run(executor.execute_plan(approving(), other, run="r", resume=True))
        head = manager.latest("r")
        result = execute(
            changed,
            FUNCTIONS,
            manager=manager,
            run="r",
            resume=True,
            accept_changed_plan=True,
            approvals={"b": True},
        )
        assert head is not None
        assert result.success
        assert result.steps_executed == 4, "completed steps did not run again"


def test_another_plan_continues_the_run_with_what_stays_the_same(home: Any) -> None:
    calls: list[str] = []

    def noting(name: str, value: Any) -> Callable[..., Any]:
        def work(**given: Any) -> Any:
            calls.append(name)
            if isinstance(value, Exception):
                raise value
            return value

        return work

    functions = {
        "find": noting("find", {"pages": 3}),
        "read": noting("read", ValueError("unreadable")),
        "skim": noting("skim", {"words": 9}),
        "title": noting("title", {"title": "Bees"}),
    }
    first = plan(
        step("find"),
        step("title"),
        step("words", "read", dependencies=["find"], max_retries=0),
    )
    second = plan(
        step("find"),
        step("words", "skim", dependencies=["find"], inputs={"of": "$title"}),
        revision=2,
    )
    with CheckpointManager(home) as manager:

        def run(made: Plan, limit: int = 10) -> PlanExecutionResult:
            return execute(
                made,
                functions,
                manager=manager,
                run="r",
                resume=True,
                config=ExecutorConfig(max_replans=limit),
            )

        stopped = run(first)
        assert stopped.status is ExecutionStatus.NEEDS_REPLAN
        context = stopped.feedback_context
        assert [found["id"] for found in context["completed_steps"]] == ["find", "title"]
        assert context["failed_steps"][0]["error"] == "ValueError: unreadable"
        with pytest.raises(ConflictError, match="higher revision"):
            run(second.model_copy(update={"revision": 1}))
        with pytest.raises(LimitError, match="max_replans"):
            run(second, limit=0)
        result = run(second)
        assert result.success
        # The step that is gone left its result in the context.
        assert result.results == {"pages": 3, "title": "Bees", "words": 9}
        assert calls == ["find", "title", "read", "skim"]
        assert (result.replans, result.steps_executed) == (1, 4)
        assert run(second) == result


def test_a_run_that_needs_another_plan_can_try_the_same_one_again(home: Any) -> None:
    broken = [True]

    def work() -> int:
        if broken[0]:
            raise ValueError("closed")
        return 1

    made = plan(step("a", max_retries=1))
    with CheckpointManager(home) as manager:
        arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
        stopped = execute(made, {"a": work}, **arguments)
        assert stopped.status is ExecutionStatus.NEEDS_REPLAN
        broken[0] = False
        result = execute(made, {"a": work}, **arguments)
        assert result.success
        assert result.steps_executed == 3
        assert result.error is None


def test_an_earlier_checkpoint_continues_as_a_fork(home: Any) -> None:
    with CheckpointManager(home) as manager:
        execute(approving(), FUNCTIONS, manager=manager, run="r", approvals={"b": True})
        at = next(
            cp.sequence
            for cp in reversed(manager.history("r"))
            if cp.node == "a" and cp.kind == "node_complete"
        )
        fork = execute(
            approving(),
            {**FUNCTIONS, "b": lambda n: 100},
            manager=manager,
            run="other",
            resume=f"r@{at}",
            approvals={"b": True},
        )
        assert fork.run_id == "other"
        assert fork.results["b"] == 100
        unnamed = execute(
            approving(), FUNCTIONS, manager=manager, resume=f"r@{at}", approvals={"b": True}
        )
        assert unnamed.run_id == "r-fork-1"


def test_a_graphs_run_is_not_continued_as_a_plan(home: Any) -> None:
    from hive.graph import GraphExecutor

    graph = GraphSpec(id="g", entry_node="n", nodes=[NodeSpec(id="n", function=lambda: {"x": 1})])
    with CheckpointManager(home) as manager:
        asyncio.run(GraphExecutor(Runtime(), manager).execute(graph, GOAL, run="r"))
        with pytest.raises(InvalidInputError, match="not written by a plan executor"):
            execute(plan(step("a")), {"a": lambda: 1}, manager=manager, run="r", resume=True)
        execute(plan(step("a")), {"a": lambda: 1}, manager=manager, run="p")
        with pytest.raises(InvalidInputError, match="not written by a graph executor"):
            asyncio.run(
                GraphExecutor(Runtime(), manager).execute(graph, GOAL, run="p", resume=True)
            )


def test_a_cancelled_run_is_resumed_where_it_was(home: Any) -> None:
    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async def cancel() -> None:
        executor = FlexibleGraphExecutor(Runtime(), manager, {"a": lambda: 1, "b": hang})
        task = asyncio.create_task(executor.execute_plan(made, GOAL, run="r", resume=True))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
        assert not left, "a step goes on although nobody waits for it"

    made = plan(step("a"), step("b", dependencies=["a"]))
    started = asyncio.Event()
    with CheckpointManager(home) as manager:
        asyncio.run(cancel())
        point = manager.resume_point("r")
        assert point is not None
        assert point.execution["step_states"]["a"]["status"] == "completed"
        result = execute(
            made, {"a": lambda: 1 / 0, "b": lambda: 2}, manager=manager, run="r", resume=True
        )
        assert result.results == {"a": 1, "b": 2}


def test_of_two_that_execute_a_run_one_gets_a_conflict(home: Any) -> None:
    made = plan(step("a", max_retries=0), step("b", dependencies=["a"]))
    with CheckpointManager(home) as first, CheckpointManager(home) as second:

        def meanwhile() -> int:
            with pytest.raises(ConflictError):
                execute(made, functions, manager=second, run="r", resume=True)
            return 1

        async def in_between() -> int:
            return await asyncio.to_thread(meanwhile)

        functions = {"a": in_between, "b": lambda: 4}
        result = execute(made, functions, manager=first, run="r", resume=True)
        assert result.results == {"a": 1, "b": 4}


def test_effects_are_not_repeated(home: Any) -> None:
    charged: list[int] = []

    def charge(amount: int) -> str:
        charged.append(amount)
        return f"receipt {len(charged)}"

    async def pay(ctx: NodeContext) -> str:
        receipt: str = await ctx.effect("charge", charge, 7)
        if ctx.attempt == 1:
            raise ConnectionError("after the charge")
        return receipt

    with CheckpointManager(home) as manager:
        result = execute(plan(step("a", "pay")), {"pay": pay}, manager=manager, run="r")
        assert result.results == {"a": "receipt 1"}
        assert execute(plan(step("a", "pay")), {"pay": pay}).success, "without a store as well"
    assert charged == [7, 7]


def test_a_long_step_goes_on_from_what_it_saved(home: Any) -> None:
    class Crash(BaseException):
        pass

    pages: list[int] = []

    def reading(crash_at: int) -> Callable[..., Any]:
        async def read(ctx: NodeContext) -> int:
            for page in range(ctx.saved_state or 0, 4):
                if page == crash_at:
                    raise Crash
                pages.append(page)
                await ctx.checkpoint(page + 1)
            return len(pages)

        return read

    made = plan(step("a", "read"), step("b", "other"))
    with CheckpointManager(home) as manager:
        arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
        with pytest.raises(Crash):
            execute(made, {"read": reading(2), "other": lambda: 0}, **arguments)
        result = execute(made, {"read": reading(-1), "other": lambda: 0}, **arguments)
        assert result.results == {"a": 4, "b": 0}
        assert pages == [0, 1, 2, 3]
        point = manager.resume_point("r")
        assert point is not None
        assert point.execution["step_states"]["a"]["saved"] is None, "it is over"


def test_a_step_can_have_a_timeout() -> None:
    async def hang(ctx: NodeContext) -> str:
        if ctx.attempt == 1:
            let_pass(61)
            await asyncio.Event().wait()
        return "in time"

    made = plan(step("a", "hang", timeout_seconds=60))
    result = execute(made, {"hang": hang})
    assert result.results == {"a": "in time"}
    assert result.steps_executed == 2
    with pytest.raises(InvalidInputError, match="in_thread=True"):
        execute(made, {"hang": lambda: 1})


def test_ctrl_c_pauses_the_run(home: Any) -> None:
    async def press() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    made = plan(step("a"), step("b", "press", dependencies=["a"]))
    with CheckpointManager(home) as manager:
        arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
        with pytest.raises(KeyboardInterrupt):
            execute(made, {"a": lambda: 1, "press": press}, **arguments)
        head = manager.latest("r")
        assert head is not None
        assert (head.kind, head.next_nodes) == ("paused", ("b",))
        assert execute(made, {"a": lambda: 1 / 0, "press": lambda: 2}, **arguments).success


@pytest.mark.parametrize("pressed", ["a", "b", "c"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_step_that_holds_up_the_loop_while_ctrl_c_is_pressed_is_not_made_again(
    home: Any, durability: Any, pressed: str
) -> None:
    ran: list[str] = []

    def work(ctx: NodeContext) -> None:
        ran.append(ctx.node_id)
        if ctx.node_id == pressed:
            signal.raise_signal(signal.SIGINT)

    made = plan(step("a"), step("b"), step("c", dependencies=["a", "b"]))
    functions: dict[str, Any] = dict.fromkeys("abc", work)
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
        with pytest.raises(KeyboardInterrupt):
            execute(made, functions, **arguments)
        head = manager.latest("r")
        assert head is not None
        assert (head.kind, head.next_nodes) == ("paused", () if pressed == "c" else ("c",))
        result = execute(made, functions, **arguments)
    assert result.completed_steps == ran == ["a", "b", "c"]
    assert result.steps_executed == 3


def test_a_plan_that_is_over_when_ctrl_c_comes_in_is_not_called_interrupted(
    home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = execution.PlanExecution.save

    async def pressed(self: Any, kind: Any, name: str | None) -> None:
        if kind == "final":
            signal.raise_signal(signal.SIGINT)
        await save(self, kind, name)

    monkeypatch.setattr(execution.PlanExecution, "save", pressed)
    runtime = Runtime()
    with CheckpointManager(home) as manager:
        executor = FlexibleGraphExecutor(runtime, manager, {"a": lambda: 1})
        with pytest.raises(KeyboardInterrupt):
            execute(plan(step("a")), {}, executor=executor, run="r")
        assert manager.history("r")[0].kind == "final"
    report = runtime.record("r")
    assert (report.success, report.narrative) == (True, "completed after 1 attempts of steps")


def test_ctrl_c_while_a_step_is_counted_counts_nothing_twice(
    home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(step("a"), step("b", dependencies=["a"]))
    functions: dict[str, Any] = {"a": lambda: 1, "b": lambda: 2}

    def press(*_arguments: Any) -> Any:
        raise KeyboardInterrupt

    with CheckpointManager(home) as manager:
        arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
        with monkeypatch.context() as patch:
            patch.setattr(execution, "clashes", press)
            with pytest.raises(KeyboardInterrupt):
                execute(made, functions, **arguments)
        result = execute(made, functions, **arguments)
        assert result.steps_executed == 2
        assert [state.attempts for state in result.plan.steps] == [1, 1]


def test_ctrl_c_while_a_step_waits_to_be_saved_loses_nothing_of_it(
    home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = threading.Event()
    save, write = execution.PlanExecution.save, ObjectStore.write
    ran: list[str] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)
        opened.set()

    async def pressed(self: Any, kind: Any, name: str | None) -> None:
        if (kind, name) == ("node_complete", "b"):
            asyncio.get_running_loop().call_soon(press)
        await save(self, kind, name)

    async def a(ctx: NodeContext) -> int:
        if ctx.saved_state is None:
            monkeypatch.setattr(
                ObjectStore, "write", lambda *given: opened.wait(20) and write(*given)
            )
            await ctx.checkpoint("begun")  # holds up what the other step gave
            await asyncio.Event().wait()
        return 1

    def b() -> int:
        ran.append("b")
        return 2

    made = plan(step("a"), step("b"))
    with CheckpointManager(home) as manager:
        arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
        monkeypatch.setattr(execution.PlanExecution, "save", pressed)
        with pytest.raises(KeyboardInterrupt):
            execute(made, {"a": a, "b": b}, **arguments)
        assert manager.history("r", limit=1)[0].kind == "paused"
        result = execute(made, {"a": a, "b": b}, **arguments)
        assert (result.results, ran) == ({"a": 1, "b": 2}, ["b"])


def test_a_graph_that_is_tried_again_runs_again(home: Any) -> None:
    ran: list[str] = []
    crashes = [True]

    class Crash(BaseException):
        pass

    def first() -> dict[str, Any]:
        ran.append("first")
        return {}

    def second() -> dict[str, Any]:
        if len(ran) == 4 and crashes:
            crashes.clear()
            raise Crash
        return {"answer": len(ran)}

    def judge(_step: PlanStep, outcome: StepOutcome, _goal: Goal, _context: Any) -> str:
        return "accept" if outcome.outputs.get("answer", 0) > 3 else "retry"

    graph = GraphSpec(
        id="inner",
        entry_node="first",
        nodes=[
            NodeSpec(id="first", function=first),
            NodeSpec(id="second", function=second),
        ],
        edges=[EdgeSpec(id="e", source="first", target="second")],
    )
    action = ActionSpec(action_type=ActionType.SUB_GRAPH, name="inner")
    made = plan(PlanStep(id="a", action=action, max_retries=1, backoff_seconds=0))

    def resumed(manager: CheckpointManager) -> PlanExecutionResult:
        executor = FlexibleGraphExecutor(Runtime(), manager, judge=judge)
        executor.register_graph("inner", graph)
        return execute(made, {}, executor=executor, run="r", resume=True)

    with CheckpointManager(home) as manager:
        assert resumed(manager).status is ExecutionStatus.NEEDS_REPLAN
        assert len(ran) == 2
        with pytest.raises(Crash):
            resumed(manager)
        assert len(ran) == 4
        result = resumed(manager)
        assert result.results == {"answer": 4}
        assert len(ran) == 4, "the attempt in flight went on inside its graph"
        assert result.steps_executed == 4


def test_a_run_that_was_cut_off_is_found(home: Any) -> None:
    class Crash(BaseException):
        pass

    def crash() -> None:
        raise Crash

    with CheckpointManager(home) as manager:
        with pytest.raises(Crash):
            execute(plan(step("a", "crash")), {"crash": crash}, manager=manager, run="r")
        execute(plan(step("a")), {"a": lambda: 1}, manager=manager, run="over")
        assert [found.run for found in manager.interrupted_runs()] == ["r"]
        abandon(manager.repository, "r")
        assert manager.interrupted_runs() == []
        reinstate(manager.repository, "r")
        assert [found.run for found in manager.interrupted_runs()] == ["r"]


def test_a_value_of_a_newer_class_is_not_worked_with(home: Any) -> None:
    @dataclass
    class Bee:
        name: str

    newer, older = Registry(), Registry()
    newer.register(Bee, name="Bee", version=2)
    older.register(Bee, name="Bee")
    made = plan(step("a"), step("b", dependencies=["a"], requires_approval=True))
    functions = {"a": lambda: {"bee": Bee("ada")}, "b": lambda: 1}
    with Repository.open(home, registry=newer) as repo:
        with CheckpointManager(repo) as manager:
            execute(made, functions, manager=manager, run="r")
    for registry, approvals in ((older, None), (Registry(), None), (newer, {"b": True})):
        with Repository.open(home, registry=registry) as repo, CheckpointManager(repo) as manager:
            arguments: dict[str, Any] = {"manager": manager, "run": "r", "resume": True}
            if registry is older:
                with pytest.raises(UnsupportedFormatError, match="'Bee' of version 2"):
                    execute(made, functions, **arguments)
            else:  # a class that is not known at all is not expected either
                execute(made, functions, approvals=approvals, **arguments)


def test_a_checkpoint_that_cannot_be_saved_is_reported(home: Any) -> None:
    made = plan(step("a"), step("b", dependencies=["a"]))
    functions = {"a": lambda: {"x": threading.Lock()}, "b": lambda: 1}
    with CheckpointManager(home) as manager:
        result = execute(made, functions, manager=manager, run="r")
        assert result.status is ExecutionStatus.NEEDS_REPLAN, "memory is for data"

    class Live:
        """Can be copied and not be stored."""

    with CheckpointManager(home) as manager:
        runtime = Runtime()
        executor = FlexibleGraphExecutor(runtime, manager, {"a": Live, "b": lambda: 1})
        result = execute(made, {}, executor=executor, run="r-live")
        assert result.status is ExecutionStatus.NEEDS_REPLAN
        assert "Live" in str(result.feedback)
        executor = FlexibleGraphExecutor(runtime, manager, {"a": lambda: 1, "b": lambda: 1})
        with pytest.raises(InvalidInputError, match="Live"):
            execute(made, {}, {"live": Live()}, executor=executor, run="s")
        assert "checkpoint not saved" in runtime.record("s").problems[0].description
        assert runtime.record("s").success is False


def test_a_node_decides_and_the_report_has_it() -> None:
    def work(ctx: NodeContext) -> None:
        ctx.decide("which", chosen=ctx.node_id)

    runtime = Runtime()
    executor = FlexibleGraphExecutor(runtime, functions={"work": work})
    execute(plan(step("a", "work"), step("b", "work")), {}, executor=executor, run="r")
    report = runtime.record("r")
    assert [(each.id, each.chosen) for each in report.decisions] == [("d1", "a"), ("d2", "b")]
    assert report.success is True
    assert report.narrative == "completed after 2 attempts of steps"


PLAN_LIES: list[dict[str, Any]] = [
    {"plan": None},
    {"plan": "{"},
    {"plan": 7},
    {"goal": "[" * 3_000},
    {"goal": ["x"]},
    {"decisions": 7},
    {"decisions": ["x"]},
    {"step_states": {}},
    {"step_states": 7},
    {"step_states": {"a": {"status": "completed"}}},
    {"executor": {1}},
    {"inputs": [7]},
]


def test_a_record_that_no_executor_wrote_is_refused(home: Any) -> None:
    """A bundle can bring any record under the name of a run, and a person may resume that."""
    made = plan(step("a"), step("b", dependencies=["a"], requires_approval=True))
    functions = {"a": lambda: {"a": 1}, "b": lambda: {"b": 1}}
    with CheckpointManager(home) as manager:
        execute(made, functions, manager=manager, run="r")
        repo = manager.repository
        record, head = repo.execution("r"), repo.resolve("r")
        for number, lie in enumerate(PLAN_LIES):
            name = f"lie {number}"
            told = {**record, **lie}
            repo.commit(name, {}, execution=told, graph=head.graph, kind=head.kind)
            for resume in (True, name):
                with pytest.raises(InvalidInputError):
                    execute(made, functions, manager=manager, run=name, resume=resume)
            assert repo.resolve(name).sequence == 1


def test_rules_that_name_what_no_rule_knows_are_refused() -> None:
    """They escalated when the first step was judged."""

    def rule(condition: str) -> EvaluationRule:
        return EvaluationRule(id="r", condition=condition, action=JudgmentAction.RETRY)

    HybridJudge([rule("success and result.x and step.id == 'a' and goal.id and context.get('k')")])
    with pytest.raises(InvalidInputError, match=r"rules\['r'\]\.condition: there is no 'outputs'"):
        HybridJudge([rule("success and outputs.x")])
    with pytest.raises(InvalidInputError, match="a goal has no 'ID'"):
        HybridJudge([rule("goal.ID == 'x'")])
