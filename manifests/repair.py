"""Repair: what a copy still has is put back in place; only what stays broken is dropped.

All of it is one transaction, so a repair that is interrupted has not happened, and a dry run does
the same work and gives it up at the end. Nothing is dropped but names that lead to something that
cannot be restored, and records that nothing else needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from cas.backup import back_up
from cas.digest import Digest
from cas.epochs import forget_collected
from cas.errors import CorruptStoreError, UnsupportedFormatError
from cas.onebit import mend_codecs, mend_rows
from cas.reclaim import move_packs, rebuild_index, recount, replace_packs, rewrite_packs
from cas.records import GenerationChangedError
from cas.scratch import private_directory
from cas.store import ObjectStore
from cas.upkeep import OnProgress, upkeep_lock
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter
from manifests.catalogue_repair import CatalogueRepair, named_states
from manifests.check import CHECKED, OPAQUE, CheckReport, Findings, examine
from manifests.healing import Healer, Source
from manifests.mending import Mending, Notes, wanted_bodies
from manifests.reading import StoreReader, stable
from manifests.roots import STORE_TABLES

__all__ = ["RepairReport", "repair"]


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
        UnsupportedFormatError: A later version of Hive wrote some of it; nothing is changed then.
    """
    if dry_run and store.environment.read_only:
        return _tried_out(store, source, progress)
    with upkeep_lock(store.environment.path, None):
        return stable(
            store,
            lambda reader: _attempt(
                store, reader, source, progress=progress, dry_run=dry_run, alone=alone
            ),
        )


def _tried_out(store: ObjectStore, source: Source | None, progress: OnProgress) -> RepairReport:
    """Say what a repair would do to a store that is open for reading only."""
    found = stable(
        store, lambda reader: examine(store, reader, read_data=True, progress=progress).report()
    )
    if found.ok:
        return RepairReport(found, dry_run=True)
    _refuse_what_cannot_be_mended(store, found)
    with private_directory(store.environment.path) as directory:
        place = directory / "objects"
        back_up(store.environment, place, compact=False)
        with ObjectStore.open(place, tables=STORE_TABLES) as copy:
            return repair(copy, source, dry_run=True, progress=progress)


def _refuse_what_cannot_be_mended(
    store: ObjectStore, found: CheckReport, *, alone: bool = False
) -> None:
    if any(damage.kind == "structure" for damage in found.damage):
        raise CorruptStoreError(
            "the structure of the store's file is damaged, and changing it could do more harm; "
            "salvage it, which takes what is whole into a new store",
            path=store.environment.path,
        )
    newer = [damage.text for damage in found.damage if damage.kind == "newer"]
    if newer and not alone:  # a salvage leaves the old store as it is
        raise UnsupportedFormatError(f"{newer[0]}; a repair would drop what a later version wrote")


def _attempt(
    store: ObjectStore,
    reader: StoreReader,
    source: Source | None,
    *,
    progress: OnProgress,
    dry_run: bool,
    alone: bool,
) -> RepairReport:
    findings = examine(store, reader, read_data=True, progress=progress)
    found = findings.report()
    if found.ok and not alone:
        return RepairReport(found, dry_run=dry_run)
    _refuse_what_cannot_be_mended(store, found, alone=alone)
    generation = reader.run(lambda records: records.transaction.generation)
    done: list[tuple[Notes, int]] = []

    def work(writer: RecordWriter) -> None:
        if writer.transaction.generation != generation:
            raise GenerationChangedError
        notes = Notes()
        mended = mend_rows(writer.writing, (*CHECKED, *OPAQUE))
        if mended:
            notes.fixed.append(f"{mended} rows of which one bit was turned over")
        damaged_packs = _damaged_packs(findings)
        if mend_codecs(writer.writing, damaged_packs):
            notes.fixed.append("codecs of packs of which one bit was turned over")
        below = writer.counters.next_record
        moved = replace_packs(writer.writing, damaged_packs, below)
        moved += move_packs(writer.writing, *_suspects(findings), below)
        if moved:
            notes.fixed.append("packs under damaged keys")
        wanted = _wanted(writer, findings)
        healer = Healer(writer, findings.objects.broken, source, wanted, anew=alone)
        _mend(writer, findings, healer, notes)
        done[:] = [(notes, healer.objects)]
        if dry_run:
            raise _DryRunSignal

    try:
        store.write(work)
    except _DryRunSignal:
        pass
    notes, objects = done[0]
    return RepairReport(
        found,
        tuple(notes.restored),
        tuple(notes.dropped),
        tuple(notes.moved),
        tuple(notes.fixed),
        objects,
        dry_run,
    )


def _mend(writer: RecordWriter, findings: Findings, healer: Healer, notes: Notes) -> None:
    """Put everything right in the writer's transaction, names before what they lead to."""
    transaction = writer.writing
    hit = {name for names in findings.hits.values() for name in names}
    catalogue = CatalogueRepair(transaction, healer, hit, notes)
    runs = catalogue.states()
    mending = Mending(transaction, healer, notes)
    listed = list(CatalogueWriter(transaction).runs())
    mending.keys(listed)
    mending.beside(listed)
    catalogue.names()
    catalogue.opaque(runs)
    broken = findings.objects.broken
    gone = {each for each in broken if not healer.is_whole(each)}
    rewrite_packs(transaction, gone, _damaged_packs(findings))
    changed = rebuild_index(transaction)
    if changed:
        notes.fixed.append(f"{changed} rows of the index")
    if recount(transaction, writer.counters):
        notes.fixed.append("the counters of what is stored")
    # Whoever remembers a record as stored has to look again, and gc at everything.
    writer.counters.sweeps += 1
    writer.counters.root_epoch += 1
    forget_collected(transaction)


def _damaged_packs(findings: Findings) -> list[bytes]:
    """Return the keys of the first rows of packs that cannot be read, or run into the next."""
    found = [damage.key for damage in findings.objects.damage if damage.kind == "pack"]
    return [key for key in found if key is not None]


def _suspects(findings: Findings) -> tuple[set[int], set[int]]:
    """Return the numbers of records that may be misplaced, and of those that may be missing."""
    broken = set(findings.objects.broken)
    found = {damage.record for damage in findings.objects.damage if damage.record is not None}
    return found | broken, broken.union(row.record for _run, _sequence, row in findings.lost)


def _wanted(writer: RecordWriter, findings: Findings) -> set[Digest]:
    """Return the ids of all checkpoints, and of values beside them, that could need healing."""
    transaction = writer.writing
    listed = {row.id for _run, _sequence, row in findings.lost}
    return listed | named_states(transaction) | wanted_bodies(transaction)
