"""What a checkpoint manager finds: where a run can be continued, and what was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.arguments import run_name
from hive.graph.background import in_thread

if TYPE_CHECKING:
    from cas.owner import Owner
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.discretion import Discretion
    from manifests import Checkpoint

__all__ = ["InterruptedRun", "ResumePoint", "point_of", "unused_name"]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A checkpoint that an executor can continue from.

    Attributes:
        checkpoint: The checkpoint.
        state: Its state, the memory.
        execution: Its execution record, with what branches have done since.
        is_head: It is the head of its run.
        is_current: Its state was of the version of this program; it was not migrated.
        discretion: What replaces values in records, if there are rules.
    """

    checkpoint: Checkpoint
    state: Any
    execution: dict[str, Any]
    is_head: bool
    is_current: bool = True
    discretion: Discretion | None = None

    def refuse_foreign_head(self, executor: str) -> None:
        """Refuse to go on at the head of a run if that is not a checkpoint of an executor.

        Raises:
            ConflictError: The head is another one; ``executor`` says of what kind it is not.
        """
        if not self.is_head:
            run, sequence = self.checkpoint.run, self.checkpoint.sequence
            raise errors.ConflictError(
                f"the head of run {run!r} was not written by {executor}; continue from "
                f"'{run}@{sequence}' as a fork",
                run=run,
            )


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


async def unused_name(manager: CheckpointManager | None, run: str | None, prefix: str) -> str:
    """Return the name of a new run: the one asked for, or a fresh one that begins with ``prefix``.

    Raises:
        InvalidInputError: It cannot be a name.
        ConflictError: The store has a run of that name.
    """
    name = run_name(run, prefix)
    if manager is not None and run is not None:
        head = await in_thread(partial(manager.latest, name))
        if head is not None:
            raise errors.ConflictError(
                f"there is a run {name!r} already (at checkpoint {head.sequence}): pass "
                "resume=True to continue it, or choose another name",
                run=name,
            )
    return name


async def point_of(
    manager: CheckpointManager, run: str | None, ref: str | None
) -> tuple[ResumePoint | None, bool]:
    """Find where a call continues a run, and whether it goes on with that run itself.

    Args:
        manager: Holds the run.
        run: The run that was asked for.
        ref: The checkpoint; the head of that run if None.

    Returns:
        The point, None if there is no such run yet; and False if the point begins a fork.

    Raises:
        InvalidInputError: Neither was named.
        NotFoundError: There is no such checkpoint.
    """
    if ref is not None:
        point = await in_thread(partial(manager.point_at, ref))
        return point, point.is_head and run in (None, point.checkpoint.run)
    if run is None:
        raise errors.InvalidInputError("resume=True needs the name of the run: pass run=")
    return await in_thread(partial(manager.resume_point, run)), True
