"""Paths as people type them lead where they say, and read no more than the way there."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import InvalidInputError, NotFoundError
from manifests import Repository, Unread
from manifests.forms import LinkForm
from manifests.outline import outline
from manifests.paths import Field, path_text
from manifests.places import Places, parse_path
from tests.manifests.classes import Colour, Point, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same
from tests.manifests.strategies import values

STATE: dict[str, Any] = {
    "messages": [{"role": "user", "content": f"text {number}"} for number in range(5)],
    "a.b": 1,
    "it's": {"x]": {3: "three", (1, "2"): "pair", True: "yes", None: "no"}},
    "pair": (1, (2, 3)),
    "point": Point(7, {"deep": [1]}),
    "text": "0123456789",
    "empty": [],
}


def saved(state: Any) -> tuple[Memory, LinkForm]:
    memory = Memory(registry())
    return memory, LinkForm(memory.save(state, state=True))


def get(state: Any, path: Any) -> Any:
    memory, root = saved(state)
    places = Places(memory.forms())
    return places.value(root, places.steps(root, path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", STATE),
        ("messages[-1].content", "text 4"),
        ("['messages'][0]['role']", "user"),
        ("messages[1:3]", STATE["messages"][1:3]),
        ("messages[-2:].content", ["text 3", "text 4"]),
        ("messages[:].role", ["user"] * 5),
        ("messages[9:]", []),
        ("a.b", 1),
        ("['a.b']", 1),
        ('["it\'s"]["x]"][3]', "three"),
        ("it's['x]'][(1, '2')]", "pair"),
        ("it's['x]'][True]", "yes"),
        ("it's['x]'][ None ]", "no"),
        ("pair[1][0]", 2),
        ("pair[0:1]", (1,)),
        ("point.x", 7),
        ("point['y'].deep[0]", 1),
        ("text[2:5]", "234"),
        ("text[-2:]", "89"),
        (("messages", -1, "content"), "text 4"),
        ((slice(None),), None),
    ],
    ids=repr,
)
def test_a_path_leads_to_its_value(path: Any, expected: Any) -> None:
    if path == (slice(None),):
        with pytest.raises(NotFoundError, match="no list"):
            get(STATE, path)
    else:
        assert_same(get(STATE, path), expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mesages", r"state has no \.mesages"),
        ("messages[5]", r"state\.messages has 5 items; there is none at \[5\]"),
        ("messages[-6]", "none at"),
        ("messages.content", r"state\.messages is a list; .* \[0\]"),
        ("messages['0']", "is a list"),
        ("messages[True]", "is a list"),
        ("messages[0].x.y", r"state\.messages\[0\] has no \.x"),
        ("messages[0:2].x", "no .x"),
        ("text.x", r"state\.text has no \.x"),
        ("text[0]", r"state\.text has no key \[0\]"),
        ("empty[0]", "0 items"),
        ("empty[0:1][0]", None),
        ("pair[0][:]", "no list to take a part of"),
        ("it's['x]'][1]", "no key"),
    ],
)
def test_where_there_is_nothing_says_how_far_the_path_leads(path: str, message: str | None) -> None:
    if message is None:
        assert get(STATE, path) == []
        return
    with pytest.raises(NotFoundError, match=message):
        get(STATE, path)


@pytest.mark.parametrize(
    "text",
    [
        *(".", ".a", "a.", "a..b", "a[", "a]", "a[]", "a['x'", "a[b]", "a[0]b", "a[{}]", "a[[1]]"),
        *("a[1:2:3]", "a[" + "(" * 3_000, "a" * 4_097, "a['\\x']", "[" * 2_000 + "]" * 2_000),
    ],
    ids=lambda text: text[:8],
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(InvalidInputError, match="path"):
        parse_path(text)


@pytest.mark.parametrize("part", [slice(0, 9, 2), slice(None, None, -1), slice("a"), slice(0.5, 1)])
def test_a_slice_that_a_path_cannot_have_is_refused(part: slice) -> None:
    """It was taken for one without a step, or for damage."""
    for state in ({"items": [1] * 9}, {"items": "text" * 5_000}):
        with pytest.raises(InvalidInputError, match="a slice in a path"):
            get(state, ["items", part])
    assert get({"items": [1, 2, 3]}, ["items", slice(1, None, 1)]) == [2, 3]


simple_keys = st.one_of(
    st.integers(), st.text(max_size=12), st.binary(max_size=5), st.booleans(), st.none()
)
steps_strategy = st.lists(
    st.one_of(
        simple_keys,
        st.tuples(simple_keys, simple_keys),
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_ -]{0,8}", fullmatch=True).map(Field),
    ),
    max_size=6,
)


@given(steps_strategy)
def test_printed_paths_can_be_typed(steps: list[Any]) -> None:
    if steps and all(len(repr(step)) <= 60 for step in steps):
        parsed = parse_path(path_text(steps, "").removeprefix("."))
        assert [(type(step), step) for step in parsed] == [(type(step), step) for step in steps]


@given(st.lists(st.text(max_size=6)), st.integers(-40, 40), st.integers(-40, 40))
def test_slices_are_those_of_python(items: list[str], start: int, stop: int) -> None:
    items = (items * 200)[:150] if len(items) > 2 else items
    assert get({"items": items}, f"items[{start}:{stop}]") == items[start:stop]


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        get(STATE, text)
    except (InvalidInputError, NotFoundError):
        pass


def test_one_item_of_a_long_list_costs_a_handful_of_reads(seed: int) -> None:
    dice = random.Random(seed)
    items = [{"n": number, "text": f"{dice.random()} " * 12} for number in range(20_000)]
    memory, root = saved({"items": items, "other": "x" * 10_000})
    for path, expected in [
        ("items[-1].n", 19_999),
        ("items[777].n", 777),
        ("items[19990:19993].n", [19_990, 19_991, 19_992]),
    ]:
        memory.loads = 0
        places = Places(memory.forms())
        assert places.value(root, places.steps(root, path)) == expected
        assert memory.loads <= 25, path


def test_the_outline_of_a_large_state_reads_one_level(seed: int) -> None:
    dice = random.Random(seed)
    state: dict[str, Any] = {
        "items": [f"{dice.random()} " * 12 for _ in range(5_000)],
        "by_name": {f"k{number}": f"{dice.random()}" * 9 for number in range(5_000)},
        "text": "äö" * 60_000,
        "blob": dice.randbytes(300_000),
        "short": [1, None, "x"],
        "number": 1.5,
        "point": Point(1, 2),
        "colour": Colour.RED,
        "set": {1, 2},
        "array": np.zeros((300, 40)),
        "scalar": np.float32(3),
        "lines": bytearray(10),
    }
    memory, root = saved(state)
    memory.loads = 0
    found = outline(memory.forms(), root, [], 0, 100)
    assert memory.loads <= 40
    told = {
        part.step: (part.outline.type, part.outline.length, part.outline.unit)
        for part in found.parts
    }
    assert told == {
        "items": ("list", 5_000, "items"),
        "by_name": ("dict", 5_000, "items"),
        "text": ("str", 240_000, "bytes"),
        "blob": ("bytes", 300_000, "bytes"),
        "short": ("list", 3, "items"),
        "number": ("float", None, "items"),
        "point": ("Point", 2, "items"),
        "colour": ("Colour", None, "items"),
        "set": ("set", 2, "items"),
        "array": ("ndarray of <f8 [300, 40]", None, "items"),
        "scalar": ("numpy scalar of <f4", None, "items"),
        "lines": ("bytearray", 10, "bytes"),
    }
    by_step = {part.step: part.outline for part in found.parts}
    assert by_step["short"].value == [1, None, "x"]
    assert by_step["colour"].value is Colour.RED
    assert by_step["items"].value is Unread.VALUE
    assert by_step["items"].has_parts
    assert by_step["set"].has_parts
    memory.loads = 0
    part = outline(memory.forms(), root, ["items"], 4_000, 4_003)
    assert [each.step for each in part.parts] == [4_000, 4_001, 4_002]
    assert part.parts[0].outline.value == state["items"][4_000]
    assert memory.loads <= 20
    names = outline(memory.forms(), root, ["by_name"], 10, 12)
    assert [each.step for each in names.parts] == ["k10", "k11"]
    fields = outline(memory.forms(), root, ["point"], 0, 9)
    assert [(type(each.step), each.step) for each in fields.parts] == [(Field, "x"), (Field, "y")]


@given(values())
def test_every_value_has_an_outline(value: Any) -> None:
    memory, root = saved({"it": value})
    found = outline(memory.forms(), root, ["it"], 0, 50)
    if isinstance(value, list | tuple | dict | set) and type(value) in (list, tuple, dict, set):
        assert found.type == type(value).__name__
        assert found.length == len(value)
    if found.value is not Unread.VALUE and not (isinstance(value, float) and math.isnan(value)):
        assert_same(found.value, value)


def test_a_repository_reads_by_path(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("run", STATE | {"point": None})
        assert repo.value("run", "messages[-1].content") == "text 4"
        assert repo.outline("run", "messages", start=3).parts[0].step == 3
        with pytest.raises(NotFoundError):
            repo.outline("run", "messages[7]")


def test_what_each_checkpoint_touched(home: Path) -> None:
    with Repository.open(home) as repo:
        state: dict[str, Any] = {"messages": ["a"] * 40, "count": 0, "config": {"x": 1, "y": 2}}
        repo.commit("run", state)
        state = {**state, "messages": ["a"] * 40 + ["b", "c"], "count": 1, "new": 1}
        repo.commit("run", state)
        state = {key: item for key, item in state.items() if key != "new"}
        repo.commit("run", state | {"config": {"x": 2, "z": 1}}, parent="run@2")
        repo.commit("run", state, parent="run@1")
        told = [
            [(part.kind, part.path, part.added, part.removed, part.changed) for part in parts]
            for parts in repo.touched(repo.log("run"))
            if parts is not None
        ]
        assert told == [
            [("changed", "['messages']", 2, 0, 0), ("changed", "['count']", 0, 0, 0)],
            [("changed", "['config']", 1, 1, 1), ("removed", "['new']", 0, 0, 0)],
            [
                ("changed", "['messages']", 2, 0, 0),
                ("changed", "['count']", 0, 0, 0),
                ("added", "['new']", 0, 0, 0),
            ],
            [("added", f"['{key}']", 0, 0, 0) for key in ("messages", "count", "config")],
        ]
        assert len(repo.diff("run@1", "run@2", limit=2)) == 2
        assert [found.sequence for found in repo.log("run", limit=2, below=3)] == [2, 1]
        repo.forget(["run@2"])
        assert [parts is None for parts in repo.touched(["run@3", "run@4"])] == [True, False]


def test_what_was_touched_is_told_apart_where_paths_are_not(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("keys", {"k" * 70 + "1": 1, "k" * 70 + "2": [1]})
        repo.commit("keys", {"k" * 70 + "1": 2, "k" * 70 + "2": [1, 2]})
        [parts] = repo.touched(["keys@2"])
        assert parts is not None
        assert [(part.kind, part.added) for part in parts] == [("changed", 0), ("changed", 1)]
        # Of two items that are gone, one was where another is now that is changed inside.
        repo.commit("list", ["x", "y", "c", [1], "d"])
        repo.commit("list", ["c", [1, 2], "d"])
        [parts] = repo.touched(["list@2"])
        assert parts is not None
        assert [(part.kind, part.path, part.added) for part in parts] == [
            ("removed", "[0]", 0),
            ("removed", "[1]", 0),
            ("changed", "[1]", 1),
        ]
