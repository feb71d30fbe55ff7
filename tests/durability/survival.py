"""Runs whose states follow from their names, so that whoever survives can tell what is missing."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cas.errors import ConflictError
from manifests import PendingWrite, Repository

__all__ = ["Journal", "Patience", "assert_survived", "disturb", "pending_of", "state_of"]

_SHARED = [{"role": "system", "content": "policy " * 200}]


def state_of(run: str, sequence: int) -> dict[str, Any]:
    """The state that checkpoint `sequence` of `run` must have. All runs share a beginning."""
    return {
        "messages": [
            *_SHARED,
            *({"role": "user", "content": f"{run} says {n} " * 20} for n in range(sequence)),
        ],
        "step": sequence,
        "common": f"what several runs have alike: {sequence % 7} " * 10,
    }


def pending_of(run: str, sequence: int) -> list[PendingWrite]:
    """The pending writes that checkpoint `sequence` of `run` must have if it has any."""
    value = {"role": "assistant", "content": f"{run} is about to say {sequence} " * 30}
    return [PendingWrite("task", 0, "messages", value), PendingWrite("task", 1, "step", sequence)]


class Journal:
    """What a child did, told through a pipe before it can be killed: nothing of it may be lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, what: str, run: str, sequence: int) -> None:
        os.write(self._descriptor, f"{what} {run} {sequence}\n".encode())


class Patience:
    """How long a writer lives at most before it is killed: longer while most die too early.

    So about half of them have done something, on whatever machine and disk. Never longer than it
    takes: they write ever more, and all of it is looked at.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = self._least = seconds

    def learn(self, *, far_enough: bool) -> None:
        wanted = self.seconds * (0.8 if far_enough else 1.3)
        self.seconds = min(max(wanted, self._least), 50 * self._least)


def disturb(repo: Repository, journal: Journal, seed: int, run: str, what: str) -> None:
    """Commit, and then ``forget``, ``gc`` or ``compact``, for ever; says before and after which."""
    rng = random.Random(seed)
    sequence = repo.resolve(run).sequence if run in {info.name for info in repo.runs()} else 0
    while True:
        for _ in range(rng.randint(1, 6)):
            sequence = repo.commit(run, state_of(run, sequence + 1)).sequence
            journal.tell("kept", run, sequence)
        repo.put_pending(run, sequence, pending_of(run, sequence))
        journal.tell("wrote", run, sequence)
        listed = [found.sequence for found in repo.log(run)][1:]
        gone = rng.sample(listed, len(listed) // 2)
        for place in gone:
            journal.tell("going", run, place)
        if what == "forget":
            journal.tell("begins", what, 0)
        with contextlib.suppress(ConflictError):
            repo.forget([(run, place) for place in gone])
        if what == "gc":
            journal.tell("begins", what, 0)
            repo.gc(time_budget=rng.choice([None, 0.0]), whole=rng.random() < 0.3)
        elif what == "compact":
            journal.tell("begins", what, 0)
            repo.compact()
        journal.tell("ends", what, 0)


def _lines(text: str) -> Iterator[tuple[str, str, int]]:
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            what, run, sequence = line.split()
            yield what, run, int(sequence)


def assert_survived(home: Path, told: str) -> None:
    """Assert that everything a journal told of is there, sound, and that the next gc finishes."""
    kept: set[tuple[str, int]] = set()
    wrote: set[tuple[str, int]] = set()
    for what, run, sequence in _lines(told):
        if what == "kept":
            kept.add((run, sequence))
        elif what == "wrote":
            wrote.add((run, sequence))
        elif what == "going":
            kept.discard((run, sequence))
    with Repository.open(home) as repo:
        listed = {(i.name, c.sequence) for i in repo.runs() for c in repo.log(i.name)}
        assert kept <= listed
        report = repo.check()
        assert report.ok, report.damage
        repo.gc()
        assert repo.gc().complete
        for run, sequence in listed:
            assert repo.restore((run, sequence)) == state_of(run, sequence)
        for run, sequence in wrote & listed:
            assert repo.pending(run, sequence) == pending_of(run, sequence)
        assert repo.gc(whole=True).objects_removed == 0, "the collection before left garbage"
        report = repo.check()
        assert report.ok, report.damage
        for info in repo.runs():
            repo.commit(info.name, state_of(info.name, info.head.sequence + 1))
