"""`Repository`: every line of its interface."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cas.digest import Digest
from cas.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
)
from manifests import (
    Change,
    Checkpoint,
    Repository,
    RunInfo,
    StoreStats,
)

NOON = dt.datetime(2025, 6, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


def exactly(value: Any) -> str:
    """A text that differs where two values differ in type or order, and not only in equality."""
    return repr(value)


def test_every_line_of_the_interface(home: Path) -> None:
    state = {"messages": [{"role": "user", "content": "hello"}], "n": 1, "done": False, "x": (1.0,)}
    with Repository.open(home, clock=lambda: NOON) as repo:
        assert repo.home == home
        assert (home / "objects" / "generation").is_file()
        first = repo.commit(
            "run-1",
            state,
            node="plan",
            kind="node_complete",
            next_nodes=["act", "stop"],
            execution={"path": ["plan"], "attempts": {"plan": 2}},
            labels={"user": "ada"},
            graph="ab" * 32,
        )
        assert isinstance(first, Checkpoint)
        assert isinstance(first.id, Digest)
        assert len(str(first.id)) == 64
        assert first.id.short == str(first.id)[:12]
        assert (first.run, first.sequence, first.parent) == ("run-1", 1, None)
        assert (first.node, first.kind, first.next_nodes) == (
            "plan",
            "node_complete",
            ("act", "stop"),
        )
        assert first.created_at == NOON
        assert first.created_at.tzinfo is dt.UTC
        assert (first.graph, first.labels) == ("ab" * 32, {"user": "ada"})
        assert first.logical_bytes > 0
        assert first.new_bytes > 0
        assert first.new_objects >= 1
        assert (first.origin_run, first.origin_sequence) == ("run-1", 1)

        state["n"] = 2
        second = repo.commit("run-1", state, parent=first)
        assert (second.sequence, second.parent) == (2, first.id)
        state["messages"].append({"role": "assistant", "content": "hi"})  # type: ignore[attr-defined]
        third = repo.commit("run-1", state)

        restored = repo.restore("run-1")
        assert exactly(restored) == exactly(state)
        assert repo.restore("run-1@3", keys=["messages"]) == {"messages": state["messages"]}
        assert repo.restore("run-1@3", keys=["n", "done"]) == {"n": 2, "done": False}
        assert repo.execution("run-1@1") == {"path": ["plan"], "attempts": {"plan": 2}}
        assert repo.execution("run-1") == {}
        assert repo.resolve("run-1~1") == second

        (info,) = repo.runs()
        assert isinstance(info, RunInfo)
        assert (info.name, info.head, info.checkpoints) == ("run-1", third, 3)
        assert (info.created_at, info.updated_at) == (NOON, NOON)
        assert repo.log("run-1") == [third, second, first]
        assert repo.log("run-1", limit=2) == [third, second]
        assert repo.log("run-1", limit=0) == []

        assert repo.diff("run-1@1", "run-1@2") == [Change("changed", "['n']", 1, 2)]
        assert repo.diff(second, third) == [
            Change("added", "['messages'][1]", None, {"role": "assistant", "content": "hi"})
        ]
        forked = repo.fork("run-1@3", "run-2")
        assert (forked.run, forked.sequence, forked.id) == ("run-2", 1, third.id)
        tagged = repo.tag("before-deploy", "run-1@3")
        assert tagged == third
        assert repo.tags() == {"before-deploy": third}
        repo.untag("before-deploy")
        assert repo.tags() == {}

        stats = repo.stats()
        assert isinstance(stats, StoreStats)
        assert stats.checkpoints == 4
        assert min(stats.logical_bytes, stats.unique_bytes, stats.stored_bytes) > 0
        assert stats.disk_bytes >= stats.stored_bytes
        assert set(stats.runs) == {"run-1", "run-2"}
    repo.close()


def test_a_prepared_commit_is_what_commit_writes(repo: Repository) -> None:
    state = {"items": [1, 2, 3]}
    prepared = repo.prepare("r", state, node="a", labels={"k": "v"})
    assert (prepared.run, prepared.sequence) == ("r", 1)
    with pytest.raises(NotFoundError):
        repo.resolve("r")
    state["items"].append(4)
    checkpoint = repo.write(prepared)
    assert checkpoint.id == prepared.id
    assert (checkpoint.node, checkpoint.labels) == ("a", {"k": "v"})
    assert repo.restore("r") == {"items": [1, 2, 3]}, "the state may change after prepare"


def test_ids_depend_on_what_is_saved_and_not_on_the_store(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        with Repository.open(tmp_path / name, clock=lambda: NOON) as repo:
            if name == "two":
                repo.commit("other", {"x": list(range(100))})
            ids.append([repo.commit("r", {"x": list(range(n))}).id for n in (10, 100)])
    assert ids[0] == ids[1]


def test_states_need_not_be_dicts(repo: Repository) -> None:
    for state in (None, 7, "text", [1, (2, {3})], b"\0", Decimal("1.0"), {1: "a", None: "b"}):
        repo.commit("r", state)
        assert exactly(repo.restore("r")) == exactly(state)


def test_what_cannot_be_stored_is_named_by_its_place(repo: Repository) -> None:
    repo.commit("r", {"fine": 1})
    with pytest.raises(InvalidInputError, match=r"state\['messages'\]\[1\]\['tool'\]"):
        repo.commit("r", {"messages": [1, {"tool": object()}]})
    with pytest.raises(InvalidInputError, match=r"execution\['path'\]"):
        repo.commit("r", {}, execution={"path": object()})
    assert repo.commit("r", {"fine": 2}).sequence == 2, "a refused state leaves no trace"
    assert repo.restore("r@1") == {"fine": 1}


@pytest.mark.parametrize("keys", ["messages", b"messages", [["a"]], [{}], 5], ids=repr)
def test_keys_are_a_list_of_possible_keys(repo: Repository, keys: Any) -> None:
    repo.commit("r", {"messages": 1})
    with pytest.raises(InvalidInputError, match="keys"):
        repo.restore("r", keys=keys)


def test_a_key_that_is_not_there_is_named(repo: Repository) -> None:
    repo.commit("r", {"a": 1, 5: 2, (1, 2): 3})
    repo.commit("list", [1, 2])
    assert repo.restore("r", keys=[(1, 2), 5, "a", 5]) == {(1, 2): 3, 5: 2, "a": 1}
    assert repo.restore("r", keys=[]) == {}
    for ref, key in (("r", "b"), ("r", 6), ("list", 0)):
        with pytest.raises(NotFoundError, match=f"{ref}@1 has no key {key!r}"):
            repo.restore(ref, keys=[key])


def test_next_nodes_are_a_list_of_names(repo: Repository) -> None:
    with pytest.raises(InvalidInputError, match="next_nodes"):
        repo.commit("r", {}, next_nodes="plan")
    assert repo.commit("r", {}, next_nodes=()).next_nodes == ()


def test_a_clock_must_know_its_zone(home: Path) -> None:
    with (
        Repository.open(home, clock=lambda: dt.datetime(2025, 1, 1)) as repo,
        pytest.raises(InvalidInputError, match="time zone"),
    ):
        repo.commit("r", {})


def test_moments_are_kept_in_utc(home: Path) -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    with Repository.open(home, clock=lambda: NOON.astimezone(zone)) as repo:
        checkpoint = repo.commit("r", {})
        assert checkpoint.created_at == NOON
        assert repo.resolve("r").created_at.utcoffset() == dt.timedelta(0)


def test_runs_are_deleted_together_if_none_was_extended(repo: Repository) -> None:
    heads = [repo.commit(run, {"n": 1}) for run in ("a", "b", "c")]
    repo.commit("b", {"n": 2})
    with pytest.raises(ConflictError, match="'b' was extended"):
        repo.delete_unmoved(heads)
    repo.tag("kept", heads[2])
    with pytest.raises(ConflictError, match="are to be kept"):
        repo.delete_unmoved([heads[0], heads[2]])
    assert [info.name for info in repo.runs()] == ["a", "b", "c"]
    assert repo.delete_unmoved([heads[0], repo.resolve("b")]) == 3
    assert [info.name for info in repo.runs()] == ["c"]
    with pytest.raises(NotFoundError):
        repo.delete_unmoved(heads)
