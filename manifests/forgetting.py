"""Forgetting: taking checkpoints off their runs' lists, by a policy or by name.

A plan is made first, over as many short reads as it takes, and executed afterwards in batches. What
became worth keeping in between (a tag, a pin, a commit that needs its parent) is seen inside the
transaction that would have dropped it. Only names go here; gc frees what they alone kept.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from cas.digest import Digest
from cas.errors import ConflictError, NotFoundError
from cas.records import Record, RecordReader
from cas.store import ObjectStore
from cas.upkeep import OnProgress, Progress
from cas.writer import RecordWriter
from manifests.catalogue import Catalogue, CatalogueWriter, CheckpointRow, PinRow, RunRow
from manifests.manifest import Checkpoint, ManifestReader, checkpoint_of
from manifests.pending import Anchor, anchor_of, drop_pending, is_unresolved
from manifests.reading import StoreReader
from manifests.retention import Candidate, Plan, Reason, RetentionPolicy, Verdict, plan
from manifests.strays import drop_strays
from manifests.weights import Weigher

__all__ = ["ForgetPlan", "execute", "plan_by_name", "plan_by_policy"]

BATCH: Final = 500
"""Most rows dropped in one transaction: it holds up every other writer."""
_READ_BATCH: Final = 256

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ForgetPlan(Plan):
    """Which checkpoints are forgotten and why, and why the others stay.

    Attributes:
        named: The checkpoints were named one by one; the verdicts are of those alone.
        dry_run: Nothing was forgotten.
    """

    named: bool = False
    dry_run: bool = False


def plan_by_policy(
    reader: StoreReader,
    policy: RetentionPolicy,
    run: str | None,
    now: dt.datetime,
    progress: OnProgress,
) -> ForgetPlan:
    """Apply a policy to one run, or to all of them; tells of the phases ``look`` and ``weigh``.

    Raises:
        NotFoundError: There is no such run.
        CorruptionError: A manifest, or an object to be weighed, cannot be read: then nothing can
            be dropped by a policy before the store is repaired.
    """
    candidates = list(_survey(reader, run, progress))
    made = plan(candidates, policy, now, weigh=Weigher(reader, progress))
    return ForgetPlan(made.verdicts)


def plan_by_name(reader: StoreReader, checkpoints: Iterable[Checkpoint]) -> ForgetPlan:
    """Plan to forget exactly these.

    Raises:
        ConflictError: One of them must stay; nothing is forgotten then.
    """
    named = {(found.run, found.sequence): found for found in checkpoints}
    for name in {run for run, _sequence in named}:
        _refuse_last_resumable(reader, name, [cp for cp in named.values() if cp.run == name])
    reason = Reason("named", "named")
    verdicts = [Verdict(found, False, (reason,)) for found in named.values()]
    made = ForgetPlan(tuple(verdicts), named=True)
    reader.run(lambda records: _Guard(Catalogue(records.transaction), made).check())
    return made


def execute(store: ObjectStore, made: ForgetPlan, progress: OnProgress) -> ForgetPlan:
    """Do what a plan says, and return it with what was done; tells of the phase ``forget``.

    Of a policy's plan, what must stay by now is spared, with the reason. Of a plan by name, that
    is a ``ConflictError``, and nothing of its batch (of up to 500) is forgotten.
    """
    drops = [verdict for verdict in made.verdicts if not verdict.keep]
    # A checkpoint goes before what it needs, so every moment in between is a consistent one too.
    drops.sort(key=lambda verdict: (verdict.checkpoint.run, -verdict.checkpoint.sequence))
    spared: dict[Place, Verdict] = {}
    for at in range(0, len(drops), BATCH):
        batch = drops[at : at + BATCH]
        work = partial(_drop, made=made, batch=batch, spared=dict(spared))
        spared.update(store.write(work))
        progress(Progress("forget", at + len(batch), len(drops)))
    if not made.named:
        drop_strays(store, {verdict.checkpoint.run for verdict in made.verdicts})
    verdicts = [spared.get(_place(verdict.checkpoint), verdict) for verdict in made.verdicts]
    return replace(made, verdicts=tuple(verdicts), dry_run=False)


def _drop(
    writer: RecordWriter, made: ForgetPlan, batch: Sequence[Verdict], spared: dict[Place, Verdict]
) -> dict[Place, Verdict]:
    catalogue = CatalogueWriter(writer.writing)
    guard = _Guard(catalogue, made, spared)
    gone: dict[RunRow, dict[int, Anchor]] = {}
    records = []
    for verdict in batch:
        checkpoint = verdict.checkpoint
        found = guard.find(checkpoint)
        if found is None:
            continue
        run, row = found
        reason = guard.why_kept(run, checkpoint.sequence, row)
        if reason is None:
            anchor = anchor_of(checkpoint.sequence, row)
            gone.setdefault(run, {})[checkpoint.sequence] = anchor
            records.append(row.record)
        elif made.named:
            raise _conflict(checkpoint, reason)
        else:
            spared[_place(checkpoint)] = Verdict(checkpoint, True, (reason,))
    for run, anchors in gone.items():
        records += drop_pending(writer.writing, run.number, anchors.values())
        catalogue.drop(run, anchors)
    if records:
        writer.unroot(*records)
    return spared


class _Guard:
    """What keeps a checkpoint, as of one transaction."""

    def __init__(
        self, catalogue: Catalogue, made: ForgetPlan, spared: Mapping[Place, Verdict] | None = None
    ) -> None:
        self._catalogue = catalogue
        self._made = made
        self._tags = {tag.id: tag.name for tag in catalogue.tags()}
        self._pins = {pin.id for pin in catalogue.pins()}
        self._runs: dict[str, RunRow | None] = {}
        self._needed: dict[Place, str] = {}
        self._dropped: set[Place] = set()
        self._planned: dict[str, int] = {}
        for verdict in made.verdicts:
            run, sequence = place = _place(verdict.checkpoint)
            if not verdict.keep and place not in (spared or {}):
                self._dropped.add(place)
            if not made.named:
                self._planned[run] = max(sequence, self._planned.get(run, 0))
        for name, sequence in spared or {}:
            run_row = self._run(name)
            if run_row is not None:
                self._need(run_row, sequence)

    def check(self) -> None:
        """Raise ``ConflictError`` for the first planned drop that something keeps."""
        for verdict in self._made.verdicts:
            found = self.find(verdict.checkpoint)
            if found is not None:
                reason = self.why_kept(found[0], verdict.checkpoint.sequence, found[1])
                if reason is not None:
                    raise _conflict(verdict.checkpoint, reason)

    def find(self, checkpoint: Checkpoint) -> tuple[RunRow, CheckpointRow] | None:
        """Return run and row of a checkpoint; None if somebody else forgot it meanwhile."""
        run = self._run(checkpoint.run)
        if run is not None:
            row = self._catalogue.checkpoint(run.number, checkpoint.sequence)
            if row is not None and row.id == checkpoint.id:
                return run, row
        if self._made.named:
            raise NotFoundError(f"{checkpoint.run}@{checkpoint.sequence} was forgotten already")
        return None

    def why_kept(self, run: RunRow, sequence: int, row: CheckpointRow) -> Reason | None:
        """Return what keeps a checkpoint of which the plan says that it goes."""
        reason = None
        if run.head == sequence:
            reason = Reason("head", "head of its run")
        elif is_unresolved(self._catalogue.transaction, run, sequence, row):
            reason = Reason("pending", "has pending writes")
        elif row.id in self._tags:
            reason = Reason("tag", f"has the tag {self._tags[row.id]!r}")
        elif row.id in self._pins:
            reason = Reason("pin", "pinned")
        elif (run.name, sequence) in self._needed:
            reason = Reason("needed", f"needed by {self._needed[run.name, sequence]}")
        if reason is not None:
            self._need(run, sequence)
        return reason

    def _run(self, name: str) -> RunRow | None:
        if name not in self._runs:
            run = self._runs[name] = self._catalogue.run(name)
            if run is not None:
                # What the plan has seen is not looked at again.
                for sequence, row in self._catalogue.newest(run.number):
                    if sequence <= self._planned.get(name, 0):
                        break
                    if row.needs_parent and (name, sequence) not in self._dropped:
                        self._need(run, sequence)
        return self._runs[name]

    def _need(self, run: RunRow, sequence: int) -> None:
        """Note what a checkpoint that stays cannot be used without."""
        by = f"{run.name}@{sequence}"
        row = self._catalogue.checkpoint(run.number, sequence)
        while row is not None and row.needs_parent and row.parent:
            self._needed.setdefault((run.name, row.parent), by)
            row = self._catalogue.checkpoint(run.number, row.parent)


def _conflict(checkpoint: Checkpoint, reason: Reason) -> ConflictError:
    return ConflictError(
        f"{checkpoint.run}@{checkpoint.sequence} cannot be forgotten: {reason.text}",
        run=checkpoint.run,
    )


def _place(checkpoint: Checkpoint) -> Place:
    return checkpoint.run, checkpoint.sequence


def _refuse_last_resumable(reader: StoreReader, name: str, going: list[Checkpoint]) -> None:
    """Refuse to leave a run without anything that an executor can go on from."""
    resumable = {found.sequence: found for found in going if found.graph is not None}
    if not resumable:
        return
    manifests = ManifestReader(reader.load)
    for found in _listed(reader, name):
        if found.sequence in resumable:
            reason = Reason("resumable", "newest that can be resumed")
            raise _conflict(resumable[found.sequence], reason)
        if not found.row.hidden and manifests.read(found.record).graph is not None:
            return


def _survey(reader: StoreReader, only: str | None, progress: OnProgress) -> Iterator[Candidate]:
    """Yield every listed checkpoint, of one run or of all, with what decides about it."""
    sizes, tags, pins = reader.run(_protections)
    manifests = ManifestReader(reader.load)
    names = sizes if only is None else [only]
    total, done = sum(sizes.get(name, 0) for name in names), 0
    for name in names:
        rank = 0
        try:
            for found in _listed(reader, name):
                run, sequence, row, record = found.run, found.sequence, found.row, found.record
                rank = rank or row.record
                manifest = manifests.read(record)
                pin = pins.get(row.id)
                yield Candidate(
                    checkpoint=checkpoint_of(manifest, row.id, name, sequence, row),
                    record=row.record,
                    is_head=sequence == run.head,
                    is_tip=row.tip,
                    tags=tuple(tags.get(row.id, ())),
                    pin=None if pin is None else pin.reason,
                    is_pending=found.is_pending,
                    is_hidden=row.hidden,
                    needs=row.parent if row.needs_parent else 0,
                    rank=rank,
                )
        except NotFoundError:
            if only is not None:
                raise
            # deleted since the names were read
        done += sizes.get(name, 0)
        progress(Progress("look", done, total))


def _protections(
    reader: RecordReader,
) -> tuple[dict[str, int], dict[Digest, list[str]], dict[Digest, PinRow]]:
    """Return how many checkpoints each run has, and tags and pins by the id they name."""
    catalogue = Catalogue(reader.transaction)
    tags: dict[Digest, list[str]] = {}
    for tag in catalogue.tags():
        tags.setdefault(tag.id, []).append(tag.name)
    sizes = {run.name: run.kept for run in catalogue.runs()}
    return sizes, tags, {pin.id: pin for pin in catalogue.pins()}


@dataclass(frozen=True, slots=True)
class _Found:
    """A row of a run with its manifest's record."""

    run: RunRow
    sequence: int
    row: CheckpointRow
    record: Record
    is_pending: bool


def _listed(reader: StoreReader, name: str) -> Iterator[_Found]:
    """Yield what a run lists, newest first, read in short transactions."""
    below: int | None = None
    head: RunRow | None = None
    while True:
        rows = reader.run(partial(_some, name=name, below=below))
        for found in rows:
            head = head or found.run
            yield replace(found, run=head)
        if len(rows) < _READ_BATCH:
            return
        below = rows[-1].sequence


def _some(reader: RecordReader, name: str, below: int | None) -> list[_Found]:
    catalogue = Catalogue(reader.transaction)
    run = catalogue.need_run(name)
    rows: list[_Found] = []
    for sequence, row in catalogue.newest(run.number, below=below):
        record = reader.read_as(row.record, row.id)
        is_pending = is_unresolved(reader.transaction, run, sequence, row)
        rows.append(_Found(run, sequence, row, record, is_pending))
        if len(rows) == _READ_BATCH:
            break
    return rows
