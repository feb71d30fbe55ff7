"""Commits: what is encoded before a transaction, and what one transaction then makes durable."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from cas.digest import Digest
from cas.errors import CorruptStoreError, HiveError
from cas.leases import Lease
from cas.objects import Object
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter
from manifests.claims import PreparedClaim
from manifests.manifest import Checkpoint, Manifest, checkpoint_of, microseconds
from manifests.placing import Place, refuse_moved
from manifests.rows import CheckpointRow, RunRow

__all__ = ["PreparedCommit", "abandon", "write_commit"]


@dataclass(frozen=True, slots=True)
class PreparedCommit:
    """An encoded checkpoint that is not stored yet. Its id is final; the state may change now.

    Of a very large one most objects are stored already, without a name, under ``lease``. The first
    one of a run may bring a ``claim`` along.
    """

    place: Place
    id: Digest
    manifest: Manifest
    objects: Mapping[Digest, Object]
    lease: Lease | None = None
    claim: PreparedClaim | None = None

    @property
    def object_bytes(self) -> int:
        """The payload bytes of its objects, stored already or not."""
        return sum([len(item.payload) for item in self.objects.values()])

    def apply(self, writer: RecordWriter) -> Checkpoint:
        """Store and list it in the writer's transaction; see ``write_commit``."""
        if self.claim is None:
            return write_commit(writer, self)
        self.claim.check(writer)  # against the head before this commit
        written = write_commit(writer, self)
        self.claim.put(writer)  # last: were the commit refused, the group would store it alone
        return written

    @property
    def run(self) -> str:
        """The run it will be listed in."""
        return self.place.run

    @property
    def sequence(self) -> int:
        """The sequence it will have there."""
        return self.place.sequence


def write_commit(writer: RecordWriter, prepared: PreparedCommit) -> Checkpoint:
    """Store a prepared commit and list it, in the writer's transaction.

    The condition is tested before anything is put: ``ConflictError`` leaves no trace.
    """
    catalogue = CatalogueWriter(writer.writing)
    place = prepared.place
    run = catalogue.run(place.run)
    head = None if run is None else catalogue.head(run)
    refuse_moved(catalogue, run, head, place)
    number, new_objects, new_bytes = _store(writer, prepared)
    if run is None:
        run = catalogue.new_run(place.run, microseconds(prepared.manifest.created_at))
    elif not run.last:  # until now it had but pending writes or effects
        run = replace(run, created_us=microseconds(prepared.manifest.created_at))
    known = None
    if place.sequence <= run.last:
        known = catalogue.checkpoint(run.number, place.sequence)
        if known is None:
            raise CorruptStoreError(
                f"checkpoint {place.sequence} of run {place.run!r}, which this replaces, is lost; "
                "repair the store (hive check --repair)"
            )
    is_newest = place.key is None or catalogue.is_newest(run, place.key)
    row = CheckpointRow(
        record=number,
        id=prepared.id,
        parent=place.parent_sequence,
        new_objects=new_objects,
        new_bytes=new_bytes,
        needs_parent=place.needs_parent,
        tip=not is_newest if known is None else known.tip,
        key=place.key,
    )
    if known is None:
        _append(catalogue, run, row, is_newest=is_newest)
    else:
        catalogue.put_checkpoint(run.number, place.sequence, row)
        catalogue.move_pin(run.name, place.sequence, known.id, row)
        writer.unroot(known.record)
    writer.root(number)
    return checkpoint_of(prepared.manifest, prepared.id, place.run, place.sequence, row)


def _store(writer: RecordWriter, prepared: PreparedCommit) -> tuple[int, int, int]:
    """Store the objects; returns the manifest's record, and how many objects and bytes are new."""
    counters, lease = writer.counters, prepared.lease
    objects, stored = counters.objects, counters.stored_bytes
    if lease is not None:
        lease.release(writer.writing)
        objects, stored = objects - lease.objects, stored - lease.stored_bytes
    number = 0
    for digest, item in prepared.objects.items():
        number = writer.put(digest, item)
    writer.flush(prepared.run)
    return number, counters.objects - objects, counters.stored_bytes - stored


def _append(
    catalogue: CatalogueWriter, run: RunRow, row: CheckpointRow, *, is_newest: bool
) -> None:
    """List a checkpoint as its run's next one, and note which branches end now."""
    leaves_head = run.head not in (0, row.parent)
    if leaves_head and is_newest:
        catalogue.mark_tip(run.number, run.head, tip=True)
    if leaves_head or not is_newest:
        catalogue.mark_tip(run.number, row.parent, tip=False)
    catalogue.append(run, row)


def abandon(lease: Lease | None) -> None:
    """Give up what was staged for a commit that will not be written."""
    if lease is not None and lease.is_used:
        with suppress(HiveError):  # a lease ends with its process at the latest
            lease.abandon()
