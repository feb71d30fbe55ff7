"""Statistics of a store: what its checkpoints would take whole, and what they share."""

from __future__ import annotations

from collections import Counter
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Final

from cas.errors import MissingObjectError
from cas.records import RecordReader
from cas.store import ObjectStore
from manifests.catalogue import Catalogue
from manifests.effects import effect_records
from manifests.manifest import ManifestReader, RunStats, StoreStats
from manifests.pending_rows import pending_records
from manifests.reading import StoreReader, stable

__all__ = ["measure"]

_TAGGED_ONLY: Final = 0
"""Stands for the tags whose checkpoint no run lists any more; run numbers begin at 1."""
_BATCH: Final = 2_000
"""Records looked at in one read transaction: a long one keeps the file from reusing pages."""


def measure(store: ObjectStore) -> StoreStats:
    """Return the statistics of a store. Reads the header of every reachable record."""
    try:
        return stable(store, lambda reader: _Measurement(store, reader).result())
    except MissingObjectError:
        # It takes many transactions, and something was forgotten and swept between them each time.
        # In a single one, what is missing is damage.
        return store.environment.read(lambda _: _Measurement(store, StoreReader(store)).result())


class _Measurement:
    def __init__(self, store: ObjectStore, reader: StoreReader) -> None:
        self._store = store
        self._reader = reader
        self._logical: dict[int, int] = {}
        self._bytes: Counter[int] = Counter()

    def result(self) -> StoreStats:
        roots, names, beside = self._reader.run(_roots)
        self._walk(roots, beside)
        numbers = list(roots)
        unique, shared = dict.fromkeys(roots, 0), dict.fromkeys(roots, 0)
        for owners, size in self._bytes.items():
            places = _places(owners)
            counted = unique if len(places) == 1 else shared
            for place in places:
                counted[numbers[place]] += size
        runs = {
            name: RunStats(
                checkpoints=len(roots[number]),
                logical_bytes=sum([self._logical[record] for record in roots[number]]),
                unique_bytes=unique[number],
                shared_bytes=shared[number],
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

    def _walk(self, roots: dict[int, list[int]], beside: dict[int, set[int]]) -> None:
        """Add up the bytes of records by who reaches them, a bit for each owner of roots.

        From the newest record to the oldest, so that of each all that links to it was seen: it is
        looked at once, however many runs share it.
        """
        owners: dict[int, int] = {}
        for place, (number, records) in enumerate(roots.items()):
            for record in (*records, *beside.get(number, ())):
                owners[record] = owners.get(record, 0) | 1 << place
        listed = {record for records in roots.values() for record in records}
        waiting = [-record for record in owners]
        heapify(waiting)
        while waiting:
            self._reader.run(partial(self._some, waiting=waiting, owners=owners, listed=listed))

    def _some(
        self, reader: RecordReader, waiting: list[int], owners: dict[int, int], listed: set[int]
    ) -> None:
        manifests = ManifestReader(reader.read_all)
        for _ in range(min(_BATCH, len(waiting))):
            record = -heappop(waiting)
            mine = owners.pop(record)
            pack, place = reader.locate(record)
            self._bytes[mine] += pack.size(place)
            for link in pack.links(place):
                known = owners.get(link)
                if known is None:
                    owners[link] = mine
                    heappush(waiting, -link)
                elif known is not mine:
                    owners[link] = known | mine
            if record in listed:
                self._logical[record] = manifests.logical_bytes(reader.read(record))


def _places(bits: int) -> list[int]:
    """Return which bits are set."""
    if not bits & (bits - 1):
        return [bits.bit_length() - 1]
    return [place for place, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]


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
