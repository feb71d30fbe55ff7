"""What a run is for: a goal with its success criteria and constraints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = ["Constraint", "Goal", "SuccessCriterion", "parts_of_no_goal"]


class SuccessCriterion(BaseModel):
    """One way to tell that a goal was reached. Descriptive: the executor does not measure it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    description: str = ""
    metric: str = ""
    target: JsonValue = None
    weight: float = Field(default=1.0, ge=0.0)


class Constraint(BaseModel):
    """A rule that a run has to keep. Descriptive: nodes read it, nothing enforces it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    description: str = ""
    constraint_type: str = "hard"
    category: str = ""
    check: str = ""


class Goal(BaseModel):
    """What a run is for. Every node sees it as ``ctx.goal``, every edge condition as ``goal``.

    A goal is part of what a run *is*: resuming with a changed goal is refused unless the caller
    accepts the change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str = ""
    description: str = ""
    success_criteria: list[SuccessCriterion] = Field(default_factory=list)
    constraints: list[Constraint] = Field(default_factory=list)
    context: dict[str, JsonValue] = Field(default_factory=dict)


def parts_of_no_goal(parts: Iterable[str]) -> list[str]:
    """Return the parts that no goal has, sorted: classes that a program made of ``Goal`` count."""
    classes = list(_classes(Goal))
    if any(each.model_config.get("extra") == "allow" for each in classes):
        return []
    known = {name for each in classes for name in (*each.model_fields, *each.model_computed_fields)}
    return sorted(set(parts) - known)


def _classes(goal: type[Goal]) -> Iterator[type[Goal]]:
    yield goal
    for each in goal.__subclasses__():
        yield from _classes(each)
