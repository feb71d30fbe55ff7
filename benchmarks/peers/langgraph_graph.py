"""LangGraph as its users run it: a compiled graph with delta channels, one invocation a turn."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Annotated, Any, ClassVar

from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.peers.langgraph_loop import (
    SNAPSHOT_EVERY,
    appended,
    delta_unsuited,
    merged,
    whole_value,
)
from benchmarks.workloads import Step, Workload

__all__ = ["DeltaGraph"]


class _NotingSaver(SqliteSaver):
    """Remembers the place of the last checkpoint, which ``invoke`` does not return."""

    last: RunnableConfig

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint and note where it is."""
        self.last = super().put(config, checkpoint, metadata, new_versions)
        return self.last


class DeltaGraph(Peer):
    """A graph of one node, which returns the writes of the turn.

    ``save`` is a whole turn: the graph loads its state, runs the node and saves twice, the input
    and the result. So it is to be compared with save and load of the others together.
    """

    name = "langgraph-graph"
    once: ClassVar[bool] = True
    saves_whole_turns: ClassVar[bool] = True

    def __init__(self, folder: Path, workload: Workload) -> None:
        self._places: dict[CheckpointName, RunnableConfig] = {}
        self._result: dict[str, Any] = {}
        super().__init__(folder, workload)

    @classmethod
    def unsuited(cls, workload: Workload) -> str | None:
        """Return why this store cannot hold that workload, or None if it can."""
        return delta_unsuited(workload.kinds)

    def open(self) -> None:
        """Open or create the database and compile the graph."""
        self._connection = sqlite3.connect(
            self.folder / "checkpoints.sqlite", check_same_thread=False
        )
        self._saver = _NotingSaver(self._connection)
        fields = {key: _annotation(kind) for key, kind in self.workload.kinds.items()}
        state = TypedDict("state", {**fields, "input": int})  # type: ignore[misc]
        builder = StateGraph(state)
        builder.add_node("turn", lambda _: self._result)
        builder.add_edge(START, "turn")
        builder.add_edge("turn", END)
        self._graph = builder.compile(checkpointer=self._saver)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def prepare(self, step: Step) -> None:
        """Lay out what the node will return."""
        kinds = self.workload.kinds
        self._result = {}
        for key in step.turn.writes:
            value = whole_value(step, key, kinds[key])
            self._result[key] = _wrapped(value) if kinds[key] == "append" else value

    def save(self, step: Step) -> None:
        """Run a turn: load, node, save."""
        values: Any = {"input": step.index}
        self._graph.invoke(values, _config(step.run), durability="sync")
        self._places[step.run, step.index] = self._saver.last

    def load(self, name: CheckpointName) -> Any:
        """Return the state as the graph shows it."""
        values = self._graph.get_state(self._places[name]).values
        kinds = self.workload.kinds
        return {
            key: [item["item"] for item in value] if kinds[key] == "append" else value
            for key, value in values.items()
            if key != "input"
        }


def _wrapped(items: list[Any]) -> list[dict[str, Any]]:
    """Hide the role of messages: LangGraph would turn their dicts into other objects."""
    return [{"item": item} for item in items]


def _config(run: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run}}


def _annotation(kind: str) -> Any:
    if kind == "append":
        return Annotated[list, DeltaChannel(appended, snapshot_frequency=SNAPSHOT_EVERY)]
    if kind == "merge":
        return Annotated[dict, DeltaChannel(merged, snapshot_frequency=SNAPSHOT_EVERY)]
    return Any
