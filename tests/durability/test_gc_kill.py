"""kill -9 in the middle of forget, gc and compact: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests import Repository
from tests.durability.survival import Journal, assert_survived, disturb, state_of


@pytest.mark.torture
@pytest.mark.timeout(1_800)
def test_killed_while_forgetting_collecting_and_compacting(
    home: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        repo.commit("first", state_of("first", 1))
    told = "kept first 1\n"
    for turn in range(rounds(12, 300)):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                with Repository.open(home) as repo:
                    run = rng.choice(["first", "second", "third"])
                    disturb(repo, Journal(writer), rng.getrandbits(32) + turn, run)
            finally:
                os._exit(1)
        os.close(writer)
        time.sleep(rng.uniform(0.02, 0.2))
        os.kill(pid, signal.SIGKILL)
        with open(reader, encoding="utf-8") as pipe:
            told += pipe.read()
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status), f"the child ended by itself in turn {turn}"
        # A line that the kill cut off was acknowledged to nobody.
        told = told[: told.rfind("\n") + 1]
        rng.random()
        if turn % 4 == 3:
            assert_survived(home, told)
    assert_survived(home, told)
    left = [name for name in os.listdir(home / "objects") if name[0] == "." or name[1:].isdecimal()]
    assert len(left) == 1, left
