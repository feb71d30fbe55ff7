"""What a run waits for, read from its execution record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Wait", "waits_of"]


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that a run waits for.

    Attributes:
        kind: ``input`` after a pause node of a graph; ``approval`` before a step of a plan runs;
            ``escalation`` when its judge wants a person to look at what it gave.
        step: The node or the step.
        message: What is asked; None if nobody said.
    """

    kind: Literal["input", "approval", "escalation"]
    step: str
    message: str | None = None


def waits_of(execution: Mapping[str, Any]) -> list[Wait]:
    """Return what a run with this execution record waits for; nothing unless it is paused."""
    match execution.get("executor"), execution.get("status"):
        case "graph", "paused":
            node = execution.get("paused_at")
            return [Wait("input", node)] if isinstance(node, str) else []
        case "plan", "awaiting_approval" | "needs_escalation":
            return _waits_of_plan(execution)
    return []


def _waits_of_plan(execution: Mapping[str, Any]) -> list[Wait]:
    messages = {
        step["id"]: step["approval_message"] or step["description"] or None
        for step in json.loads(execution["plan"])["steps"]
    }
    return [
        Wait("escalation", step, state["feedback"])
        if state["escalated"]
        else Wait("approval", step, messages.get(step))
        for step, state in execution["step_states"].items()
        if state["status"] == "awaiting_approval"
    ]
