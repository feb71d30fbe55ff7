"""A checkpoint of LangGraph as Hive keeps it: channel values as the state, the rest as a record.

The rest is mostly names, which are the same in every checkpoint of a thread, and numbers that
change in each. Stored as LangGraph has it, it takes more than the messages of a short step. So the
names of channels and nodes stand in a value of their own, an object that all checkpoints share, and
numbers refer to them by their places. What remains fits into the manifest. ::

    names       [[channel, ...], [node, ...], [key of the metadata, ...]]
    versions    [version, ...], of the channels in their order
    seen        [[place of a channel, version, ...], ...], of the nodes in theirs
    updated     [place of a channel, or a name, ...], or null
    ts          microseconds since 1970, or a text that is no such moment
    step, source, metadata   what the metadata holds; its other values in the order of their keys
    more        whatever else the checkpoint has
    parent_id   if no listed checkpoint is the parent
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata

from hive.errors import CorruptionError
from hive.threads import DELTA_COUNTERS, is_record_of_thread
from manifests.kinds import Kind

__all__ = [
    "channels_behind",
    "checkpoint_of",
    "kind_of",
    "metadata_of",
    "parent_of",
    "record_of",
    "rest_of",
]

_OWN_PLACES: Final = frozenset(
    ("id", "channel_values", "ts", "channel_versions", "versions_seen", "updated_channels")
)
_BESIDE: Final = ("source", "step")
"""Metadata that change with every checkpoint; the rest often stays."""
_OWN_METADATA: Final = (*_BESIDE, "parents", DELTA_COUNTERS)
"""Metadata that LangGraph itself writes and goes by."""
_OWN_MORE: Final = ("v",)
_KINDS: Final = ("input", "loop", "update", "fork")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def record_of(
    checkpoint: Checkpoint,
    metadata: Mapping[str, Any],
    parent_id: str | None,
    redacted: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return what is stored besides the channel values.

    ``parent_id`` is given if the parent is not listed, so that nothing else tells it. ``redacted``
    replaces what rules name, if there are any; it gets no values that LangGraph or Hive go by.
    """
    if redacted is not None:
        metadata = {**metadata, **redacted(_without(metadata, _OWN_METADATA))}
    versions, seen = checkpoint["channel_versions"], checkpoint["versions_seen"]
    places = {name: place for place, name in enumerate(versions)}
    updated = checkpoint.get("updated_channels")
    others = {name: value for name, value in metadata.items() if name not in _BESIDE}
    record: dict[str, Any] = {
        "names": [list(versions), list(seen), list(others)],
        "versions": list(versions.values()),
        "seen": [
            [part for name, version in held.items() for part in (places.get(name, name), version)]
            for held in seen.values()
        ],
        "updated": None if updated is None else [places.get(name, name) for name in updated],
        "ts": _packed_moment(checkpoint["ts"]),
        "metadata": list(others.values()),
        **{name: metadata[name] for name in _BESIDE if name in metadata},
    }
    more = _without(checkpoint, _OWN_PLACES)
    if redacted is not None:
        more |= redacted(_without(more, _OWN_MORE))
    if more:
        record["more"] = more
    if "updated_channels" not in checkpoint:
        del record["updated"]
    if parent_id is not None:
        record["parent_id"] = parent_id
    return record


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def rest_of(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what ``record_of`` made, from an execution record.

    Raises:
        CorruptionError: The checkpoint was not saved by LangGraph.
    """
    if is_record_of_thread(execution):
        return execution
    raise CorruptionError("the checkpoint is none of LangGraph's")


def metadata_of(record: Mapping[str, Any]) -> CheckpointMetadata:
    """Return the metadata in a record.

    Raises:
        CorruptionError: The record is not one that ``record_of`` made.
    """
    found = {name: record[name] for name in _BESIDE if name in record}
    try:
        found.update(zip(record["names"][2], record["metadata"], strict=True))
    except (LookupError, TypeError, ValueError) as error:
        raise _senseless() from error
    return cast("CheckpointMetadata", found)


def parent_of(record: Mapping[str, Any]) -> str | None:
    """Return the id of a parent that was not listed when the checkpoint was saved."""
    return cast("str | None", record.get("parent_id"))


def checkpoint_of(record: Mapping[str, Any], checkpoint_id: str, values: Any) -> Checkpoint:
    """Return the checkpoint again.

    Raises:
        CorruptionError: The record is not one that ``record_of`` made.
    """
    channels, nodes, _keys = record["names"]

    def name(place: int | str) -> str:
        return cast("str", channels[place]) if isinstance(place, int) else place

    def seen(held: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(map(name, held[::2]), held[1::2], strict=True))

    try:
        fields: dict[str, Any] = dict(record.get("more", {}))
        fields["id"] = checkpoint_id
        fields["ts"] = _moment_text(record.get("ts"))
        fields["channel_values"] = values
        fields["channel_versions"] = dict(zip(channels, record["versions"], strict=True))
        fields["versions_seen"] = dict(zip(nodes, map(seen, record["seen"]), strict=True))
        updated = record.get("updated")
        if "updated" in record:
            fields["updated_channels"] = None if updated is None else list(map(name, updated))
    except (LookupError, TypeError, ValueError) as error:
        raise _senseless() from error
    return cast("Checkpoint", fields)


def _senseless() -> CorruptionError:
    return CorruptionError("what is stored of the checkpoint makes no sense")


def kind_of(metadata: Mapping[str, Any]) -> Kind:
    """Return the kind of checkpoint that people see: where it came from."""
    source = metadata.get("source")
    return source if source in _KINDS else "checkpoint"


def channels_behind(checkpoint: Checkpoint, metadata: Mapping[str, Any]) -> list[str]:
    """Return the delta channels of a checkpoint that are rebuilt from its ancestors' writes.

    LangGraph counts, for each delta channel, what was written since its last snapshot. Where it
    counts and there is a version but no value, the value is in the ancestors.
    """
    counted = metadata.get(DELTA_COUNTERS) or {}
    versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
    return [name for name in counted if name in versions and name not in values]


def _packed_moment(text: Any) -> Any:
    """Return a moment in UTC as microseconds, if that gives the same text again."""
    try:
        count = (dt.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError):
        return text
    return count if _moment_text(count) == text else text


def _moment_text(packed: Any) -> Any:
    if not isinstance(packed, int):
        return packed
    try:
        return (_EPOCH + packed * _MICROSECOND).isoformat()
    except OverflowError:
        raise CorruptionError("the moment of a checkpoint is none") from None
