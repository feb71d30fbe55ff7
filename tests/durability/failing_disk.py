"""Operations on a disk that fails at one change or another, and what must hold afterwards.

Run as a program, with ``failing_disk.c`` preloaded: it prints what is wrong.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import cas.trail
from cas.errors import HiveError
from cas.flock import FlockFile
from manifests import Repository, commit_encoder, importing, salvage
from tests.cas.children import in_child
from tests.durability.survival import state_of

__all__ = ["OPERATIONS", "build"]

KEPT = {(run, sequence) for run in ("a", "b") for sequence in range(1, 9)}
LOCKS = ("generation", "turnstile", "upkeep")
FILES = {*LOCKS, "ballast"}


def build(home: Path) -> None:
    """Make a store with garbage in it, and a bundle beside it."""
    with Repository.open(home) as repo:
        for run in "abc":
            for sequence in range(1, 9):
                repo.commit(run, state_of(run, sequence))
        repo.export(["a", "b"], home / "bundle", history=True)
        repo.forget([("c", sequence) for sequence in range(1, 6)])


class Work:
    """What is done while the disk fails, and done once more when it works again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.repo = Repository.open(home)
        self.repo.resolve("a")
        self.kept = set(KEPT)
        self._times = 0

    def fresh(self) -> Path:
        """A place where nothing is yet."""
        self._times += 1
        return self.home / f"new {self._times}"

    def commit(self) -> None:
        for run in ("a", self.fresh().name):
            known = {info.name: info.head.sequence for info in self.repo.runs()}.get(run, 0)
            for sequence in range(known + 1, known + 4):
                self.repo.commit(run, state_of(run, sequence))
                self.kept.add((run, sequence))

    def stage(self) -> None:
        """Commit what is so large that it is stored in several transactions."""
        run = self.fresh().name
        self.repo.commit(run, {"noise": random.Random(1).randbytes(400_000)})
        self.repo.delete_run(run)

    def forget(self) -> None:
        listed = {checkpoint.sequence for checkpoint in self.repo.log("c")}
        self.repo.forget([("c", sequence) for sequence in listed & {6, 7}])
        self.repo.tag("t", ("a", 3), force=True)
        self.repo.pin(("b", 2))

    def gc(self) -> None:
        self.repo.gc(whole=True)

    def compact(self) -> None:
        self.repo.compact()

    def check(self) -> None:
        assert self.repo.check().ok

    def backup(self) -> None:
        self.look_at(self.repo.backup(self.fresh()))

    def salvage(self) -> None:
        self.repo.close()
        try:
            place = self.fresh()
            salvage(self.home, place)
        finally:
            self.repo = Repository.open(self.home)
        self.look_at(place)

    def carry(self) -> None:
        """Export to a file, and import it where nothing is yet."""
        place = self.fresh()
        self.repo.export(["a", "b"], self.home / "bundle", history=True)
        with Repository.open(place) as other:
            other.import_bundle(self.home / "bundle")
        self.look_at(place)

    def look_at(self, home: Path) -> None:
        """Assert that all that was acknowledged is in a home, and that it is sound."""
        with Repository.open(home) as repo:
            for run, sequence in sorted(self.kept):
                assert repo.restore((run, sequence)) == state_of(run, sequence), (run, sequence)
            report = repo.check()
            assert report.ok, report.damage


OPERATIONS = tuple(
    name for name in vars(Work) if name[0] != "_" and name not in ("fresh", "look_at")
)


def left_behind(home: Path) -> Iterator[str]:
    """Yield what should not be in a home and in those inside it, and locks that are held."""
    for place in (home, *home.glob("new *")):
        yield from (path.name for path in place.glob(".*"))
        store = place / "objects"
        for path in store.iterdir() if store.exists() else ():
            if path.name not in FILES and not (path / "data.mdb").exists():
                yield path.name
        if len(list(store.glob("g[0-9]*"))) > 1:
            yield "a second generation"
    for name in LOCKS:
        if (home / "objects" / name).exists():
            with closing(FlockFile(home / "objects" / name, os.O_RDWR)) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield f"{name} is locked"


def attempt(disk: ctypes.CDLL, home: Path, name: str, first: int, last: int, error: int) -> str:
    """Do it while the disk fails, and again; returns how many changes there were."""
    work = Work(home)
    act: Callable[[], None] = getattr(work, name)
    disk.disk_fails(bytes(home), first, last, error)
    try:
        act()
    except HiveError:
        pass
    finally:
        changes: int = disk.disk_works()
    assert not list(left_behind(home)), list(left_behind(home))
    act()
    work.repo.close()
    work.look_at(home)
    return str(changes)


def main(library: str, folder: str, name: str, seed: int, most: int) -> None:
    """Let the disk fail at up to ``most`` changes of an operation; print where that went wrong."""
    for module in (commit_encoder, importing):
        vars(module)["STAGE_BYTES"] = 100_000
    cas.trail._LEAST_PACKS = 2  # type: ignore[misc]
    disk = ctypes.CDLL(library)
    master, copy = Path(folder, "master"), Path(folder, "copy")
    build(master)

    def run(first: int, last: int, error: int) -> str:
        shutil.copytree(master, copy)
        try:
            return in_child(partial(attempt, disk, copy, name, first, last, error))
        except AssertionError as wrong:
            return str(wrong)
        finally:
            shutil.rmtree(copy)

    changes = int(run(0, 0, 0))
    chooser = random.Random(seed)
    for change in sorted(chooser.sample(range(1, changes + 1), min(changes, most))):
        error = chooser.choice((5, 28))  # EIO, ENOSPC
        last = chooser.choice((change, sys.maxsize))
        said = run(change, last, error)
        if not said.startswith("+"):
            print(f"change {change} of {changes}, errno {error}, up to {last}: {said}")
    print(f"{changes} changes")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
