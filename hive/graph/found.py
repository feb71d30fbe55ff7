"""What a checkpoint manager finds: where a run can be continued, and what was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cas.owner import Owner
    from manifests import Checkpoint

__all__ = ["InterruptedRun", "ResumePoint"]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A checkpoint that an executor can continue from.

    Attributes:
        checkpoint: The checkpoint.
        state: Its state, the memory.
        execution: Its execution record, with what branches have done since.
        is_head: It is the head of its run.
        is_current: Its state was of the version of this program; it was not migrated.
    """

    checkpoint: Checkpoint
    state: Any
    execution: dict[str, Any]
    is_head: bool
    is_current: bool = True


@dataclass(frozen=True, slots=True)
class InterruptedRun:
    """A run that an executor began and nobody goes on with, although it did not stop by itself.

    Attributes:
        run: Its name; ``execute(..., run=run, resume=True)`` continues it.
        head: Where it stands.
        owner: The process that executed it last; None if that let go of it (a cancelled task).
    """

    run: str
    head: Checkpoint
    owner: Owner | None
