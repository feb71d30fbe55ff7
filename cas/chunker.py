"""Content-defined chunking of long byte strings (FastCDC 2020, native).

Chunk boundaries depend on the bytes around them only, so an edit in the middle of a long text
changes the chunks it touches and leaves the others shared. The boundaries are part of the store's
format: parameters stand in its header, and a golden hash pins the library's output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pyfastcdc import FastCDC

from cas.errors import InvalidInputError

__all__ = ["ChunkParameters", "Chunker"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChunkParameters:
    """Sizes in bytes: no chunk but the last is shorter than ``minimum``, none is over ``maximum``.

    64 <= minimum <= average <= maximum, and also minimum <= 1 MiB, 256 <= average <= 4 MiB,
    1,024 <= maximum <= 8 MiB: what the library takes and an object holds. Chunks of ordinary data
    come out at about ``minimum + average`` bytes, because the search for a boundary begins only
    after ``minimum``.
    """

    minimum: int
    average: int
    maximum: int

    def __post_init__(self) -> None:
        """Refuse sizes out of order or out of bounds."""
        if not (
            64 <= self.minimum <= min(self.average, _MIB)
            and 256 <= self.average <= min(self.maximum, 4 * _MIB)
            and 1_024 <= self.maximum <= 8 * _MIB
        ):
            raise InvalidInputError(
                "chunk sizes must satisfy 64 <= minimum <= average <= maximum, minimum <= 1 MiB, "
                "256 <= average <= 4 MiB and 1,024 <= maximum <= 8 MiB"
            )


class Chunker:
    """Cuts byte strings by content. Safe to share by threads."""

    def __init__(self, parameters: ChunkParameters) -> None:
        self.parameters = parameters

    def cut(self, data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
        """Yield the chunks of ``data`` in order, as views that share its memory.

        The concatenation of the chunks is ``data``; empty data has no chunks.
        """
        view = memoryview(data).cast("B")
        # A cutter of its own for each call: the library's object must not be used concurrently.
        sizes = self.parameters
        cutter = FastCDC(sizes.average, min_size=sizes.minimum, max_size=sizes.maximum)
        at = 0
        for chunk in cutter.cut_buf(view):
            yield view[at : at + chunk.length]
            at += chunk.length
