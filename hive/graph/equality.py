"""Whether two inputs are the same data."""

from __future__ import annotations

from typing import Any

__all__ = ["is_same_data"]


def is_same_data(left: Any, right: Any) -> bool:
    """Compare values as data: NaN equals NaN, and arrays are compared as wholes.

    ``==`` says that NaN differs from itself, and raises for mappings that hold arrays.
    """
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            is_same_data(value, right[key]) for key, value in left.items()
        )
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return (
            type(left) is type(right)
            and len(left) == len(right)
            and all(map(is_same_data, left, right))
        )
    # Before ``==``, which takes an item for an array of equal ones and raises for other lengths.
    if getattr(left, "shape", None) != getattr(right, "shape", None):
        return False
    same: Any = left == right
    if isinstance(same, bool):
        return same or bool(left != left and right != right)
    # An array of comparisons.
    return bool((same | ((left != left) & (right != right))).all())
