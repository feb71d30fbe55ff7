"""Marking a run as abandoned, so that nobody offers to go on with it, and taking that back.

The mark is a checkpoint like the one before it, of the kind ``abandoned``: history says when it was
made, it travels with an export, and a run that somebody moves on meanwhile is a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hive import errors
from hive.graph.records import completed
from hive.graph.standing import ABANDONED, standing_of

if TYPE_CHECKING:
    from manifests import Checkpoint, Repository
    from manifests.kinds import Kind

__all__ = ["abandon", "reinstate"]

_KIND_OF_STATUS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("paused", "awaiting_approval", "needs_escalation"), "paused"),
    **dict.fromkeys(("failed", "needs_replan", "rejected", "aborted"), "failed"),
}
"""The kind of the checkpoint at which an executor with that status stopped."""


def abandon(repository: Repository, run: str) -> Checkpoint:
    """Mark a run as abandoned and return the mark. A run that is marked stays as it is.

    Raises:
        NotFoundError: There is no such run.
        ConflictError: It is completed, a process executes it, or somebody moved it on meanwhile.
    """
    head = _head(repository, run)
    if head.kind == ABANDONED:
        return head
    if head.kind == "final":
        raise errors.ConflictError(f"run {run!r} is completed: there is nothing to abandon")
    if standing_of(repository, head) == "running":
        # It would find its head moved on, and fail.
        raise errors.ConflictError(
            f"run {run!r} is being executed; wait for it or stop it", run=run
        )
    return _again(repository, head, ABANDONED)


def reinstate(repository: Repository, run: str) -> Checkpoint:
    """Take the mark of an abandoned run back; it then stands where it stood before.

    Raises:
        NotFoundError: There is no such run.
        ConflictError: It is not marked, or somebody moved it on meanwhile.
    """
    head = _head(repository, run)
    if head.kind != ABANDONED:
        raise errors.ConflictError(f"run {run!r} is not abandoned")
    status = str(repository.execution(head).get("status"))
    return _again(repository, head, _KIND_OF_STATUS.get(status, "input"))


def _head(repository: Repository, run: str) -> Checkpoint:
    heads = repository.log(run, limit=1)
    if not heads:
        raise errors.NotFoundError(f"there is no run {run!r}")
    return heads[0]


def _again(repository: Repository, head: Checkpoint, kind: Kind) -> Checkpoint:
    """Save the head's state once more, under another kind; nothing of it is stored twice.

    What branches have done since the head is beside it, and becomes part of the new checkpoint.
    """
    from manifests.parts import Structure

    execution = repository.execution(head)
    if execution.get("section") is not None:
        writes = repository.pending(head.run, head.sequence)
        execution = completed(execution, {write.task: write.value for write in writes})
    return repository.commit(
        head.run,
        repository.restore(head),
        node=head.node,
        kind=kind,
        next_nodes=head.next_nodes,
        execution=Structure(execution),
        labels=head.labels,
        graph=head.graph,
        parent=head,
    )
