"""The kinds of checkpoints that Hive's executors and adapters write. Programs may name others."""

from __future__ import annotations

from typing import Final, Literal, get_args

__all__ = ["KINDS", "Kind"]

Kind = Literal[
    "abandoned",
    "answered",
    "attempt_failed",
    "branches_complete",
    "checkpoint",
    "escalated",
    "failed",
    "final",
    "fork",
    "input",
    "loop",
    "node_complete",
    "node_failed",
    "node_progress",
    "node_start",
    "paused",
    "resumed",
    "update",
]
KINDS: Final[frozenset[str]] = frozenset(get_args(Kind))
