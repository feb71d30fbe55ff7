"""How one node leads to the next: edges and their conditions."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EdgeCondition", "EdgeSpec"]


class EdgeCondition(StrEnum):
    """When an edge may be followed."""

    ALWAYS = "always"  # after success and after final failure
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"  # once the node's retries are used up
    CONDITIONAL = "conditional"  # after success, if condition_expr is true


class EdgeSpec(BaseModel):
    """An edge from one node to another.

    Of the edges that may be followed, the one with the highest ``priority`` is; of equal ones the
    one declared first.

    Attributes:
        id: Unique in its graph.
        source: Id of the node it leaves.
        target: Id of the node it leads to.
        condition: When it may be followed; by default only after success, so that a failed node
            never leads on unnoticed.
        condition_expr: The expression of a ``conditional`` edge, such as ``output.score > 0.8``
            (see :mod:`hive.graph.expression`).
        input_mapping: ``{target key: source key}``. The source key is looked up in the source
            node's output, then in memory (``error`` is the reason after a failure); the value is
            written to memory under the target key and is the target's input. Empty: the whole
            output is the target's input.
        priority: Higher is tried first.
        description: For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str
    target: str
    condition: EdgeCondition = EdgeCondition.ON_SUCCESS
    condition_expr: str | None = None
    input_mapping: dict[str, str] = Field(default_factory=dict)
    priority: int = 0
    description: str = ""
