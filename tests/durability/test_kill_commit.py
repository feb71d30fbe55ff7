"""kill -9 of a writer at random moments: every acknowledged commit restores, the next one works."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests import Repository
from tests.durability.survival import Journal, Patience, state_of

RUNS = ("first", "second", "third")


def write_for_ever(home: Path, journal: Journal, seed: int, *, acknowledge_early: bool) -> None:
    """Commit to some runs, and tell of each commit once it returned (or, falsely, before)."""
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        sequences = {info.name: info.head.sequence for info in repo.runs()}
        journal.tell("open", "-", 0)
        while True:
            run = rng.choice(RUNS)
            sequence = sequences.get(run, 0) + 1
            if acknowledge_early:
                journal.tell("kept", run, sequence)
            sequences[run] = repo.commit(run, state_of(run, sequence)).sequence
            journal.tell("kept", run, sequence)


def kill_a_writer(
    home: Path, rng: random.Random, patience: Patience, *, acknowledge_early: bool = False
) -> list[str]:
    """Let a child write for a moment, kill it, and return the lines it could tell in full."""
    seed, moment = rng.getrandbits(32), rng.uniform(0.005, patience.seconds)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            write_for_ever(home, Journal(writer), seed, acknowledge_early=acknowledge_early)
        finally:
            os._exit(1)
    os.close(writer)
    # Mostly the moment counts from the first commit on; some die while they open the store.
    told = os.read(reader, 1_024).decode() if rng.random() < 0.8 else ""
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    with open(reader, encoding="utf-8") as pipe:
        told += pipe.read()
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the writer ended by itself"
    # A line that the kill cut off was acknowledged to nobody.
    lines = told[: told.rfind("\n") + 1].splitlines()
    kept = [line for line in lines if line.startswith("kept")]
    patience.learn(far_enough=bool(kept))
    return kept


def lost(repo: Repository, told: list[str]) -> list[str]:
    """Return the acknowledged commits that are not listed; those that are must restore."""
    heads = {info.name: info.head.sequence for info in repo.runs()}
    missing = []
    for line in told:
        _, run, number = line.split()
        if int(number) > heads.get(run, 0):
            missing.append(line)
        else:
            assert repo.restore((run, int(number))) == state_of(run, int(number))
    return missing


@pytest.mark.torture
@pytest.mark.timeout(3_600)
def test_a_writer_killed_at_any_moment_loses_nothing_acknowledged(
    home: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    """300 kills in every run of the tests, 10,000 under torture."""
    rng, patience = random.Random(seed), Patience(0.06)
    kills, told = rounds(300, 10_000), 0
    for _ in range(kills):
        acknowledged = kill_a_writer(home, rng, patience)
        told += len(acknowledged)
        with Repository.open(home) as repo:
            assert lost(repo, acknowledged) == []
    with Repository.open(home) as repo:
        for info in repo.runs():
            listed = [checkpoint.sequence for checkpoint in repo.log(info.name)]
            assert listed == list(range(info.head.sequence, 0, -1))
            for sequence in listed:
                assert repo.restore((info.name, sequence)) == state_of(info.name, sequence)
            following = info.head.sequence + 1
            assert repo.commit(info.name, state_of(info.name, following)).sequence == following
        assert repo.check().ok
    print(f"{kills} writers killed, {told} commits acknowledged, none lost")
    assert told > kills // 10


def test_a_writer_that_acknowledges_too_early_is_noticed(home: Path, seed: int) -> None:
    """Negative control: an acknowledgement before the commit is found to be a loss."""
    rng, patience = random.Random(seed), Patience(0.06)
    for _ in range(200):
        told = kill_a_writer(home, rng, patience, acknowledge_early=True)
        with Repository.open(home) as repo:
            if lost(repo, told):
                return
    raise AssertionError("no early acknowledgement was noticed")
