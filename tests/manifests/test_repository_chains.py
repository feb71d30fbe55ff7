"""Commits on top of each other: chains, parents, failures in the middle, retries."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from cas.errors import (
    AccessError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
)
from manifests import (
    Repository,
)


def test_several_commits_may_be_prepared_before_the_first_is_written(repo: Repository) -> None:
    state: dict[str, list[int]] = {"items": []}
    prepared = []
    for number in range(5):
        state["items"].append(number)
        prepared.append(repo.prepare("r", state))
    assert [item.sequence for item in prepared] == [1, 2, 3, 4, 5]
    written = [repo.write(item) for item in prepared]
    for before, after in pairwise(written):
        assert after.parent == before.id
    for number in range(5):
        assert repo.restore(("r", number + 1)) == {"items": list(range(number + 1))}
    assert repo.commit("r", state).sequence == 6


def test_prepared_commits_are_written_in_order_or_not_at_all(repo: Repository) -> None:
    first, second, third = (repo.prepare("r", number) for number in range(3))
    with pytest.raises(ConflictError, match="earlier commit was prepared and not written"):
        repo.write(second)
    assert repo.write(first).sequence == 1
    with pytest.raises(ConflictError):
        repo.write(third)
    assert repo.write(second).sequence == 2
    assert repo.write(third).sequence == 3
    with pytest.raises(ConflictError):
        repo.write(second)
    assert [repo.restore(("r", number)) for number in (1, 2, 3)] == [0, 1, 2]


def test_a_run_that_was_deleted_is_said_to_be(repo: Repository) -> None:
    repo.commit("r", 1)
    repo.commit("r", 2)
    late = repo.prepare("r", 3)
    repo.delete_run("r")
    with pytest.raises(ConflictError, match=r"at checkpoint 0, .* at 2: it was deleted, or.*anew"):
        repo.write(late)
    repo.commit("r", "another")
    with pytest.raises(ConflictError, match=r"at checkpoint 1, .* deleted and begun anew, or"):
        repo.write(late)
    assert repo.restore("r") == "another"


class Failing:
    """Makes transactions of a repository fail as a full disk would, before they begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, repo: Repository) -> None:
        self.on = False
        write = repo._store.write

        def maybe(*arguments: Any, **keywords: Any) -> Any:
            if self.on:
                raise AccessError("out of order")
            return write(*arguments, **keywords)

        monkeypatch.setattr(repo._store, "write", maybe)


def test_a_failure_in_the_middle_of_a_chain_fails_what_is_behind_it(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, repo)
    base = repo.commit("r", "base")
    chain = [repo.prepare("r", number) for number in range(4)]
    repo.write(chain[0])
    failing.on = True
    with pytest.raises(AccessError):
        repo.write(chain[1])
    failing.on = False
    for item in chain[2:]:
        with pytest.raises(ConflictError):
            repo.write(item)
    again = repo.commit("r", "again")
    assert (again.sequence, again.parent) == (3, chain[0].id)
    assert [item.sequence for item in repo.log("r")] == [3, 2, 1]
    assert repo.log("r")[-1] == base


def test_a_write_repeated_after_a_failure_is_built_upon(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, repo)
    prepared = repo.prepare("r", 1)
    for number in (1, 2, 3):
        prepared = repo.prepare("r", number) if number > 1 else prepared
        failing.on = True
        with pytest.raises(AccessError):
            repo.write(prepared)
        failing.on = False
        assert repo.write(prepared).sequence == number
    after = repo.commit("r", "after")
    assert (after.sequence, after.parent) == (4, prepared.id)


def test_a_chain_goes_on_once_its_first_write_is_repeated(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, repo)
    chain = [repo.prepare("r", number) for number in range(3)]
    failing.on = True
    with pytest.raises(AccessError):
        repo.write(chain[0])
    failing.on = False
    assert [repo.write(item).sequence for item in chain] == [1, 2, 3]
    assert repo.commit("r", 3).parent == chain[2].id


@pytest.mark.parametrize("parent", ["head", "older", "nothing", "another run"])
def test_a_retry_builds_on_what_was_there_before_the_failure(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    failing = Failing(monkeypatch, repo)
    other = repo.commit("other", "o")
    run = "new" if parent in {"nothing", "another run"} else "r"
    history = [repo.commit("r", number) for number in range(3)]
    named = {"head": history[2], "older": history[0], "nothing": None, "another run": other}[parent]
    failing.on = True
    with pytest.raises(AccessError):
        repo.commit(run, "failed", parent=named)
    failing.on = False
    after = repo.commit(run, "after")
    if run == "r":
        assert (after.sequence, after.parent) == (4, history[2].id)
    else:
        assert (after.sequence, after.parent) == (1, None)


def test_a_state_that_fails_to_encode_changes_nothing(repo: Repository) -> None:
    first = repo.commit("r", 1)
    prepared = repo.prepare("r", 2)
    with pytest.raises(InvalidInputError):
        repo.prepare("r", object())
    assert repo.write(prepared).parent == first.id
    assert repo.commit("r", 3).sequence == 3


def test_a_prepared_commit_may_be_dropped(repo: Repository) -> None:
    first = repo.commit("r", 1)
    repo.prepare("r", "dropped")
    with pytest.raises(ConflictError, match="restore its head"):
        repo.commit("r", 2)
    repo.restore("r")
    assert repo.commit("r", 2).parent == first.id
    repo.prepare("r", "dropped")
    assert repo.commit("r", 3, parent="r").sequence == 3


def test_who_built_on_a_commit_that_lost_is_told_that_another_one_is_there(
    repo: Repository,
) -> None:
    repo.commit("r", 1)
    repo.prepare("r", "lost")
    follows = repo.prepare("r", "built on it")
    with Repository.open(repo.home) as other:
        other.commit("r", "theirs", parent="r")
    with pytest.raises(ConflictError, match=r"at checkpoint 2.* to be at another checkpoint 2"):
        repo.write(follows)


def test_a_submitted_commit_is_durable_when_its_future_is_done(repo: Repository) -> None:
    futures = [repo.submit(repo.prepare("r", number)) for number in range(20)]
    assert [future.result(60).sequence for future in futures] == list(range(1, 21))
    assert repo.restore("r~19") == 0
    with Repository.open(repo.home) as other:
        other.resolve("r")
        other.commit("r", "theirs")
    assert isinstance(repo.submit(repo.prepare("r", "mine")).exception(60), ConflictError)


def test_none_as_parent_means_that_the_run_must_be_new(repo: Repository) -> None:
    repo.commit("r", 1, parent=None)
    with pytest.raises(ConflictError, match="to be new") as caught:
        repo.commit("r", 2, parent=None)
    assert caught.value.run == "r"
    assert repo.log("r")[0].sequence == 1


def test_an_older_parent_forks_inside_the_run_on_purpose(repo: Repository) -> None:
    a, b, c = (repo.commit("r", name) for name in "abc")
    d = repo.commit("r", "d", parent="r@1")
    assert (d.sequence, d.parent) == (4, a.id)
    assert repo.resolve("r") == d
    assert repo.resolve("r~1") == a
    assert repo.restore("r@3") == "c"
    e = repo.commit("r", "e")
    assert (e.sequence, e.parent) == (5, d.id)
    f = repo.commit("r", "f", parent=c.id)
    assert (f.sequence, f.parent) == (6, c.id)
    assert [item.sequence for item in (repo.resolve("r~1"), repo.resolve("r~2"))] == [3, 2]
    assert repo.resolve("r~2") == b


@pytest.mark.parametrize("form", ["checkpoint", "id", "text", "pair", "prefix", "tag"])
def test_the_head_may_be_named_in_any_form(repo: Repository, form: str) -> None:
    head = repo.commit("r", 1)
    repo.tag("t", head)
    forms: dict[str, Any] = {
        "checkpoint": head,
        "id": head.id,
        "text": "r@1",
        "pair": ("r", 1),
        "prefix": str(head.id)[:20],
        "tag": "tag:t",
    }
    after = repo.commit("r", 2, parent=forms[form])
    assert (after.sequence, after.parent) == (2, head.id)


def test_a_parent_in_another_run_starts_a_new_one(repo: Repository) -> None:
    first = repo.commit("a", 1)
    second = repo.commit("a", 2)
    continued = repo.commit("b", 3, parent=second)
    assert (continued.sequence, continued.parent) == (1, second.id)
    assert repo.resolve("b~1") == second
    assert repo.resolve("b~2") == first
    with pytest.raises(InvalidInputError, match="'b'"):
        repo.commit("b", 4, parent=first)
    with pytest.raises(NotFoundError):
        repo.commit("c", 1, parent="nowhere")


def test_the_first_checkpoint_of_a_fork_is_in_both_runs(repo: Repository) -> None:
    origin = repo.commit("a", 1)
    repo.commit("a", 2)
    repo.fork("a@1", "b")
    by_id = repo.commit("b", 3, parent=origin.id)
    assert (by_id.sequence, by_id.parent) == (2, origin.id)
    repo.tag("t", "a@1")
    by_tag = repo.commit("b", 4, parent="tag:t")
    assert (by_tag.sequence, by_tag.parent) == (3, origin.id)
    assert repo.resolve("b~1").id == origin.id
    assert [item.run for item in repo.log("a")] == ["a", "a"]
