"""What a configuration keeps, as a retention policy of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import RetentionPolicy

__all__ = ["policy_of"]


def policy_of(config: CheckpointConfig) -> RetentionPolicy | None:
    """Return the policy of a configuration; None if it keeps everything."""
    if config.retention == "all":
        return None
    from manifests import RetentionPolicy

    return RetentionPolicy(
        mode=config.retention, keep_last=config.keep_last, keep_within=config.max_age
    )
