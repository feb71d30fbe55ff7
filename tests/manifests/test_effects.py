"""Recorded effects: the first one wins, and a fork knows what was done before it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cas.errors import InvalidInputError
from manifests import Repository

LONG = "a receipt " * 100


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """A repository with a run of one checkpoint."""
    with Repository.open(home) as opened:
        opened.commit("run", {"n": 1})
        yield opened


def test_the_first_one_wins(repo: Repository, home: Path) -> None:
    assert repo.effect("run", "paid") is None
    assert repo.effect("run", "paid", default="not yet") == "not yet"
    assert repo.record_effect("run", "paid", (1, LONG)) == (1, LONG)
    with Repository.open(home) as other:
        assert other.record_effect("run", "paid", "twice") == (1, LONG)
        assert other.effects("run") == {"paid": (1, LONG)}
    assert repo.record_effect("run", "n" * 1_000, None) is None
    assert repo.effects("run") == {"n" * 1_000: None, "paid": (1, LONG)}
    assert repo.effects("nobody") == {}
    with pytest.raises(InvalidInputError):
        repo.record_effect("run", "bad", object())


def test_they_are_listed_by_when_they_were_recorded(repo: Repository) -> None:
    repo.record_effect("run", "pay", LONG)
    repo.commit("run", {"n": 2})
    repo.record_effect("run", "book", 2)
    repo.record_effect("run", "ask", 1)
    listed = [(found.name, found.after) for found in repo.recorded_effects("run")]
    assert listed == [("pay", 1), ("ask", 2), ("book", 2)]
    assert repo.recorded_effects("run")[0].value == LONG
    assert (repo.count_effects("run"), repo.count_effects("nobody")) == (3, 0)
    repo.fork("run@2", "other")
    assert [found.after for found in repo.recorded_effects("other")] == [0, 1, 1]


def test_one_of_many_at_once_wins_for_all(repo: Repository) -> None:
    found: list[int] = []

    def record(number: int) -> None:
        found.append(repo.record_effect("run", "paid", number))

    threads = [threading.Thread(target=record, args=(at,)) for at in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [repo.effect("run", "paid")] * 16


def test_what_would_mix_or_mistake_runs_is_refused(repo: Repository) -> None:
    """Two copies of one name would overwrite each other; a part of a text would pass for a key."""
    repo.commit("other", {"n": 2})
    with pytest.raises(InvalidInputError, match="cannot be copied to one"):
        repo.copy_runs({"run": "copy", "other": "copy"})
    repo.commit("keyed", {"n": 1}, key="ab", parent=None)
    with pytest.raises(InvalidInputError, match="list of keys"):
        repo.withdraw("keyed", "abc")
    assert sorted(run.name for run in repo.runs()) == ["keyed", "other", "run"]


def test_they_live_as_long_as_the_run(repo: Repository, tmp_path: Path) -> None:
    repo.record_effect("run", "paid", LONG)
    repo.record_effect("new", "early", LONG)
    assert repo.gc(whole=True).objects_removed == 0
    repo.compact()
    assert repo.effect("run", "paid") == repo.effect("new", "early") == LONG
    repo.export(["run"], tmp_path / "bundle")
    with Repository.open(tmp_path / "there") as there:
        there.import_bundle(tmp_path / "bundle")
        assert there.effects("run") == {"paid": LONG}
        assert there.record_effect("run", "paid", "again") == LONG
        assert there.check().ok
    assert repo.delete_run("run") == 1
    assert repo.effects("run") == {}
    assert repo.delete_run("new") == 0
    assert repo.gc().objects_kept == 0


def test_compaction_gives_their_values_other_places(repo: Repository) -> None:
    repo.commit("gone", {f"{number}": f"{number}{LONG}" for number in range(20)})
    repo.record_effect("run", "paid", LONG)
    repo.fork("run", "fork")
    assert repo.effects("fork") == {"paid": LONG}
    repo.delete_run("gone")
    repo.gc(whole=True)
    repo.compact()
    repo.commit("later", {f"{number}": f"later {number}{LONG}" for number in range(20)})
    assert repo.effects("run") == repo.effects("fork") == {"paid": LONG}
    assert repo.gc(whole=True).objects_removed == 0
    assert repo.check().ok


def test_a_fork_knows_what_was_done_before_it(repo: Repository) -> None:
    repo.record_effect("run", "of step 1", 1)
    repo.commit("run", {"n": 2})
    repo.record_effect("run", "of step 2", 2)
    repo.fork("run", "resumes")  # nothing was built on 2: its step is under way
    assert repo.effects("resumes") == {"of step 1": 1, "of step 2": 2}
    repo.fork("resumes", "again")
    assert repo.effects("again") == {"of step 1": 1, "of step 2": 2}
    repo.commit("run", {"n": 3})
    repo.fork("run@2", "begins")  # step 2 is over there, and begins anew here
    assert repo.effects("begins") == {"of step 1": 1}
    repo.fork("run@1", "first")
    assert repo.effects("first") == {}
