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
    if isinstance(left, float) and isinstance(right, float) and left != left:
        return right != right
    same: Any = left == right
    if isinstance(same, bool):
        return same
    # An array of comparisons. Unequal shapes compare as False or raise, depending on the version.
    return getattr(left, "shape", None) == getattr(right, "shape", None) and bool(same.all())
