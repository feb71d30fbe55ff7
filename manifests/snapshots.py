"""Snapshots: all there is about a checkpoint, read together, for frameworks that ask for it so."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cas.records import RecordReader
from manifests.catalogue import Catalogue, CheckpointRow
from manifests.decoder import Decoder, StoredObject
from manifests.forms import Forms
from manifests.manifest import ManifestReader, checkpoint_of
from manifests.pending import PendingWrite, anchor_of, pending_items
from manifests.reading import StoreReader
from manifests.refs import Listed, RefLike, Resolver
from manifests.registry import Registry

__all__ = ["Snapshot", "snapshot"]


class Snapshot:
    """A checkpoint with what is beside its state. Each part is built when it is asked for.

    It reads on from the store, so it is used inside the call that it was handed to.

    Attributes:
        checkpoint: The checkpoint.
        is_head: It is the head of its run.
        parent_key: The key of its parent, if its run lists that and it has one.
    """

    def __init__(self, reader: StoreReader, registry: Registry, listed: Listed) -> None:
        """Read a checkpoint; use ``snapshot``."""
        self._reader = reader
        self._registry = registry
        row = listed.row
        self._record, self._parent, self._pending, self.is_head = reader.run(
            lambda records: _read(records, listed)
        )
        manifest = ManifestReader(reader.load).read(self._record)
        self._state, self._execution = manifest.state, manifest.execution
        self._forms = Forms(registry, reader.load, reader.gather)
        self.checkpoint = checkpoint_of(manifest, row.id, listed.run, listed.sequence, row)
        parent = None if self._parent is None or self._parent.row.hidden else self._parent
        self.parent_key = None if parent is None else parent.row.key

    def state(self) -> Any:
        """Return the state."""
        return self._forms.value(self._state)

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
        return list(dict.fromkeys(name for _path, _task, _index, name, _item in self._pending))

    def pending(self, names: Collection[str] | None = None) -> list[PendingWrite]:
        """Return the pending writes, of some names or all, ordered by (path, task, index)."""
        decoder = Decoder(self._registry, self._reader.load, self._reader.gather)
        return [
            PendingWrite(task, index, name, decoder.value(item), path)
            for path, task, index, name, item in self._pending
            if names is None or name in names
        ]

    def parent(self) -> Snapshot | None:
        """Return the parent, if its run keeps it, listed or not."""
        if self._parent is None:
            return None
        return Snapshot(self._reader, self._registry, self._parent)


def snapshot(reader: StoreReader, registry: Registry, ref: RefLike) -> Snapshot:
    """Return what there is about the checkpoint that a reference names."""
    return Snapshot(reader, registry, reader.run(lambda records: Resolver(records).resolve(ref)))


def _read(
    records: RecordReader, listed: Listed
) -> tuple[StoredObject, Listed | None, list[tuple[str, str, int, str, StoredObject]], bool]:
    """Return manifest, parent, pending writes, and whether it is the head."""
    row = listed.row
    manifest = records.read_as(row.record, row.id)
    catalogue = Catalogue(records.transaction)
    run = catalogue.run(listed.run)
    if run is None:
        return manifest, None, [], False
    items = pending_items(records, run.number, anchor_of(listed.sequence, row))
    above: CheckpointRow | None = catalogue.checkpoint(run.number, row.parent)
    parent = None if above is None else Listed(run.name, row.parent, above)
    return manifest, parent, items, run.head == listed.sequence
