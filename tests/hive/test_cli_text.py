from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive.cli.text import age, count, escape, escape_lines, size
from hive.cli.values import to_json
from hive.literals import describe, glimpse, in_one_line, pretty
from manifests import UnregisteredValue

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.decimals(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=12,
)
# Surrogates included: a lone one cannot be printed in any encoding.
characters = st.text(st.characters(exclude_categories=()))


def is_harmless(text: str, *, but: str = "") -> bool:
    return all(
        character.isprintable() or unicodedata.category(character) == "Zs" or character in but
        for character in text
    )


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("run-1 é 日本\u3000🐝", "run-1 é 日本\u3000🐝"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m \x7f", "\\x9b31m \\x7f"),
        ("\u202egpj.exe\u2028", "\\u202egpj.exe\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("C:\\new", "C:\\new"),
    ],
    ids=["plain", "escape", "lines", "c1", "bidi", "surrogate", "tag", "backslash"],
)
def test_escape(foreign: str, shown: str) -> None:
    assert escape(foreign) == shown


@given(characters)
def test_nothing_that_moves_a_cursor_gets_through(text: str) -> None:
    assert is_harmless(escape(text))
    assert is_harmless(escape_lines(text), but="\n\t")
    escape(text).encode("utf-8")


@given(anything)
def test_any_value_is_shown_harmlessly(value: Any) -> None:
    assert is_harmless(pretty(value), but="\n\t")
    assert is_harmless(describe(value))
    assert len(describe(value, width=40)) <= 60
    assert is_harmless(glimpse(value))


@given(anything)
def test_any_value_becomes_strict_json(value: Any) -> None:
    text = json.dumps(to_json(value), allow_nan=False)
    assert is_harmless(text)
    assert json.loads(text) == to_json(value)


def test_json_of_what_json_lacks() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert to_json((1, b"ab", {1: 2}, {"$x": 1}, float("inf"), {3}, moment)) == [
        1,
        {"$bytes": "YWI="},
        {"$dict": [[1, 2]]},
        {"$dict": [["$x", 1]]},
        {"$float": "inf"},
        [3],
        {"$value": "2026-01-02 00:00:00+00:00", "type": "datetime"},
    ]


def test_integers_beyond_the_digit_limit_of_python() -> None:
    huge = 10**6_000
    assert to_json(huge) == {"$value": hex(huge), "type": "int"}
    assert describe(huge).startswith("0x")
    assert pretty(huge) == hex(huge)
    assert hex(huge) in pretty([huge])
    assert describe([huge]).startswith("[0x")
    for value in ({huge}, frozenset({(1, huge)}), {huge: {huge}}):
        assert hex(huge) in pretty(value)
        assert hex(huge) in in_one_line(value)
        assert len(glimpse(value)) == 60


def test_values_of_classes_that_are_not_known_here() -> None:
    value = UnregisteredValue("hive.Bee\x1b", 2, {"name": "Maja", "friends": ["Willi"] * 20})
    assert describe(value) == "hive.Bee\\x1b, not registered here"
    assert pretty(value).splitlines()[:3] == ["hive.Bee\\x1b(", "    {", "        'name': 'Maja',"]
    assert to_json(value)["$unregistered"] == "hive.Bee\x1b"
    assert to_json(value)["version"] == 2
    assert to_json(value)["fields"]["name"] == "Maja"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[]"),
        ((1,), "(1,)"),
        (frozenset({1}), "frozenset({1})"),
        ({"a": [1, "x" * 10]}, "{'a': [1, 'xxxxxxxxxx']}"),
        (
            {"a": [1, "x" * 20]},
            "{\n    'a': [\n        1,\n        'xxxxxxxxxxxxxxxxxxxx',\n    ],\n}",
        ),
    ],
    ids=["empty", "single", "frozen", "fits", "broken"],
)
def test_values_are_laid_out_as_python(value: object, text: str) -> None:
    assert pretty(value, width=30) == text


def test_a_string_is_shown_as_its_own_lines() -> None:
    assert pretty("one\n\ttwo\x1b[1m") == "one\n\ttwo\\x1b[1m"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("short\n", "'short\\n'"),
        ("x" * 41, "str, 41 characters"),
        (b"x" * 41, "bytes, 41 bytes"),
        ([1, 2], "[1, 2]"),
        ([[1]], "list, 1 item"),
        ({"a": 1}, "{'a': 1}"),
        (set(), "set()"),
    ],
    ids=repr,
)
def test_one_line_for_a_value(value: object, text: str) -> None:
    assert describe(value) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (61_900_000, "62 MB"),
        (10**19, "10000 PB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (99.9, "99 s"),
        (100, "1 min"),
        (6_000, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(timedelta(seconds=seconds)) == text


def test_counts() -> None:
    assert [count(1, "run"), count(1_200, "run"), count(2, "entry", "entries")] == [
        "1 run",
        "1,200 runs",
        "2 entries",
    ]
