"""The runs of a store with their heads, and those whose heads cannot be read.

Damage of one run says nothing of the others, so it hides none of them; and it is never taken for a
run that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cas.errors import CorruptionError, CorruptStoreError, MissingObjectError
from cas.records import UNREADABLE, RecordReader
from manifests.catalogue import Catalogue
from manifests.manifest import ManifestReader, RunInfo, checkpoint_of, from_microseconds
from manifests.reading import StoreReader
from manifests.rows import CheckpointRow, RunRow
from manifests.together import StoredObject

__all__ = ["UnreadableRun", "readable_runs", "runs"]

_BATCH: Final = 256
"""Heads read in one transaction."""

_Row = tuple[bytes, RunRow | CorruptionError]
_Found = tuple[RunRow, CheckpointRow, StoredObject]


@dataclass(frozen=True, slots=True)
class UnreadableRun:
    """A run that is listed and whose head cannot be read.

    ``name`` is its name, or what is left of that. ``error`` says why: a ``CorruptionError``, or an
    ``UnsupportedFormatError`` where a later version of Hive wrote it.
    """

    name: str
    error: Exception

    @property
    def is_damaged(self) -> bool:
        """Whether it is damaged, and not only written by a later version."""
        return isinstance(self.error, CorruptionError)


def runs(reader: StoreReader) -> list[RunInfo]:
    """Return all runs with their heads, by name; raises what is wrong with the first that has not.

    Raises ``CorruptionError`` or ``UnsupportedFormatError``.
    """
    found, unreadable = readable_runs(reader)
    if unreadable:
        raise unreadable[0].error
    return found


def readable_runs(reader: StoreReader) -> tuple[list[RunInfo], list[UnreadableRun]]:
    """Return the runs whose heads can be read, and those whose heads cannot, both by name."""
    infos: list[RunInfo] = []
    unreadable: list[UnreadableRun] = []
    # At once: where keys are out of order, going on behind a key would pass over others.
    rows = reader.run(_rows)
    for at in range(0, len(rows), _BATCH):
        some = rows[at : at + _BATCH]
        try:
            infos += _infos(reader, some)
        except UNREADABLE:
            # One of them is damaged, or was swept between two transactions.
            _read_each(reader, some, infos, unreadable)
    return infos, unreadable


def _rows(records: RecordReader) -> list[_Row]:
    return list(Catalogue(records.transaction).runs_or_damage())


def _infos(reader: StoreReader, rows: Sequence[_Row]) -> list[RunInfo]:
    """Return some runs as they are now, those left out that are gone or list nothing yet.

    One transaction finds all heads, and reads them in the order in which they were stored, for
    neighbours share a pack: a quarter less than one after the other.
    """
    manifests = ManifestReader(reader.load)
    found = reader.run(partial(_heads, reader, rows=rows))
    return [_run_info(manifests, *each) for each in found]


def _heads(reader: StoreReader, records: RecordReader, *, rows: Sequence[_Row]) -> list[_Found]:
    catalogue = Catalogue(records.transaction)
    heads = _listed(catalogue, rows)
    known = {
        head.record: reader.known(records, head.record, head.id)
        for _run, head in sorted(heads, key=lambda each: each[1].record)
    }
    return [(run, head, known[head.record]) for run, head in heads]


def _read_each(
    reader: StoreReader,
    rows: Sequence[_Row],
    infos: list[RunInfo],
    unreadable: list[UnreadableRun],
) -> None:
    for key, row in rows:
        try:
            infos += _one(reader, key, row)
        except UNREADABLE as error:
            unreadable.append(UnreadableRun(_name(key, row), error))


def _one(reader: StoreReader, key: bytes, row: RunRow | CorruptionError) -> list[RunInfo]:
    try:
        return _infos(reader, [(key, row)])
    except MissingObjectError:
        # Forgotten and swept between two transactions. What is missing again is damage.
        return _infos(reader, [(key, row)])


def _name(key: bytes, row: RunRow | CorruptionError) -> str:
    # The key is the name, but for the end of a long one; it may be what is damaged.
    return row.name if isinstance(row, RunRow) else key.decode(errors="replace")


def _listed(catalogue: Catalogue, rows: Sequence[_Row]) -> list[tuple[RunRow, CheckpointRow]]:
    """Return runs and their heads as they are now, without those gone or that list nothing yet."""
    found: list[tuple[RunRow, CheckpointRow]] = []
    gone: set[bytes] = set()
    for key, row in rows:
        if isinstance(row, CorruptionError):
            raise row
        run = catalogue.run(row.name)
        if run is None:
            gone.add(key)  # deleted since the list was read, unless it is still there
        elif (head := catalogue.listed_head(run)) is not None:
            found.append((run, head))
    if gone and any(key in gone for key, _row in catalogue.runs_or_damage()):
        raise CorruptStoreError("the keys of runs are out of order; check the store")
    return found


def _run_info(
    manifests: ManifestReader, run: RunRow, row: CheckpointRow, record: StoredObject
) -> RunInfo:
    head = checkpoint_of(manifests.read(record), row.id, run.name, run.head, row)
    return RunInfo(
        name=run.name,
        head=head,
        checkpoints=run.kept,
        created_at=from_microseconds(run.created_us),
        updated_at=head.created_at,
    )
