"""Salvage: a new store of everything that verifies in one whose file LMDB must not open any more.

``cas.salvage`` finds the rows. Here is decided which of those may come back that only free pages
still had, since they may have been deleted on purpose; then the new store is checked and repaired
as any other, so that what is listed in it can be restored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from cas.check import Damage
from cas.creation import create_new_store
from cas.damaged import damaged_store
from cas.environment import ReadTransaction
from cas.errors import ConflictError
from cas.leases import LEASES
from cas.mounts import refuse_network_file_system
from cas.rawfile import RawFile
from cas.records import REPAIRS, STORE
from cas.repack import Draft
from cas.roots import OWN_TABLES, ROOT_LOG
from cas.salvage import Salvage
from cas.sieve import Sieve
from cas.store import HEADER_KEY, ObjectStore, new_header
from cas.upkeep import OnProgress, silent
from manifests.arguments import path_of
from manifests.catalogue import Catalogue
from manifests.check import check, parsed
from manifests.claims import CLAIMS
from manifests.comeback import Comeback
from manifests.effects import EFFECTS
from manifests.healing import Source
from manifests.parameters import TreeParameters
from manifests.pending_rows import PENDING
from manifests.repair import repair
from manifests.roots import STORE_TABLES
from manifests.rows import (
    CHECKPOINTS,
    HIGHEST_NUMBER,
    KEYS,
    NEXT_RUN,
    NUMBERS,
    PINS,
    RUNS,
    TAGS,
    next_run_value,
    run_of,
    run_row,
)
from manifests.sources import opened_source
from manifests.upkeep import OBJECTS_FOLDER, open_home

__all__ = ["SalvageReport", "salvage"]

_CARRIED: Final = (
    *(STORE, REPAIRS, NUMBERS, RUNS, CHECKPOINTS, KEYS),
    *(TAGS, PINS, PENDING, EFFECTS, CLAIMS),
)
_OTHERS: Final = (ROOT_LOG, LEASES)
_SPARE_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """What a salvage brought, and what it did not.

    Attributes:
        damage: What is wrong with the old store.
        runs: Runs in the new store.
        checkpoints: Checkpoints that they list.
        records: Stored objects in it.
        lost: What is known to have been there and cannot be restored: ``run@sequence``,
            ``tag:name``, ``pin:run@sequence``, ``pending:run@anchor``, ``effect:run``.
        missing: What else is missing, in words: of that, not even the names could be read.
        uncertain: What came back from free pages, named likewise: perhaps it had been deleted.
        moved_heads: (run, head before, its newest checkpoint that is left).
        fixed: What was made anew, for people.
    """

    damage: tuple[Damage, ...]
    runs: int
    checkpoints: int
    records: int
    lost: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    moved_heads: tuple[tuple[str, int, int], ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything came over."""
        return not (self.lost or self.missing)


def salvage(
    home: str | Path,
    into: str | Path,
    *,
    source: str | Path | None = None,
    progress: OnProgress | None = None,
) -> SalvageReport:
    """Write what verifies in the store of a home into a new store, in another home.

    It is for a store that does not open any more, since LMDB's own structure is damaged. The old
    one is only read, with plain reads, so that works on a read-only disk; nobody else can begin a
    transaction meanwhile. The new one appears when it is complete: what its runs list can be
    restored, every object of it was hashed.

    Args:
        home: The home of the damaged store.
        into: The home of the new one, in which there must be none.
        source: The home of a backup, or a bundle: objects that are missing are taken from it.
        progress: Is told how far it is.

    Raises:
        ConflictError: There is a store in ``into``, or a process is at work on the old one.
        NotFoundError: There is no store in ``home``.
        CorruptStoreError: Nothing in its file is of a store.
        HiveError: The new one cannot be written; nothing is left behind.
    """
    store = path_of(home, "home").absolute() / OBJECTS_FOLDER
    place = path_of(into, "into").absolute() / OBJECTS_FOLDER
    copy = None if source is None else path_of(source, "source")
    with opened_source(copy, open_home) as other:
        return _salvage(store, place, other, progress or silent)


def _salvage(store: Path, into: Path, source: Source | None, progress: OnProgress) -> SalvageReport:
    if into.exists():
        raise ConflictError(f"{into} is there already; salvage into a new place")
    # Opening it would refuse it, but only after all the work.
    refuse_network_file_system(into.resolve())
    reports: list[SalvageReport] = []
    with damaged_store(store) as damaged, RawFile(damaged.data_file) as file:

        def fill(directory: Path) -> None:
            found = _take_rows(file, directory, progress)
            if damaged.damage:
                found.damage.insert(0, Damage("structure", damaged.damage))
            reports[:] = [_mend(directory.parent, found, source, progress)]

        if not create_new_store(into, fill):
            raise ConflictError(f"{into} is there already; salvage into a new place")
    return reports[0]


@dataclass(slots=True)
class _Taken:
    """What was found before anything was checked."""

    damage: list[Damage]
    missing: list[str]
    uncertain: list[str]
    fixed: list[str] = field(default_factory=list)


def _take_rows(file: RawFile, directory: Path, progress: OnProgress) -> _Taken:
    """Write all rows that are found into a new environment in a directory."""
    room = 4 * file.size + _SPARE_BYTES  # of addresses alone
    tables = (*OWN_TABLES, *STORE_TABLES)
    draft = Draft(directory, tables, map_bytes=room)
    try:
        with Sieve(directory.with_name("sieve"), tables, map_bytes=room) as sieve:
            job = Salvage(file, draft, sieve, carried=_CARRIED, others=_OTHERS, progress=progress)
            job.read()
            job.scan()
            comeback = Comeback(job)
            comeback.decide()
            job.finish()
            taken = _Taken(job.damage, comeback.missing, comeback.uncertain)
            taken.fixed += _settle(job)
    finally:
        draft.close()
    return taken


def _settle(job: Salvage) -> list[str]:
    """Write what a store cannot be without; returns what was made anew."""
    fixed = []
    if not job.has(STORE, HEADER_KEY):
        job.put(STORE, HEADER_KEY, new_header(TreeParameters().to_header()))
        fixed.append("the header, with the usual sizes of trees")
    job.replace(NUMBERS, NEXT_RUN, next_run_value(_next_run(job)))
    job.save()
    return fixed


def _next_run(job: Salvage) -> int:
    """Return a number that no run has had."""
    number = 1
    for table in (NUMBERS, RUNS, CHECKPOINTS, PENDING, EFFECTS):
        for key, value in job.rows(table):
            used = run_of(key)
            if table == NUMBERS:
                used = int.from_bytes(value or b"", "big") - 1
            elif table == RUNS:
                run = None if value is None else parsed(partial(run_row, value))
                used = 0 if run is None else run.number
            number = max(number, used + 1)
    return min(number, HIGHEST_NUMBER)


def _mend(place: Path, taken: _Taken, source: Source | None, progress: OnProgress) -> SalvageReport:
    """Repair the new store, and look whether all is well with it."""
    with ObjectStore.open(place, tables=STORE_TABLES, create=False) as store:
        is_damaged = bool(taken.damage)
        report = repair(store, source, dry_run=False, progress=progress, alone=is_damaged)
        left = report.found
        if is_damaged:
            left = check(store, read_data=True, progress=progress)
        runs, checkpoints = store.environment.read(_count)
        records = store.counters().objects
    return SalvageReport(
        damage=(*taken.damage, *report.found.damage),
        runs=runs,
        checkpoints=checkpoints,
        records=records,
        lost=report.dropped,
        missing=(*taken.missing, *(damage.text for damage in left.damage)),
        uncertain=tuple(name for name in taken.uncertain if name not in set(report.dropped)),
        moved_heads=report.moved_heads,
        fixed=(*taken.fixed, *report.fixed),
    )


def _count(transaction: ReadTransaction) -> tuple[int, int]:
    runs = [run for run in Catalogue(transaction).runs() if run.last]
    return len(runs), sum(run.kept for run in runs)
