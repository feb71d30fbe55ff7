"""One attempt of a step, from its inputs to the judgment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.copies import copy_value
from hive.graph.memory import SharedMemory
from hive.graph.node import NodeResult, NodeSpec
from hive.graph.runtime import RunRecord, Runtime
from hive.graph.services import Effects, NodeServices
from hive.graph.visit import Attempt, Visit
from hive.plan.actions import FEEDBACK
from hive.plan.judge import HybridJudge, Judgment, JudgmentAction, StepOutcome
from hive.plan.references import resolve
from hive.text import kind_of, told

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.node import Node
    from hive.plan.judge import Judge
    from hive.plan.plan import PlanStep
    from hive.plan.progress import StepState

__all__ = ["Work", "Worked", "inputs_of"]

_DEEPEST: Final = 4
"""In how many containers a record has what a step gave: record, states, the step's, outputs."""


@dataclass(frozen=True, slots=True)
class Worked:
    """One judged attempt.

    Attributes:
        step: The step.
        attempt: What the action gave.
        outputs: What the step adds to the context if it is accepted; None if the attempt failed.
        judgment: What follows.
        report: Decisions and problems that the action recorded.
    """

    step: PlanStep
    attempt: Attempt
    outputs: dict[str, Any] | None
    judgment: Judgment
    report: RunRecord


@dataclass(frozen=True, slots=True)
class Work:
    """What the attempts of all steps of one run share.

    Attributes:
        run: Name of the run.
        goal: Its goal.
        actions: What runs for each step.
        judge: Judges attempts.
        sleep: Waits before a retry.
        timer: A monotonic clock in seconds.
        effects: The side effects that are recorded.
    """

    run: str
    goal: Goal
    actions: Mapping[str, Node]
    judge: Judge
    sleep: Callable[[float], Awaitable[None]]
    timer: Callable[[], float]
    effects: Effects

    async def attempt(
        self,
        step: PlanStep,
        state: StepState,
        context: Mapping[str, Any],
        results: Mapping[str, Mapping[str, Any]],
        save_state: Callable[[Any], Awaitable[None]],
    ) -> Worked:
        """Make the next attempt of a step and judge it.

        Args:
            step: The step.
            state: Where it stands.
            context: What it sees.
            results: What the steps before it gave, by step.
            save_state: Saves how far the attempt has come.
        """
        # A report of its own: what a step records while others go on joins the run's report when
        # the step ends, so that an attempt that is lost leaves nothing in a checkpoint.
        runtime = Runtime()
        runtime.start_run(self.goal.id, self.goal.description, run=self.run)
        memory = SharedMemory()
        memory.adopt(context)
        try:
            given = inputs_of(step, state, context, results)
            if state.feedback is not None and FEEDBACK not in given:
                given[FEEDBACK] = state.feedback
            services = NodeServices(step.id, self.effects, _DEEPEST, save_state, state.attempts)
            attempt = await self._visit(step, state, given, memory, runtime, services)
        except errors.InvalidInputError as error:
            attempt = Attempt(NodeResult(success=False, error=f"{error}"), True, 0)
        outputs = attempt.written
        missing = [key for key in step.expected_outputs if key not in outputs]
        if attempt.result.success and missing:
            lacking = NodeResult(False, error=f"the step gave no {', '.join(map(repr, missing))}")
            attempt = Attempt(lacking, False, attempt.latency_ms)
        outcome = _outcome(step, state, attempt, outputs)
        judgment = await self._judge(step, outcome, context)
        kept = outputs if attempt.result.success else None
        return Worked(step, attempt, kept, judgment, runtime.record(self.run))

    async def _visit(
        self,
        step: PlanStep,
        state: StepState,
        given: dict[str, Any],
        memory: SharedMemory,
        runtime: Runtime,
        services: NodeServices,
    ) -> Attempt:
        visit = Visit(
            run=self.run,
            spec=NodeSpec(
                id=step.id,
                description=step.description,
                output_keys=step.expected_outputs,
                max_retries=step.max_retries,
                backoff_seconds=step.backoff_seconds,
                backoff_max_seconds=max(30.0, step.backoff_seconds),
                timeout_seconds=step.timeout_seconds,
            ),
            node=self.actions[step.id],
            number=state.visit,
            input_data=given,
            memory=memory,
            goal=self.goal,
            runtime=runtime,
            targets=(),
            sleep=self.sleep,
            timer=self.timer,
            services=services,
        )
        return await visit.attempt(state.failed_attempts + 1, state.saved)

    async def _judge(
        self, step: PlanStep, outcome: StepOutcome, context: Mapping[str, Any]
    ) -> Judgment:
        try:
            # Only code of the user's could change what it is shown.
            trusted = isinstance(self.judge, HybridJudge) and self.judge.has_only_rules
            seen = context if trusted else copy_value(dict(context), "context")
            judgment: Any = await self.judge.evaluate(step, outcome, self.goal, seen)
            if not isinstance(judgment, Judgment):
                raise errors.InvalidInputError(
                    f"evaluate() returned {kind_of(judgment)}, not a Judgment"
                )
        except Exception as error:
            # Neither to accept nor to repeat what nobody judged.
            why = f"the judge failed: {told(error)}"
            return Judgment(action=JudgmentAction.ESCALATE, reasoning=why, feedback=why)
        return judgment


def inputs_of(
    step: PlanStep,
    state: StepState,
    context: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the inputs of a step: references resolved, and a person's inputs in their place.

    Raises:
        InvalidInputError: A reference leads nowhere.
    """
    replaced = state.inputs or {}
    own = {key: value for key, value in step.inputs.items() if key not in replaced}
    resolved: dict[str, Any] = resolve(own, context, results)
    return {**resolved, **replaced}


def _outcome(
    step: PlanStep, state: StepState, attempt: Attempt, outputs: Mapping[str, Any]
) -> StepOutcome:
    success = attempt.result.success
    error = None if success else attempt.result.error or "the action failed and did not say why"
    kind, colon, _ = (error or "").partition(":")
    return StepOutcome(
        success=success,
        outputs=copy_value(dict(outputs), f"outputs of step {step.id!r}") if success else {},
        error=error,
        error_type=kind if colon and kind.isidentifier() else None,
        attempt=state.failed_attempts + 1,
        max_attempts=step.max_retries + 1,
    )
