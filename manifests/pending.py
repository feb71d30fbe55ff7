"""Pending writes: results that belong to a checkpoint but are not part of its state yet.

The tasks of a step finish one by one. What each returned is stored beside the checkpoint that the
step began at, so that a crash, or a pause for a person, repeats only those that had not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from cas.environment import ReadTransaction
from cas.errors import InvalidInputError, NotFoundError
from cas.records import RecordReader
from cas.writer import RecordWriter
from manifests.bodies import (
    EncodedValues,
    StoredBody,
    records_of,
    values_of,
)
from manifests.catalogue import Catalogue, CatalogueWriter
from manifests.kept import KeptValues
from manifests.names import check_key, check_place
from manifests.pending_rows import (
    PENDING,
    Anchor,
    PendingRow,
    anchor_prefix,
    has_pending,
    known_row,
    pending_row,
    pending_rows,
    put_row,
    row_key,
)
from manifests.reading import StoreReader
from manifests.rows import HIGHEST_NUMBER, CheckpointRow, RunRow

__all__ = [
    "PendingBody",
    "PendingWrite",
    "PreparedWrites",
    "anchor_of",
    "check_anchor",
    "check_writes",
    "count_pending",
    "is_unresolved",
    "pending_bodies",
    "pending_writes",
    "read_pending",
]


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """One result that belongs to a checkpoint but is not part of its state yet.

    Attributes:
        task: The id of the task that wrote it.
        index: Its place among the writes of the task; below zero for special ones, as the
            framework likes (-2^31 to 2^31 - 1).
        name: What is written, a channel or key of the state.
        value: The value.
        path: Where the task stands among the others of its step; writes are ordered by it first.
    """

    task: str
    index: int
    name: str
    value: Any
    path: str = ""


def check_writes(anchor: Anchor, writes: Sequence[PendingWrite]) -> None:
    """Refuse writes that cannot be stored under their names, or two for one place.

    Raises:
        InvalidInputError: The anchor is none, a name is no name, an index no index, or a place
            occurs twice.
    """
    check_anchor(anchor)
    places = set()
    if not all(isinstance(write, PendingWrite) for write in writes):
        raise InvalidInputError("writes is a list of PendingWrite")
    for write in writes:
        check_place(write.path, write.task, {write.index: (write.name, None)})
        places.add((write.path, write.task, write.index))
    if len(places) != len(writes):
        raise InvalidInputError("two writes have the same path, task and index")


def check_anchor(anchor: Anchor) -> None:
    """Refuse what can be no checkpoint's sequence or key."""
    if isinstance(anchor, str):
        check_key(anchor)
    elif type(anchor) is not int or not 0 < anchor <= HIGHEST_NUMBER:
        raise InvalidInputError("a checkpoint is named by its sequence, from 1, or by its key")


@dataclass(frozen=True, slots=True)
class PreparedWrites:
    """Encoded pending writes that are not stored yet, for the group committer."""

    run: str
    anchor: Anchor
    writes: Sequence[PendingWrite]
    encoded: EncodedValues
    created_us: int
    replace: bool
    by_task: bool = False

    @property
    def object_bytes(self) -> int:
        """The payload bytes of their objects."""
        return self.encoded.object_bytes

    def apply(self, writer: RecordWriter) -> int:
        """Store them in the writer's transaction; returns how many were not there already."""
        catalogue = CatalogueWriter(writer.writing)
        run = catalogue.run(self.run)
        anchor = self.anchor if run is None else _canonical(catalogue, run, self.anchor)
        bodies = self.encoded.store(writer, self.run)
        if run is None:
            # Its first checkpoint may be on its way; until then the run lists nothing.
            run = catalogue.new_run(self.run, self.created_us)
            catalogue.put_run(run)
        rows: dict[tuple[str, str], tuple[bytes, PendingRow]] = {}
        added: list[StoredBody] = []
        dropped: list[StoredBody] = []
        for write, body in zip(self.writes, bodies, strict=True):
            place = write.path, write.task
            if place not in rows:
                rows[place] = self._row_of(writer.transaction, run.number, anchor, place)
            written = rows[place][1].writes
            there = written.get(write.index)
            if there is not None and not self.replace:
                continue
            if there is not None:
                dropped.append(there[1])
            written[write.index] = write.name, body
            added.append(body)
        for key, row in rows.values():
            put_row(writer.writing, key, row)  # also if nothing is new: it is no stray then
        if not added:
            return 0
        if dropped:
            writer.unroot(*records_of(dropped))
        writer.root(*records_of(added))
        return len(added)

    def _row_of(
        self, transaction: ReadTransaction, run: int, anchor: Anchor, place: tuple[str, str]
    ) -> tuple[bytes, PendingRow]:
        """Return (key, row) for a path and task: what is there, or a new row."""
        key = row_key(run, anchor, *place)
        row = known_row(transaction, key)
        if row is None and self.by_task:
            for other, found in pending_rows(transaction, run, anchor):
                if found.task == place[1]:
                    return other, found
        return key, row or PendingRow(*place)


def anchor_of(sequence: int, row: CheckpointRow) -> Anchor:
    """Return the anchor of a listed checkpoint."""
    return sequence if row.key is None else row.key


def _canonical(catalogue: Catalogue, run: RunRow, anchor: Anchor) -> Anchor:
    """Return the anchor under which a checkpoint's writes are kept; it need not be listed yet."""
    head = catalogue.head(run)
    if isinstance(anchor, str):
        if head is not None and head.key is None:
            raise InvalidInputError(f"checkpoints of run {run.name!r} have no keys")
        return anchor
    row = catalogue.checkpoint(run.number, anchor)
    if row is not None:
        return anchor_of(anchor, row)
    if anchor <= run.last:
        raise NotFoundError(f"checkpoint {anchor} of run {run.name!r} was forgotten")
    if head is not None and head.key is not None:
        raise NotFoundError(f"run {run.name!r} has no checkpoint {anchor}; name it by its key")
    return anchor


def is_unresolved(
    transaction: ReadTransaction, run: RunRow, sequence: int, row: CheckpointRow
) -> bool:
    """Whether a checkpoint has pending writes and no other was built on it."""
    if not Catalogue(transaction).is_open(run, sequence, row):
        return False
    return has_pending(transaction, run.number, anchor_of(sequence, row))


@dataclass(frozen=True, slots=True)
class PendingBody:
    """A pending write as a row keeps it."""

    path: str
    task: str
    index: int
    name: str
    body: StoredBody

    def with_value(self, value: Any) -> PendingWrite:
        """Return the write, given its value."""
        return PendingWrite(self.task, self.index, self.name, value, self.path)


def pending_bodies(
    transaction: ReadTransaction, run: int, anchors: Sequence[Anchor]
) -> list[list[PendingBody]]:
    """Return the writes of each of some checkpoints, ordered by (path, task, index)."""
    prefixes = [anchor_prefix(run, anchor) for anchor in anchors]
    rows = transaction.groups(PENDING, prefixes)
    return [_ordered(rows[prefix]) for prefix in prefixes]


def _ordered(rows: Sequence[bytes]) -> list[PendingBody]:
    bodies: list[PendingBody] = []
    for row in rows:
        bodies += _remembered_bodies(row) if len(row) <= _REMEMBERED_BYTES else _bodies_of(row)
    return bodies if len(rows) < 2 else sorted(bodies, key=attrgetter("path", "task"))


def _bodies_of(row: bytes) -> Sequence[PendingBody]:
    found = pending_row(row)
    return tuple(
        PendingBody(found.path, found.task, index, name, body)
        for index, (name, body) in sorted(found.writes.items())
    )


# Those on the way back from a head are read again at every turn.
_remembered_bodies = lru_cache(maxsize=4_096)(_bodies_of)
_REMEMBERED_BYTES: Final = 1_024


def pending_writes(
    bodies: Sequence[PendingBody], reader: StoreReader, kept: KeptValues
) -> list[PendingWrite]:
    """Return writes with their values, read and decoded together."""
    values = values_of([found.body for found in bodies], reader, kept)
    return [found.with_value(value) for found, value in zip(bodies, values, strict=True)]


def read_pending(
    reader: StoreReader, kept: KeptValues, name: str, anchor: Anchor
) -> list[PendingWrite]:
    """Return the pending writes of a checkpoint, ordered by (path, task, index)."""
    found = reader.run(lambda records: _found(records, name, anchor))
    return pending_writes(found, reader, kept)


def count_pending(records: RecordReader, name: str, anchor: Anchor) -> int:
    """Return how many pending writes a checkpoint has; their values are not read."""
    return len(_found(records, name, anchor))


def _found(records: RecordReader, name: str, anchor: Anchor) -> list[PendingBody]:
    catalogue = Catalogue(records.transaction)
    run = catalogue.run(name)
    if run is None:
        return []
    there = _canonical(catalogue, run, anchor)
    return pending_bodies(records.transaction, run.number, [there])[0]
