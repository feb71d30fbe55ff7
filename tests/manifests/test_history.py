"""Runs and their lists: log, runs, forks, tags, forgetting."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cas.errors import ConflictError, InvalidInputError, NotFoundError
from manifests import Checkpoint, Repository
from manifests.history import _BATCH


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """A repository whose clock moves on by a second with every question."""
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    ticks = (start + dt.timedelta(seconds=n) for n in itertools.count())
    with Repository.open(home, clock=lambda: next(ticks)) as opened:
        yield opened


def test_a_log_is_newest_first_and_complete_over_many_transactions(repo: Repository) -> None:
    count = 2 * _BATCH + 10
    written = [repo.commit("r", number) for number in range(count)]
    log = repo.log("r")
    assert log == written[::-1]
    for limit in (0, 1, _BATCH - 1, _BATCH, _BATCH + 1, 2 * _BATCH, count, count + 1):
        assert repo.log("r", limit=limit) == written[::-1][:limit]


def test_a_log_shows_what_a_run_keeps(repo: Repository) -> None:
    written = [repo.commit("r", number) for number in range(10)]
    gone = [written[index] for index in (0, 3, 4, 8)]
    repo.forget(gone)
    assert repo.log("r") == [item for item in reversed(written) if item not in gone]
    assert repo.runs()[0].checkpoints == 6
    assert repo.commit("r", 10).sequence == 11, "a sequence is never given out again"


def test_an_unknown_run_has_no_log(repo: Repository) -> None:
    for limit in (None, 3):
        with pytest.raises(NotFoundError, match="there is no run 'r'"):
            repo.log("r", limit=limit)
    with pytest.raises(InvalidInputError):
        repo.log("")
    assert repo.runs() == []
    assert repo.tags() == {}


def test_order_comes_from_sequence_numbers_and_not_from_the_clock(home: Path) -> None:
    moments = [dt.datetime(2030 - n, 1, 1, tzinfo=dt.UTC) for n in range(20)]
    random.Random(1).shuffle(moments)
    clock = iter(moments)
    with Repository.open(home, clock=lambda: next(clock)) as repo:
        for number in range(20):
            assert repo.commit("r", number).created_at == moments[number]
        assert [item.sequence for item in repo.log("r")] == list(range(20, 0, -1))
        assert repo.restore("r") == 19
        assert repo.restore("r~5") == 14


def test_runs_are_listed_by_name_with_their_heads(repo: Repository) -> None:
    names = ["b", "a", "ä", "Z", "10", "2", "a" * 500, "a" * 501]
    heads = {}
    for number, name in enumerate(names):
        for step in range(number + 1):
            heads[name] = repo.commit(name, step)
    infos = repo.runs()
    assert sorted(info.name for info in infos) == sorted(names)
    assert [info.name for info in infos][:5] == ["10", "2", "Z", "a", "a" * 500]
    for info in infos:
        assert info.head == heads[info.name]
        assert info.checkpoints == info.head.sequence
        assert info.created_at == repo.resolve((info.name, 1)).created_at
        assert info.updated_at == info.head.created_at


# -- forks ------------------------------------------------------------------------------------


def test_a_fork_begins_with_the_checkpoint_and_goes_its_own_way(repo: Repository) -> None:
    state = {"messages": [f"message {number}" for number in range(5)]}
    origin = repo.commit("a", state, node="n", labels={"l": "v"}, execution={"steps": 3})
    repo.commit("a", {"messages": []})
    before = repo.stats().objects
    fork = repo.fork("a@1", "b")
    assert repo.stats().objects == before, "a fork copies nothing"
    assert (fork.run, fork.sequence, fork.id) == ("b", 1, origin.id)
    assert (fork.origin_run, fork.origin_sequence) == ("a", 1)
    assert (fork.parent, fork.node, fork.labels) == (None, "n", {"l": "v"})
    assert fork.created_at == origin.created_at
    assert (fork.new_objects, fork.new_bytes) == (0, 0)
    assert repo.execution("b") == {"steps": 3}
    after = repo.commit("b", state | {"more": 1})
    assert (after.sequence, after.parent) == (2, origin.id)
    assert repo.restore("a") == {"messages": []}
    assert repo.restore("b@1") == state
    assert [item.sequence for item in repo.log("b")] == [2, 1]


@pytest.mark.parametrize("form", ["text", "checkpoint", "id", "pair", "tag", "ancestor"])
def test_a_fork_takes_any_reference(repo: Repository, form: str) -> None:
    first = repo.commit("a", 1)
    repo.commit("a", 2)
    repo.tag("t", first)
    refs = {
        "text": "a@1",
        "checkpoint": first,
        "id": first.id,
        "pair": ("a", 1),
        "tag": "tag:t",
        "ancestor": "a~1",
    }
    assert repo.fork(refs[form], "b").id == first.id  # type: ignore[arg-type]


def test_a_fork_needs_a_new_name(repo: Repository) -> None:
    repo.commit("a", 1)
    repo.commit("b", 2)
    for name in ("a", "b"):
        with pytest.raises(ConflictError, match=f"there is a run '{name}' already") as caught:
            repo.fork("a", name)
        assert caught.value.run == name
    with pytest.raises(InvalidInputError):
        repo.fork("a", "")
    with pytest.raises(NotFoundError):
        repo.fork("a@2", "c")
    assert [info.name for info in repo.runs()] == ["a", "b"]


def test_a_fork_outlives_what_it_was_forked_from(repo: Repository) -> None:
    repo.commit("a", {"n": 1})
    repo.commit("a", {"n": 2})
    repo.fork("a@1", "b")
    repo.forget(["a@1"])
    assert repo.restore("b") == {"n": 1}
    assert repo.resolve(repo.resolve("b").id).run == "b"
    assert repo.commit("b", {"n": 3}).sequence == 2


def test_forks_of_forks_share_one_history(repo: Repository) -> None:
    repo.commit("r0", 0)
    for number in range(1, 20):
        repo.fork(f"r{number - 1}", f"r{number}")
        repo.commit(f"r{number}", number)
    for back in range(20):
        assert repo.restore(f"r19~{back}") == 19 - back


# -- tags -------------------------------------------------------------------------------------


def test_a_tag_names_one_checkpoint(repo: Repository) -> None:
    first, second = repo.commit("r", 1), repo.commit("r", 2)
    assert repo.tag("t", "r@1") == first
    assert repo.tag("t", first) == first, "again is no conflict"
    with pytest.raises(ConflictError, match="the tag 't' names r@1; pass force=True"):
        repo.tag("t", second)
    assert repo.tags() == {"t": first}
    assert repo.tag("t", second, force=True) == second
    assert repo.tags() == {"t": second}
    assert repo.tag("u", "tag:t") == second
    repo.untag("t")
    assert repo.tags() == {"u": second}
    with pytest.raises(NotFoundError, match="there is no tag 't'"):
        repo.untag("t")
    with pytest.raises(NotFoundError):
        repo.tag("v", "r@3")
    for name in ("", "a\nb", "x" * 1_025):
        with pytest.raises(InvalidInputError):
            repo.tag(name, "r")
    assert set(repo.tags()) == {"u"}


def test_a_tag_is_seen_by_other_handles_and_after_reopening(repo: Repository) -> None:
    first = repo.commit("r", 1)
    repo.tag("t" * 1_024, first)
    with Repository.open(repo.home, read_only=True) as other:
        assert other.tags() == {"t" * 1_024: first}
    repo.close()
    with Repository.open(repo.home) as again:
        assert again.restore("tag:" + "t" * 1_024) == 1


# -- forgetting -------------------------------------------------------------------------------


def chain(repo: Repository, run: str = "r", count: int = 5) -> list[Checkpoint]:
    return [repo.commit(run, [number] * 100) for number in range(count)]


def test_a_head_is_not_forgotten(repo: Repository) -> None:
    written = chain(repo)
    for ref in ("r", "r@5", written[4], written[4].id):
        with pytest.raises(ConflictError, match="r@5"):
            repo.forget([ref])
    assert repo.log("r") == written[::-1]


def test_what_is_tagged_is_not_forgotten(repo: Repository) -> None:
    written = chain(repo)
    repo.tag("keep", written[1])
    with pytest.raises(ConflictError, match="keep"):
        repo.forget(["r@2"])
    assert repo.restore("r@2") == [1] * 100
    repo.untag("keep")
    repo.forget(["r@2"])
    with pytest.raises(NotFoundError, match="forgotten"):
        repo.restore("r@2")


@pytest.mark.parametrize("refused", ["r@5", "r@2", "r@9", "nobody@1"])
def test_forgetting_is_all_or_nothing(repo: Repository, refused: str) -> None:
    written = chain(repo)
    repo.tag("keep", "r@2")
    before = repo.stats()
    for order in (["r@1", "r@3", refused], [refused, "r@1", "r@3"]):
        with pytest.raises((ConflictError, NotFoundError)):
            repo.forget(order)
        assert repo.log("r") == written[::-1]
    assert repo.stats() == before


def test_one_checkpoint_named_twice_is_forgotten_once(repo: Repository) -> None:
    written = chain(repo)
    repo.forget(["r@1", "r~4", written[0], written[0].id, "r@2"])
    assert [item.sequence for item in repo.log("r")] == [5, 4, 3]
    repo.forget([])
    assert len(repo.log("r")) == 3


def test_tags_and_other_runs_outlive_what_is_forgotten(repo: Repository) -> None:
    written = chain(repo)
    repo.tag("t", "r@3")
    repo.fork("r@2", "fork")
    repo.forget(["r@1", "r@2", "r@4"])
    assert repo.restore("tag:t") == [2] * 100
    assert repo.tags() == {"t": written[2]}
    assert repo.restore("fork") == [1] * 100
    assert [item.sequence for item in repo.log("r")] == [5, 3]
    assert repo.restore("r@5") == [4] * 100
    repo.close()
    with Repository.open(repo.home) as again:
        assert again.restore("tag:t") == [2] * 100
        assert again.restore("fork@1") == [1] * 100


def test_a_run_goes_on_after_its_ancestors_were_forgotten(repo: Repository) -> None:
    chain(repo)
    repo.forget(["r@1", "r@2", "r@3", "r@4"])
    after = repo.commit("r", "after")
    assert after.sequence == 6
    assert repo.resolve("r~1").sequence == 5
    with pytest.raises(NotFoundError, match="forgotten"):
        repo.resolve("r~2")
    repo.forget(["r@5"])
    assert [item.sequence for item in repo.log("r")] == [6]
