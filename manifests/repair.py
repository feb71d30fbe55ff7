"""Repair: what a copy still has is put back in place; only what stays broken is dropped.

All of it is one transaction, so a repair that is interrupted has not happened, and a dry run does
the same work and gives it up at the end. Nothing is dropped but names that lead to something that
cannot be restored, and records that nothing else needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from cas.backup import back_up
from cas.check import private_directory
from cas.digest import Digest
from cas.environment import Table
from cas.epochs import forget_collected
from cas.errors import CorruptStoreError
from cas.reclaim import rebuild_index, recount, rewrite_packs
from cas.records import GenerationChangedError
from cas.store import ObjectStore
from cas.table import CHECKSUM_BYTES
from cas.upkeep import OnProgress, upkeep_lock
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter
from manifests.check import OPAQUE, CheckReport, Findings, examine, parsed, raw_rows
from manifests.healing import Healer, Source
from manifests.manifest import ManifestReader, microseconds
from manifests.mending import Mending, known_keys, wanted_bodies
from manifests.names import name_key
from manifests.reading import StoreReader, stable
from manifests.roots import STORE_TABLES
from manifests.rows import (
    CHECKPOINTS,
    NUMBERS,
    PINS,
    RUNS,
    TAGS,
    CheckpointRow,
    PinRow,
    RunRow,
    TagRow,
    checkpoint_key,
    checkpoint_place,
    checkpoint_row,
    pin_row,
    run_row,
    tag_row,
)

__all__ = ["RepairReport", "repair"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or a dry run would do.

    Attributes:
        found: What the check before it found.
        restored: Checkpoints, tags and pins that were hit and are whole again.
        dropped: Those that are gone: what they need was in no source.
        moved_heads: (run, head before, its newest ancestor that is left), of runs whose head was
            dropped. The ancestor is listed once more, as the newest: so the run can go on.
        fixed: What else was put right, for people.
        objects: How many objects came from the source.
        dry_run: Nothing was changed.
    """

    found: CheckReport
    restored: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    moved_heads: tuple[tuple[str, int, int], ...] = ()
    fixed: tuple[str, ...] = ()
    objects: int = 0
    dry_run: bool = False


class _DryRunSignal(Exception):  # noqa: N818 - ends the transaction of a dry run
    pass


def repair(
    store: ObjectStore,
    source: Source | None,
    *,
    dry_run: bool,
    progress: OnProgress,
    alone: bool = False,
) -> RepairReport:
    """Repair what a check finds.

    ``alone`` says that the store was just salvaged, and nobody else uses it. Then checkpoints of a
    run that is not there are no work in progress, and are seen to even if the check finds nothing;
    and the index does not know what is missing.

    Raises:
        CorruptStoreError: LMDB's own structure is damaged; nothing is changed then.
    """
    if dry_run and store.environment.read_only:
        return _tried_out(store, source, progress)
    with upkeep_lock(store.environment.path, None):
        return stable(
            store, lambda reader: _attempt(store, reader, source, dry_run, progress, alone)
        )


def _tried_out(store: ObjectStore, source: Source | None, progress: OnProgress) -> RepairReport:
    """Say what a repair would do to a store that is open for reading only."""
    found = stable(
        store, lambda reader: examine(store, reader, read_data=True, progress=progress).report()
    )
    if found.ok:
        return RepairReport(found, dry_run=True)
    _refuse_broken_structure(store, found)
    with private_directory(store.environment.path) as directory:
        place = directory / "objects"
        back_up(store.environment, place, compact=False)
        with ObjectStore.open(place, tables=STORE_TABLES) as copy:
            return repair(copy, source, dry_run=True, progress=progress)


def _refuse_broken_structure(store: ObjectStore, found: CheckReport) -> None:
    if any(damage.kind == "structure" for damage in found.damage):
        raise CorruptStoreError(
            "the structure of the store's file is damaged, and changing it could do more harm; "
            "salvage it, which takes what is whole into a new store",
            path=store.environment.path,
        )


def _attempt(
    store: ObjectStore,
    reader: StoreReader,
    source: Source | None,
    dry_run: bool,
    progress: OnProgress,
    alone: bool,
) -> RepairReport:
    findings = examine(store, reader, read_data=True, progress=progress)
    found = findings.report()
    if found.ok and not alone:
        return RepairReport(found, dry_run=dry_run)
    _refuse_broken_structure(store, found)
    generation = reader.run(lambda records: records.transaction.generation)
    jobs: list[_Repair] = []

    def work(writer: RecordWriter) -> None:
        if writer.transaction.generation != generation:
            raise GenerationChangedError
        wanted = _wanted(writer, findings)
        healer = Healer(writer, findings.objects.broken, source, wanted, anew=alone)
        jobs[:] = [_Repair(writer, findings, healer)]
        jobs[0].run()
        if dry_run:
            raise _DryRunSignal

    try:
        store.write(work)
    except _DryRunSignal:
        pass
    return replace(jobs[0].report(found), dry_run=dry_run)


@dataclass(slots=True)
class _Repair:
    """One repair, in one transaction."""

    writer: RecordWriter
    findings: Findings
    healer: Healer
    restored: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    moved: list[tuple[str, int, int]] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)

    def report(self, found: CheckReport) -> RepairReport:
        return RepairReport(
            found,
            tuple(self.restored),
            tuple(self.dropped),
            tuple(self.moved),
            tuple(self.fixed),
            self.healer.objects,
        )

    def run(self) -> None:
        transaction = self.writer.writing
        catalogue = CatalogueWriter(transaction)
        runs = self._runs(catalogue)
        for run in runs:
            self._checkpoints(catalogue, run)
        mending = Mending(transaction, self.healer, self.restored, self.dropped, self.fixed)
        listed = list(catalogue.runs())
        mending.keys(listed)
        mending.beside(listed)
        self._named(TAGS, tag_row, lambda tag: f"tag:{tag.name}")
        self._named(PINS, pin_row, lambda pin: f"pin:{pin.run}@{pin.sequence}")
        self._opaque(runs)
        gone = {
            number for number in self.findings.objects.broken if not self.healer.is_whole(number)
        }
        packs = [
            damage.key
            for damage in self.findings.objects.damage
            if damage.kind == "pack" and damage.key is not None
        ]
        rewrite_packs(transaction, gone, packs)
        changed = rebuild_index(transaction)
        if changed:
            self.fixed.append(f"{changed} rows of the index")
        if recount(transaction, self.writer.counters):
            self.fixed.append("the counters of what is stored")
        # Whoever remembers a record as stored has to look again, and gc at everything.
        self.writer.counters.sweeps += 1
        self.writer.counters.root_epoch += 1
        forget_collected(transaction)

    # -- the catalogue ---------------------------------------------------------------------

    def _runs(self, catalogue: CatalogueWriter) -> list[RunRow]:
        """Return all runs; those whose rows are damaged are known again by what they list."""
        transaction = self.writer.writing
        runs: dict[int, RunRow] = {}
        damaged: dict[bytes, bytes] = {}
        for key, sealed in list(raw_rows(transaction, RUNS)):
            run = parsed(partial(_sound, RUNS, run_row, key, sealed))
            if run is None or name_key(run.name, "run name") != key or run.number in runs:
                damaged[key] = sealed
            else:
                runs[run.number] = run
        for key in damaged:
            transaction.delete(RUNS, key)
        numbers = {checkpoint_place(key)[0] for key, _row in raw_rows(transaction, CHECKPOINTS)}
        orphans = sorted(numbers - runs.keys())
        for number in orphans:
            name = _name_of(number, damaged, alone=len(orphans) == 1)
            run = self._known_again(catalogue, number, name)
            if run is not None:
                runs[number] = run
        return list(runs.values())

    def _known_again(
        self, catalogue: CatalogueWriter, number: int, name: str | None
    ) -> RunRow | None:
        """Write the row of a run anew, by what its checkpoints say of it."""
        transaction = self.writer.writing
        reader = self.healer.reader
        start, stop = checkpoint_key(number, 0), checkpoint_key(number + 1, 0)
        table = Table(CHECKPOINTS.name, checked=False)
        rows = list(transaction.items(table, start, stop))
        for key, sealed in rows:
            sequence = checkpoint_place(key)[1]
            row = self._believable(key, sealed, sequence)
            if row is None:
                continue
            manifest = ManifestReader(reader.read_all).read(reader.read_as(row.record, row.id))
            name = name or manifest.origin_run
            if catalogue.run(name) is not None:
                name = f"{name} (recovered {number})"
            last = checkpoint_place(rows[-1][0])[1]
            created = microseconds(manifest.created_at)
            run = RunRow(number, name, last, last, len(rows), created)
            catalogue.put_run(run)
            self.fixed.append(f"the entry of run {name!r}")
            return run
        for key, _sealed in rows:
            transaction.delete(CHECKPOINTS, key)
            self.dropped.append(f"run number {number}@{checkpoint_place(key)[1]}")
        return None

    def _believable(self, key: bytes, sealed: bytes, sequence: int) -> CheckpointRow | None:
        """Return a row that proves itself: it names a whole checkpoint by number and id."""
        parse = partial(checkpoint_row, sequence=sequence)
        row = parsed(partial(_sound, CHECKPOINTS, parse, key, sealed))
        if row is None:
            row = parsed(partial(parse, sealed[CHECKSUM_BYTES:]))
        number = None if row is None else self.healer.place(row.record, row.id)
        return None if row is None or number is None else replace(row, record=number)

    def _checkpoints(self, catalogue: CatalogueWriter, run: RunRow) -> None:
        """Keep what can be restored, drop the rest, and let the head be one that is kept."""
        transaction = self.writer.writing
        start, stop = checkpoint_key(run.number, 0), checkpoint_key(run.number + 1, 0)
        table = Table(CHECKPOINTS.name, checked=False)
        kept: dict[int, CheckpointRow] = {}
        parents: dict[int, int] = {}
        keys = known_keys(transaction, run.number)
        for key, sealed in list(transaction.items(table, start, stop)):
            sequence = checkpoint_place(key)[1]
            place = f"{run.name}@{sequence}"
            parse = partial(checkpoint_row, sequence=sequence)
            sound = parsed(partial(_sound, CHECKPOINTS, parse, key, sealed))
            row = self._believable(key, sealed, sequence) or self._from_source(run, sequence)
            if sound is not None:
                parents[sequence] = sound.parent
            if row is not None and sound is None and sequence in keys:
                row = replace(row, key=keys[sequence])
            if row is not None and keys and row.key is None:
                row = None  # nothing in the run leads to it
            if row is not None and row.needs_parent and row.parent not in kept:
                row = None
            if row is None:
                transaction.delete(CHECKPOINTS, key)
                self.dropped.append(place)
                continue
            kept[sequence] = row
            if row != sound:
                if not 0 <= row.parent < sequence:
                    row = replace(row, parent=0)
                catalogue.put_checkpoint(run.number, sequence, row)
            if row != sound or place in self._hit:
                self.restored.append(place)
        self._head(catalogue, run, kept, parents)

    @property
    def _hit(self) -> set[str]:
        return {name for names in self.findings.hits.values() for name in names}

    def _from_source(self, run: RunRow, sequence: int) -> CheckpointRow | None:
        """Return the row of a checkpoint of which only the place is known."""
        source = self.healer.source
        digest = None if source is None else source.find(run.name, sequence)
        number = None if digest is None else self.healer.place(0, digest)
        if digest is None or number is None:
            return None
        return CheckpointRow(number, digest, parent=0, new_objects=0, new_bytes=0)

    def _head(
        self,
        catalogue: CatalogueWriter,
        run: RunRow,
        kept: dict[int, CheckpointRow],
        parents: dict[int, int],
    ) -> None:
        if not kept and not run.last:
            return  # its first checkpoint is yet to come
        if all(row.hidden for row in kept.values()):
            for sequence in kept:
                self.writer.writing.delete(CHECKPOINTS, checkpoint_key(run.number, sequence))
            self.writer.writing.delete(RUNS, name_key(run.name, "run name"))
            self.fixed.append(f"run {run.name!r}, of which nothing is left, was removed")
            return
        head = run.head
        while head and head not in kept:
            head = parents.get(head, 0)
        listed = {sequence: row for sequence, row in kept.items() if not row.hidden}
        right = replace(run, last=max(run.last, *kept), kept=len(listed))
        if any(row.key is not None for row in listed.values()):
            newest = max(listed, key=lambda sequence: listed[sequence].key or "")
            if newest != run.head:
                self.moved.append((run.name, run.head, newest))
            if replace(right, head=newest) != run:
                catalogue.put_run(replace(right, head=newest))
            return
        if head != run.head or run.head != right.last:
            # A head is what was listed last, which commits rely on: list the ancestor once more.
            head = head or max(kept)
            self.moved.append((run.name, run.head, head))
            catalogue.append(right, replace(kept[head], tip=False, new_objects=0, new_bytes=0))
        elif right != run:
            catalogue.put_run(right)

    def _named(
        self, table: Table, parse: Callable[[bytes], Any], name: Callable[[Any], str]
    ) -> None:
        """Let tags or pins lead to whole checkpoints; drop those that cannot."""
        transaction = self.writer.writing
        for key, sealed in list(raw_rows(transaction, table)):
            sound = parsed(partial(_sound, table, parse, key, sealed))
            row: Any = sound or parsed(partial(parse, sealed[CHECKSUM_BYTES:]))
            if sound is None and row is not None and _key_of(row) != key:
                row = None  # its name may be what is damaged, and no object proves that
            number = None if row is None else self.healer.place(row.record, row.id)
            if number is None:
                transaction.delete(table, key)
                self.dropped.append(f"a row of {table.name}" if row is None else name(row))
            elif sound is None or number != sound.record:
                catalogue = CatalogueWriter(transaction)
                row = replace(row, record=number)
                if table is TAGS:
                    catalogue.put_tag(row)
                else:
                    catalogue.put_pin(row)
                self.restored.append(name(row))

    def _opaque(self, runs: list[RunRow]) -> None:
        """Make rows anew that can be, and remove those that only save work."""
        transaction = self.writer.writing
        for table in OPAQUE:
            for key, sealed in list(raw_rows(transaction, table)):
                if parsed(partial(table.unseal, key, sealed)) is not None:
                    continue
                if table is NUMBERS:
                    highest = max((run.number for run in runs), default=0)
                    CatalogueWriter(transaction).put_next_run(highest + 1)
                else:
                    transaction.delete(table, key)
                self.fixed.append(f"a row of {table.name}")


def _key_of(row: TagRow | PinRow) -> bytes | None:
    if isinstance(row, PinRow):
        return bytes(row.id)
    return parsed(partial(name_key, row.name, "tag"))


def _wanted(writer: RecordWriter, findings: Findings) -> set[Digest]:
    """Return the ids of all checkpoints that could need healing."""
    wanted = {row.id for _run, _sequence, row in findings.lost}
    for table, parse in ((TAGS, tag_row), (PINS, pin_row)):
        for key, sealed in raw_rows(writer.transaction, table):
            row: Any = parsed(partial(_sound, table, parse, key, sealed))
            if row is not None:
                wanted.add(row.id)
    return wanted | wanted_bodies(writer.writing)


def _name_of(number: int, damaged: dict[bytes, bytes], *, alone: bool) -> str | None:
    """Return the name of a run that one of the damaged rows was, if that can be told."""
    for key, sealed in damaged.items():
        row = parsed(partial(run_row, sealed[CHECKSUM_BYTES:]))
        proven = row is not None and row.number == number and row.name.encode() == key
        if proven or (alone and len(damaged) == 1):
            try:
                return key.decode()
            except UnicodeDecodeError:
                return None  # a name too long for its key
    return None


def _sound(table: Table, parse: Callable[[bytes], T], key: bytes, sealed: bytes) -> T:
    return parse(table.unseal(key, sealed))
