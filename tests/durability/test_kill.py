"""Several writers at once, killed one after the other while they commit, fork and tag."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from manifests import Repository
from tests.durability.survival import Patience

Work = Callable[[Path, int, int], None]

SHORTEST, LONGEST = 0.005, 0.060
"""Seconds after its start, or after it opened the store, at which a writer is killed. Where few
acknowledge anything in that time, longer."""
READY = b"ready\n"


def state_of(run: str, sequence: int) -> dict[str, Any]:
    """The state that checkpoint `sequence` of a run must have: it grows, and begins again."""
    length = sequence % 40
    return {
        "messages": [f"{run} says {n} " * (1 + n % 7) for n in range(length)],
        "sequence": sequence,
        "blob": bytes([sequence % 251]) * (9_000 if sequence % 13 == 0 else 10),
    }


def writer(home: Path, pipe: int, number: int) -> None:
    """Commit, fork and tag for ever, telling through the pipe what is done."""
    run = f"run {number}"
    with Repository.open(home) as repo:
        names = {info.name: info.head.sequence for info in repo.runs()}
        sequence = names.get(run, 0)
        os.write(pipe, READY)
        while True:
            sequence += 1
            checkpoint = repo.commit(run, state_of(run, sequence), node=f"node {sequence}")
            os.write(pipe, f"commit {number} {checkpoint.sequence}\n".encode())
            if sequence % 5 == 0:
                repo.tag(f"tag {number}", checkpoint, force=True)
                os.write(pipe, f"tag {number} {sequence}\n".encode())
            if sequence % 17 == 0 and f"fork {number} {sequence}" not in names:
                repo.fork(checkpoint, f"fork {number} {sequence}")
                os.write(pipe, f"fork {number} {sequence}\n".encode())


def boaster(home: Path, pipe: int, number: int) -> None:
    """A writer that tells what it is about to do: the checker must notice."""
    run = f"run {number}"
    with Repository.open(home) as repo:
        sequence = repo.resolve(run).sequence
        os.write(pipe, READY)
        while True:
            sequence += 1
            os.write(pipe, f"commit {number} {sequence}\n".encode())
            repo.commit(run, state_of(run, sequence))


@dataclass
class Child:
    """A writer and the pipe through which it tells what it did."""

    pid: int
    pipe: int

    @classmethod
    def start(cls, work: Work, home: Path, number: int) -> Child:
        reader, pipe = os.pipe()
        pid = os.fork()
        if pid:
            os.close(pipe)
            return cls(pid, reader)
        try:
            os.close(reader)
            work(home, pipe, number)
        except BaseException:
            os.write(pipe, ("failed " + traceback.format_exc()).encode())
        finally:
            os._exit(1)

    def wait_until_ready(self) -> None:
        """Wait until the writer has opened the store."""
        told = os.read(self.pipe, len(READY))
        assert told == READY, told

    def kill(self) -> str:
        """Kill the writer and return what it had told."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        with open(self.pipe, encoding="utf-8") as told:
            text = told.read()
        assert "failed " not in text, text
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL, "it died of something else"
        return text


@dataclass
class Acknowledged:
    """What writers were told is safe."""

    commits: set[tuple[int, int]] = field(default_factory=set)
    forks: set[tuple[int, int]] = field(default_factory=set)
    tags: dict[int, int] = field(default_factory=dict)

    def add(self, text: str) -> set[tuple[int, int]]:
        """Note what a writer told, and return its new commits."""
        new = set()
        for line in text.splitlines(keepends=True):
            what, *numbers = line.split()
            if not line.endswith("\n") or not numbers:
                continue  # killed in the middle of telling, or only ready
            number, sequence = map(int, numbers)
            if what == "commit":
                new.add((number, sequence))
            elif what == "fork":
                self.forks.add((number, sequence))
            else:
                self.tags[number] = sequence
        self.commits |= new
        return new


def losses(repo: Repository, commits: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which acknowledged commits are not there as they were saved."""
    lost = []
    for number, sequence in commits:
        run = f"run {number}"
        try:
            right = repo.restore((run, sequence)) == state_of(run, sequence)
        except Exception:
            right = False
        if not right:
            lost.append((number, sequence))
    return lost


def torment(
    home: Path, work: Work, rng: random.Random, rounds: int, *, after: Callable[[Repository], None]
) -> tuple[Acknowledged, list[tuple[int, int]]]:
    """Start and kill two or three writers, again and again, until something is lost.

    Returns:
        What they told, and what of it is lost.
    """
    acknowledged = Acknowledged()
    patience = Patience(LONGEST)
    lost: list[tuple[int, int]] = []
    for _ in range(rounds):
        numbers = rng.sample(range(3), rng.choice([2, 3]))
        children = [Child.start(work, home, number) for number in numbers]
        told = []
        if rng.random() < 0.7:  # the others are killed while they open the store, or soon after
            children[-1].wait_until_ready()
        for child in children:
            time.sleep(rng.uniform(SHORTEST, patience.seconds) / len(children))
            told.append(child.kill())
        new = set().union(*map(acknowledged.add, told))
        patience.learn(far_enough=bool(new))
        with Repository.open(home) as repo:
            lost += losses(repo, new)
            if lost:
                break
            after(repo)
    return acknowledged, lost


def next_commit_works(repo: Repository) -> None:
    runs = {info.name: info.head.sequence for info in repo.runs()}
    for run, last in runs.items():
        if run.startswith("run "):
            checkpoint = repo.commit(run, state_of(run, last + 1))
            assert checkpoint.sequence == last + 1
            assert repo.restore(run) == state_of(run, last + 1)
            return


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_writers_killed_beside_each_other_lose_nothing_that_was_acknowledged(
    home: Path,
    seed: int,
    rounds: Callable[[int, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    kills = rounds(60, 3_000)
    acknowledged, lost = torment(home, writer, random.Random(seed), kills, after=next_commit_works)
    with Repository.open(home) as repo:
        lost += losses(repo, acknowledged.commits)
        assert lost == []
        tags = repo.tags()
        for number, sequence in acknowledged.tags.items():
            # A newer tag may have been set and not been told of.
            assert tags[f"tag {number}"].sequence >= sequence
        for number, sequence in acknowledged.forks:
            run = f"run {number}"
            assert repo.restore((f"fork {number} {sequence}", 1)) == state_of(run, sequence)
        for info in repo.runs():
            if info.name.startswith("run "):
                log = repo.log(info.name)
                assert [item.sequence for item in log] == list(range(len(log), 0, -1))
                for checkpoint in log[:5]:
                    assert repo.restore(checkpoint) == state_of(info.name, checkpoint.sequence)
        counters = repo._store.counters()
        assert repo.stats().objects == counters.objects
        assert repo.check().ok
    with capsys.disabled():
        print(
            f"\nkill -9: {kills} rounds of 2 or 3 writers (seed {seed}), "
            f"{len(acknowledged.commits)} acknowledged "
            f"commits, {len(acknowledged.forks)} forks; {len(lost)} lost"
        )
    assert len(acknowledged.commits) > kills / 4


def test_a_writer_that_acknowledges_too_early_is_caught(home: Path, seed: int) -> None:
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit(f"run {number}", state_of(f"run {number}", 1))
    _, lost = torment(home, boaster, random.Random(seed), 200, after=lambda _repo: None)
    assert lost, "a checker that finds nothing here proves nothing above"


def test_a_killed_creation_leaves_a_store_or_none(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    def create(home: Path, pipe: int, number: int) -> None:
        with Repository.open(home) as repo:
            repo.commit(f"run {number}", state_of(f"run {number}", 1))
            os.write(pipe, f"commit {number} 1\n".encode())
            time.sleep(60)

    stores, patience = 0, Patience(0.3)
    for number in range(40):
        home = tmp_path / f"home {number}"
        child = Child.start(create, home, number)
        time.sleep(0.001 + patience.seconds * rng.random() ** 3)  # soon, mostly
        new = Acknowledged().add(child.kill())
        stores += (home / "objects").exists()
        patience.learn(far_enough=stores > 0)
        with Repository.open(home) as repo:
            assert losses(repo, new) == []
            assert repo.commit("next", 1).sequence == 1
        left = [entry.name for entry in home.iterdir()]
        assert left == ["objects"], "what a killed creation left is removed by the next opening"
    assert 0 < stores, "no writer came far enough"
