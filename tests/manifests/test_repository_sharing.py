"""One run, several handles, threads and processes; readers beside a writer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cas.errors import (
    ConflictError,
    NotFoundError,
    ReadOnlyStoreError,
)
from manifests import (
    Checkpoint,
    Repository,
)
from manifests.reading import StoreReader
from tests.cas.children import finish, in_child, start_child


@pytest.fixture
def pair(home: Path) -> Iterator[tuple[Repository, Repository]]:
    with Repository.open(home) as one, Repository.open(home) as other:
        yield one, other


@pytest.mark.parametrize("exists", [False, True], ids=["a new run", "an old run"])
def test_of_two_handles_one_wins_and_the_other_knows(
    pair: tuple[Repository, Repository], exists: bool
) -> None:
    one, other = pair
    if exists:
        one.commit("r", "base")
        other.resolve("r")
    mine = one.prepare("r", "mine")
    theirs = other.commit("r", "theirs")
    with pytest.raises(ConflictError, match="another writer moved it") as caught:
        one.write(mine)
    assert caught.value.run == "r"
    for _ in range(3):
        with pytest.raises(ConflictError):
            one.commit("r", "mine again")
    assert one.restore(theirs) == "theirs"
    after = one.commit("r", "mine at last")
    assert (after.sequence, after.parent) == (theirs.sequence + 1, theirs.id)


@pytest.mark.parametrize("look", ["restore", "resolve", "parent"])
def test_a_conflict_is_over_once_the_head_was_looked_at(
    pair: tuple[Repository, Repository], look: str
) -> None:
    one, other = pair
    one.commit("r", 1)
    other.commit("r", 2)
    with pytest.raises(ConflictError):
        one.commit("r", "late")
    if look == "parent":
        assert one.commit("r", 3, parent="r").sequence == 3
        return
    assert one.restore("r@1") == 1, "an older checkpoint is not the head"
    with pytest.raises(ConflictError):
        one.commit("r", "late")
    (one.restore if look == "restore" else one.resolve)("r@2")
    assert one.commit("r", 3).sequence == 3


def test_naming_what_one_believes_to_be_the_head_is_no_fork(
    pair: tuple[Repository, Repository],
) -> None:
    one, other = pair
    head = one.commit("r", 1)
    other.commit("r", 2)
    for parent in (head, "r@1", head.id, ("r", 1)):
        with pytest.raises(ConflictError):
            one.commit("r", "late", parent=parent)
    one.resolve("r")
    assert one.commit("r", "on purpose", parent=head).sequence == 3


def test_a_fork_on_purpose_conflicts_too_if_the_run_moved_meanwhile(
    pair: tuple[Repository, Repository],
) -> None:
    one, other = pair
    first = one.commit("r", 1)
    one.commit("r", 2)
    prepared = one.prepare("r", "branch", parent=first)
    assert prepared.place.branches
    other.commit("r", 3)
    with pytest.raises(ConflictError):
        one.write(prepared)
    with pytest.raises(ConflictError):
        one.commit("r", "default")
    branch = one.commit("r", "branch", parent=first)
    assert (branch.sequence, branch.parent) == (4, first.id)


def test_reading_an_old_head_slowly_does_not_undo_a_newer_commit(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.commit("r", 1)
    gather = StoreReader.gather
    committed: list[Checkpoint | None] = []

    def slow(self: StoreReader, numbers: Any, **options: Any) -> Any:
        if not committed:
            committed.append(None)
            thread = threading.Thread(target=lambda: committed.append(repo.commit("r", [2] * 500)))
            thread.start()
            thread.join()
        return gather(self, numbers, **options)

    repo.commit("r", ["x" * 3_000])
    monkeypatch.setattr(StoreReader, "gather", slow)
    assert repo.restore("r") == ["x" * 3_000]
    assert len(committed) == 2
    assert repo.commit("r", 4).sequence == 4


def test_two_processes_on_one_run_have_one_winner_each_time(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", [])
    deadline = 25

    def contender(name: str) -> str:
        won = lost = 0
        with Repository.open(home) as repo:
            while won < deadline:
                state = repo.restore("r")
                try:
                    repo.commit("r", [*state, name])
                    won += 1
                except ConflictError:
                    lost += 1
        return f"{won} {lost}"

    children = [start_child(partial(contender, name)) for name in "abc"]
    counts = [finish(child)[1:].split() for child in children]
    assert [int(won) for won, _ in counts] == [deadline] * 3
    with Repository.open(home) as repo:
        final = repo.restore("r")
        assert sorted(final) == ["a"] * deadline + ["b"] * deadline + ["c"] * deadline
        log = repo.log("r")
        assert len(log) == 3 * deadline + 1
        for newer, older in pairwise(log):
            assert newer.parent == older.id


def test_threads_commit_different_runs_at_once(repo: Repository) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        state: dict[str, Any] = {"log": []}
        try:
            for number in range(25):
                state["log"].append(f"{name} {number} " + "x" * 50)
                checkpoint = repo.commit(name, state)
                assert checkpoint.sequence == number + 1
                assert repo.restore(name) == state
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"run {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [info.checkpoints for info in repo.runs()] == [25] * 8
    for n in range(8):
        for sequence in (1, 13, 25):
            assert len(repo.restore((f"run {n}", sequence))["log"]) == sequence


def test_threads_on_one_run_never_lose_an_acknowledged_commit(repo: Repository) -> None:
    repo.commit("r", "base")
    acknowledged: list[tuple[int, str]] = []
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(15):
                state = f"{name} {number}"
                try:
                    acknowledged.append((repo.commit("r", state).sequence, state))
                except ConflictError:
                    repo.resolve("r")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len({sequence for sequence, _ in acknowledged}) == len(acknowledged)
    for sequence, state in acknowledged:
        assert repo.restore(("r", sequence)) == state
    assert len(repo.log("r")) == len(acknowledged) + 1


def test_a_forked_child_commits_beside_its_parent(repo: Repository) -> None:
    repo.commit("mine", 1)

    def child() -> str:
        checkpoint = repo.commit("theirs", {"from": "the child"})
        return f"{checkpoint.sequence} {repo.commit('mine', 2).sequence}"

    assert in_child(child) == "+1 2"
    assert repo.restore("theirs") == {"from": "the child"}
    with pytest.raises(ConflictError):
        repo.commit("mine", 3)
    assert repo.restore("mine") == 2


def test_a_read_only_repository_refuses_every_change(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", 1)
        repo.commit("r", 2)
        repo.tag("t", "r@1")
        prepared = repo.prepare("r", 3)
    with Repository.open(home, read_only=True) as reading:
        for change in (
            lambda: reading.commit("r", 3),
            lambda: reading.prepare("r", 3),
            lambda: reading.write(prepared),
            lambda: reading.fork("r", "s"),
            lambda: reading.tag("u", "r"),
            lambda: reading.untag("t"),
            lambda: reading.forget(["r@1"]),
        ):
            with pytest.raises(ReadOnlyStoreError):
                change()
        assert reading.restore("r") == 2
        assert reading.restore("r@1") == 1
        assert [info.name for info in reading.runs()] == ["r"]
        assert set(reading.tags()) == {"t"}
        assert reading.stats().checkpoints == 2
    with pytest.raises(NotFoundError), Repository.open(home / "elsewhere", read_only=True):
        pass
    assert not (home / "elsewhere").exists()


def test_a_reader_follows_a_live_writer_in_another_process(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", [0])

        def reader() -> str:
            seen = 0
            with Repository.open(home, read_only=True) as reading:
                while seen < 60:
                    state = reading.restore("r")
                    assert state == list(range(len(state)))
                    assert len(state) >= seen, "a later read saw an earlier state"
                    seen = len(state)
                    assert reading.log("r", limit=1)[0].sequence >= seen
            return "done"

        child = start_child(reader)
        for number in range(1, 60):
            repo.commit("r", list(range(number + 1)))
        assert finish(child) == "+done"
