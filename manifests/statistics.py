"""Statistics of a store: what its checkpoints would take whole, and what they share."""

from __future__ import annotations

from functools import partial
from typing import Final

from cas.records import RecordReader
from cas.store import ObjectStore
from manifests.catalogue import Catalogue
from manifests.effects import effect_records
from manifests.manifest import ManifestReader, RunStats, StoreStats
from manifests.pending import pending_records
from manifests.reading import StoreReader, stable

__all__ = ["measure"]

_SHARED: Final = -1
_TAGGED_ONLY: Final = 0
"""Stands for the tags whose checkpoint no run lists any more; run numbers begin at 1."""
_BATCH: Final = 2_000
"""Records looked at in one read transaction: a long one keeps the file from reusing pages."""


def measure(store: ObjectStore) -> StoreStats:
    """Return the statistics of a store. Reads the header of every reachable record."""
    return stable(store, lambda reader: _Measurement(store, reader).result())


class _Measurement:
    def __init__(self, store: ObjectStore, reader: StoreReader) -> None:
        self._store = store
        self._reader = reader
        self._owner: dict[int, int] = {}
        self._below: dict[int, tuple[int, list[int]]] = {}

    def result(self) -> StoreStats:
        roots, names, beside = self._reader.run(_roots)
        reached = {
            number: self._reach(number, [*records, *beside.get(number, ())])
            for number, records in roots.items()
        }
        unique = dict.fromkeys(roots, 0)
        for record, owner in self._owner.items():
            if owner != _SHARED:
                unique[owner] += self._below[record][0]
        runs = {
            name: RunStats(
                checkpoints=len(roots[number]),
                logical_bytes=self._logical(roots[number]),
                unique_bytes=unique[number],
                shared_bytes=reached[number] - unique[number],
            )
            for number, name in names.items()
        }
        counters = self._store.counters()
        return StoreStats(
            checkpoints=sum(stats.checkpoints for stats in runs.values()),
            objects=counters.objects,
            logical_bytes=sum(stats.logical_bytes for stats in runs.values()),
            unique_bytes=counters.payload_bytes,
            stored_bytes=counters.stored_bytes,
            disk_bytes=self._store.environment.disk_bytes(),
            runs=runs,
        )

    def _logical(self, records: list[int]) -> int:
        manifests = ManifestReader(self._reader.load)
        size = 0
        for at in range(0, len(records), _BATCH):
            for item in self._reader.load(records[at : at + _BATCH]):
                size += manifests.read(item).logical_bytes
        return size

    def _reach(self, owner: int, roots: list[int]) -> int:
        """Return the bytes reachable from ``roots``, and note for each record who reaches it."""
        seen, level, size = set(roots), list(dict.fromkeys(roots)), 0
        while level:
            self._look_up(level)
            below: list[int] = []
            for record in level:
                self._owner[record] = owner if record not in self._owner else _SHARED
                record_bytes, links = self._below[record]
                size += record_bytes
                for link in links:
                    if link not in seen:
                        seen.add(link)
                        below.append(link)
            level = below
        return size

    def _look_up(self, records: list[int]) -> None:
        """Read sizes and links of records not met before, a bounded number a transaction."""
        unknown = [record for record in records if record not in self._below]
        for at in range(0, len(unknown), _BATCH):
            batch = unknown[at : at + _BATCH]
            self._below.update(self._reader.run(partial(_headers, records=batch)))


def _headers(reader: RecordReader, records: list[int]) -> dict[int, tuple[int, list[int]]]:
    return {record: (reader.size_of(record), reader.links_of(record)) for record in records}


def _roots(
    reader: RecordReader,
) -> tuple[dict[int, list[int]], dict[int, str], dict[int, set[int]]]:
    """Return records of each run's checkpoints, names of runs, and records beside the states.

    All by run number; the last are those of pending writes and effects.
    """
    catalogue = Catalogue(reader.transaction)
    roots: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    beside: dict[int, set[int]] = {}
    listed = set()
    for run in catalogue.runs():
        names[run.number] = run.name
        roots[run.number] = list({row.record for _, row in catalogue.newest(run.number)})
        listed.update(roots[run.number])
        pending = pending_records(reader.transaction, run.number)
        beside[run.number] = {*pending, *effect_records(reader.transaction, run.number)}
    tagged_only = [tag.record for tag in catalogue.tags() if tag.record not in listed]
    if tagged_only:
        roots[_TAGGED_ONLY] = tagged_only
    return roots, names, beside
