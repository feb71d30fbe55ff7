"""Random plans, interrupted at a random commit in this process, end as if uninterrupted."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive.graph import Goal, NodeContext, Runtime
from hive.graph.checkpoint_manager import CheckpointManager
from hive.plan import (
    ActionSpec,
    ExecutorConfig,
    FlexibleGraphExecutor,
    Plan,
    PlanExecutionResult,
    PlanStep,
    StepOutcome,
)
from hive.schemas.checkpoint import CheckpointConfig
from manifests import Repository
from tests.hive.crashing import break_off

GOAL = Goal(id="goal")
NAMES = "abcde"
EXAMPLES = settings().max_examples * 3 // 10  # each writes to a store some twenty times
Attempts = list[tuple[str, int, str]]


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    """Random fields of a plan; which attempts fail or are judged badly is in them."""
    return {
        "before": [
            draw(st.sets(st.sampled_from(NAMES[:place]))) if place else set()
            for place in range(len(NAMES))
        ],
        "approvals": {name: draw(st.booleans()) for name in draw(st.sets(st.sampled_from(NAMES)))},
        "retries": draw(st.lists(st.integers(0, 2), min_size=5, max_size=5)),
        "parallel": draw(st.integers(1, 3)),
        "limit": draw(st.integers(4, 14)),
        "dice": draw(st.integers(0, 2**16)),
    }


def build(fields: dict[str, Any]) -> Plan:
    return Plan(
        id="random",
        steps=[
            PlanStep(
                id=name,
                action=ActionSpec(name="work"),
                inputs={"numbers": [f"$steps.{other}.{other}" for other in sorted(before)]},
                dependencies=sorted(before),
                requires_approval=name in fields["approvals"],
                max_retries=retries,
                backoff_seconds=0,
            )
            for name, before, retries in zip(
                NAMES, fields["before"], fields["retries"], strict=True
            )
        ],
    )


def launch(
    manager: CheckpointManager | None, fields: dict[str, Any], attempts: Attempts, run: str
) -> PlanExecutionResult:
    """Begin or continue a run, and answer what it asks, until it stops."""

    def dice(*about: object) -> float:
        return random.Random(f"{fields['dice']}{about}").random()

    async def work(ctx: NodeContext, numbers: list[int], feedback: str | None = None) -> Any:
        for _ in range(int(dice("wait", ctx.node_id) * 4)):
            await asyncio.sleep(0)
        attempts.append((ctx.node_id, ctx.attempt, ctx.idempotency_key))
        if dice("fail", ctx.node_id, ctx.attempt) < 0.15:
            raise RuntimeError(f"{ctx.node_id} {ctx.attempt}")
        return sum(numbers) + 1 + len(feedback or "")

    def judge(step: PlanStep, outcome: StepOutcome, goal: Goal, context: Any) -> str:
        luck = dice("judge", step.id, outcome.attempt)
        if not outcome.success:
            return "retry"
        return "retry" if luck < 0.1 else "escalate" if luck < 0.16 else "accept"

    config = ExecutorConfig(max_parallel=fields["parallel"], max_total_steps=fields["limit"])
    executor = FlexibleGraphExecutor(
        Runtime(), manager, {"work": work}, judge, config=config, timer=lambda: 0.0
    )
    answers: dict[str, Any] = {}
    while True:
        result = asyncio.run(
            executor.execute_plan(
                build(fields), GOAL, run=run, resume=manager is not None, approvals=answers
            )
        )
        if not result.status.is_waiting or manager is None:
            return result
        answers = {
            request.step_id: fields["approvals"].get(request.step_id, True)
            for request in result.approvals
        }


def plain(result: PlanExecutionResult) -> dict[str, Any]:
    """A result without what names the run."""
    fields = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in {"run_id", "checkpoint_id"}
    }
    return {**fields, "plan": result.plan.model_dump()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with Repository.open(tmp_path_factory.mktemp("random")) as repo:
        yield repo


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans(), st.randoms(use_true_random=False), st.sampled_from(["sync", "async"]))
def test_an_interrupted_random_plan_ends_like_an_uninterrupted_one(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    chance: random.Random,
    durability: Any,
) -> None:
    made: dict[str, Attempts] = defaultdict(list)

    def begin(manager: CheckpointManager, run: str) -> PlanExecutionResult:
        return launch(manager, fields, made[run], run)

    expected, whole, run = break_off(repository, monkeypatch, chance, begin)
    with CheckpointManager(repository, CheckpointConfig(durability=durability)) as manager:
        result = begin(manager, run)
        if expected.status in {"completed", "rejected"}:
            assert plain(result) == plain(expected)
            assert manager.restore(run) == manager.restore(whole)
        else:
            # Which steps were done before the run stopped depends on which was faster, and an
            # interruption changes that. What was done is the same.
            assert result.status == expected.status
    # Keys belong to a run: compare the rest. Nothing but what was in flight ran twice.
    attempts = made[run]
    repeated = Counter(attempt[:2] for attempt in attempts)
    assert sum(repeated.values()) - len(made[whole]) <= fields["parallel"] + abs(
        result.steps_executed - expected.steps_executed
    )
    assert len({key for _, _, key in attempts}) == len({name for name, _, _ in attempts})
    if expected.status in {"completed", "rejected"}:
        assert set(repeated) == {attempt[:2] for attempt in made[whole]}


def test_the_random_plans_are_worth_testing() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=100, database=None, derandomize=True)
    @given(plans())
    def collect(fields: dict[str, Any]) -> None:
        fields = {**fields, "approvals": {}}
        result = launch(None, fields, [], "r")
        seen[str(result.status)] += 1
        seen["long"] += result.steps_executed > 3

    collect()
    assert {"completed", "failed", "needs_replan", "needs_escalation"} <= set(seen)
    assert seen["long"] > 20
