"""Copies for nodes, and the way back to the originals."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive import InvalidInputError, LimitError, Repository
from hive.graph.copies import Copies, copy_value

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, 1, 1.0, 0.0, -0.0, "", "a", b"a"]),
        st.tuples(st.integers(0, 1), st.just("t")),
        st.builds(bytearray, st.binary(max_size=2)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "b", 1, ("k", 2)]), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=12,
)


def shape(value: Any) -> Any:
    """A value with the types of everything in it, which ``==`` does not compare."""
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    return type(value), repr(value)


def containers(value: Any) -> list[Any]:
    """All lists and dicts in a value."""
    found = [value] if isinstance(value, list | dict) else []
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, list | tuple | dict):
        for part in parts:
            found += containers(part)
    return found


def change(value: Any, dice: random.Random) -> None:
    """Change a value in place somewhere, if there is a place for it."""
    places = containers(value)
    if not places:
        return
    place = dice.choice(places)
    fresh = dice.choice([0, 1, True, "new", [1], {"x": [2]}])
    if isinstance(place, list):
        act = dice.choice(["append", "replace", "delete", "reverse"])
        if act == "append" or not place:
            place.append(fresh)
        elif act == "replace":
            place[dice.randrange(len(place))] = fresh
        elif act == "delete":
            del place[dice.randrange(len(place))]
        else:
            place.reverse()
    elif place and dice.random() < 0.5:
        key = dice.choice(list(place))
        place[key] = place.pop(key)  # to the end: the order of keys is part of the value
    else:
        place[dice.choice(["a", "z"])] = fresh


@given(VALUES, st.integers(0, 4), st.randoms(use_true_random=False))
def test_taking_back_gives_what_deepcopy_would_and_no_alias(
    original: Any, changes: int, dice: random.Random
) -> None:
    before = shape(original)
    copies = Copies()
    lent = copies.lend(original, "value")
    assert shape(lent) == before
    mine = [lent, 5]
    for _ in range(changes):
        change(lent, dice)
    expected = shape(copy.deepcopy(mine))
    taken = copies.take(mine, "value")
    assert shape(taken) == expected
    # What the node does later to what it got or gave changes neither the original nor the taken.
    for container in containers(mine):
        container.clear()
    assert shape(taken) == expected
    assert shape(original) == before


@given(VALUES)
def test_what_was_not_changed_is_the_original_again(original: Any) -> None:
    copies = Copies()
    taken = copies.take({"same": copies.lend(original, "value")}, "value")["same"]
    if isinstance(original, list | dict | tuple):
        unrecognized = any(isinstance(item, bytearray) for item in flat(original))
        assert unrecognized or taken is original


def flat(value: Any) -> list[Any]:
    """A value and everything in its lists and dicts."""
    parts = value.values() if isinstance(value, dict) else value
    parts = parts if isinstance(value, dict | list | tuple) else ()
    keys = list(value) if isinstance(value, dict) else []
    return [value, *keys, *(item for part in parts for item in flat(part))]


def test_a_list_that_grew_keeps_its_old_items() -> None:
    messages = [{"n": number, "parts": [number]} for number in range(3)]
    copies = Copies()
    lent = copies.lend(messages, "messages")
    lent[1]["parts"].append("changed")
    taken = copies.take([*lent, {"n": 3}], "messages")
    assert [taken[0] is messages[0], taken[1] is messages[1], taken[2] is messages[2]] == [
        True,
        False,
        True,
    ]
    assert taken[1] == {"n": 1, "parts": [1, "changed"]}
    assert messages[1] == {"n": 1, "parts": [1]}


def test_equal_is_not_unchanged() -> None:
    original = {"flag": 1, "order": {"a": 1, "b": 2}}
    copies = Copies()
    lent = copies.lend(original, "value")
    lent["flag"] = True
    lent["order"]["a"] = lent["order"].pop("a")
    taken = copies.take(lent, "value")
    assert taken["flag"] is True
    assert list(taken["order"]) == ["b", "a"]
    assert original == {"flag": 1, "order": {"a": 1, "b": 2}}


def test_a_list_that_occurs_twice_becomes_two_lists() -> None:
    shared = [1]
    twice = {"a": shared, "b": [shared], "c": (shared, 2)}
    for copied in (copy_value(twice, "value"), Copies().take(twice, "value")):
        copied["a"].append(2)
        assert copied == {"a": [1, 2], "b": [[1]], "c": ([1], 2)}


def test_types_are_kept() -> None:
    class Words(list[str]):
        pass

    value = [Words("ab"), bytearray(b"x"), {2}, frozenset({3}), (1, [2])]
    for copied in (copy_value(value, "value"), Copies().take(value, "value")):
        assert copied == value
        assert [type(item) for item in copied] == [type(item) for item in value]
        assert all(new is not old for new, old in zip(copied[:3], value[:3], strict=True))


ODD_TEXTS = st.text(st.sampled_from("aé\ud83d\ude00\U0001f600"), max_size=3)
ODD_VALUES = st.recursive(
    st.one_of(ODD_TEXTS, st.integers(), st.floats(), st.binary(max_size=2), st.complex_numbers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(
            st.one_of(ODD_TEXTS, st.integers(0, 1), st.just("k" * 70_000)), inner, max_size=2
        ),
        st.builds(lambda item: {float("nan"): item, float("nan"): item}, inner),
        st.builds(lambda item: [[[[[[[[[[item]]]]]]]]]], inner),
    ),
    max_leaves=8,
)


@pytest.fixture
def repository(home: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        yield opened


@given(value=ODD_VALUES, key=ODD_TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_cannot_be_stored_is_in_doubt(repository: Repository, value: Any, key: str) -> None:
    """Whatever else is taken is stored, without encoding it beforehand."""
    copies = Copies()
    taken = copies.take({key: value}, "value")
    try:
        repository.refuse_unstorable(taken)
    except (InvalidInputError, LimitError):
        assert copies.has_doubts


def test_most_data_is_beyond_doubt() -> None:
    copies = Copies()
    copies.take([{"text": "é \U0001f600", 1: [None, 1.5, b"x"]}, ("y",)], "value")
    assert not copies.has_doubts


def test_a_value_that_contains_itself_is_an_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for call in (Copies().lend, Copies().take):
        with pytest.raises(InvalidInputError, match="does not contain itself"):
            call(loop, "value")


@pytest.mark.parametrize("value", [threading.Lock(), [threading.Lock()]])
def test_a_live_object_is_refused_with_its_place(value: Any) -> None:
    for call in (Copies().lend, Copies().take):
        with pytest.raises(InvalidInputError, match=r"cannot be copied .*cannot pickle") as caught:
            call(value, "memory['x']")
        assert caught.value.path == "memory['x']"


def test_nesting_beyond_the_interpreters_limit_is_an_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for call in (Copies().lend, Copies().take):
        with pytest.raises(InvalidInputError, match="RecursionError"):
            call(deep, "value")
    while deep:  # taken apart by hand: to free it at once would recurse as deep
        deep = deep.pop()
