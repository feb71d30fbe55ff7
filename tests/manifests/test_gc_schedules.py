"""What was forgotten comes back in the middle of a collection, at each of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cas.late import LateMarks
from cas.sweep import Collector
from cas.upkeep import Progress
from manifests import Repository

STATES: list[dict[str, Any]] = [
    {"messages": [f"message {n} " * 200 for n in range(count)], "n": count} for count in (4, 8, 12)
]
Revival = Callable[[Repository, Path], list[Any]]


@pytest.fixture
def repo(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """The run ``old`` was forgotten and not collected; ``file`` is a bundle of it."""
    monkeypatch.setattr(Collector.__init__, "__kwdefaults__", {"batch_seconds": 0.0})
    with Repository.open(home) as opened:
        opened.commit("kept", {"messages": STATES[0]["messages"][:2]})
        for state in STATES:
            opened.commit("old", state)
        opened.export(["old"], home / "file", history=True)
        opened.delete_run("old")
        yield opened


def imported(repo: Repository, file: Path) -> list[Any]:
    """Its bundle is imported."""
    repo.import_bundle(file)
    return [repo.restore(("old", sequence)) for sequence in (1, 2, 3)]


def committed(repo: Repository, _file: Path) -> list[Any]:
    """Others commit the same states."""
    return [repo.restore(repo.commit("new", state)) for state in STATES]


def committed_and_named(repo: Repository, file: Path) -> list[Any]:
    """A fork, a tag and a pin of what came back, whose run then goes once more."""
    repo.import_bundle(file)
    repo.fork(("old", 1), "fork")
    repo.fork(("old", 2), "other fork")
    repo.tag("gold", "fork@1")
    repo.pin("other fork@1")
    repo.commit("third", STATES[2])
    repo.delete_run("old", force=True)
    return [repo.restore(ref) for ref in ("tag:gold", "other fork@1", "third")]


REVIVALS: list[Revival] = [imported, committed, committed_and_named]


def collect_and_revive(
    repo: Repository, home: Path, revive: Revival, phase: str, step: int
) -> list[Any]:
    """Collect; at that step of that phase another handle revives what is dying."""
    found: list[Any] = []
    steps = 0

    def told(progress: Progress) -> None:
        nonlocal steps
        steps += progress.phase == phase
        if progress.phase == phase and steps == step:
            with Repository.open(home) as other:
                found.extend(revive(other, home / "file"))

    repo.gc(progress=told)
    return found


@pytest.mark.parametrize("revive", REVIVALS)
@pytest.mark.parametrize(("phase", "step"), [("mark", 1), ("sweep", 1), ("sweep", 2), ("sweep", 3)])
def test_what_comes_back_stays(
    repo: Repository, home: Path, revive: Revival, phase: str, step: int
) -> None:
    assert collect_and_revive(repo, home, revive, phase, step) == STATES
    assert repo.check().ok
    repo.gc()
    assert repo.check().ok
    restored = [
        repo.restore((info.name, found.sequence))
        for info in repo.runs()
        for found in repo.log(info.name)
    ]
    assert all(state in restored for state in STATES)
    repo.gc(whole=True)
    for info in repo.runs():
        repo.delete_run(info.name, force=True)
    repo.gc()
    assert repo.stats().objects == 0


@pytest.mark.parametrize("revive", REVIVALS)
def test_without_late_marks_it_is_lost(
    repo: Repository, home: Path, revive: Revival, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LateMarks, "update", lambda *_arguments: None)
    collect_and_revive(repo, home, revive, "mark", 1)
    assert not repo.check().ok
