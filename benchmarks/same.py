"""Whether what was loaded is what was saved."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["WrongStateError", "check_same"]


class WrongStateError(AssertionError):
    """A store returned another state than was saved in it."""


def check_same(loaded: Any, saved: Any, where: str) -> None:
    """Raise ``WrongStateError`` unless both are equal, types included; arrays by their bytes.

    The order of dict keys does not count: not every store keeps it.
    """
    if type(loaded) is not type(saved):
        raise WrongStateError(f"{where}: {type(loaded).__name__}, saved {type(saved).__name__}")
    if isinstance(saved, np.ndarray):
        equal = loaded.dtype == saved.dtype and loaded.tobytes() == saved.tobytes()
    elif isinstance(saved, dict):
        equal = loaded.keys() == saved.keys()
        for key in saved if equal else ():
            check_same(loaded[key], saved[key], f"{where}[{key!r}]")
    elif isinstance(saved, list):
        equal = len(loaded) == len(saved)
        for index, (left, right) in enumerate(zip(loaded, saved, strict=False)):
            check_same(left, right, f"{where}[{index}]")
    else:
        equal = loaded == saved
    if not equal:
        raise WrongStateError(f"{where}: another value than was saved")
