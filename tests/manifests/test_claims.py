"""Claims: one process goes on with a run, and it is known when it is gone."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cas.errors import ConflictError, InvalidInputError, MissingObjectError, ReadOnlyStoreError
from manifests import Repository
from manifests.claims import CLAIMS
from manifests.names import name_key
from tests.manifests.test_group import Gathering


@pytest.fixture
def repo(home: Path) -> Any:
    with Repository.open(home) as opened:
        yield opened


def in_child(job: Any) -> int:
    """Do a job in a forked process and return its exit status."""
    pid = os.fork()
    if not pid:
        status = 9
        try:
            status = job() or 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_one_claim_at_a_time_until_it_ends(repo: Repository) -> None:
    head = repo.commit("r", {"n": 1})
    claim = repo.claim("r", head)
    assert (claim.run, claim.at, claim.is_held) == ("r", 1, True)
    with pytest.raises(ConflictError, match=f"executed by process {os.getpid()}"):
        repo.claim("r", head)
    repo.commit("r", {"n": 2})  # a claim keeps nobody from committing
    repo.end_claim(claim)
    assert [(c.owner, c.is_held) for c in repo.claims()] == [(None, False)]
    assert repo.claim("r", repo.resolve("r")).is_held


def test_a_claim_that_was_let_go_of_is_void_here_at_once(repo: Repository) -> None:
    head = repo.commit("r", {})
    repo.end_claim(repo.claim("r", head), durable=False)
    assert not repo.claims()[0].is_held
    assert repo.claim("r", head).is_held


def test_a_claim_needs_the_head(repo: Repository) -> None:
    old = repo.commit("r", {"n": 1})
    repo.commit("r", {"n": 2})
    for head in (old, None):
        with pytest.raises(ConflictError, match="moved on by somebody else"):
            repo.claim("r", head)
    assert repo.claims() == []
    with pytest.raises(InvalidInputError):
        repo.claim("", None)


def test_the_claim_of_a_process_that_lives_elsewhere_counts(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", {})
    reading, writing = os.pipe()
    done, end = os.pipe()
    pid = os.fork()
    if not pid:
        with Repository.open(home) as mine:
            mine.claim("r", mine.resolve("r"))
            os.write(writing, b"x")
            os.read(done, 1)
        os._exit(0)
    os.read(reading, 1)
    with Repository.open(home) as repo:
        with pytest.raises(ConflictError, match=f"process {pid};"):
            repo.claim("r", repo.resolve("r"))
        # It is done with the run, which stopped since; it may live on for ever.
        stop = repo.commit("r", {}, kind="paused")
        repo.end_claim(repo.claim("r", stop, stopped=True))
    os.write(end, b"x")
    os.waitpid(pid, 0)
    for descriptor in (reading, writing, done, end):
        os.close(descriptor)


def test_the_claim_of_a_process_that_is_gone_does_not(home: Path) -> None:
    def job() -> None:
        with Repository.open(home) as mine:
            mine.claim("r", mine.commit("r", {}))

    assert in_child(job) == 0
    with Repository.open(home) as repo:
        (claim,) = repo.claims()
        assert claim.owner is not None
        assert not claim.is_held
        assert repo.claim("r", repo.resolve("r")).is_held


def test_a_forked_child_holds_nothing_of_its_parent(repo: Repository, home: Path) -> None:
    head = repo.commit("r", {})
    repo.claim("r", head)

    def job() -> int:
        with Repository.open(home) as mine:
            try:
                mine.claim("r", mine.resolve("r"))
            except ConflictError:
                return 3
        return 0

    assert in_child(job) == 3


def test_of_many_threads_one_wins(repo: Repository) -> None:
    head = repo.commit("r", {})
    won: list[Any] = []
    lost: list[ConflictError] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        try:
            won.append(repo.claim("r", head))
        except ConflictError as error:
            lost.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_the_first_commit_of_a_run_brings_its_claim_along(repo: Repository) -> None:
    first, claim = repo.claim_with(repo.prepare("r", {}, parent=None))
    second, other = repo.claim_with(repo.prepare("r", {"n": 1}, parent=None))
    repo.write(first)
    assert [(c.token, c.is_held) for c in repo.claims()] == [(claim.token, True)]
    with pytest.raises(ConflictError):
        repo.write(second)
    assert [c.token for c in repo.claims()] == [claim.token]
    repo.end_claim(other)  # harmless: it never was one
    assert repo.claims()[0].is_held


def test_a_first_commit_that_is_refused_leaves_no_claim(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails alone in its group, whose transaction stores what the others want."""
    first, _claim = repo.claim_with(repo.prepare("r", {"text": b"long" * 10_000}, parent=None))
    missing = next(iter(first.objects))
    first = replace(first, objects={k: v for k, v in first.objects.items() if k != missing})
    gathering = Gathering(repo, monkeypatch)
    futures = [repo.submit(repo.prepare("leads", {}))]
    assert gathering.held.wait(30)
    futures += [repo.submit(first), repo.submit(repo.prepare("other", {}))]
    gathering.go_on.set()
    with pytest.raises(MissingObjectError):
        futures[1].result(30)
    assert [futures[at].result(30).sequence for at in (0, 2)] == [1, 1]
    assert repo.claims() == []
    assert [run.name for run in repo.runs()] == ["leads", "other"]
    assert repo.check().ok


def test_claims_survive_compaction_and_go_with_their_run(repo: Repository) -> None:
    claim = repo.claim("r", repo.commit("r", {}))
    repo.compact()
    assert [c.token for c in repo.claims()] == [claim.token]
    repo.delete_run("r")
    assert repo.claims() == []


def test_a_damaged_claim_is_none(repo: Repository) -> None:
    head = repo.commit("r", {})
    repo.claim("r", head)

    def damage(writer: Any) -> None:
        key = name_key("r", "run name")
        cursor = writer.writing._cursors.get(CLAIMS.name) or writer.writing._writable(CLAIMS)
        writer.writing.put(CLAIMS, key, b"x")
        cursor.put(key, b"\0\0\0\0 no claim")

    repo._store.write(damage)
    assert repo.claims() == []
    (found,) = repo.check().damage
    assert (found.kind, found.table) == ("row", "claims")
    assert repo.claim("r", head).is_held
    assert len(repo.claims()) == 1
    repo._store.write(damage)
    assert repo.repair().fixed == ("a row of claims",)
    assert repo.check().damage == ()
    assert repo.claims() == []


def test_a_read_only_repository_claims_nothing(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.claim("r", repo.commit("r", {}))
    with Repository.open(home, read_only=True) as repo:
        with pytest.raises(ReadOnlyStoreError):
            repo.claim("r", repo.resolve("r"))
        assert len(repo.claims()) == 1
