"""The helper by which all other tests compare must itself tell values apart."""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import zoneinfo
from typing import Any

import numpy as np
import pytest

from tests.manifests.classes import Document, Level, Message, Open, Point, Span, Step, Word
from tests.manifests.sameness import assert_same, same

ALIKE = {
    "integer and truth": (1, True),
    "integer and float": (1, 1.0),
    "integer and member": (1, Level.LOW),
    "text and member": ("yes", Word.YES),
    "signs of zero": (0.0, -0.0),
    "complex zeros": (0j, complex(0, -0.0)),
    "list and tuple": ([1], (1,)),
    "tuple and named tuple": (("a", ""), Message("a")),
    "inside a list": ([[1]], [[True]]),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "type of a key": ({1: "a"}, {True: "a"}),
    "type of a member": ({1}, {1.0}),
    "set and frozenset": ({1}, frozenset({1})),
    "bytes and bytearray": (b"a", bytearray(b"a")),
    "digits of a decimal": (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    "decimal and integer": (decimal.Decimal(1), 1),
    "fold": (dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, fold=1)),
    "names of zones": (dt.timezone(dt.timedelta(0)), dt.timezone(dt.timedelta(0), "UTC")),
    "kinds of zones": (
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    ),
    "kinds of paths": (pathlib.PurePosixPath("a"), pathlib.Path("a")),
    "byte order": (np.array([1], "<i4"), np.array([1], ">i4")),
    "order in memory": (np.zeros((2, 3)), np.zeros((2, 3), order="F")),
    "scalar and array": (np.float64(1), np.array(1.0)),
    "scalar and float": (np.float64(1), 1.0),
    "classes": (Point(1, None), Span(1, None)),
    "fields of a dataclass": (Step("a", 1), Step("a", True)),
    "set fields of a model": (Document(title="a"), Document(title="a", tags=[])),
    "extra of a model": (Open(), Open.model_validate({"x": 1})),
}


@pytest.mark.parametrize("name", ALIKE)
def test_values_that_are_not_the_same_differ(name: str) -> None:
    one, other = ALIKE[name]
    assert not same(one, other)
    with pytest.raises(AssertionError):
        assert_same(one, other)


SAME: dict[str, Any] = {
    "not a number": (float("nan"), float("nan")),
    "sets in any order": ({"a", "b", "c"}, {"c", "b", "a"}),
    "nested": ([{"a": (1, {2.0})}], [{"a": (1, {2.0})}]),
    "decimals": (decimal.Decimal("NaN"), decimal.Decimal("NaN")),
    "arrays": (np.arange(3), np.arange(3)),
    "models": (Document(title="a"), Document(title="a")),
}


@pytest.mark.parametrize("name", SAME)
def test_values_that_are_the_same_do_not(name: str) -> None:
    assert same(*SAME[name])
