"""States as plain data, for the encodings that know neither numpy nor dates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["from_plain", "to_plain"]


def to_plain(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with the arrays at its top level as [dtype, bytes]. Copies nothing else."""
    if not any(isinstance(value, np.ndarray) for value in state.values()):
        return state
    return {
        key: [value.dtype.str, value.tobytes()] if isinstance(value, np.ndarray) else value
        for key, value in state.items()
    }


def from_plain(state: dict[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Undo ``to_plain``. ``kinds`` are those of the workload."""
    return {
        key: np.frombuffer(value[1], dtype=value[0])
        if kinds[key] == "patch" and isinstance(value, list)
        else value
        for key, value in state.items()
    }
