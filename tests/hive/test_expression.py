"""The expression language of edge conditions: what it computes and what it refuses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive import InvalidInputError
from hive.graph.expression import FUNCTIONS, Expression


@dataclass
class Report:
    score: float = 0.5

    @property
    def secret(self) -> str:
        raise AssertionError("a property was run")


class Page(pydantic.BaseModel):
    title: str = "home"


NAMES: dict[str, Any] = {
    "output": {"score": 0.9, "tags": ["a", "b"], "text": "Yes ", "deep": {"n": [1, 2, 3]}},
    "memory": {"count": 3, "big": 2**1000},
    "report": Report(),
    "page": Page(),
    "count": 3,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("output.score > 0.8 and 'a' in output['tags']", True),
        ("not output.tags", False),
        ("count == 3 or missing", True),
        ("count and 0", 0),
        ("1 < count <= 3 != 4", True),
        ("3 < count < unknown", False),
        ("'x' not in output.tags", True),
        ("output.get('none') is None", True),
        ("output.get('none', 7) is not None", True),
        ("output.text.strip().lower() == 'yes'", True),
        ("output.text.startswith('Y')", True),
        ("output.deep.n[-1] + 2 * 3 - 1", 8),
        ("output.deep['n'][1:]", [2, 3]),
        ("7 // 2 + 7 % 4 + 2 ** 3 + 1 / 2", 14.5),
        ("'a' + 'b'", "ab"),
        ("-count if false else +count", 3),
        ("true and null is None", True),
        ("len(output.tags) + min(3, 1) + max([1, 2]) + abs(-1) + sum([1, 2])", 9),
        ("any([0, 1]) and all((1, True)) and bool(1)", True),
        ("int('7') + float('0.5') + round(1.26, 1) + round(2.5)", 10.8),
        ("str(count) == '3'", True),
        ("count in {1, 2, 3}", True),
        ("report.score + 1", 1.5),
        ("page.title", "home"),
    ],
)
def test_an_expression_has_the_value_python_gives_it(text: str, value: object) -> None:
    assert Expression(text).evaluate(NAMES) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "x = 1",
        "(x := 1)",
        "lambda: 1",
        "[x for x in output]",
        "f'{count}'",
        "{'a': 1}",
        "[*output]",
        "await x",
        "1j",
        "...",
        "1 << 900",
        "5 @ 5",
        "~1",
        "open('x')",
        "__import__('os')",
        "max(1, 2, key=len)",
        "len(*output)",
        "().__class__",
        "output._hidden",
        "output.items()",
        "'{}'.format(count)",
        "(lambda: 1)()",
        "(" * 300,
        "-" * 400 + "1",
        "1 + " * 600 + "1",
        "1" * 1999 + "+" + "1" * 1999,
        "'\x00'",
        "\ud800",
    ],
)
def test_what_is_not_of_the_language_is_refused_before_anything_is_evaluated(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "10 ** 10 ** 10",
        "'a' * 10 ** 9",
        "[0] * 10 ** 9",
        "2 ** 1025",
        "memory.big * memory.big",
        "round(5, -(10 ** 9))",
        "int('9' + '9' * 5)",
        "9" * 400,
        "(-8) ** 0.5",
        "2.0 ** 99999",
        "'%0999999999d' % 1",
        "1 / 0",
        "count.real",
        "output.score.hex()",
        "unknown > 1",
        "output.unknown",
        "output.deep.n[9]",
        "'a' < 1",
        "int('secret')",
        "str(output)",
        "[] + []",
        "report.secret",
        "report.missing",
        "page.model_dump",
        "output.text(1)",
        "output.text.get('a')",
        "1 in 1",
        "{[]}",
        "output[1:2]",
    ],
)
def test_what_cannot_be_computed_within_bounds_is_an_error_and_quick(text: str) -> None:
    started = time.thread_time()  # not what others of this machine took
    with pytest.raises(InvalidInputError):
        Expression(text).evaluate(NAMES)
    assert time.thread_time() - started < 1


def test_joining_texts_is_bounded() -> None:
    with pytest.raises(InvalidInputError, match="joined text"):
        Expression("a + a").evaluate({"a": "x" * 60_000})


def test_an_iterator_of_the_user_is_never_run() -> None:
    ran: list[str] = []

    def endless() -> Any:
        ran.append("the iterator")
        yield

    for text in ("sum(a)", "1 in a", "max(a)", "any(a)"):
        with pytest.raises(InvalidInputError):
            Expression(text).evaluate({"a": endless()})
    assert not ran


def test_an_error_says_which_name_key_or_call_is_wrong_and_shows_no_state() -> None:
    with pytest.raises(InvalidInputError, match="no name 'unknown'"):
        Expression("unknown > 1").evaluate({})
    with pytest.raises(InvalidInputError, match="no key 'b'"):
        Expression("a.b").evaluate({"a": {}})
    with pytest.raises(InvalidInputError, match=r"call of 'open'"):
        Expression("open('x')")
    for text in ("int(a)", "b[a]"):
        with pytest.raises(InvalidInputError) as caught:
            Expression(text).evaluate({"a": "hunter2", "b": {}})
        assert "hunter2" not in str(caught.value)


class Vague:
    """Raises where it is compared or asked for its truth, as arrays of several libraries do."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hunter2")

    def __bool__(self) -> bool:
        raise RuntimeError("hunter2")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("text", ["a", "not a", "a and b", "a == b", "a in [b]", "b if a else 1"])
def test_objects_that_are_neither_true_nor_equal_are_an_error_of_hive(text: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be evaluated: RuntimeError") as caught:
        Expression(text).holds({"a": Vague(), "b": 1})
    assert "hunter2" not in str(caught.value)


def test_the_functions_are_the_documented_ones() -> None:
    assert set(FUNCTIONS) == {
        "abs", "all", "any", "bool", "float", "int", "len", "max", "min", "round", "str", "sum",
    }  # fmt: skip


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_an_error_of_hive(text: str) -> None:
    try:
        Expression(text).evaluate({"output": {}, "memory": {}, "a": 1, "b": [1]})
    except InvalidInputError as caught:
        error = str(caught)
    else:
        error = "none"
    assert error


@given(
    st.recursive(
        st.sampled_from(["a", "b", "2", "0.5", "'t'", "None", "[1]"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "*", "**", "/", "<", "in", "and"]), inner).map(
                lambda parts: f"({' '.join(parts)})"
            ),
            inner.map(lambda text: f"max({text}, 1)"),
            st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        ),
        max_leaves=12,
    )
)
def test_nested_arithmetic_ends_with_a_small_value_or_an_error_of_hive(text: str) -> None:
    try:
        value = Expression(text).evaluate({"a": 3, "b": {"t": 10**20}})
    except InvalidInputError:
        return
    assert not isinstance(value, int) or value.bit_length() <= 1024
