"""Limits of an executor of plans."""

from __future__ import annotations

from dataclasses import dataclass

from hive import errors

__all__ = ["ExecutorConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """Limits of one executor of plans.

    Attributes:
        max_total_steps: How many attempts of steps a run may make, inclusive; pauses and resumes
            do not reset the count. A run that would need more fails.
        max_parallel: How many steps may be under way at once.
        max_replans: How many times a run may get a new plan, inclusive.
    """

    max_total_steps: int = 100
    max_parallel: int = 4
    max_replans: int = 10

    def __post_init__(self) -> None:
        if self.max_total_steps < 1 or self.max_parallel < 1 or self.max_replans < 0:
            raise errors.InvalidInputError(
                "max_total_steps and max_parallel are at least 1, max_replans at least 0"
            )
