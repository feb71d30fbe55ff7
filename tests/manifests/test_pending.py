"""Pending writes: kept beside their checkpoint, first come, and never half of a task's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cas.digest import Digest
from cas.errors import ConflictError, InvalidInputError, NotFoundError
from manifests import PendingWrite, Redaction, Repository, RetentionPolicy
from manifests.pending_rows import PENDING
from tests.damage import Vandal, flip
from tests.manifests.test_group import Gathering, transactions, wait_for_queue

KEY = "1f0a0000-0000-6000-8000-00000000000a"
LATER = "1f0b0000-0000-6000-8000-00000000000b"
LATEST_ONLY = RetentionPolicy(mode="latest_only")
LONG = "a long result " * 100


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """A repository with a run of two checkpoints."""
    with Repository.open(home) as opened:
        opened.commit("run", {"n": 1})
        opened.commit("run", {"n": 2})
        yield opened


def write(value: Any, *, task: str = "task", index: int = 0, path: str = "") -> PendingWrite:
    return PendingWrite(task, index, "messages", value, path)


def rows(repo: Repository) -> int:
    """How many tasks have pending writes in the whole store."""
    return repo._store.environment.read(lambda transaction: transaction.count(PENDING))


def test_they_come_back_in_order_and_as_they_were(repo: Repository) -> None:
    first = [write((1, {2}), task="z", index=1, path="a"), write(LONG, task="z", path="a")]
    second = [write(b"x", task="b", path="b"), write(None, task="a", index=-3, path="b")]
    repo.put_pending("run", 2, first)
    repo.put_pending("run", 2, second)
    assert repo.pending("run", 2) == [first[1], first[0], second[1], second[0]]
    assert repo.pending("run", 1) == repo.pending("nobody", 1) == []
    assert repo.check().ok


def test_the_first_one_stays_unless_it_is_to_be_replaced(repo: Repository) -> None:
    repo.put_pending("run", 2, [write("first"), write(LONG, index=1)])
    repo.put_pending("run", 2, [write("second"), write("new", index=2)])
    assert [found.value for found in repo.pending("run", 2)] == ["first", LONG, "new"]
    repo.put_pending("run", 2, [write("third", index=1)], replace=True)
    assert [found.value for found in repo.pending("run", 2)] == ["first", "third", "new"]
    assert repo.gc().objects_removed == 1  # the long one


def test_a_task_may_go_on_under_the_path_it_had(repo: Repository) -> None:
    repo.put_pending("run", 2, [write("first", path="a"), write("other", task="b", path="b")])
    repo.put_pending("run", 2, [write("late"), write("new", index=1)], by_task=True)
    expected = [
        write("first", path="a"),
        write("new", index=1, path="a"),
        write("other", task="b", path="b"),
    ]
    assert repo.pending("run", 2) == expected
    repo.put_pending("run", 2, [write("apart")])
    assert repo.pending("run", 2) == [write("apart"), *expected]
    assert repo.check().ok


def test_the_run_and_the_checkpoint_may_come_later(repo: Repository) -> None:
    repo.put_pending("new", KEY, [write(LONG)])
    repo.put_pending("soon", 1, [write("early")])
    assert [info.name for info in repo.runs()] == ["run"]
    repo.gc(whole=True)
    assert repo.check().ok
    assert repo.repair().found.ok
    repo.commit("new", {}, key=KEY, parent=None)
    repo.commit("soon", {})
    assert repo.pending("new", KEY) == repo.pending("new", 1) == [write(LONG)]
    assert repo.pending("soon", 1) == [write("early")]
    assert repo.runs()[0].created_at == repo.resolve("new").created_at


def test_writes_whose_checkpoint_never_comes_are_freed(repo: Repository) -> None:
    repo.commit("keyed", {"n": 0}, key="a", parent=None)
    for anchor in ("b", "d"):
        repo.put_pending("keyed", anchor, [write(f"{anchor} {LONG}")])
    repo.put_pending("abandoned", 1, [write(LONG)])
    repo.commit("keyed", {"n": 1}, key="c", parent=("keyed", "a"))
    before = rows(repo)
    repo.gc(whole=True)
    assert rows(repo) == before  # their checkpoints may be on their way
    repo.compact()
    repo.forget(RetentionPolicy(), run="keyed")
    assert rows(repo) == before - 1
    assert repo.pending("keyed", "d") != []  # the run may still come to it
    assert repo.pending("abandoned", 1) != []
    repo.gc(whole=True)  # nobody saved a checkpoint between two whole collections
    assert rows(repo) == before - 2
    assert repo.check().ok


def test_a_checkpoint_that_another_one_overtakes_finds_its_writes(repo: Repository) -> None:
    """Its writes come first, another worker saves a later one, and both clean up: all is kept."""
    repo.commit("keyed", {"n": 0}, key="a", parent=None)
    repo.put_pending("keyed", "b", [write(LONG)])
    repo.commit("keyed", {"n": 2}, key="c", parent=("keyed", "a"))
    repo.forget(RetentionPolicy())
    repo.gc(whole=True)
    repo.put_pending("keyed", "b", [write(LONG)])  # tried again: nothing new, but no stray
    repo.forget(RetentionPolicy())
    repo.gc(whole=True)
    repo.put_pending("keyed", "b", [write("more", task="other")])
    repo.gc(whole=True)
    repo.commit("keyed", {"n": 1}, key="b", parent=("keyed", "a"))
    assert {found.value for found in repo.pending("keyed", "b")} == {"more", LONG}
    repo.gc(whole=True)
    assert len(repo.pending("keyed", "b")) == 2
    assert repo.check().ok


def test_they_are_roots_until_their_checkpoint_is_dropped(repo: Repository) -> None:
    repo.put_pending("run", 2, [write(LONG)])
    assert repo.gc(whole=True).objects_removed == 0
    repo.compact()
    assert repo.pending("run", 2) == [write(LONG)]
    repo.commit("run", {"n": 3})
    repo.forget(["run@2"])
    with pytest.raises(NotFoundError, match="was forgotten"):
        repo.pending("run", 2)
    with pytest.raises(NotFoundError, match="was forgotten"):
        repo.put_pending("run", 2, [write("late")])
    assert rows(repo) == 0
    assert repo.gc().objects_removed == 2
    assert repo.check().ok


def test_a_checkpoint_with_unresolved_ones_is_not_forgotten(repo: Repository) -> None:
    repo.put_pending("run", 2, [write("waits")])
    repo.commit("run", {"n": "another way"}, parent="run@1")  # 2 is the end of a branch now
    with pytest.raises(ConflictError, match="pending writes"):
        repo.forget(["run@2"])
    policy = RetentionPolicy(mode="latest_only", keep_tips=False)
    (kept,) = [found for found in repo.forget(policy).verdicts if found.checkpoint.sequence == 2]
    assert kept.keep
    assert [reason.rule for reason in kept.reasons] == ["pending"]
    repo.commit("run", {"n": "goes on"}, parent="run@2")
    assert [found.sequence for found in repo.forget(policy).kept] == [4]
    assert rows(repo) == 0


def test_a_write_between_plan_and_forget_spares_the_checkpoint(repo: Repository) -> None:
    repo.commit("run", {"n": "another way"}, parent="run@1")
    plan = repo.forget(RetentionPolicy(mode="latest_only", keep_tips=False), dry_run=True)
    assert 2 in [found.sequence for found in plan.dropped]
    repo.put_pending("run", 2, [write("waits")])
    assert 2 in [found.sequence for found in repo.forget(plan).kept]


def test_a_fork_resumes_where_the_step_was(repo: Repository) -> None:
    repo.put_pending("run", 1, [write("done with")])
    repo.put_pending("run", 2, [write(LONG)])
    assert repo.pending("copy", repo.fork("run", "copy").sequence) == [write(LONG)]
    again = repo.fork("run@1", "again")  # its step is over in the original: here it begins again
    assert repo.pending("again", again.sequence) == []
    repo.delete_run("run")
    assert repo.gc(whole=True).complete
    assert repo.pending("copy", 1) == [write(LONG)]


def test_deleting_the_run_frees_them(repo: Repository) -> None:
    repo.put_pending("run", 2, [write(LONG)])
    repo.delete_run("run")
    assert rows(repo) == 0
    assert repo.gc().objects_kept == 0


def test_they_go_along_in_a_bundle(repo: Repository, tmp_path: Path) -> None:
    repo.commit("keyed", {"n": 1}, key=KEY, parent=None)
    repo.commit("keyed", {"n": 2}, key=LATER, parent=("keyed", KEY))
    repo.put_pending("keyed", LATER, [write(LONG), write("short", index=-1)])
    repo.put_pending("run", 2, [write("of the other")])
    repo.export(["keyed", "run"], tmp_path / "bundle", history=True)
    with Repository.open(tmp_path / "there") as there:
        there.import_bundle(tmp_path / "bundle")
        assert there.pending("keyed", LATER) == repo.pending("keyed", LATER)
        assert there.pending("run", 2) == repo.pending("run", 2)
        assert [(c.id, c.key) for c in there.log("keyed")] == [
            (c.id, c.key) for c in repo.log("keyed")
        ]
        assert there.resolve(("keyed", KEY)).sequence == 1
        there.put_pending("run", 2, [write("mine", task="other")])
        there.import_bundle(tmp_path / "bundle")
        assert len(there.pending("run", 2)) == 2
        assert there.gc(whole=True).objects_removed == 0
        assert there.check().ok
        repo.export(["keyed"], tmp_path / "alone", history=True)
        there.import_bundle(tmp_path / "alone", name="renamed")
        assert there.pending("renamed", LATER) == repo.pending("keyed", LATER)


def test_many_at_once_share_a_transaction(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = transactions(repo)
    gathering = Gathering(repo, monkeypatch)

    def put(number: int) -> None:
        repo.put_pending("run", 2, [write(number, task=f"task {number:02}")])

    threads = [threading.Thread(target=put, args=(at,)) for at in range(64)]
    threads[0].start()
    assert gathering.held.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_for_queue(repo, 63)
    gathering.go_on.set()
    for thread in threads:
        thread.join(60)
    assert transactions(repo) == before + 2
    assert [found.value for found in repo.pending("run", 2)] == list(range(64))


def test_equal_values_share_their_objects_with_states(repo: Repository) -> None:
    message = {"role": "tool", "content": LONG}
    repo.commit("run", {"messages": [message] * 2})
    before = repo.stats().objects
    repo.put_pending("run", 3, [write(message)])
    assert repo.stats().objects == before


def test_a_redaction_sees_them_under_their_names(home: Path) -> None:
    redaction = Redaction(["messages.*"], lambda _path, _value: "gone")
    with Repository.open(home, redact=redaction) as repo:
        repo.commit("run", {})
        repo.put_pending("run", 1, [write(["secret"])])
        assert repo.pending("run", 1) == [write(["gone"])]


@pytest.mark.parametrize(
    ("anchor", "given"),
    [
        (0, [write(1)]),
        (True, [write(1)]),
        ("", [write(1)]),
        ("k" * 256, [write(1)]),
        ("a key", [write(1)]),  # of a run whose checkpoints have none
        (2, [write(1), write(2)]),
        (2, [write(1, index=1 << 31)]),
        (2, [write(1, task="")]),
        (2, [write(1, task="a\0b")]),
        (2, [write(object())]),
    ],
)
def test_what_is_no_write_is_refused(repo: Repository, anchor: Any, given: Any) -> None:
    with pytest.raises(InvalidInputError):
        repo.put_pending("run", anchor, given)
    assert rows(repo) == 0


def test_half_of_a_task_is_never_left(home: Path) -> None:
    """One of its two values is damaged: both go, and the task will be done again."""
    with Repository.open(home) as repo:
        repo.commit("run", {"n": 1})
        repo.put_pending("run", 1, [write("short"), write(LONG, index=1)])
        repo.put_pending("run", 1, [write("whole", task="other")])
        row = repo._store.read(
            lambda reader: [body for _key, body in reader.transaction.items(PENDING)]
        )
    digest = next(
        Digest(found[-32:]) for found in row if LONG.encode() not in found and len(found) > 60
    )
    vandal = Vandal(home / "objects")
    key = vandal.pack_key(vandal.number(digest))
    vandal.change("objects", key, lambda packed: flip(packed, len(packed) - 2))
    with Repository.open(home) as repo:
        assert repo.check().hits == ("pending:run@1",)
        assert repo.repair().dropped == ("pending:run@1",)
        assert repo.pending("run", 1) == [write("whole", task="other")]
        assert repo.restore("run") == {"n": 1}
        assert repo.check().ok
