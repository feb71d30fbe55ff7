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

WORKS = ("forget", "gc", "compact")


@pytest.mark.torture
@pytest.mark.timeout(1_800)
def test_killed_while_forgetting_collecting_and_compacting(
    home: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        repo.commit("first", state_of("first", 1))
    told = "kept first 1\n"
    hits = dict.fromkeys(WORKS, 0)
    took = dict.fromkeys(WORKS, 0.01)
    turns = rounds(12, 300)
    for turn in range(10 * turns):
        if turn >= turns and any(hits.values()):  # on a busy machine every kill may come too late
            break
        what = WORKS[turn % len(WORKS)]
        run = rng.choice(["first", "second", "third"])
        delay = rng.random() * took[what]
        added, took[what] = _killed_in(home, what, run, rng.getrandbits(32), delay)
        told += added
        hits[what] += added.splitlines()[-1] == f"begins {what} 0"
        if turn % 6 == 5:
            assert_survived(home, told)
    assert_survived(home, told)
    print(f"killed in the middle: {hits}")
    assert sum(hits.values()) > 0
    left = [name for name in os.listdir(home / "objects") if name[0] == "." or name[1:].isdecimal()]
    assert len(left) == 1, left


def _killed_in(home: Path, what: str, run: str, seed: int, delay: float) -> tuple[str, float]:
    """Kill a child ``delay`` seconds after it began what it is for, the second time it does.

    Returns what it told, and how long it took the first time.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            with Repository.open(home) as repo:
                disturb(repo, Journal(writer), seed, run, what)
        finally:
            os._exit(1)
    os.close(writer)
    told, begun, ended = "", 0.0, 0.0
    with open(reader, encoding="utf-8") as pipe:
        for line in pipe:
            told += line
            if line.startswith("begins"):
                if ended:
                    break
                begun = time.monotonic()
            elif line.startswith("ends"):
                ended = time.monotonic()
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        told += pipe.read()
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status), "the child ended by itself"
    # A line that the kill cut off was acknowledged to nobody.
    return told[: told.rfind("\n") + 1], ended - begun
