"""Plans: steps that depend on one another, made by a planner outside and executed here."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from hive.plan.problems import problems_of
from hive.plan.status import StepStatus

__all__ = ["ActionSpec", "ActionType", "Plan", "PlanStep"]

_STATE: Final = frozenset({"status", "result", "error", "attempts"})


class ActionType(StrEnum):
    """What kind of thing a step runs."""

    FUNCTION = "function"  # a registered function, sync or async: also a tool, or a model call
    NODE = "node"  # a registered node object
    SUB_GRAPH = "sub_graph"  # a registered graph, with checkpoints of its own


class ActionSpec(BaseModel):
    """What a step runs: something that was registered with the executor under ``name``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action_type: ActionType = ActionType.FUNCTION
    name: str


class PlanStep(BaseModel):
    """One step of a plan.

    Attributes:
        id: Unique in its plan.
        description: For people and for the judge.
        action: What to run; a plain name means the function of that name.
        inputs: Keyword arguments of the action. A text ``"$key"`` stands for a value of the
            context, ``"$steps.ID"`` and ``"$steps.ID.key"`` for the result of a step before this
            one, also inside lists and objects; ``"$$"`` at the start for a plain ``"$"``.
        expected_outputs: The keys that the step adds to the context; it fails if one is missing.
            Empty: the keys of a returned mapping, or one key named like the step.
        dependencies: The steps that must be completed before this one. A step sees the context
            that the run was given and what the steps before it added, and nothing else, so that
            its result does not depend on which independent steps happen to be done.
        requires_approval: A person must approve before it runs.
        approval_message: What to ask the person.
        max_retries: Retries after the first attempt: ``max_retries + 1`` attempts in all.
        backoff_seconds: Wait before the first retry; doubled for each further one.
        timeout_seconds: How long one attempt may take, exclusive; it then is cancelled and has
            failed with a ``TimeoutError``. Only what awaits can be cancelled: a function that is
            not async, and does not run in a thread, cannot have one.
        status: Where the step stands.
        result: What it added to the context, once it is completed.
        error: Why it failed, or what the judge found in its last attempt.
        attempts: How many attempts ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    description: str = ""
    action: ActionSpec
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    expected_outputs: list[str] = Field(default_factory=list)
    dependencies: list[str] = Field(default_factory=list)
    requires_approval: bool = False
    approval_message: str | None = None
    max_retries: int = Field(default=3, ge=0)
    backoff_seconds: float = Field(default=0.1, ge=0.0)
    timeout_seconds: float | None = Field(default=None, gt=0.0)
    status: StepStatus = StepStatus.PENDING
    result: Any = None
    error: str | None = None
    attempts: int = Field(default=0, ge=0)

    @field_validator("action", mode="before")
    @classmethod
    def _named_function(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    def definition(self) -> dict[str, Any]:
        """Return what the step is, without where it stands, as JSON data."""
        return self.model_dump(mode="json", exclude=set(_STATE))


class Plan(BaseModel):
    """Steps and what they start from.

    The executor never changes a plan. What it returns holds a plan with the same steps as they
    then stand; executed again, that one goes on from there.

    Attributes:
        id: Names the plan.
        goal_id: The goal it was made for. Descriptive: any goal may be passed to the executor.
        description: For people.
        steps: The steps. Their order decides which of several possible steps is started first.
        context: What the steps may read besides the results of earlier ones.
        revision: Counts the plans made for one run, from 1: a new one after a replan is higher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    goal_id: str = ""
    description: str = ""
    steps: list[PlanStep] = Field(default_factory=list)
    context: dict[str, JsonValue] = Field(default_factory=dict)
    revision: int = Field(default=1, ge=1)

    def get_step(self, step_id: str) -> PlanStep | None:
        """Return the step of that id, or None."""
        return next((step for step in self.steps if step.id == step_id), None)

    def definition(self) -> dict[str, Any]:
        """Return what the plan is, without where its steps stand, as JSON data."""
        fields = self.model_dump(mode="json", exclude={"steps"})
        return {**fields, "steps": [step.definition() for step in self.steps]}

    # The name is the seed framework's; pydantic's deprecated classmethod of that name is not ours.
    def validate(self) -> list[str]:  # type: ignore[override]
        """Return every problem of this plan, each with its place; empty if it can be executed."""
        return problems_of(self)
