"""What a configuration keeps, as retention policies of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import RetentionPolicy

__all__ = ["policy_of", "store_policy_of"]


def policy_of(config: CheckpointConfig) -> RetentionPolicy | None:
    """Return the policy of a configuration for each run; None if it keeps everything."""
    if config.retention == "all":
        return None
    from manifests import RetentionPolicy

    return RetentionPolicy(
        mode=config.retention,
        keep_last=config.keep_last,
        keep_within=config.max_age,
        keep_kinds=config.keep_kinds,
    )


def store_policy_of(config: CheckpointConfig) -> RetentionPolicy | None:
    """Return the policy of a configuration for all runs together; None if it sets no limit."""
    if config.max_checkpoints is None and config.max_bytes is None:
        return None
    from manifests import RetentionPolicy

    return RetentionPolicy(max_checkpoints=config.max_checkpoints, max_bytes=config.max_bytes)
