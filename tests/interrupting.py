"""Ctrl-C at every place where it may come: at each call of a function of this project."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["interrupt_at"]

_PACKAGES = tuple(f"{Path(__file__).parents[1] / name}/" for name in ("cas", "manifests", "hive"))


def interrupt_at(place: int, work: Callable[[], object], *, also: str = "") -> bool:
    """Do some work, and raise ``KeyboardInterrupt`` at its n-th call (from 0); whether it came.

    Python looks for signals where a function begins, so one may come at each of these places.
    ``also`` is another file whose functions count.
    """
    left = place

    def traced(frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal left
        name = frame.f_code.co_filename
        # A generator may be entered to be closed, where nothing can be raised, as in __del__.
        closes = frame.f_code.co_flags & inspect.CO_GENERATOR or frame.f_code.co_name == "__del__"
        if (name.startswith(_PACKAGES) or name == also) and not closes:
            left -= 1
            if left < 0:
                sys.settrace(before)
                raise KeyboardInterrupt

    before: Any = sys.gettrace()
    sys.settrace(traced)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
