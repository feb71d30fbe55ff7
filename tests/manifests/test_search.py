"""Searching states finds what looking at each of them would, and reads each object once."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import InvalidInputError, NotFoundError
from manifests import PendingWrite, Repository
from manifests.parameters import TreeParameters
from tests.manifests.classes import Point, registry

LONG = "first line\n" + "padding " * 20_000 + "\nneedle here\n"


@pytest.fixture
def repo(home: Path) -> Any:
    with Repository.open(home, registry=registry()) as opened:
        yield opened


def told(repo: Repository, pattern: str, **options: Any) -> list[tuple[str, int, str, str]]:
    return [
        (found.checkpoint.run, found.checkpoint.sequence, found.path, found.text)
        for found in repo.search(pattern, **options)
    ]


def test_every_kind_of_place(repo: Repository) -> None:
    state = {
        "text": "a needle",
        "long": LONG,
        "list": ["x", {"y": ("z", "needle 2")}],
        "needle key": 1,
        3: "needle 3",
        True: {"needle set"},
        "point": Point("needle 4", None),
        "bytes": b"needle",
        "nothing": "hay",
    }
    repo.commit("run", state)
    assert told(repo, "needle", runs=["run"]) == [
        ("run", 1, "['text']", "a needle"),
        ("run", 1, "['long']", "needle here"),
        ("run", 1, "['list'][1]['y'][1]", "needle 2"),
        ("run", 1, "['needle key']", "needle key"),
        ("run", 1, "[3]", "needle 3"),
        ("run", 1, "[True]", "needle set"),
        ("run", 1, "['point'].x", "needle 4"),
    ]
    found = repo.search("needle", runs=["run"])[0]
    assert found.text[found.start : found.end] == "needle"
    assert repo.value("run", found.path) == "a needle"
    (line,) = repo.search("pad+ing", runs=["run"])
    assert len(line.text) < 500


def test_a_line_counts_once_for_the_oldest_checkpoint_of_each_run(repo: Repository) -> None:
    messages = [f"message {number} " + "x" * 100 for number in range(300)]
    repo.commit("a", {"messages": messages, "note": "needle"})
    repo.commit("a", {"messages": [*messages, "needle in a"], "note": "needle"})
    repo.fork("a@2", "b")
    repo.commit("b", {"messages": [*messages, "needle in a", "needle in b"], "note": "no"})
    assert told(repo, "needle", runs=["a", "b"]) == [
        ("a", 1, "['note']", "needle"),
        ("a", 2, "['messages'][300]", "needle in a"),
        ("b", 1, "['messages'][300]", "needle in a"),
        ("b", 1, "['note']", "needle"),
        ("b", 2, "['messages'][301]", "needle in b"),
    ]
    assert told(repo, "needle", refs=["b"])[0][:2] == ("b", 2)
    assert len(told(repo, "needle", runs=["a", "b"], limit=2)) == 2
    assert told(repo, "needle", runs=["a", "b"], limit=0) == []
    assert told(repo, "message 299 ", refs=["a@1"])[0][2] == "['messages'][299]"


def test_what_is_pending_is_found_if_it_is_in_no_state_behind(repo: Repository) -> None:
    def put(run: str, anchor: Any, **values: Any) -> None:
        repo.put_pending(
            run,
            anchor,
            [PendingWrite("task", at, *named) for at, named in enumerate(values.items())],
        )

    repo.commit("a", {"note": "hay"})
    put("a", 1, note="needle note", other=["needle other", LONG], both="needle both")
    put("a", 2, other=["needle other"], both=Point("needle point", {"needle": 1}))
    repo.commit("a", {"note": "needle note"})
    repo.commit("a", {"note": "needle note", "both": "both"})
    assert told(repo, "needle", runs=["a"]) == [("a", 2, "['note']", "needle note")]
    found = repo.search("needle", runs=["a"], pending=True)
    assert [(each.checkpoint.sequence, each.pending, each.path, each.text) for each in found] == [
        (1, "other", "[0]", "needle other"),
        (1, "other", "[1]", "needle here"),
        (1, "both", "", "needle both"),
        (2, None, "['note']", "needle note"),
    ]
    assert {each.task for each in found} == {None, "task"}
    # Alone, and where no other one was made from it, all of it is.
    alone = repo.search("needle", refs=["a@2"], pending=True)
    assert [(each.pending, each.path) for each in alone] == [
        *((None, "['note']"), ("other", "[0]"), ("both", ".x"), ("both", ".y['needle']")),
    ]
    # The list is small enough to stand whole in a row, with the tree that so many items make.
    put("a", 3, both="needle head", many=[""] * 99 + ["needle 99"])
    assert repo.search("needle head", runs=["a"], pending=True)[0].checkpoint.sequence == 3
    assert len(repo.search("needle", runs=["a"], pending=True, limit=1)) == 1
    assert repo.search("needle 99", runs=["a"], pending=True)[0].path == "[99]"


def test_an_object_is_searched_once(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    import manifests.search

    texts = [f"{number} " + "needle " * 40 for number in range(200)]
    for count in range(100, 200):
        repo.commit("a", {"messages": texts[:count]})
    repo.fork("a", "b")
    searched: list[str] = []
    lines = manifests.search._Searcher._lines

    def watched(self: Any, text: str) -> Any:
        searched.append(text)
        return lines(self, text)

    monkeypatch.setattr(manifests.search._Searcher, "_lines", watched)
    assert len(told(repo, "needle", runs=["a", "b"])) == 199 + 199
    assert sum(text in texts for text in searched) == 199


def test_what_cannot_be_searched(repo: Repository) -> None:
    repo.commit("run", {"n": 1})
    with pytest.raises(InvalidInputError, match="regular expression"):
        repo.search("(")
    with pytest.raises(NotFoundError):
        repo.search("x", runs=["none"])
    counts: list[int] = []
    assert repo.search(re.compile("x"), runs=["run"], searched=counts.append) == []
    assert counts == [1]


words = st.sampled_from(["needle", "hay", "needle and hay", ""])
trees = st.recursive(
    words,
    lambda inner: st.one_of(
        st.lists(inner, max_size=12),
        st.dictionaries(st.one_of(words, st.integers(0, 3)), inner, max_size=12),
        st.builds(Point, inner, inner),
    ),
    max_leaves=60,
)


def places(value: Any, steps: str = "") -> set[tuple[str, str]]:
    """Look for the needle as simply as can be."""
    if isinstance(value, str):
        return {(steps, value)} if "needle" in value else set()
    if isinstance(value, list):
        return {found for at, item in enumerate(value) for found in places(item, f"{steps}[{at}]")}
    if isinstance(value, dict):
        found: set[tuple[str, str]] = set()
        for key, item in value.items():
            place = f"{steps}[{key!r}]"
            found |= places(item, place)
            found |= {(place, key)} if isinstance(key, str) and "needle" in key else set()
        return found
    if isinstance(value, Point):
        return places(value.x, f"{steps}.x") | places(value.y, f"{steps}.y")
    return set()


@settings(max_examples=30)
@given(st.lists(st.dictionaries(words, trees, max_size=5), min_size=1, max_size=4))
def test_searching_finds_what_looking_finds(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, Any]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    small = TreeParameters(short_items=3, inline_item=8, whole_dict=16, run_target=2)
    with Repository.open(home, registry=registry(), parameters=small) as repo:
        expected = set()
        for state in states:
            found_at = repo.commit("run", state).sequence
            repo.put_pending("run", found_at, [PendingWrite("task", 0, "beside", state)])
            expected |= places(state)
        found = repo.search("needle", runs=["run"])
        assert {(each.path, each.text) for each in found} == expected
        assert len(found) == len(expected)
        for each in found:
            there = repo.value(each.checkpoint, each.path)
            assert each.text in (there, each.path.rpartition("[")[2].strip("']"))
        beside = [
            each for each in repo.search("needle", runs=["run"], pending=True) if each.pending
        ]
        assert {(each.path, each.text) for each in beside} == expected
        assert len(beside) == len(expected)


@pytest.mark.parametrize(
    "pattern",
    [
        *("^b", "b$", "^$", r"\Ab", r"b\Z", "(?<!\n)b", "(?<=a)b", "b(?!\n)", "a(?=b)", "(?m)^b"),
        *("[^a]b", r"\bb", r"\Bb", r"a\W*b", r"a\sb", "a.b", "(?s)a.b", "(?P<x>b)", "a|b"),
    ],
)
def test_a_line_matches_as_if_it_stood_alone(repo: Repository, pattern: str) -> None:
    letters = ("a", "b", " ", "\n", "\r")
    texts = ["".join(text) for size in range(5) for text in itertools.product(letters, repeat=size)]
    repo.commit("run", texts)
    assert {(found.path, found.text) for found in repo.search(pattern, runs=["run"])} == {
        (f"[{place}]", line)
        for place, text in enumerate(texts)
        for line in text.splitlines()
        if re.search(pattern, line)
    }
