"""What the execution of a graph gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ExecutionResult"]


@dataclass(slots=True)
class ExecutionResult:
    """The outcome of one call of ``GraphExecutor.execute``.

    Counters cover the whole run, also what happened before a pause, a crash or a resume.

    Attributes:
        success: The run completed, or paused as it should.
        output: The memory at the end, a copy.
        error: Why the run failed.
        steps_executed: Visits of nodes.
        total_tokens: Tokens of all attempts.
        total_latency_ms: Milliseconds of all attempts.
        path: The nodes visited, in order; a failed run ends with the node that failed.
        paused_at: The pause node after which the run waits for a resume.
        session_state: Continues a paused or failed run without a store; empty if it completed.
        run_id: Name of the run.
        checkpoint_id: Id of the last checkpoint, 64 hex digits; None without a manager.
        visits: How often each node was visited.
        retries: How many attempts of each node failed.
    """

    success: bool
    output: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    steps_executed: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    path: list[str] = field(default_factory=list)
    paused_at: str | None = None
    # Holds the whole graph as text: a printed result would be pages long.
    session_state: dict[str, Any] = field(default_factory=dict, repr=False)
    run_id: str = ""
    checkpoint_id: str | None = None
    visits: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)
