"""Random graphs and random use of them: everything is as with LangGraph's saver in memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.types import Command

from hive.adapters.langgraph import HiveSaver
from tests.hive.langgraph.graphs import config_of, random_graph

MOST_STEPS = 40


def portrait(states: list[Any]) -> list[Any]:
    """What a history says, without ids that differ from run to run."""
    places = {state.config["configurable"]["checkpoint_id"]: at for at, state in enumerate(states)}
    return [
        (
            state.values,
            state.next,
            {key: state.metadata[key] for key in ("source", "step")},
            None
            if state.parent_config is None
            else places.get(state.parent_config["configurable"]["checkpoint_id"]),
            sorted(
                (task.name, repr([asked.value for asked in task.interrupts]), repr(task.result))
                for task in state.tasks
            ),
            [asked.value for asked in state.interrupts],
        )
        for state in states
    ]


class Session:
    """One graph on one saver, used as a script says."""

    def __init__(self, saver: Any, seed: int) -> None:
        self.graph = random_graph(saver, seed)
        self.saver = saver
        self.config = {**config_of(), "recursion_limit": MOST_STEPS}

    def do(self, script: random.Random) -> Any:
        """Do one random thing; return what came of it."""
        history = list(self.graph.get_state_history(self.config))
        waits = bool(history) and bool(history[0].interrupts)
        choice = script.choice(["run", "run", "update", "travel"]) if history else "run"
        try:
            if choice == "run" and waits:
                answer = f"answer {script.randrange(9)}"
                asked = [item.id for item in history[0].interrupts]
                given: Any = answer if len(asked) == 1 else dict.fromkeys(asked, answer)
                return self._stream(Command(resume=given), self.config)
            if choice == "run":
                return self._stream({"n": script.randrange(3), "log": ["asked"]}, self.config)
            old = history[script.randrange(len(history))].config
            config = {**self.config, "configurable": old["configurable"]}
            if choice == "update":
                self.graph.update_state(config, {"log": ["changed"], "n": script.randrange(3)})
                return "updated"
            return self._stream(None, config)
        except InvalidUpdateError as error:
            return type(error).__name__

    def _stream(self, given: Any, config: Any) -> Any:
        values: list[Any] = []
        updates: list[Any] = []
        for mode, chunk in self.graph.stream(
            given, config, stream_mode=["values", "updates"], durability="sync"
        ):
            (values if mode == "values" else updates).append(_without_ids(chunk))
        # Tasks of one step end in any order.
        return values, sorted(map(repr, updates))

    def history(self) -> list[Any]:
        return portrait(list(self.graph.get_state_history(self.config)))


def _without_ids(chunk: Any) -> Any:
    if isinstance(chunk, dict) and "__interrupt__" in chunk:
        return {**chunk, "__interrupt__": [asked.value for asked in chunk["__interrupt__"]]}
    return chunk


@pytest.mark.torture
def test_random_graphs_go_as_in_memory(
    tmp_path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    with HiveSaver(tmp_path) as saver:
        for number in range(rounds(6, 200)):
            one = Session(InMemorySaver(), seed + number)
            other = Session(saver, seed + number)
            saver.delete_thread(config_of()["configurable"]["thread_id"])
            scripts = random.Random(seed + number), random.Random(seed + number)
            for _ in range(4):
                expected, found = one.do(scripts[0]), other.do(scripts[1])
                assert found == expected, f"seed {seed + number}"
                assert other.history() == one.history(), f"seed {seed + number}"
        assert saver.repository.check().ok
