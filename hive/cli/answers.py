"""What a person answered on the command line to a run that waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.errors import InvalidInputError

if TYPE_CHECKING:
    from hive.plan import ApprovalResult
    from hive.runner import Wait

__all__ = ["Answer", "approvals_for"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The options of ``hive resume`` that answer something."""

    approve: bool
    reject: bool
    steps: tuple[str, ...]
    reason: str | None
    given: dict[str, Any] | None


def approvals_for(run: str, waits: list[Wait], answer: Answer) -> dict[str, ApprovalResult]:
    """Return the answers for the steps that a run waits for; none if nothing was answered.

    Input for a step that waits for an approval approves it with that input.

    Raises:
        InvalidInputError: The options do not fit together, or not to what the run waits for.
    """
    from hive.plan import ApprovalDecision, ApprovalResult

    asking = [wait.step for wait in waits if wait.kind != "input"]
    modifies = answer.given is not None and bool(asking)
    chosen = [answer.approve, answer.reject, modifies]
    if sum(chosen) > 1:
        raise InvalidInputError("--approve, --reject and --input say different things: give one")
    if not any(chosen):
        if answer.steps or answer.reason is not None:
            raise InvalidInputError("--step and --reason go with --approve, --reject or --input")
        return {}
    if not asking:
        raise InvalidInputError(
            f"run {run!r} waits for no approval"
            + (f", but for input after {waits[0].step!r}: give --input" if waits else "")
        )
    steps = answer.steps or tuple(asking)
    unknown = [step for step in steps if step not in asking]
    if unknown:
        raise InvalidInputError(f"step {unknown[0]!r} does not wait; these do: {_listed(asking)}")
    if len(steps) > 1 and not answer.steps:
        raise InvalidInputError(
            f"several steps wait; name those you mean with --step: {_listed(asking)}"
        )
    if modifies:
        decision = ApprovalDecision.MODIFY
    else:
        decision = ApprovalDecision.APPROVE if answer.approve else ApprovalDecision.REJECT
    inputs = answer.given if modifies and answer.given else {}
    result = ApprovalResult(decision=decision, reason=answer.reason, inputs=inputs)
    return dict.fromkeys(steps, result)


def _listed(steps: list[str]) -> str:
    return ", ".join(repr(step) for step in steps)
