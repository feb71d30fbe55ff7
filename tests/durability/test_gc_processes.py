"""Writers, readers, a collector, a compactor and a killer on one store at once.

What the collector costs the writers is measured by ``benchmarks/figures/collection.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cas.errors import ConflictError, NotFoundError
from manifests import Repository
from tests.cas.children import finish, start_child
from tests.durability.survival import Journal, assert_survived, pending_of, state_of

_WRITERS = 4
_READERS = 2


def _write(home: Path, run: str, shift: _Shift, journal: Journal, seed: int) -> str:
    """Commit, now and then forget and fork; returns the number of commits."""
    rng = random.Random(seed)
    count = 0
    with Repository.open(home) as repo:
        known = {info.name: info.head.sequence for info in repo.runs()}
        sequence = known.get(run, 0)
        while shift.goes_on():
            sequence = repo.commit(run, state_of(run, sequence + 1)).sequence
            count += 1
            journal.tell("kept", run, sequence)
            if sequence % 3 == 0:
                repo.put_pending(run, sequence, pending_of(run, sequence))
                journal.tell("wrote", run, sequence)
            if sequence % 20 == 0:
                listed = [found.sequence for found in repo.log(run)][1:]
                gone = rng.sample(listed, len(listed) // 2)
                for place in gone:
                    journal.tell("going", run, place)
                with contextlib.suppress(ConflictError):
                    repo.forget([(run, place) for place in gone])
                with contextlib.suppress(ConflictError, NotFoundError):
                    if sequence % 40 == 0:
                        repo.delete_run(f"{run}-fork")
                    else:
                        repo.fork(run, f"{run}-fork")
    return str(count)


def _read(home: Path, shift: _Shift, seed: int) -> str:
    """Restore what is listed; whatever is returned must be right."""
    rng = random.Random(seed)
    count = 0
    with Repository.open(home, read_only=True) as repo:
        while shift.goes_on():
            for info in repo.runs():
                try:
                    found = rng.choice(repo.log(info.name, limit=20))
                    state = repo.restore((found.run, found.sequence))
                except NotFoundError:
                    continue  # forgotten in the meantime
                assert state == state_of(found.origin_run, found.origin_sequence)
                count += 1
    return str(count)


def _collect(home: Path, shift: _Shift) -> str:
    removed = 0
    with Repository.open(home) as repo:
        while shift.goes_on():
            removed += repo.gc().objects_removed
            time.sleep(0.02)
    return str(removed)


def _compact(home: Path, shift: _Shift, every: float) -> str:
    count = 0
    due = time.monotonic() + every
    with Repository.open(home) as repo:
        while shift.goes_on():
            if time.monotonic() < due:
                time.sleep(0.02)
                continue
            repo.compact()
            count += 1
            due = time.monotonic() + every
    return str(count)


class _Shift:
    """Tells children when to end: not before they are told, else they could not be killed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._parent = os.getpid()
        file.touch()

    def goes_on(self) -> bool:
        """Whether it goes on; not without the parent that would end it."""
        return self._file.exists() and os.getppid() == self._parent

    def end(self) -> None:
        """Let all children end. May be repeated."""
        self._file.unlink(missing_ok=True)


class _Crew:
    """Children by name; whoever is killed is replaced. What they counted is in ``counts``."""

    def __init__(self, works: dict[str, Callable[[], str]], seconds: float) -> None:
        self.counts = dict.fromkeys(works, 0)
        self.killed: list[str] = []
        self._works = works
        self._end = time.monotonic() + seconds
        self._children = {name: self._start(name) for name in works}

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._end - time.monotonic()

    def kill(self, name: str) -> None:
        """Kill one in the middle of what it does, and start another one in its place."""
        pid, pipe = self._children[name]
        os.kill(pid, signal.SIGKILL)
        os.close(pipe)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), f"{name} had ended by itself"
        self.killed.append(name)
        self._children[name] = self._start(name)

    def finish(self) -> None:
        """Wait for all; none may have met an error of any kind."""
        for name, child in self._children.items():
            told = finish(child)
            assert told.startswith("+"), f"{name}: {told}"
            self.counts[name] += int(told[1:])

    def _start(self, name: str) -> tuple[int, int]:
        return start_child(self._works[name])


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_nine_processes_lose_nothing(
    home: Path, tmp_path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    seconds, kills = float(rounds(4, 60)), rounds(4, 20)
    shift = _Shift(tmp_path / "shift")
    rng = random.Random(seed)
    with Repository.open(home) as repo:
        repo.commit("base", state_of("base", 1))
    told, writer = os.pipe()
    os.set_blocking(told, False)
    journal = Journal(writer)
    log: list[str] = []

    def drain() -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(told, 1 << 16):
                log.append(data.decode())

    works: dict[str, Callable[[], str]] = {
        **{
            f"w{n}": partial(_write, home, f"w{n}", shift, journal, seed + n)
            for n in range(_WRITERS)
        },
        **{f"reader {n}": partial(_read, home, shift, seed + n) for n in range(_READERS)},
        "gc": partial(_collect, home, shift),
        "compact": partial(_compact, home, shift, max(1.0, seconds / 6)),
    }
    crew = _Crew(works, seconds)
    try:
        while crew.left > 0:
            drain()
            time.sleep(0.02)
            share_left = (kills - len(crew.killed)) / (kills + 1)
            if share_left and crew.left < seconds * share_left:
                crew.kill(rng.choice(list(works)))
    finally:
        shift.end()
    crew.finish()
    drain()
    os.close(writer)
    os.close(told)
    acknowledged = "".join(log).count("kept ")
    print(f"{acknowledged} commits acknowledged; since the last start of each: {crew.counts}")
    print(f"killed: {', '.join(crew.killed)}")
    assert crew.killed
    assert acknowledged > 0
    with Repository.open(home) as repo:
        for info in repo.runs():
            if info.name.endswith("-fork"):
                repo.delete_run(info.name)
    assert_survived(home, "kept base 1\n" + "".join(log))
