"""The recorded conversations, replayed by the executor and killed at random, end as recorded."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from hive.graph.checkpoint_manager import CheckpointManager
from tests.hive.airline_jobs import AT_ONCE, RECORDED
from tests.hive.crashing import memory_folder
from tests.hive.zygote import Zygote

DEATHS = 12


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_recorded_runs_killed_at_random_and_resumed_end_as_recorded(
    data_dir: Path, tmp_path: Path, seed: int, durability: str
) -> None:
    assert len(RECORDED) == 200
    dice = random.Random(seed)
    deaths = 0
    with memory_folder(tmp_path) as folder, Zygote("tests.hive.airline_jobs") as zygote:
        while deaths < DEATHS:
            phase = dice.choice(["before", "inside", "after"])
            number = dice.randint(1, 30)
            status = zygote.run(
                "tests.hive.airline_jobs:replay", str(folder), phase, number, durability
            )
            if status == 0:
                break
            assert status == -signal.SIGKILL
            deaths += 1
        else:
            status = zygote.run("tests.hive.airline_jobs:replay", str(folder), None, 0, durability)
            assert status == 0
        assert deaths > DEATHS // 2
        with CheckpointManager(folder / "home") as manager:
            assert manager.interrupted_runs() == []
            for run, messages in RECORDED.items():
                assert manager.restore(run) == {"messages": messages, "left": 0}
                history = manager.history(run)
                # One for the input, one for each message: no gap, and nothing twice.
                assert [cp.sequence for cp in history] == list(range(len(messages) + 1, 0, -1))
                assert manager.repository.execution(run)["steps"] == len(messages)
        log = [line.split() for line in (folder / "log").read_text().splitlines()]
        spoken = Counter((words[0], words[1]) for words in log if len(words) == 3)
    expected = {(run, str(n)) for run, messages in RECORDED.items() for n in range(len(messages))}
    assert spoken.keys() == expected
    if durability == "sync":
        # Of each run at most the message in flight is spoken again, at each death.
        assert sum(spoken.values()) - len(expected) <= deaths * AT_ONCE
