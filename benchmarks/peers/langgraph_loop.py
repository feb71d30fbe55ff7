"""LangGraph's SqliteSaver under the smallest loop that saves as LangGraph's own does.

What a step of LangGraph saves is the writes of its tasks, under the checkpoint they were made on,
then a checkpoint of its channels. With ordinary channels that holds the whole state; with
``DeltaChannel`` a snapshot of it at every 100th update and else nothing, and loading replays the
writes since the last snapshot. Everything else a step of LangGraph does is left out, to its favour.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.channels.binop import BinaryOperatorAggregate
from langgraph.channels.delta import DeltaChannel
from langgraph.channels.last_value import LastValue
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.pregel._checkpoint import (
    channels_from_checkpoint,
    create_checkpoint,
    delta_channels_to_snapshot,
)

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.workloads import Step, Workload

__all__ = ["SNAPSHOT_EVERY", "DeltaLoop", "FullLoop", "appended", "merged", "whole_value"]

SNAPSHOT_EVERY = 100

Channels = dict[str, BaseChannel[Any, Any, Any]]


def appended(state: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    """Reduce a list channel."""
    return [*state, *(item for write in writes for item in write)]


def merged(state: dict[str, Any], writes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Reduce a dict channel."""
    result = dict(state)
    for write in writes:
        result.update(write)
    return result


def whole_value(step: Step, key: str, kind: str) -> Any:
    """Return what a node writes to a channel: for a patched array, the array."""
    return step.state[key] if kind == "patch" else step.turn.writes[key]


@dataclass(slots=True)
class _Thread:
    """A run in the making: its channels, and the last checkpoint with its place."""

    channels: Channels
    config: RunnableConfig
    checkpoint: Checkpoint = field(default_factory=empty_checkpoint)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)


class _Loop(Peer):
    def __init__(self, folder: Path, workload: Workload) -> None:
        self._threads: dict[str, _Thread] = {}
        self._places: dict[CheckpointName, RunnableConfig] = {}
        super().__init__(folder, workload)

    def channels(self) -> Channels:
        """Return a channel for every part of the state, empty."""
        raise NotImplementedError

    def open(self) -> None:
        """Open or create the database."""
        self._connection = sqlite3.connect(
            self.folder / "checkpoints.sqlite", check_same_thread=False
        )
        self._saver = SqliteSaver(self._connection)
        self._saver.setup()
        self._specs = self.channels()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def prepare(self, step: Step) -> None:
        """Apply the writes to the channels, as the framework does before it saves."""
        thread = self._threads.get(step.run)
        if thread is None:
            thread = self._threads[step.run] = self._new_thread(step.run)
        versions = thread.checkpoint["channel_versions"]
        for key in step.turn.writes:
            value = whole_value(step, key, self.workload.kinds[key])
            thread.channels[key].update([value])
            versions[key] = self._saver.get_next_version(_text(versions.get(key)), None)

    def save(self, step: Step) -> None:
        """Save the writes, then a checkpoint."""
        thread = self._threads[step.run]
        saver, kinds = self._saver, self.workload.kinds
        writes = [(key, whole_value(step, key, kinds[key])) for key in step.turn.writes]
        saver.put_writes(thread.config, writes, f"{step.index:032x}")
        for key, channel in thread.channels.items():
            if isinstance(channel, DeltaChannel):
                updates, supersteps = thread.counters.get(key, (0, 0))
                thread.counters[key] = (updates + (key in step.turn.writes), supersteps + 1)
        versions = thread.checkpoint["channel_versions"]
        snapshots = delta_channels_to_snapshot(thread.channels, thread.counters, versions)
        thread.checkpoint = create_checkpoint(
            thread.checkpoint,
            thread.channels,
            step.index,
            updated_channels=set(step.turn.writes),
            get_next_version=saver.get_next_version,
            channels_to_snapshot=snapshots,
        )
        for key in snapshots:
            thread.counters[key] = (0, 0)
        metadata: CheckpointMetadata = {"source": "loop", "step": step.index, "parents": {}}
        if thread.counters:
            metadata["counters_since_delta_snapshot"] = dict(thread.counters)
        new_versions = {key: versions[key] for key in step.turn.writes}
        thread.config = saver.put(thread.config, thread.checkpoint, metadata, new_versions)
        self._places[step.run, step.index] = thread.config

    def load(self, name: CheckpointName) -> Any:
        """Read a checkpoint and rebuild its channels."""
        config = self._places[name]
        found = self._saver.get_tuple(config)
        if found is None:
            raise LookupError(f"no checkpoint {name}")
        channels, _ = channels_from_checkpoint(
            self._specs, found.checkpoint, saver=self._saver, config=config
        )
        return {key: item.get() for key, item in channels.items() if item.is_available()}

    def _new_thread(self, run: str) -> _Thread:
        config: RunnableConfig = {"configurable": {"thread_id": run, "checkpoint_ns": ""}}
        thread = _Thread(self.channels(), config)
        metadata: CheckpointMetadata = {"source": "input", "step": -1, "parents": {}}
        thread.config = self._saver.put(config, thread.checkpoint, metadata, {})
        return thread


class FullLoop(_Loop):
    """Ordinary channels: every checkpoint is the whole state."""

    name = "langgraph"
    copies: ClassVar[bool] = True

    def channels(self) -> Channels:
        """Return a channel for every part of the state, empty."""
        return {key: _named(_channel(kind), key) for key, kind in self.workload.kinds.items()}

    def forget(self, names: Sequence[CheckpointName]) -> bool:
        """Delete the rows, for which the saver has no operation, and make the file small."""
        places = [self._places[name].get("configurable", {}) for name in names]
        keys = [(place["thread_id"], place["checkpoint_id"]) for place in places]
        with closing(self._connection.cursor()) as cursor:
            for table in ("checkpoints", "writes"):
                cursor.executemany(
                    f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id = ?", keys
                )
        self._connection.commit()
        self._connection.execute("VACUUM")
        return True


class DeltaLoop(_Loop):
    """Delta channels: writes, and a snapshot at every 100th update of a channel.

    Dropping checkpoints is not measured: the saver cannot, and whoever deletes rows by hand severs
    the chain that later checkpoints are replayed from.
    """

    name = "langgraph-delta"

    @classmethod
    def unsuited(cls, workload: Workload) -> str | None:
        """Return why this store cannot hold that workload, or None if it can."""
        return delta_unsuited(workload.kinds)

    def channels(self) -> Channels:
        """Return a channel for every part of the state, empty."""
        return {
            key: _named(_channel(kind, delta=True), key)
            for key, kind in self.workload.kinds.items()
        }


def delta_unsuited(kinds: Mapping[str, str]) -> str | None:
    """Return why delta channels cannot hold parts of these kinds, or None if they can."""
    return "arrays have no delta channel" if "patch" in kinds.values() else None


def _channel(kind: str, *, delta: bool = False) -> BaseChannel[Any, Any, Any]:
    if kind == "append" and delta:
        return DeltaChannel(appended, list, snapshot_frequency=SNAPSHOT_EVERY)
    if kind == "merge" and delta:
        return DeltaChannel(merged, dict, snapshot_frequency=SNAPSHOT_EVERY)
    if kind == "append":
        return BinaryOperatorAggregate(list, operator.add)
    if kind == "merge":
        return BinaryOperatorAggregate(dict, operator.or_)
    return LastValue(object)


def _named(channel: BaseChannel[Any, Any, Any], key: str) -> BaseChannel[Any, Any, Any]:
    """Give a channel its name and, as a graph does, the empty value to start from."""
    channel.key = key
    return channel


def _text(version: object) -> str | None:
    return None if version is None else str(version)
