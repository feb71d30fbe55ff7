"""A numerical state: an array and a byte string, a little of which changes at every step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from benchmarks.text import TextSource
from benchmarks.workloads.base import Kind, Patch, Turn, Workload
from benchmarks.workloads.messages import novel_bytes

__all__ = ["Binary"]


class Binary(Workload):
    """An array of float32 and random bytes of an eighth of its size; 1 % of each changes a step.

    What changes are four slices of the array, changed in place, and one of the byte string.
    """

    name = "binary"
    kinds: ClassVar[Mapping[str, Kind]] = {
        "weights": "patch",
        "blob": "patch",
        "turn": "replace",
    }

    def __init__(self, size: int, *, steps: int = 20) -> None:
        """Make a workload whose array has ``size`` bytes."""
        self._size = size
        self._steps = steps

    @property
    def title(self) -> str:
        """What it is, with its size."""
        mib = self._size / 2**20
        return f"{mib:g} MiB array + {mib / 8:g} MiB bytes, 1 % changes a step, {self._steps} steps"

    def turns(self) -> list[Turn]:
        """Return all turns."""
        return self._turns

    @cached_property
    def _turns(self) -> list[Turn]:
        text = TextSource("binary")
        length, blob_length = self._size // 4, self._size // 8
        # One array per part of the state is drawn, and patches are cut from it at random places:
        # drawing each would take longer than saving it.
        weights = _weights(text, length)
        blob = text.rng.randbytes(blob_length)
        writes: dict[str, Any] = {"weights": weights, "blob": blob, "turn": 1}
        turns = [Turn("binary", writes, weights.tobytes() + blob + novel_bytes(1))]
        for step in range(2, self._steps + 1):
            values = _weights(text, max(4, length // 100))
            data = text.rng.randbytes(max(1, blob_length // 100))
            writes = {
                "weights": Patch(text.rng.randrange(length - len(values)), values),
                "blob": Patch(text.rng.randrange(blob_length - len(data)), data),
                "turn": step,
            }
            turns.append(Turn("binary", writes, values.tobytes() + data + novel_bytes(step)))
        return turns


def _weights(text: TextSource, length: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return values spread around zero like weights of a network, of no use to a compressor.

    They are sums of two uniform ones: numpy's own normal streams may change between its releases.
    """
    raw = np.frombuffer(text.rng.randbytes(8 * length), dtype="<u4").reshape(length, 2)
    sums: np.ndarray[Any, np.dtype[np.float64]] = raw.sum(axis=1, dtype=np.float64)
    return (sums / 2**32 - 1).astype(np.float32)
