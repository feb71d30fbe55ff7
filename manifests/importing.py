"""Importing a bundle: everything is verified before any name of it is written.

The objects come first, in transactions of about 32 MB under a staging lease, the names last, in
one; a small bundle takes a single transaction. What was staged by an import that failed or was
killed has no name and is collected like any garbage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from cas.digest import Digest
from cas.errors import (
    ConflictError,
    CorruptionError,
    InvalidInputError,
    MissingObjectError,
    NotFoundError,
)
from cas.leases import STAGE_BYTES, Lease
from cas.objects import Object
from cas.records import RecordReader
from cas.store import ObjectStore
from cas.writer import RecordWriter
from manifests.bundle import BundleEntry, Note, WritesNote
from manifests.bundle_reader import BundleReader
from manifests.carried import Carried
from manifests.catalogue import Catalogue, CatalogueWriter
from manifests.clock import Clock, system_clock
from manifests.manifest import Manifest, ManifestReader, microseconds
from manifests.names import check_labels, check_name
from manifests.parameters import TreeParameters
from manifests.roots import STORE_TABLES
from manifests.rows import CheckpointRow, RunRow
from manifests.upkeep import OBJECTS_FOLDER

__all__ = ["ImportReport", "import_as_new", "import_bundle"]

_STAGE_OBJECTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import brought.

    Attributes:
        checkpoints: The places that are listed now and were not before, (run, sequence).
        known: How many checkpoints of the bundle were listed already.
        objects: How many objects the bundle holds.
        new_objects: How many of them the store did not have.
        new_bytes: Their payload, uncompressed.
    """

    checkpoints: tuple[tuple[str, int], ...]
    known: int
    objects: int
    new_objects: int
    new_bytes: int


def import_bundle(
    store: ObjectStore, path: Path, *, name: str | None, max_bytes: int | None, created_us: int
) -> ImportReport:
    """Import the bundle at ``path``; ``name`` renames its only run."""
    with BundleReader.open(path, max_bytes=max_bytes) as bundle:
        entries = _renamed(bundle.entries(), name)
        notes = bundle.notes()
        if name is not None:
            notes = [replace(note, run=name) for note in notes]
        job = _Import(store, bundle, entries, notes, created_us)
        store.read(job.refuse_early)
        return job.run()


def import_as_new(
    home: Path,
    path: Path,
    *,
    name: str | None,
    max_bytes: int | None,
    clock: Clock = system_clock,
) -> ImportReport | None:
    """Import a bundle into a new store, which appears in ``home`` when all of it is there.

    Returns:
        None if there is a store.

    Raises:
        HiveError: What ``import_bundle`` raises, or making a store; nothing is left behind.
    """
    reports: list[ImportReport] = []
    moment = microseconds(clock())

    def begin(store: ObjectStore) -> None:
        report = import_bundle(store, path, name=name, max_bytes=max_bytes, created_us=moment)
        reports.append(report)

    parameters = TreeParameters().to_header()
    place = home / OBJECTS_FOLDER
    is_made = ObjectStore.make(place, begin, tables=STORE_TABLES, parameters=parameters)
    return reports[0] if is_made else None


def _refuse_base(missing: Iterable[Digest]) -> None:
    """Refuse to import without what the bundle builds on."""
    for digest in missing:
        raise MissingObjectError(
            f"the bundle builds on checkpoint {digest.short}, which this store has not; "
            "import that first, or have the bundle made without it",
            digest=digest,
        )


def _renamed(entries: list[BundleEntry], name: str | None) -> list[BundleEntry]:
    entries.sort(key=lambda entry: (entry.run, entry.sequence))
    if name is not None:
        check_name(name, "run name")
        if len({entry.run for entry in entries}) != 1:
            raise InvalidInputError("only a bundle of a single run can be imported as another one")
        return [replace(entry, run=name) for entry in entries]
    for entry in entries:
        parts = entry.run.split("/")
        if entry.run[0] in "/~" or "\\" in entry.run or "." in parts or ".." in parts:
            raise InvalidInputError(
                f"a run in the bundle has a name like a path, {entry.run!r}; import it as another"
            )
    return entries


class _Import:
    def __init__(
        self,
        store: ObjectStore,
        bundle: BundleReader,
        entries: list[BundleEntry],
        notes: list[Note],
        created_us: int,
    ) -> None:
        self._store = store
        self._bundle = bundle
        self._entries = entries
        self._notes = notes
        self._created_us = created_us
        self._lease = Lease(store)
        self._staged = False
        self._new_objects = 0
        self._new_bytes = 0

    def refuse_early(self, reader: RecordReader) -> None:
        """Refuse what can be refused before anything is stored."""
        have = self._bundle.header.have
        _refuse_base(digest for digest in have if reader.find(digest) is None)
        catalogue = Catalogue(reader.transaction)
        for run, entries in self._by_run().items():
            _compare(catalogue, catalogue.run(run), entries)
            if len({entry.key is None for entry in entries}) > 1:
                raise CorruptionError(f"some checkpoints of run {run!r} in the bundle have no key")
            if catalogue.run(run) is None and all(entry.hidden for entry in entries):
                raise CorruptionError(f"the bundle lists no checkpoint of run {run!r}")
        places = {(entry.run, entry.sequence) for entry in self._entries}
        runs = {entry.run for entry in self._entries}
        for note in self._notes:
            if note.run not in runs or (
                isinstance(note, WritesNote) and (note.run, note.sequence) not in places
            ):
                raise CorruptionError("the bundle has something beside states that are not in it")

    def run(self) -> ImportReport:
        try:
            rest: dict[Digest, Object] = {}
            for objects, is_last in self._batches():
                if is_last:
                    rest = objects
                else:
                    self._stage(objects)
            listed, added = self._store.write(partial(self._finish, objects=rest))
        except BaseException:
            if self._staged:
                self._lease.abandon()
            raise
        return ImportReport(
            tuple(listed),
            len(self._entries) - len(listed),
            self._bundle.header.objects,
            self._new_objects + added[0],
            self._new_bytes + added[1],
        )

    def _batches(self) -> Iterator[tuple[dict[Digest, Object], bool]]:
        """Yield the objects in batches, and whether it is the last one."""
        batch: dict[Digest, Object] = {}
        size = 0
        seen: set[Digest] = set()
        # Every object is linked to by a later one, or is a checkpoint.
        unclaimed: set[Digest] = set()
        for digest, item, frame_bytes in self._bundle.objects():
            if size + frame_bytes > STAGE_BYTES or len(batch) == _STAGE_OBJECTS:
                yield batch, False
                batch, size = {}, 0
            if digest in seen:
                raise CorruptionError(f"the bundle holds object {digest.short} twice")
            seen.add(digest)
            unclaimed.difference_update(item.links)
            unclaimed.add(digest)
            batch[digest] = item
            size += frame_bytes
        values = {value for note in self._notes for value in note.values}
        strays = unclaimed - {entry.id for entry in self._entries} - values
        if strays:
            raise CorruptionError(
                f"the bundle holds {len(strays)} objects that no checkpoint of it needs"
            )
        yield batch, True

    def _stage(self, objects: dict[Digest, Object]) -> None:
        before = self._store.counters()
        self._staged = True
        self._lease.stage(objects)
        after = self._store.counters()
        self._new_objects += after.objects - before.objects
        self._new_bytes += after.payload_bytes - before.payload_bytes

    def _finish(
        self, writer: RecordWriter, objects: dict[Digest, Object]
    ) -> tuple[list[tuple[str, int]], tuple[int, int]]:
        """Store the last objects and write the names; return them, and (objects, bytes) added."""
        if self._staged and not self._lease.is_held(writer.transaction):
            raise ConflictError("the import's staging lease was removed meanwhile; repeat it")
        before = writer.counters.objects, writer.counters.payload_bytes
        for digest, item in objects.items():
            writer.put(digest, item)
        writer.flush()
        added = (
            writer.counters.objects - before[0],
            writer.counters.payload_bytes - before[1],
        )
        catalogue = CatalogueWriter(writer.writing)
        listed: list[tuple[str, int]] = []
        numbers = []
        for run, entries in self._by_run().items():
            found = catalogue.run(run)
            rows = [self._row(writer, entry) for entry in entries]
            manifests = [row[1] for row in rows]
            new = _compare(catalogue, found, entries, manifests)
            chosen = {
                entry.sequence: row
                for entry, (row, _manifest) in zip(entries, rows, strict=True)
                if entry.sequence in new
            }
            parents = {
                entry.sequence: each.parent for entry, each in zip(entries, manifests, strict=True)
            }
            known = found or catalogue.new_run(run, self._created_us)
            _list(catalogue, known, chosen, parents)
            listed += [(run, sequence) for sequence in sorted(chosen)]
            numbers += [row.record for row in chosen.values()]
            carried = Carried(writer, catalogue.need_run(run), chosen)
            numbers += carried.take(note for note in self._notes if note.run == run)
        if self._staged:
            self._lease.release(writer.writing)
            writer.unroot()
        if numbers:
            writer.root(*numbers)
        return listed, added

    def _row(self, writer: RecordWriter, entry: BundleEntry) -> tuple[CheckpointRow, Manifest]:
        number = writer.put_link(entry.id)
        manifest = _manifest(writer, number, entry)
        row = CheckpointRow(
            record=number,
            id=entry.id,
            parent=entry.parent,
            new_objects=0,
            new_bytes=0,
            needs_parent=entry.needs_parent,
            tip=entry.tip,
            hidden=entry.hidden,
            key=entry.key,
        )
        return row, manifest

    def _by_run(self) -> dict[str, list[BundleEntry]]:
        runs: dict[str, list[BundleEntry]] = {}
        for entry in self._entries:
            runs.setdefault(entry.run, []).append(entry)
        return runs


def _manifest(writer: RecordWriter, number: int, entry: BundleEntry) -> Manifest:
    """Return the manifest of a checkpoint; refuse one that no commit could have made."""
    manifest = ManifestReader(writer.read_all).read(writer.read_as(number, entry.id))
    names = [
        (manifest.origin_run, "run name"),
        (manifest.kind, "kind"),
        *(
            (node, "node name")
            for node in (manifest.node, *manifest.next_nodes)
            if node is not None
        ),
    ]
    if manifest.graph is not None:
        names.append((manifest.graph, "graph digest"))
    for name, what in names:
        check_name(name, what)
    check_labels(manifest.labels)
    return manifest


def _compare(
    catalogue: Catalogue,
    run: RunRow | None,
    entries: list[BundleEntry],
    manifests: list[Manifest] | None = None,
) -> set[int]:
    """Return the sequences that are to be listed; refuse a run that is not the same history.

    A run that exists may get back what it forgot, and go on where its head is.
    """
    if run is None or not run.last:
        return {entry.sequence for entry in entries}
    head = catalogue.head(run)
    if head is not None and (head.key is None) != (entries[0].key is None):
        raise _conflict(run, "only one of the two has keys of a framework")
    new = []
    for place, entry in enumerate(entries):
        row = catalogue.checkpoint(run.number, entry.sequence)
        if row is None:
            new.append(place)
        elif row.id != entry.id:
            raise _conflict(run, f"{run.name}@{entry.sequence} is another checkpoint here")
    beyond = [place for place in new if entries[place].sequence > run.last]
    if not beyond and len(new) == len(entries):
        raise _conflict(run, "no checkpoint in the bundle is one of it")
    if beyond and manifests is not None:
        parent = manifests[beyond[0]].parent
        is_known = any(catalogue.checkpoint(run.number, entries[place].parent) for place in beyond)
        if head is None or (parent != head.id and not (head.key is not None and is_known)):
            raise _conflict(run, f"the bundle does not go on from its head, {run.head}")
    return {entries[place].sequence for place in new}


def _conflict(run: RunRow, what: str) -> ConflictError:
    return ConflictError(
        f"there is a run {run.name!r} already, and {what}; import it as another run", run=run.name
    )


def _list(
    catalogue: CatalogueWriter,
    run: RunRow,
    rows: dict[int, CheckpointRow],
    parents: dict[int, Digest | None],
) -> None:
    """List checkpoints of a bundle; ``parents`` are the ids that their manifests name."""
    for sequence, row in rows.items():
        catalogue.put_checkpoint(run.number, sequence, row)
    for sequence, row in rows.items():
        if row.needs_parent:
            above = catalogue.checkpoint(run.number, row.parent) if row.parent else None
            if above is None:
                raise NotFoundError(f"the bundle lacks what {run.name}@{sequence} needs")
            is_true = row.hidden or above.id == parents[sequence]
            if row.parent not in rows and (above.hidden or not is_true):
                # What is hidden here holds what others here need, which may not be all of it.
                place = f"{run.name}@{row.parent}"
                raise _conflict(run, f"{place}, which {run.name}@{sequence} needs, is not whole")
    last = max(rows, default=0)
    kept = run.kept + sum(not row.hidden for row in rows.values())
    for sequence, row in rows.items():
        # Of a run with keys the greatest one is the head, wherever it is listed.
        if (row.key is None and sequence > run.last) or (
            row.key is not None and not row.hidden and catalogue.is_newest(run, row.key)
        ):
            run = replace(run, head=sequence)
    catalogue.put_run(replace(run, last=max(last, run.last), kept=kept))
