"""The specification of branches that run in parallel."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MergeRule", "ParallelSpec"]


class MergeRule(StrEnum):
    """What becomes of a memory key that several branches wrote.

    Always in the order in which the graph declares the edges that begin the branches, never in the
    order in which the branches happened to end.
    """

    ERROR = "error"  # values that are not the same data are a conflict, which fails the run
    FIRST = "first"  # the value of the first branch that wrote the key
    LAST = "last"  # that of the last one
    COLLECT = "collect"  # a list of the values, also if only one branch wrote the key
    APPEND = "append"  # the list from before, and then what each branch put at its end
    UPDATE = "update"  # the dict from before with the changes of all; the same entry conflicts
    ADD = "add"  # the number from before plus what each branch added to it
    DROP = "drop"  # the key stays what it was before the branches


class ParallelSpec(BaseModel):
    """A fan-out and its fan-in.

    After ``source`` succeeded, *all* its edges that may be followed are followed at the same time.
    Each begins a branch, which is known by the edge's id: a walk through the graph as any other,
    which ends where it comes to ``join``, or where nothing leads on. Each branch has a memory of
    its own, in which it sees what was there when it began and what it wrote, and nothing of the
    others. When all have ended, what they wrote is merged, and ``join`` is visited once.

    Attributes:
        source: The node after which the branches begin. Where it fails, or chooses the next node
            itself, the run goes on as without this.
        join: The node at which they meet.
        merge: ``{memory key: rule}`` for keys that several branches write; ``error`` for others.
        on_failure: When a branch fails for good: ``wait`` for the others and fail the run; a resume
            then makes only the failed branches go on. ``cancel`` the others and fail the run.
            ``continue`` without what the branch wrote.
        errors_key: The memory key that receives ``{branch: error}`` if branches failed and
            ``on_failure`` is ``continue``.
        max_concurrency: How many branches run at the same time, inclusive; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    join: str
    merge: dict[str, MergeRule] = Field(default_factory=dict)
    on_failure: Literal["wait", "cancel", "continue"] = "wait"
    errors_key: str | None = None
    max_concurrency: int | None = Field(default=None, ge=1)
