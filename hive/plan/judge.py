"""Judging what a step gave: rules first, then a callable of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field

from hive import errors
from hive.graph.expression import Expression
from hive.graph.goal import parts_of_no_goal
from hive.text import kind_of

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.plan.plan import PlanStep

__all__ = [
    "EvaluationRule",
    "HybridJudge",
    "Judge",
    "JudgeFunction",
    "Judgment",
    "JudgmentAction",
    "StepOutcome",
    "judge_of",
]


_NAMES: Final = frozenset(
    (
        *("success", "result", "error", "error_type", "attempt", "max_attempts"),
        *("step", "goal", "context"),
    )
)
"""What conditions of rules can name."""


class JudgmentAction(StrEnum):
    """What follows an attempt of a step."""

    ACCEPT = "accept"  # completed; what it gave joins the context
    RETRY = "retry"  # once more, if there are retries left; else as replan
    REPLAN = "replan"  # back to the planner, with feedback
    ESCALATE = "escalate"  # a person has to look at it


class Judgment(BaseModel):
    """What a judge says of one attempt.

    Attributes:
        action: What follows.
        reasoning: Why, for the report.
        feedback: For the next attempt (as the argument ``feedback``), the planner or the person.
        rule_matched: The rule that said so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: JudgmentAction
    reasoning: str = ""
    feedback: str | None = None
    rule_matched: str | None = None


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One attempt of a step, as a judge sees it.

    Attributes:
        success: The action ended well and gave all expected outputs.
        outputs: What it gave, a copy; empty if it failed.
        error: Why it failed.
        error_type: The name of the exception class that ``error`` begins with, else None.
        attempt: Which attempt this was, from 1.
        max_attempts: How many there may be, inclusive.
    """

    success: bool
    outputs: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    attempt: int = 1
    max_attempts: int = 1


class EvaluationRule(BaseModel):
    """A judgment that is made when an expression is true.

    Attributes:
        id: Names the rule.
        description: Why it says so; the judgment's reasoning.
        condition: An expression (see :mod:`hive.graph.expression`) over ``success``, ``result``
            (the outputs), ``error``, ``error_type``, ``attempt``, ``max_attempts``, ``step``,
            ``context`` and ``goal``. An expression that cannot be evaluated escalates: to go on
            would mean to accept what the rule was to prevent.
        action: What follows.
        feedback: The judgment's feedback; the attempt's error if empty.
        priority: Higher is tried first; of equal ones the one given first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    description: str = ""
    condition: str
    action: JudgmentAction
    feedback: str = Field(default="")
    priority: int = 0


class Judge(Protocol):
    """Says what follows an attempt of a step."""

    async def evaluate(
        self, step: PlanStep, outcome: StepOutcome, goal: Goal, context: Mapping[str, Any]
    ) -> Judgment:
        """Judge one attempt.

        Args:
            step: The step as it stood before the attempt.
            outcome: What the attempt gave.
            goal: The run's goal.
            context: What the step could see, a copy.
        """
        ...


JudgeFunction = Callable[
    ["PlanStep", StepOutcome, "Goal", Mapping[str, Any]],
    Judgment | JudgmentAction | str | Awaitable[Judgment | JudgmentAction | str],
]
"""A judge that is a plain function, sync or async; it may return the bare action."""


class HybridJudge:
    """Rules in the order of their priority, then a function, then the obvious.

    The obvious is to accept a success and to retry a failure.
    """

    def __init__(
        self, rules: Iterable[EvaluationRule] = (), function: JudgeFunction | None = None
    ) -> None:
        """Check the rules.

        Raises:
            InvalidInputError: A condition is no expression, or it names what no rule knows; the
                message names every such rule. Or the function is none.
        """
        if function is not None and not callable(function):
            raise errors.InvalidInputError(
                f"{kind_of(function)} is no judge: give a function of step, outcome, goal, context"
            )
        self._rules = sorted(rules, key=lambda rule: -rule.priority)
        self._function = function
        problems = []
        for rule in self._rules:
            place = f"rules[{rule.id!r}].condition"
            problems += [f"{place}: {problem}" for problem in _problems_of(rule.condition)]
        if problems:
            raise errors.InvalidInputError("; ".join(problems))

    @property
    def has_only_rules(self) -> bool:
        """Whether no function of the user's is asked."""
        return self._function is None

    async def evaluate(
        self, step: PlanStep, outcome: StepOutcome, goal: Goal, context: Mapping[str, Any]
    ) -> Judgment:
        """Judge one attempt of a step."""
        names = _names(step, outcome, goal, context) if self._rules else {}
        for rule in self._rules:
            try:
                holds = Expression(rule.condition).holds(names)
            except errors.InvalidInputError as error:
                return Judgment(
                    action=JudgmentAction.ESCALATE,
                    reasoning=f"rule {rule.id!r} cannot be evaluated: {error}",
                    feedback=str(error),
                    rule_matched=rule.id,
                )
            if holds:
                return Judgment(
                    action=rule.action,
                    reasoning=rule.description or f"rule {rule.id!r}",
                    feedback=rule.feedback or outcome.error,
                    rule_matched=rule.id,
                )
        if self._function is None:
            action = JudgmentAction.ACCEPT if outcome.success else JudgmentAction.RETRY
            return Judgment(action=action, reasoning=outcome.error or "", feedback=outcome.error)
        answer: Any = self._function(step, outcome, goal, context)
        if inspect.isawaitable(answer):
            answer = await answer
        return _judgment(answer, outcome)


def judge_of(judge: Judge | JudgeFunction | None) -> Judge:
    """Return a judge for what a user gave: a judge, a function, or nothing."""
    evaluate = getattr(judge, "evaluate", None)
    if callable(evaluate):
        return judge  # type: ignore[return-value]  # it has what the protocol asks for
    if judge is not None and not callable(judge):
        raise errors.InvalidInputError(
            f"{kind_of(judge)} is no judge: give a function or an object with evaluate()"
        )
    return HybridJudge(function=judge)


def _judgment(answer: object, outcome: StepOutcome) -> Judgment:
    if isinstance(answer, Judgment):
        return answer
    if isinstance(answer, str) and answer in list(JudgmentAction):
        return Judgment(action=JudgmentAction(answer), feedback=outcome.error)
    what = repr(answer) if isinstance(answer, str) else kind_of(answer)
    raise errors.InvalidInputError(
        f"the judge returned {what}; return a Judgment or one of {', '.join(JudgmentAction)}"
    )


def _problems_of(condition: str) -> Iterator[str]:
    try:
        expression = Expression(condition)
    except errors.InvalidInputError as error:
        yield str(error)
        return
    for name in sorted(expression.names - _NAMES):
        yield f"there is no {name!r}; a rule knows {', '.join(sorted(_NAMES))}"
    for part in parts_of_no_goal(expression.parts_of("goal")):
        yield f"a goal has no {part!r}"


def _names(
    step: PlanStep, outcome: StepOutcome, goal: Goal, context: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "success": outcome.success,
        "result": outcome.outputs,
        "error": outcome.error,
        "error_type": outcome.error_type,
        "attempt": outcome.attempt,
        "max_attempts": outcome.max_attempts,
        "step": step.definition(),
        "goal": goal.model_dump(mode="json"),
        "context": context,
    }
