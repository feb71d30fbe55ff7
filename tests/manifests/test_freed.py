"""What nobody has any more is freed at once: states are large, and full collections are rare."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from manifests import Registry, Repository


@dataclass
class Message:
    """An object that can be watched being freed."""

    text: str


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """Return a repository in which nothing is freed but what no reference is left of."""
    registry = Registry()
    registry.register(Message)
    gc.collect()
    gc.disable()
    try:
        with Repository.open(home, registry=registry) as repository:
            yield repository
    finally:
        gc.enable()


def conversation(length: int) -> dict[str, Any]:
    """Return a state whose list is a tree of several objects."""
    return {"messages": [Message(f"{at} {'text ' * 100}") for at in range(length)], "turn": 0}


def watched(state: dict[str, Any]) -> list[weakref.ref[Message]]:
    """Return weak references to the messages of a state."""
    return [weakref.ref(message) for message in state["messages"]]


def alive(references: list[weakref.ref[Message]]) -> int:
    """Return how many of them still are there."""
    return sum(reference() is not None for reference in references)


def replaced(repo: Repository, state: dict[str, Any]) -> list[weakref.ref[Message]]:
    """Commit a state and then another conversation in it; return references to the first one."""
    repo.commit("run", state)
    references = watched(state)
    state["messages"] = conversation(300)["messages"]
    repo.commit("run", state)
    return references


@pytest.mark.parametrize("length", [2, 300])
def test_a_restored_state_is_freed(repo: Repository, length: int) -> None:
    """Read, decoded from memory, and copied: the first, second and later times."""
    repo.commit("run", conversation(length))
    for _ in range(4):
        state = repo.restore("run")
        references = watched(state)
        assert alive(references) == length
        del state
        assert alive(references) == 0


def test_a_turn_frees_the_turn_before(repo: Repository) -> None:
    """A framework restores and commits by turns; only what was committed last is kept."""
    repo.commit("run", conversation(300))
    before: list[weakref.ref[Message]] = []
    for turn in range(5):
        state = repo.restore("run")
        references = watched(state)
        state["turn"] = turn
        state["messages"].append(Message("more"))
        repo.commit("run", state)
        assert alive(before) == 0
        del state
        before = references


def test_replaced_messages_are_freed(repo: Repository) -> None:
    state = conversation(300)
    assert alive(replaced(repo, state)) == 0
    references = watched(state)
    state["messages"] = []
    repo.commit("run", state)
    assert alive(references) == 0


@pytest.mark.parametrize(("most_bytes", "kept"), [(0, 1), (400_000, 3), (1 << 30, 6)])
def test_large_states_of_other_runs_are_freed(
    repo: Repository, most_bytes: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs one after the other, the last state of each would fill the memory."""
    monkeypatch.setattr("manifests.memories._MOST_BYTES", most_bytes)
    states = [conversation(300) for _ in range(6)]  # 156 kB each
    references = [watched(state) for state in states]
    for at, state in enumerate(states):
        repo.commit(f"run {at}", state)
    states[0]["turn"] = 1
    repo.commit("run 0", states[0])
    del state, states
    assert sum(alive(of_run) == 300 for of_run in references) == kept
    assert alive(references[0]) == 300  # the newest, whatever its size
    again = repo.restore("run 1")
    again["turn"] = 1
    saved = repo.commit("run 1", again, changed=["turn"])
    assert repo.restore(saved.id) == again


def test_a_cycle_would_be_noticed(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: what is watched and where it is watched, each holding the other."""
    monkeypatch.setattr("manifests.watch.ref", lambda block: lambda: block)
    assert alive(replaced(repo, conversation(300))) == 300
