"""Snapshots: all there is about a checkpoint, read together, for frameworks that ask for it so."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from cas.digest import Digest
from cas.records import RecordReader
from manifests.catalogue import Catalogue
from manifests.decoder import StoredObject
from manifests.kept import KeptValues, Restoring
from manifests.manifest import ManifestReader, checkpoint_of
from manifests.pending import PendingBody, PendingWrite, anchor_of, pending_bodies, pending_writes
from manifests.reading import StoreReader
from manifests.refs import Listed, RefLike, Resolver
from manifests.template import Watched

__all__ = ["Snapshot", "snapshot"]


OnState = Callable[[str, Digest, Any, Watched], None]
"""Called with run and id of a checkpoint, its state, and what to watch below copied items."""


class Snapshot:
    """A checkpoint with what is beside its state. Each part is built when it is asked for.

    It reads on from the store, so it is used inside the call that it was handed to.

    Attributes:
        checkpoint: The checkpoint.
        is_head: It is the head of its run.
        parent_key: The key of its parent, if its run lists that and it has one.
    """

    def __init__(
        self, reader: StoreReader, kept: KeptValues, listed: Listed, on_state: OnState
    ) -> None:
        """Read a checkpoint; use ``snapshot``."""
        self._reader = reader
        self._kept = kept
        self._on_state = on_state
        row = listed.row
        record, self.parent_key, self._pending, self.is_head = reader.run(
            lambda records: _read(reader, records, listed)
        )
        manifest = ManifestReader(reader.load).read(record)
        self._state, self._execution = manifest.state, manifest.execution
        self._restoring = Restoring(kept)
        self._forms = self._restoring.forms(reader)
        self.checkpoint = checkpoint_of(manifest, row.id, listed.run, listed.sequence, row)

    def state(self) -> Any:
        """Return the state."""
        state = self._forms.value(self._state)
        self._on_state(self.checkpoint.run, self.checkpoint.id, state, self._restoring.watched)
        return state

    def names(self) -> list[Any]:
        """Return the keys of the state, in order."""
        return self._forms.names(self._state)

    def fields(self, names: Collection[str]) -> dict[str, Any]:
        """Return those keys of the state that it has of some, reading nothing else of it."""
        found = {}
        for name in names:
            try:
                form = self._forms.field(self._state, name)
            except KeyError:
                continue
            found[name] = self._forms.value(form)
        return found

    def execution(self) -> dict[str, Any]:
        """Return the execution record, empty if it has none."""
        value = self._forms.value(self._execution)
        return {} if value is None else value

    def pending_names(self) -> list[str]:
        """Return what the pending writes are of, each once."""
        return list(dict.fromkeys(found.name for found in self._pending))

    def pending(self, names: Collection[str] | None = None) -> list[PendingWrite]:
        """Return the pending writes, of some names or all, ordered by (path, task, index)."""
        wanted = [found for found in self._pending if names is None or found.name in names]
        return pending_writes(wanted, self._reader, self._kept)


def snapshot(reader: StoreReader, kept: KeptValues, ref: RefLike, on_state: OnState) -> Snapshot:
    """Return what there is about the checkpoint that a reference names.

    ``on_state`` is told of a state as soon as it is built.
    """
    listed = reader.run(lambda records: Resolver(records).resolve(ref))
    return Snapshot(reader, kept, listed, on_state)


def _read(
    reader: StoreReader, records: RecordReader, listed: Listed
) -> tuple[StoredObject, str | None, list[PendingBody], bool]:
    """Return manifest, key of the listed parent, pending writes, and whether it is the head."""
    row = listed.row
    manifest = reader.known(records, row.record, row.id)
    catalogue = Catalogue(records.transaction)
    run = catalogue.run(listed.run)
    if run is None:
        return manifest, None, [], False
    anchor = anchor_of(listed.sequence, row)
    (pending,) = pending_bodies(records.transaction, run.number, [anchor])
    parent = catalogue.checkpoint(run.number, row.parent)
    key = None if parent is None or parent.hidden else parent.key
    return manifest, key, pending, run.head == listed.sequence
