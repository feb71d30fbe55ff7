"""Rebuilding delta channels: the writes on the way back to the nearest stored value of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langgraph.checkpoint.base import DeltaChannelHistory

from hive.adapters.langgraph.salvage import naming_channel
from hive.errors import CorruptionError, InvalidInputError, LimitError
from manifests import Repository
from manifests.ancestry import Behind

__all__ = ["delta_history"]


def delta_history(
    repository: Repository, ref: tuple[str, str], channels: Sequence[str]
) -> Mapping[str, DeltaChannelHistory]:
    """Return, for each channel, its writes from oldest to newest and the value they start from.

    Writes at the checkpoint itself belong to the step after it and are left out. An error says
    which channel it is about.
    """
    try:
        found = repository.behind(ref, channels)
    except (InvalidInputError, LimitError, CorruptionError):
        for name in channels:
            with naming_channel(name):
                repository.behind(ref, [name])
        raise
    return {name: _history(behind) for name, behind in found.items()}


def _history(behind: Behind) -> DeltaChannelHistory:
    history: DeltaChannelHistory = {
        "writes": [(write.task, write.name, write.value) for write in behind.writes]
    }
    if behind.is_found:
        history["seed"] = behind.value
    return history
