"""Several processes on the same threads: nothing is lost, and with fencing nothing forks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive.adapters.langgraph import HiveSaver
from tests.hive.langgraph.graphs import chat_graph, config_of

PROJECT = Path(__file__).parents[3]
PROCESSES = 4
PROGRAM = """
import json, sys, time
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from hive.adapters.langgraph import HiveSaver
from hive.errors import ConflictError
from tests.hive.langgraph.graphs import chat_graph, config_of

home, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
end, turns, shared, refused = time.monotonic() + seconds, 0, [], 0
with HiveSaver(home) as own, HiveSaver(home, fencing=True) as fenced:
    graph = chat_graph(own)
    while turns < 3 or time.monotonic() < end:
        message = HumanMessage(f"{name} {turns}", id=f"{name}-{turns}")
        result = graph.invoke({"messages": [message]}, config_of(name), durability="sync")
        turns += 1
        assert len(result["messages"]) == 4 * turns
        newest = fenced.get_tuple(config_of("shared"))
        config = newest.config if newest else config_of("shared", checkpoint_ns="")
        checkpoint = empty_checkpoint()
        try:
            fenced.put(config, checkpoint, {"source": "loop", "step": turns}, {})
            shared.append(checkpoint["id"])
        except ConflictError:
            refused += 1
print(json.dumps({"name": name, "turns": turns, "shared": shared, "refused": refused}))
"""


@pytest.mark.torture
def test_nothing_is_lost_and_nothing_forks(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    seconds = rounds(1, 60)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), f"worker {number}", str(seconds)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    results: list[dict[str, Any]] = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        output, _ = worker.communicate(timeout=100 + seconds)
        assert worker.returncode == 0
        results.append(json.loads(output))
    with HiveSaver(tmp_path) as saver:
        graph = chat_graph(saver)
        for result in results:
            history = list(saver.list(config_of(result["name"])))
            assert len(history) == 5 * result["turns"]
            assert len(graph.get_state(config_of(result["name"])).values["messages"]) == (
                4 * result["turns"]
            )
        chain = list(saver.list(config_of("shared")))
        made = [one for result in results for one in result["shared"]]
        assert sorted(found.checkpoint["id"] for found in chain) == sorted(made)
        parents = [found.parent_config for found in chain]
        assert [parent["configurable"]["checkpoint_id"] for parent in parents if parent] == [
            found.checkpoint["id"] for found in chain[1:]
        ], "the chain forked"
        assert saver.repository.check().ok
