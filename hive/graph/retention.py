"""Which checkpoints of a run a configuration does not keep. Pure: it looks at no store or clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Checkpoint

__all__ = ["droppable"]


def droppable(
    checkpoints: Sequence[Checkpoint], config: CheckpointConfig, tagged: Collection[Digest] = ()
) -> list[Checkpoint]:
    """Return the checkpoints that ``config`` does not keep.

    Args:
        checkpoints: Those of one run, newest first.
        config: The retention mode and its numbers. The age of a checkpoint is counted back from
            the newest one, so that a clock that jumps drops nothing more.
        tagged: Ids that are never dropped.

    Returns:
        A part of ``checkpoints`` in their order, without the head, the newest that an executor
        can resume and the tagged ones.
    """
    if config.retention == "all" or not checkpoints:
        return []
    head = checkpoints[0]
    # Executors alone give a graph digest.
    resumable = next((cp for cp in checkpoints if cp.graph is not None), head)
    keep_last = config.keep_last or 0
    dropped = []
    for age, checkpoint in enumerate(checkpoints):
        recent = age < keep_last or (
            config.max_age is not None and head.created_at - checkpoint.created_at <= config.max_age
        )
        needed = checkpoint is head or checkpoint is resumable or checkpoint.id in tagged
        if not recent and not needed:
            dropped.append(checkpoint)
    return dropped
