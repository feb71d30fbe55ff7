"""Plans for crash tests: every step writes what it does into a side-effect log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hive.graph import EdgeSpec, GraphSpec, NodeContext, NodeResult, NodeSpec, Runtime
from hive.graph.checkpoint_manager import CheckpointManager
from hive.plan import (
    ActionSpec,
    ActionType,
    ApprovalDecision,
    ApprovalResult,
    EvaluationRule,
    ExecutorConfig,
    FlexibleGraphExecutor,
    HybridJudge,
    Judgment,
    JudgmentAction,
    Plan,
    PlanExecutionResult,
    PlanStep,
    StepOutcome,
)
from hive.schemas.checkpoint import CheckpointConfig
from tests.hive.crash_graphs import GOAL, RUN, Effects
from tests.hive.crashing import arm_transactions

__all__ = ["PLANS", "PlanCase", "launch_plan", "run_plan_case"]


@dataclass(frozen=True)
class PlanCase:
    """One plan of the family.

    ``attempts`` is how many attempts of actions an uninterrupted run makes, ``commits`` how many
    checkpoints it saves, and ``status`` how it ends. ``plans`` are the plan and those that follow
    when another one is needed, ``answers`` what a person says whenever somebody has to.
    """

    name: str
    attempts: int
    commits: int
    plans: tuple[Plan, ...]
    status: str = "completed"
    answers: Mapping[str, Any] = field(default_factory=dict)
    judge: Any = None
    config: ExecutorConfig | None = None
    ask: Callable[[Any], Any] | None = None


def _step(name: str, action: str = "add", **changes: Any) -> PlanStep:
    return PlanStep(id=name, action=ActionSpec(name=action), backoff_seconds=0, **changes)


def _sum(name: str, *before: str, **changes: Any) -> PlanStep:
    """A step that adds one to the sum of what the steps before it gave."""
    numbers = [f"$steps.{step}.{step}" for step in before]
    return _step(
        name,
        inputs={"numbers": numbers},
        expected_outputs=[name],
        dependencies=list(before),
        **changes,
    )


def _plan(*steps: PlanStep, **changes: Any) -> Plan:
    return Plan(id="plan", steps=list(steps), **changes)


def _judge(step: PlanStep, outcome: StepOutcome, goal: Any, context: Any) -> Any:
    """Accept the second attempt of ``b``, and want a person to look at ``c``."""
    if step.id == "b" and outcome.attempt == 1:
        return Judgment(action=JudgmentAction.RETRY, feedback="more of it")
    return "escalate" if step.id == "c" else "accept"


def _executor(
    case: PlanCase, effects: Effects, manager: CheckpointManager | None
) -> FlexibleGraphExecutor:
    executor = FlexibleGraphExecutor(
        Runtime(),
        manager,
        judge=case.judge,
        approval_callback=case.ask,
        config=case.config,
        timer=lambda: 0.0,
    )

    async def add(ctx: NodeContext, numbers: list[int], feedback: str | None = None) -> NodeResult:
        # Independent steps take turns here, the same ones in every process.
        for _ in range(sum(map(ord, ctx.node_id)) % 7):
            await asyncio.sleep(0)
        effects.note(ctx)
        ctx.decide("how much", chosen=str(len(numbers)))
        total = sum(numbers) + 1 + (100 if feedback else 0)
        return NodeResult(True, {ctx.node_id: total}, tokens_used=total, latency_ms=len(numbers))

    def fail(ctx: NodeContext, times: int) -> dict[str, int]:
        effects.note(ctx)
        ctx.memory.write(ctx.node_id, -1)  # of no effect if this attempt fails
        if ctx.attempt <= times:
            raise ConnectionError(f"attempt {ctx.attempt}")
        return {ctx.node_id: ctx.attempt}

    executor.register_function("add", add)
    executor.register_function("fail", fail)
    executor.register_graph("graph", _graph(effects))
    return executor


def _graph(effects: Effects) -> GraphSpec:
    def work(ctx: NodeContext, number: int) -> dict[str, int]:
        effects.note(ctx)
        return {"number": number + 1}

    return GraphSpec(
        id="inner",
        entry_node="x",
        terminal_nodes=["y"],
        nodes=[NodeSpec(id=name, output_keys=["number"], function=work) for name in "xy"],
        edges=[EdgeSpec(id="x-y", source="x", target="y")],
    )


def launch_plan(
    case: PlanCase, home: Path, effects: Effects, config: CheckpointConfig | None = None
) -> PlanExecutionResult:
    """Do what a program does at every start: begin the run, or continue it, to its end."""
    with CheckpointManager(home, config) as manager:
        executor = _executor(case, effects, manager)
        answers: Mapping[str, Any] = {}
        point = manager.resume_point(RUN)
        revision = 1 if point is None else point.execution["revision"]
        stands = None if point is None else point.execution["status"]
        while True:
            if stands in ("awaiting_approval", "needs_escalation"):
                answers = case.answers
            if stands == "needs_replan" and revision < len(case.plans):
                revision += 1
            result = asyncio.run(
                executor.execute_plan(
                    case.plans[revision - 1],
                    GOAL,
                    {"given": 1},
                    run=RUN,
                    resume=True,
                    approvals=answers,
                )
            )
            stands = str(result.status)
            if stands == case.status:
                return result


def run_plan_case(
    name: str,
    folder: Path,
    moment: Any = None,
    config: CheckpointConfig | None = None,
    *,
    slow_seconds: float = 0.0,
) -> PlanExecutionResult:
    """Launch a case in this process, which may die of it. Its store and log lie in ``folder``."""
    attempted = arm_transactions(moment, folder / "transactions", slow_seconds=slow_seconds)
    effects = Effects(folder / "effects", attempted)
    return launch_plan(PLANS[name], folder / "home", effects, config)


_DIAMOND = _plan(
    _sum("a"), _sum("b", "a"), _sum("c", "a"), _sum("d", "a"), _sum("e", "b", "c", "d")
)
_NEXT = _plan(
    _sum("a"),
    _step("f", "fail", inputs={"times": 1}),
    _sum("b", "a"),
    _sum("c", "b"),
    revision=2,
)

PLANS = {
    case.name: case
    for case in (
        PlanCase(
            "chain",
            attempts=3,
            commits=5,
            plans=(_plan(_sum("a"), _sum("b", "a"), _sum("c", "a", "b")),),
        ),
        PlanCase("diamond", attempts=5, commits=7, plans=(_DIAMOND,)),
        PlanCase(
            "narrow",
            attempts=5,
            commits=7,
            plans=(_DIAMOND,),
            config=ExecutorConfig(max_parallel=1),
        ),
        PlanCase(
            "retry",
            attempts=5,
            commits=7,
            plans=(_plan(_sum("a"), _step("f", "fail", inputs={"times": 2}), _sum("b", "a")),),
        ),
        PlanCase(
            "judged",
            attempts=6,
            commits=10,
            plans=(_plan(_sum("a"), _sum("b", "a"), _sum("c", "a"), _sum("d", "c"), _sum("e")),),
            judge=_judge,
            answers={"c": True},
        ),
        PlanCase(
            "approval",
            attempts=4,
            commits=8,
            plans=(
                _plan(
                    _sum("a"),
                    _sum("b", "a", requires_approval=True),
                    _sum("c", requires_approval=True),
                    _sum("d", "b", "c"),
                ),
            ),
            answers={
                "b": ApprovalResult(decision=ApprovalDecision.MODIFY, inputs={"numbers": [40]}),
                "c": "approve",
            },
        ),
        PlanCase(
            "rejected",
            attempts=2,
            commits=6,
            plans=(
                _plan(
                    _sum("a"),
                    _sum("b", "a", requires_approval=True),
                    _sum("c", "b"),
                    _sum("d", "a"),
                ),
            ),
            answers={"b": False},
            status="rejected",
        ),
        PlanCase(
            "asked",
            attempts=2,
            commits=6,
            plans=(
                _plan(_sum("a", requires_approval=True), _sum("b", "a", requires_approval=True)),
            ),
            ask=lambda request: True,
        ),
        PlanCase(
            "replan",
            attempts=7,
            commits=11,
            plans=(
                _plan(
                    _sum("a"),
                    _step("f", "fail", inputs={"times": 9}, max_retries=1),
                    _sum("b", "a"),
                ),
                _NEXT,
            ),
        ),
        PlanCase(
            "rules",
            attempts=2,
            commits=4,
            plans=(_plan(_sum("a"), _sum("b", "a")),),
            judge=HybridJudge(
                [
                    EvaluationRule(
                        id="high",
                        condition="success and result.get('b', 0) > 1",
                        action=JudgmentAction.REPLAN,
                    )
                ]
            ),
            status="needs_replan",
        ),
        PlanCase(
            "exhausted",
            attempts=3,
            commits=5,
            plans=(_plan(_sum("a"), _sum("b", "a"), _sum("c", "b"), _sum("d", "c")),),
            config=ExecutorConfig(max_total_steps=3),
            status="failed",
        ),
        PlanCase(
            "graph",
            attempts=4,
            commits=8,
            plans=(
                _plan(
                    _sum("a"),
                    PlanStep(
                        id="g",
                        action=ActionSpec(action_type=ActionType.SUB_GRAPH, name="graph"),
                        inputs={"number": "$steps.a.a"},
                        dependencies=["a"],
                    ),
                    _step(
                        "z",
                        inputs={"numbers": ["$number"]},
                        dependencies=["g"],
                    ),
                ),
            ),
        ),
    )
}
