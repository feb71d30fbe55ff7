"""Weighing checkpoints: how many bytes of objects each adds to those of others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from cas.records import RecordReader
from cas.upkeep import OnProgress, Progress
from manifests.reading import StoreReader
from manifests.retention import Candidate

__all__ = ["Weigher"]

_BATCH: Final = 2_000
"""Records looked at in one read transaction: a long one keeps the file from reusing pages."""


class Weigher:
    """Weighs by the uncompressed payload of distinct objects. Reads headers of records only."""

    def __init__(self, reader: StoreReader, progress: OnProgress) -> None:
        self._reader = reader
        self._progress = progress

    def __call__(self, candidates: Sequence[Candidate]) -> list[int]:
        """Return the bytes that each checkpoint reaches and none before it does.

        Raises:
            CorruptionError: A record cannot be read.
        """
        seen: set[int] = set()
        weights = []
        for candidate in candidates:
            weights.append(self._new_bytes(candidate.record, seen))
            self._progress(Progress("weigh", len(weights), len(candidates)))
        return weights

    def _new_bytes(self, root: int, seen: set[int]) -> int:
        level = [] if root in seen else [root]
        seen.update(level)
        size = 0
        while level:
            below: list[int] = []
            for at in range(0, len(level), _BATCH):
                for record_bytes, links in self._reader.run(
                    partial(_headers, records=level[at : at + _BATCH])
                ):
                    size += record_bytes
                    new = [link for link in links if link not in seen]
                    seen.update(new)
                    below += new
            level = below
        return size


def _headers(reader: RecordReader, records: list[int]) -> list[tuple[int, list[int]]]:
    return [(reader.size_of(record), reader.links_of(record)) for record in records]
