"""A checkpoint of LangGraph as Hive keeps it: channel values as the state, the rest as a record.

The record stands in the manifest's execution record, in one piece: ``versions_seen``, the channel
versions and the metadata change together at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata

from hive.errors import CorruptionError

__all__ = ["kind_of", "metadata_of", "needs_parent", "parent_of", "record_of", "rest_of"]

RECORD: Final = "langgraph"
_METADATA: Final = "metadata"
_PARENT: Final = "parent_id"
_COUNTERS: Final = "counters_since_delta_snapshot"
_OUTSIDE: Final = ("id", "channel_values")
"""Kept elsewhere: the id is the key, the values are the state."""
_KINDS: Final = ("input", "loop", "update", "fork")


def record_of(
    checkpoint: Checkpoint, metadata: Mapping[str, Any], parent_id: str | None
) -> dict[str, Any]:
    """Return what is stored besides the channel values.

    ``parent_id`` is given if the parent is not listed, so that nothing else tells it.
    """
    record: dict[str, Any] = {
        name: value for name, value in checkpoint.items() if name not in _OUTSIDE
    }
    record[_METADATA] = dict(metadata)
    if parent_id is not None:
        record[_PARENT] = parent_id
    return {RECORD: record}


def rest_of(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``record_of`` made, from an execution record.

    Raises:
        CorruptionError: The checkpoint was not saved by LangGraph.
    """
    record = execution.get(RECORD)
    if not isinstance(record, dict) or _METADATA not in record:
        raise CorruptionError("the checkpoint is none of LangGraph's")
    return record


def metadata_of(record: Mapping[str, Any]) -> CheckpointMetadata:
    """Return the metadata in a record."""
    return cast("CheckpointMetadata", record[_METADATA])


def parent_of(record: Mapping[str, Any]) -> str | None:
    """Return the id of a parent that was not listed when the checkpoint was saved."""
    return cast("str | None", record.get(_PARENT))


def checkpoint_of(record: Mapping[str, Any], checkpoint_id: str, values: Any) -> Checkpoint:
    """Return the checkpoint again."""
    fields = {name: value for name, value in record.items() if name not in (_METADATA, _PARENT)}
    return cast("Checkpoint", {**fields, "id": checkpoint_id, "channel_values": values})


def kind_of(metadata: Mapping[str, Any]) -> str:
    """Return the kind of checkpoint that people see: where it came from."""
    source = metadata.get("source")
    return source if source in _KINDS else "checkpoint"


def needs_parent(checkpoint: Checkpoint, metadata: Mapping[str, Any]) -> bool:
    """Whether a delta channel of the checkpoint is rebuilt from its ancestors' writes.

    LangGraph counts, for each delta channel, what was written since its last snapshot. Where it
    counts and there is a version but no value, the value is in the ancestors.
    """
    counted = metadata.get(_COUNTERS) or {}
    versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
    return any(name in versions and name not in values for name in counted)
