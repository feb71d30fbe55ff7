"""Asking a person before a step runs, or about what it gave."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hive import errors

__all__ = ["Answer", "ApprovalDecision", "ApprovalRequest", "ApprovalResult", "result_of"]


class ApprovalDecision(StrEnum):
    """What a person decided."""

    APPROVE = "approve"  # run it; or accept what an escalated step gave
    REJECT = "reject"  # do not run it, nor what depends on it
    MODIFY = "modify"  # run it with other inputs
    ABORT = "abort"  # stop the whole run


class ApprovalRequest(BaseModel):
    """What a person is asked.

    Attributes:
        step_id: The step.
        description: The step's description.
        action: What it runs.
        message: The step's own question, or why its judge asks.
        inputs: Its inputs, references resolved.
        outputs: For an escalated step: what its last attempt gave; None if that failed, or if
            the step did not run yet.
        error: For an escalated step: why its last attempt failed.
        escalated: The judge asks, after an attempt; else the step asks before its first one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_id: str
    description: str = ""
    action: str
    message: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    outputs: dict[str, Any] | None = None
    error: str | None = None
    escalated: bool = False


class ApprovalResult(BaseModel):
    """A person's answer.

    Attributes:
        decision: The decision.
        reason: Why, for the report; the step's error if it is rejected.
        inputs: For ``modify``: inputs that replace or join the step's own. They are values:
            a ``$`` in them means nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: ApprovalDecision
    reason: str | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)


Answer = ApprovalResult | ApprovalDecision | str | bool
"""What stands for a person's answer: a result, a decision, its word, or True and False."""


def result_of(answer: object, place: str) -> ApprovalResult:
    """Return an answer in its long form.

    Raises:
        InvalidInputError: It is none, or it gives inputs without modifying; ``place`` names it.
    """
    if isinstance(answer, bool):
        answer = ApprovalDecision.APPROVE if answer else ApprovalDecision.REJECT
    if isinstance(answer, str) and answer in list(ApprovalDecision):
        answer = ApprovalResult(decision=ApprovalDecision(answer))
    if not isinstance(answer, ApprovalResult):
        words = ", ".join(ApprovalDecision)
        raise errors.InvalidInputError(
            f"{place}: {answer!r} is no answer; give True, False, {words}, or an ApprovalResult"
        )
    modifies = answer.decision is ApprovalDecision.MODIFY
    if modifies != bool(answer.inputs):
        raise errors.InvalidInputError(
            f"{place}: 'modify' and only 'modify' comes with inputs, which replace the step's own"
        )
    return answer
