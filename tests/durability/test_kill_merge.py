"""kill -9 of a writer whose commits merge packs: what was acknowledged restores, check is clean."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cas.trail
from manifests import Repository
from tests.durability.survival import Journal, assert_survived, state_of


def commit_for_ever(home: Path, journal: Journal) -> None:
    with Repository.open(home) as repo:
        sequence = repo.resolve("run").sequence
        while True:
            sequence = repo.commit("run", state_of("run", sequence + 1)).sequence
            journal.tell("kept", "run", sequence)


@pytest.mark.torture
def test_a_killed_merge_leaves_the_old_packs_or_the_new_one(
    home: Path,
    seed: int,
    rounds: Callable[[int, int], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every third commit merges, so that many are killed while they do.
    monkeypatch.setattr(cas.trail, "_LEAST_PACKS", 2)
    monkeypatch.setattr(cas.trail, "_MOST_PACKS", 2)
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        repo.commit("run", state_of("run", 1))
    told = "kept run 1\n"
    for _ in range(rounds(12, 300)):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(reader)
                commit_for_ever(home, Journal(writer))
            finally:
                os._exit(1)
        os.close(writer)
        first = os.read(reader, 1_024).decode()
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
        with open(reader, encoding="utf-8") as pipe:
            told += first + pipe.read()
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the writer ended by itself"
        told = told[: told.rfind("\n") + 1]
    assert_survived(home, told)
