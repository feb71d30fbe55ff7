"""``is_same_data``: what counts as the same input, or as unchanged where branches are merged."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from hive.graph.equality import is_same_data

NAN = float("nan")
NEVER = np.datetime64("NaT", "s")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": [1, (2,)]}, {"a": [1, (2,)]}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, [1], False),
        ({}, None, False),
        ([1], [1, 2], False),
        ([1, 2], [2, 1], False),
        ([1], (1,), False),
        ([], "", False),
        ((1,), 1, False),
        (NAN, NAN, True),
        (NAN, 1.0, False),
        (NAN, "nan", False),
        ({"a": [NAN]}, {"a": [NAN]}, True),
        (complex(NAN, 1), complex(NAN, 1), True),
        (Decimal("NaN"), Decimal("NaN"), True),
        (np.float32(NAN), np.float32(NAN), True),
        (np.float32(1), np.float32(2), False),
        (np.array([1.0, NAN]), np.array([1.0, NAN]), True),
        (np.array([1.0, NAN]), np.array([NAN, 1.0]), False),
        (np.array([1, NEVER], "M8[s]"), np.array([1, NEVER], "M8[s]"), True),
        (np.array([1, 1]), np.array([1]), False),
        (np.array([1, 1]), np.array([1, 1, 1]), False),
        (np.array([[1, 1]]), np.array([1, 1]), False),
        (np.array([1, 1]), [1, 1], False),
        (np.array([1, 1]), 1, False),
        (np.array([]), np.array([]), True),
        (np.array(["a", None], object), np.array(["a", None], object), True),
    ],
)
def test_data_is_compared_as_data_both_ways_round(left: Any, right: Any, same: bool) -> None:
    assert is_same_data(left, right) is same
    assert is_same_data(right, left) is same
