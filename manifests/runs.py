"""The runs of a store with their heads, and those whose heads cannot be read.

Damage of one run says nothing of the others, so it hides none of them; and it is never taken for a
run that is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cas.errors import CorruptionError, CorruptStoreError, MissingObjectError
from cas.records import UNREADABLE, RecordReader
from manifests.catalogue import Catalogue
from manifests.manifest import ManifestReader, RunInfo, checkpoint_of, from_microseconds
from manifests.reading import StoreReader
from manifests.rows import CheckpointRow, RunRow
from manifests.together import StoredObject

__all__ = ["UnreadableRun", "readable_runs", "runs"]

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
    for key, row in reader.run(_rows):
        try:
            info = _info(reader, key, row)
        except UNREADABLE as error:
            unreadable.append(UnreadableRun(_name(key, row), error))
        else:
            infos += [] if info is None else [info]
    return infos, unreadable


def _rows(records: RecordReader) -> list[tuple[bytes, RunRow | CorruptionError]]:
    return list(Catalogue(records.transaction).runs_or_damage())


def _name(key: bytes, row: RunRow | CorruptionError) -> str:
    # The key is the name, but for the end of a long one; it may be what is damaged.
    return row.name if isinstance(row, RunRow) else key.decode(errors="replace")


def _info(reader: StoreReader, key: bytes, row: RunRow | CorruptionError) -> RunInfo | None:
    """Return a run as it is now, None if it is gone or lists nothing yet."""
    if isinstance(row, CorruptionError):
        raise row
    find = partial(_head, reader, key=key, name=row.name)
    try:
        return _read(reader, find)
    except MissingObjectError:
        # Forgotten and swept between two transactions. What is missing again is damage.
        return _read(reader, find)


def _head(reader: StoreReader, records: RecordReader, *, key: bytes, name: str) -> _Found | None:
    catalogue = Catalogue(records.transaction)
    run = catalogue.run(name)
    if run is None:
        if any(key == other for other, _row in catalogue.runs_or_damage()):
            raise CorruptStoreError("the keys of runs are out of order; check the store")
        return None  # deleted since the list was read
    row = catalogue.listed_head(run)
    return None if row is None else (run, row, reader.known(records, row.record, row.id))


def _read(reader: StoreReader, find: Callable[[RecordReader], _Found | None]) -> RunInfo | None:
    found = reader.run(find)
    if found is None:
        return None
    run, row, record = found
    manifest = ManifestReader(reader.load).read(record)
    head = checkpoint_of(manifest, row.id, run.name, run.head, row)
    return RunInfo(
        name=run.name,
        head=head,
        checkpoints=run.kept,
        created_at=from_microseconds(run.created_us),
        updated_at=head.created_at,
    )
