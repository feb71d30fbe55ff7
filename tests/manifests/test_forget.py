"""Forgetting, pinning and deleting: what survivors need is never touched, whoever is at work."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import manifests.forgetting
from cas.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyStoreError,
    StoreFullError,
)
from cas.upkeep import Progress
from manifests import ForgetPlan, Repository, RetentionPolicy
from manifests.catalogue import CatalogueWriter
from manifests.rows import RunRow
from tests.cas.children import ChildFailedError, finish, start_child

LAST_TWO = RetentionPolicy(keep_last=2)


def fill(repo: Repository, run: str, count: int) -> None:
    """Commit states 1 to ``count``."""
    for number in range(1, count + 1):
        repo.commit(run, {"n": number, "text": f"{run} {number} " * 20})


def sequences(repo: Repository, run: str) -> list[int]:
    return sorted(checkpoint.sequence for checkpoint in repo.log(run))


def intact(repo: Repository) -> None:
    """Everything listed can be restored, and a check finds nothing."""
    for info in repo.runs():
        for checkpoint in repo.log(info.name):
            assert repo.restore(checkpoint)
    assert repo.check().damage == ()


def test_where_room_is_scarce_less_is_forgotten_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop, tries = CatalogueWriter.drop, []

    def drop_tight(self: CatalogueWriter, run: RunRow, rows: Any) -> RunRow:
        tries.append(len(rows))
        if len(rows) > most:
            raise StoreFullError("full")
        return drop(self, run, rows)

    with Repository.open(home) as repo:
        fill(repo, "a", 12)
        monkeypatch.setattr(CatalogueWriter, "drop", drop_tight)
        most = 0
        with pytest.raises(StoreFullError):
            repo.forget(LAST_TWO)
        assert tries == [10, 10, 5, 2, 1]  # once more without the ballast
        assert len(sequences(repo, "a")) == 12
        most = 3
        assert len(repo.forget(LAST_TWO).dropped) == 10
        assert sequences(repo, "a") == [11, 12]
        intact(repo)


def test_a_dry_run_changes_nothing_and_is_what_is_executed(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 6)
        fill(repo, "b", 3)
        made = repo.forget(LAST_TWO, dry_run=True)
        assert made.dry_run
        assert sequences(repo, "a") == [1, 2, 3, 4, 5, 6]
        assert [(c.run, c.sequence) for c in made.dropped] == [
            *(("a", n) for n in (4, 3, 2, 1)),
            ("b", 1),
        ]
        done = repo.forget(made)
        assert not done.dry_run
        assert done.verdicts == made.verdicts
        assert (sequences(repo, "a"), sequences(repo, "b")) == ([5, 6], [2, 3])
        assert {info.name: info.checkpoints for info in repo.runs()} == {"a": 2, "b": 2}
        intact(repo)


def test_a_policy_may_be_for_one_run(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 4)
        fill(repo, "b", 4)
        repo.forget(LAST_TWO, run="a")
        assert (sequences(repo, "a"), sequences(repo, "b")) == ([3, 4], [1, 2, 3, 4])
        with pytest.raises(NotFoundError):
            repo.forget(LAST_TWO, run="c")


def test_a_kind_that_does_not_exist_is_refused(home: Path) -> None:
    """Misspelt, it would keep nothing: what was to be kept would go."""
    with Repository.open(home) as repo:
        for number in range(4):
            repo.commit("a", {"n": number}, kind="paused" if number == 1 else "own")
        repo.commit("b", {"n": 0}, kind="elsewhere")
        for run in (None, "a"):
            policy = RetentionPolicy(keep_kinds=frozenset({"pased", "paused"}))
            with pytest.raises(InvalidInputError, match=r"kind 'pased'.* are elsewhere, own, pau"):
                repo.forget(policy, run=run)
        assert sequences(repo, "a") == [1, 2, 3, 4]
        # Of another run alone, or none yet but one that Hive writes.
        policy = RetentionPolicy(keep_kinds=frozenset({"elsewhere", "final", "paused"}))
        repo.forget(policy, run="a")
        assert sequences(repo, "a") == [2, 4]
    with Repository.open(home / "other") as repo:
        with pytest.raises(InvalidInputError, match="no checkpoints at all"):
            repo.forget(RetentionPolicy(keep_kinds=frozenset({"pased"})))


def test_age_counts_back_from_now(home: Path) -> None:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    hours = iter(range(100))
    with Repository.open(home, clock=lambda: now + next(hours) * dt.timedelta(hours=1)) as repo:
        fill(repo, "a", 5)
        policy = RetentionPolicy(keep_within=dt.timedelta(hours=1))
        made = repo.forget(policy, now=now + dt.timedelta(hours=4), dry_run=True)
        assert [c.sequence for c in made.kept] == [5, 4]
        # The clock, asked once more, says that an hour has passed.
        assert [c.sequence for c in repo.forget(policy).kept] == [5]
        with pytest.raises(InvalidInputError, match="time zone"):
            repo.forget(policy, now=dt.datetime(2026, 1, 1))


def test_names_keep_and_say_so(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 6)
        repo.tag("gold", "a@2")
        repo.pin("a@3", "for the audit")
        made = repo.forget(LAST_TWO)
        assert sequences(repo, "a") == [2, 3, 5, 6]
        texts = {v.checkpoint.sequence: v.reasons[0].text for v in made.verdicts}
        assert texts[2] == "has the tag 'gold'"
        assert texts[3] == "pinned: for the audit"
        assert texts[1] == "no rule keeps it"
        for ref, why in (("a@2", "gold"), ("a@3", "pinned"), ("a", "head")):
            with pytest.raises(ConflictError, match=why):
                repo.forget(["a@5", ref])
        assert sequences(repo, "a") == [2, 3, 5, 6]
        (pin,) = repo.pins()
        assert (pin.checkpoint.sequence, pin.reason) == (3, "for the audit")
        repo.unpin("a@3")
        repo.untag("gold")
        assert [c.sequence for c in repo.forget(["a@2", "a@3", "a@3"]).dropped] == [2, 3]
        with pytest.raises(NotFoundError):
            repo.unpin("a")
        with pytest.raises(NotFoundError, match="forgotten"):
            repo.forget(["a@2"])


def test_the_newest_resumable_checkpoint_cannot_be_named_away(home: Path) -> None:
    with Repository.open(home) as repo:
        for number in range(4):
            repo.commit("a", {"n": number}, graph="g" if number in (0, 1) else None)
        with pytest.raises(ConflictError, match="resumed"):
            repo.forget(["a@2"])
        repo.forget(["a@1", "a@3"])
        assert sequences(repo, "a") == [2, 4]
        assert [c.sequence for c in repo.forget(LAST_TWO).kept] == [4, 2]


@pytest.mark.parametrize("what", ["a@1", b"a@2"])
def test_a_single_reference_is_no_list(home: Path, what: str) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 2)
        with pytest.raises(InvalidInputError, match="list"):
            repo.forget(what)
        with pytest.raises(InvalidInputError, match="policy"):
            repo.forget(["a@1"], run="a")


def test_a_store_open_for_reading_is_only_looked_at(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 4)
        plan = repo.forget(LAST_TWO, dry_run=True)
        with Repository.open(home, read_only=True) as reader:
            with pytest.raises(ReadOnlyStoreError):
                reader.forget(LAST_TWO)
            assert reader.forget(LAST_TWO, dry_run=True).dropped == plan.dropped
            named = reader.forget(["a@1"], dry_run=True).dropped
            assert [found.sequence for found in named] == [1]
        assert sequences(repo, "a") == [1, 2, 3, 4]


def test_tips_of_branches_stay_however_often_the_policy_is_applied(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 4)
        repo.commit("a", {"branch": 1}, parent="a@2")  # 5: leaves 4
        repo.commit("a", {"branch": 2})
        repo.commit("a", {"branch": 3}, parent="a@4")  # 7: goes on from 4, leaves 6
        fill_more = [repo.commit("a", {"more": n}).sequence for n in range(3)]
        assert fill_more == [8, 9, 10]
        for _ in range(3):
            repo.forget(LAST_TWO)
            assert sequences(repo, "a") == [6, 9, 10]
        repo.forget(RetentionPolicy(keep_last=2, keep_tips=False))
        assert sequences(repo, "a") == [9, 10]


def needing(repo: Repository, run: str, *sequences: int) -> None:
    """Note of these checkpoints that they cannot be used without their parents."""
    from dataclasses import replace

    def work(writer: object) -> None:
        from cas.writer import RecordWriter

        assert isinstance(writer, RecordWriter)
        catalogue = CatalogueWriter(writer.writing)
        number = catalogue.need_run(run).number
        for sequence in sequences:
            row = catalogue.checkpoint(number, sequence)
            assert row is not None
            catalogue.put_checkpoint(number, sequence, replace(row, needs_parent=True))

    repo._store.write(work)


def test_what_a_survivor_needs_stays_with_it(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 6)
        needing(repo, "a", 3, 4)
        repo.tag("t", "a@4")
        made = repo.forget(RetentionPolicy(mode="latest_only"))
        assert sequences(repo, "a") == [2, 3, 4, 6]
        assert {v.reasons[0].rule for v in made.verdicts if v.keep} == {"head", "tag", "needed"}
        with pytest.raises(ConflictError, match="needed by a@4"):
            repo.forget(["a@2"])
        forked = repo.fork("a@4", "b")
        assert (forked.sequence, sequences(repo, "b")) == (3, [1, 2, 3])
        repo.untag("t")
        repo.forget(["a@3", "a@4", "a@2"])
        assert sequences(repo, "a") == [6]
        with pytest.raises(ConflictError, match="needed by b@"):
            repo.forget(["b@1"])


def test_what_is_named_while_a_plan_is_carried_out_is_spared(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.forgetting, "BATCH", 2)
    with Repository.open(home) as repo, Repository.open(home) as other:
        fill(repo, "a", 9)
        made = repo.forget(LAST_TWO, dry_run=True)
        other.tag("late", "a@3")
        other.pin("a@2")
        done = repo.forget(made)
        assert sequences(repo, "a") == [2, 3, 8, 9]
        reasons = {v.checkpoint.sequence: v.reasons[0].rule for v in done.verdicts if v.keep}
        assert reasons == {9: "head", 8: "keep_last", 3: "tag", 2: "pin"}
        # What was forgotten by somebody else meanwhile is no error either.
        other.commit("a", {})
        assert isinstance(repo.forget(made), ForgetPlan)


def test_what_a_checkpoint_needs_that_replaced_another_meanwhile_is_spared(home: Path) -> None:
    with Repository.open(home) as repo:
        for number, key in enumerate("abcd"):
            parent = ("r", "abcd"[number - 1]) if number else None
            repo.commit("r", {"n": number}, key=key, parent=parent)
        made = repo.forget(LAST_TWO, dry_run=True)
        assert [found.key for found in made.dropped] == ["b", "a"]
        # It keeps its sequence, which the plan has seen.
        repo.commit("r", {"n": "needs b"}, key="c", parent=("r", "b"), needs_parent=True)
        done = repo.forget(made)
        assert [found.key for found in done.dropped] == ["a"]
        assert repo.restore(("r", "b")) == {"n": 1}


@pytest.mark.parametrize("looks", [1, 4])
def test_needs_that_came_up_since_the_plan_are_seen(
    home: Path, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.forgetting, "BATCH", 2)
    monkeypatch.setattr(manifests.forgetting, "_LOOKS", looks)
    with Repository.open(home) as repo, Repository.open(home) as other:
        fill(repo, "a", 12)
        made = repo.forget(LAST_TWO, dry_run=True)

        def told(progress: Progress) -> None:
            if progress.done == 2:
                other.commit("a", {}, parent=("a", 5), needs_parent=True)
                other.commit("a", {})
            if progress.done == 4:
                other.commit("b", {})

        done = repo.forget(made, progress=told)
        assert sequences(repo, "a") == [5, 11, 12, 13, 14]
        reasons = {v.checkpoint.sequence: v.reasons[0].text for v in done.verdicts if v.keep}
        assert reasons[5] == "needed by a@13"


def test_forks_made_by_another_process_while_forgetting_live(
    home: Path, rounds: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.forgetting, "BATCH", 3)
    with Repository.open(home) as repo:
        fill(repo, "a", 30)

    def fork() -> str:
        with Repository.open(home) as other:
            made = 0
            for sequence in range(1, 30):
                try:
                    other.fork(("a", sequence), f"fork {sequence}")
                    made += 1
                except NotFoundError:
                    continue
            return str(made)

    for _ in range(rounds(2, 40)):
        child = start_child(fork)
        with Repository.open(home) as repo:
            repo.forget(LAST_TWO)
        finish(child)
        with Repository.open(home) as repo:
            for info in repo.runs():
                if info.name != "a":
                    number = int(info.name.split()[1])
                    assert repo.restore(info.name)["n"] == number
                    assert repo.delete_run(info.name) == 1
            intact(repo)
            head = repo.resolve("a").sequence
            for number in range(head + 1, head + 31):
                repo.commit("a", {"n": number})


def test_deleting_a_run_spares_what_others_share_with_it(home: Path) -> None:
    with Repository.open(home) as repo:
        fill(repo, "a", 4)
        repo.fork("a@2", "b")
        repo.tag("gold", "a@3")
        repo.pin("a@4", "why")
        with pytest.raises(ConflictError, match=r"'gold'.*pin of a@4"):
            repo.delete_run("a")
        assert repo.delete_run("a", force=True) == 4
        assert (repo.tags(), repo.pins()) == ({}, [])
        assert [info.name for info in repo.runs()] == ["b"]
        assert repo.restore("b")["n"] == 2
        with pytest.raises(NotFoundError):
            repo.delete_run("a")
        fill(repo, "a", 1)
        assert repo.resolve("a").sequence == 1
        intact(repo)


def test_a_limit_in_bytes_counts_what_is_shared_once(home: Path) -> None:
    shared = "shared " * 500
    with Repository.open(home) as repo:
        for number in range(8):
            repo.commit("a", {"shared": shared, "own": str(number) * 2_000})
        # The shared text once, and about 2 kB of each checkpoint.
        policy = RetentionPolicy(max_bytes=len(shared) + 3 * 2_400)
        assert [c.sequence for c in repo.forget(policy, dry_run=True).kept] == [8, 7, 6]
        assert repo.forget(RetentionPolicy(max_bytes=1 << 20)).dropped == []


@pytest.mark.torture
def test_killed_while_forgetting(
    home: Path, rounds: Callable[[int, int], int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.forgetting, "BATCH", 2)
    chooser = random.Random(seed)
    with Repository.open(home) as repo:
        fill(repo, "a", 3)
    for _ in range(rounds(6, 100)):
        with Repository.open(home) as repo:
            for number in range(20):
                repo.commit("a", {"n": number})

        def work() -> str:
            with Repository.open(home) as other:
                other.forget(LAST_TWO)
            return "done"

        child = start_child(work)
        time.sleep(chooser.uniform(0.002, 0.025))
        os.kill(child[0], signal.SIGKILL)
        with suppress(ChildFailedError):
            finish(child)
        with Repository.open(home) as repo:
            intact(repo)
            left = sequences(repo, "a")
            # The newest that were to be dropped went first.
            assert left[-2:] == [left[-1] - 1, left[-1]]
            repo.forget(LAST_TWO)
            assert len(sequences(repo, "a")) == 2
