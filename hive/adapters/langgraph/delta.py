"""Rebuilding delta channels: the writes on the way back to the nearest stored value of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import DeltaChannelHistory, PendingWrite

from manifests import Snapshot

__all__ = ["delta_history"]


def delta_history(target: Snapshot, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
    """Return, for each channel, its writes from oldest to newest and the value they start from.

    Writes at the target itself belong to the step after it and are left out. The way back leads
    over checkpoints that are not listed any more, which are kept for this.
    """
    writes: dict[str, list[PendingWrite]] = {name: [] for name in channels}
    seeds: dict[str, Any] = {}
    searched = set(channels)
    ancestor = target.parent()
    while ancestor is not None and searched:
        for write in reversed(ancestor.pending(searched)):
            writes[write.name].append((write.task, write.name, write.value))
        found = ancestor.fields(searched)
        seeds.update(found)
        searched -= found.keys()
        ancestor = ancestor.parent()
    history: dict[str, DeltaChannelHistory] = {}
    for name in channels:
        history[name] = {"writes": writes[name][::-1]}
        if name in seeds:
            history[name]["seed"] = seeds[name]
    return history
