"""What a bundle carries beside states, put beside them here: pending writes and effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cas.digest import Digest
from cas.writer import RecordWriter
from manifests.bodies import ObjectBody, StoredBody, records_of
from manifests.bundle import EffectNote, Note, WritesNote
from manifests.catalogue import Catalogue
from manifests.effects import EffectRow, has_row, put_effect
from manifests.pending import anchor_of
from manifests.pending_rows import PendingRow, known_row, put_row, row_key
from manifests.rows import CheckpointRow, RunRow

__all__ = ["Carried"]


class Carried:
    """Takes over the notes of one run of a bundle, in the transaction that lists it."""

    def __init__(self, writer: RecordWriter, run: RunRow, new: Mapping[int, CheckpointRow]) -> None:
        """``new`` are the checkpoints that the import lists; the others were known."""
        self._writer = writer
        self._catalogue = Catalogue(writer.transaction)
        self._run = run
        self._new = new

    def take(self, notes: Iterable[Note]) -> list[int]:
        """Write what is not there yet; returns the records it leads to.

        Writes of a checkpoint that this store has and has gone on from stay as they are here.

        Raises:
            MissingObjectError: A value is in neither the bundle nor the store.
        """
        bodies: list[StoredBody] = []
        for note in notes:
            bodies += self._effect(note) if isinstance(note, EffectNote) else self._writes(note)
        return records_of(bodies)

    def _effect(self, note: EffectNote) -> list[StoredBody]:
        if has_row(self._writer.transaction, self._run.number, note.name):
            return []
        body = self._body(note.value)
        put_effect(self._writer.writing, self._run.number, EffectRow(note.name, note.at, body))
        return [body]

    def _writes(self, note: WritesNote) -> list[StoredBody]:
        run = self._run
        row = self._catalogue.checkpoint(run.number, note.sequence)
        if row is None or not (
            note.sequence in self._new or self._catalogue.is_open(run, note.sequence, row)
        ):
            return []
        key = row_key(run.number, anchor_of(note.sequence, row), note.path, note.task)
        known = known_row(self._writer.transaction, key) or PendingRow(note.path, note.task)
        added = {
            index: (name, self._body(value))
            for index, (name, value) in note.writes.items()
            if index not in known.writes
        }
        if added:
            writes = {**known.writes, **added}
            put_row(self._writer.writing, key, PendingRow(note.path, note.task, writes))
        return [body for _name, body in added.values()]

    def _body(self, value: bytes) -> StoredBody:
        if isinstance(value, Digest):
            return ObjectBody(self._writer.put_link(value), value)
        return value
