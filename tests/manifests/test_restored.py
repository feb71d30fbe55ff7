"""What is restored, changed in place and committed: each change is saved, and little compared."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from manifests import Repository
from manifests.likeness import Likeness
from manifests.segments import CONSTANT
from manifests.template import Template, Watched
from tests.manifests import classes
from tests.manifests.classes import Document, Level, Message, Open, Point, Step
from tests.manifests.sameness import assert_same, portrait


def item(dice: random.Random) -> Any:
    """Return something that stands in a list of messages, with much that can change in it."""
    number = dice.randrange(10)
    makers: list[Callable[[], Any]] = [
        lambda: {"role": "user", "content": f"{number} " * dice.randrange(300), "meta": {}},
        lambda: {"role": "tool", "parts": [{"n": [number, []]}, number], "at": 1.5},
        lambda: Document(title=f"t{number}", body={"n": [number], "more": {}}, tags=[]),
        lambda: Document(title=f"t{number}"),
        lambda: Step(f"s{number}", notes=[number, {"deep": [Step("below")]}]),
        lambda: Point([number], {"a": []}),
        lambda: Message("user", [number, {}]),
        lambda: Open(number=number),
        lambda: ("a tuple", [number], {"k": ()}),
        lambda: [number, [], {}, [[number]]],
        lambda: {1, number} if number % 2 else bytearray(b"bytes"),
        lambda: dice.choice((None, 1, True, 1.0, "text", Level.LOW, frozenset("ab"))),
    ]
    return dice.choice(makers)()


def places(value: Any) -> list[Callable[[], object]]:
    """Return one thing to do in place for everything below a value that can be changed."""
    found: list[Callable[[], object]] = []
    path = [value]
    while path:
        part = path.pop()
        match part:
            case dict():
                found.append(partial(part.update, changed=[]))
                if part:
                    key = next(iter(part))
                    found.append(partial(move_to_end, part, key))
                    found.append(partial(part.__setitem__, key, 1.0))
                path += part.values()
            case list():
                found += [partial(part.append, {}), part.reverse]
                path += part
            case tuple():
                path += part
            case set():
                found.append(partial(part.add, "changed"))
            case bytearray():
                found.append(partial(part.extend, b"!"))
            case Document():
                found.append(partial(setattr, part, "tags", ["changed"]))
                found.append(part.__pydantic_fields_set__.clear)
                path += vars(part).values()
            case Open():
                found.append(partial(setattr, part, "extra", [1]))
            case Step():
                found.append(partial(setattr, part, "attempts", True))
                path += vars(part).values()
            case Point():
                path += vars(part).values()
    return found


def move_to_end(part: dict[Any, Any], key: Any) -> None:
    """Change nothing but the order of the keys."""
    part[key] = part.pop(key)


def turn(state: dict[str, Any], dice: random.Random) -> None:
    """Change a state as a turn of an agent does, mostly by appending, sometimes anywhere."""
    messages = state["messages"]
    messages += [item(dice) for _ in range(dice.randrange(3))]
    for _ in range(dice.randrange(4)):
        found = places(messages[dice.randrange(len(messages))])
        if found:
            dice.choice(found)()
    if dice.random() < 0.2:
        del messages[dice.randrange(len(messages))]
    if dice.random() < 0.2:
        messages.insert(dice.randrange(len(messages)), copy.deepcopy(dice.choice(messages)))
    state["turn"] = dice.random()


def work_in_turns(home: Path, seed: int, turns: int = 40, **options: Any) -> None:
    """Restore, change and commit again and again; each time a store opened anew says the same."""
    print(f"seed {seed}")
    dice = random.Random(seed)
    registry = classes.registry()
    with Repository.open(home, registry=registry) as repo:
        first = {"messages": [item(dice) for _ in range(200)], "turn": 0.0, "notes": {}}
        repo.commit("r", first)
        for _ in range(turns):
            state = repo.restore("r")
            turn(state, dice)
            repo.commit("r", state, **options)
            with Repository.open(home, registry=registry, read_only=True) as other:
                assert_same(other.restore("r"), state)


@pytest.mark.parametrize("seed", range(4))
def test_every_change_of_what_was_restored_is_saved(tmp_path: Path, seed: int) -> None:
    work_in_turns(tmp_path, seed)


@pytest.mark.parametrize("seed", range(20, 22))
def test_nothing_is_promised_of_what_was_not_saved_yet(tmp_path: Path, seed: int) -> None:
    work_in_turns(tmp_path, seed, trust_identity=True)


def test_the_control_if_copies_were_not_watched_changes_would_be_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Template.copy

    def unwatched(self: Template, watched: Watched | None = None) -> Any:
        found: Watched = []
        value = copied(self, found)
        if watched is not None:
            watched += [(items, CONSTANT) for items, _segment in found]
        return value

    monkeypatch.setattr(Template, "copy", unwatched)
    with pytest.raises(AssertionError):
        work_in_turns(tmp_path, 0)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what tells how many values were compared since it was asked last."""
    of = Likeness.of
    counts: list[int] = []

    def counting(self: Likeness, values: Any, olds: Any) -> Any:
        counts.append(0 if values is olds else len(values))
        return of(self, values, olds)

    def since() -> int:
        total = sum(counts)
        counts.clear()
        return total

    monkeypatch.setattr(Likeness, "of", counting)
    return since


def messages(count: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{n} " * 100} for n in range(count)]}


def test_who_commits_what_he_restored_has_it_compared_once(
    tmp_path: Path, compared: Callable[[], int]
) -> None:
    with Repository.open(tmp_path) as repo:
        repo.commit("r", messages(300))
        taken = []
        for number in range(6):
            state = repo.restore("r")
            state["messages"].append({"role": "user", "content": f"new {number}"})
            compared()
            repo.commit("r", state)
            taken.append(compared())
        assert taken[0] >= 300
        # What is restored for the second time is not copied yet.
        assert max(taken[2:]) < 5, taken


def test_who_restores_to_look_and_commits_his_own_pays_nothing(
    tmp_path: Path, compared: Callable[[], int]
) -> None:
    with Repository.open(tmp_path) as repo:
        state = messages(300)
        repo.commit("r", state)
        for number in range(5):
            assert_same(repo.restore("r"), state)
            state["messages"].append({"role": "user", "content": f"new {number}"})
            compared()
            repo.commit("r", state)
            assert compared() < 5


def test_who_changes_his_ways_is_followed(tmp_path: Path, compared: Callable[[], int]) -> None:
    with Repository.open(tmp_path) as repo:
        state = messages(300)
        repo.commit("r", state)
        for number in range(4):
            state = repo.restore("r")
            state["messages"].append({"role": "user", "content": f"new {number}"})
            repo.commit("r", state)
        taken = []
        for number in range(4):
            expected = portrait(repo.restore("r"))
            assert portrait(state) == expected
            state["messages"].append({"role": "user", "content": f"own {number}"})
            compared()
            repo.commit("r", state)
            taken.append(compared())
        assert taken[0] >= 300
        assert max(taken[1:]) < 5, taken
        assert_same(repo.restore("r"), state)
