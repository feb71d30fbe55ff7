"""Forgetting: taking checkpoints off their runs' lists, by a policy or by name.

A plan is made first, over as many short reads as it takes, and executed afterwards in batches. What
became worth keeping in between (a tag, a pin, a commit that needs its parent) is seen inside the
transaction that would have dropped it. Only names go here; gc frees what they alone kept.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from cas.digest import Digest
from cas.errors import (
    ConflictError,
    CorruptStoreError,
    InvalidInputError,
    NotFoundError,
    StoreFullError,
)
from cas.records import Record, RecordReader
from cas.store import ObjectStore
from cas.upkeep import OnProgress, Progress, silent
from cas.writer import RecordWriter
from manifests.catalogue import Catalogue, CatalogueWriter
from manifests.guard import Guard, Look
from manifests.kinds import KINDS
from manifests.manifest import Checkpoint, ManifestReader, checkpoint_of
from manifests.needs import Needs, Rebuilt, read_needs
from manifests.pending import anchor_of, is_unresolved
from manifests.pending_rows import drop_pending
from manifests.reading import StoreReader
from manifests.retention import NEEDED, Candidate, Plan, Reason, RetentionPolicy, Verdict, plan
from manifests.rows import CheckpointRow, PinRow, RunRow
from manifests.strays import drop_strays
from manifests.weights import Weigher

__all__ = ["ForgetPlan", "Place", "execute", "place_of", "plan_by_name", "plan_by_policy"]

BATCH: Final = 250
"""Most rows dropped in one transaction: it holds up every other writer."""
_PAUSE_SECONDS: Final = 0.001
"""Between two of them: LMDB's lock is not fair, and others wait for it."""
_READ_BATCH: Final = 256
_LOOKS: Final = 4
"""How often a long look is taken outside a transaction, before it is taken inside."""

Place = tuple[str, int]
"""Run and sequence."""


@dataclass(frozen=True, slots=True)
class ForgetPlan(Plan):
    """Which checkpoints are forgotten and why, and why the others stay.

    Attributes:
        named: The checkpoints were named one by one; the verdicts are of those alone.
        dry_run: Nothing was forgotten.
        by_key: Runs of which was told key by key what their checkpoints need, and what told it.
    """

    named: bool = False
    dry_run: bool = False
    by_key: Mapping[str, Rebuilt] = field(default_factory=dict, repr=False, compare=False)


def plan_by_policy(
    reader: StoreReader,
    policy: RetentionPolicy,
    run: str | None,
    now: dt.datetime,
    progress: OnProgress,
    rebuilt: Rebuilt | None = None,
) -> ForgetPlan:
    """Apply a policy to one run, or to all of them; tells of the phases ``look`` and ``weigh``.

    With ``rebuilt``, a checkpoint needs just what it is rebuilt from, where that can be told.

    Raises:
        NotFoundError: There is no such run.
        InvalidInputError: The policy names a kind that no checkpoint of the store has, and that
            Hive does not write: what is misspelt would keep nothing.
        CorruptionError: A manifest, or an object to be weighed, cannot be read: then nothing can
            be dropped by a policy before the store is repaired.
    """
    candidates = list(_survey(reader, run, progress))
    _refuse_unknown_kinds(reader, policy, run, candidates)
    needs = {} if rebuilt is None else _needs_of(reader, candidates, rebuilt)
    needed = {name: each.of for name, each in needs.items()}
    made = plan(candidates, policy, now, weigh=Weigher(reader, progress), needed=needed)
    return ForgetPlan(
        tuple(_with_parents(made.verdicts, needs)),
        by_key={name: each.rebuilt for name, each in needs.items()},
    )


def _needs_of(
    reader: StoreReader, candidates: Iterable[Candidate], rebuilt: Rebuilt
) -> dict[str, Needs]:
    """Return, by run, what is needed, if there is any need and it can be told key by key."""
    needs: dict[str, Needs] = {}
    for name in sorted({found.checkpoint.run for found in candidates if found.needs}):
        with suppress(NotFoundError):  # deleted since it was looked at
            found = read_needs(reader, name, rebuilt)
            if found is not None:
                needs[name] = found
    return needs


def _with_parents(verdicts: Sequence[Verdict], needs: Mapping[str, Needs]) -> Iterator[Verdict]:
    """Keep also the parents that have to stand between two checkpoints that are listed."""
    listed: dict[str, list[int]] = {name: [] for name in needs}
    for verdict in verdicts:
        if verdict.keep and not verdict.hidden and verdict.checkpoint.run in needs:
            listed[verdict.checkpoint.run].append(verdict.checkpoint.sequence)
    children = {
        (name, parent): at
        for name, sequences in listed.items()
        for at, parent in needs[name].links(sequences).items()
    }
    for verdict in verdicts:
        child = None if verdict.keep else children.get(place_of(verdict))
        if child is None:
            yield verdict
        else:
            reason = Reason(NEEDED, f"needed by {verdict.checkpoint.run}@{child}")
            yield Verdict(verdict.checkpoint, True, (reason,), hidden=True)


def _refuse_unknown_kinds(
    reader: StoreReader, policy: RetentionPolicy, run: str | None, found: Iterable[Candidate]
) -> None:
    there = {candidate.checkpoint.kind for candidate in found}
    if policy.keep_kinds <= there | KINDS:
        return
    if run is not None:  # other runs may have them
        there |= {candidate.checkpoint.kind for candidate in _survey(reader, None, silent)}
    unknown = policy.keep_kinds - there - KINDS
    if unknown:
        raise InvalidInputError(
            f"no checkpoint is of kind {', '.join(map(repr, sorted(unknown)))}, so that would keep "
            f"nothing; there are {', '.join(sorted(there)) or 'no checkpoints at all'}"
        )


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
    reader.run(partial(_refuse_kept, made=made))
    return made


def execute(store: ObjectStore, made: ForgetPlan, progress: OnProgress) -> ForgetPlan:
    """Do what a plan says, and return it with what was done; tells of the phase ``forget``.

    Of a policy's plan, what must stay by now is spared, with the reason. Of a plan by name, that
    is a ``ConflictError``, and nothing of its batch (of up to 250, or of what fits on a full disk)
    is forgotten.
    """
    drops = _in_order(made)
    spared: dict[Place, Verdict] = {}
    seen: Look | None = None
    at, most = 0, BATCH
    while at < len(drops):
        batch = drops[at : at + most]
        try:
            kept, seen = _drop_batch(store, batch, seen, named=made.named)
        except StoreFullError:
            if len(batch) == 1:
                raise
            most = len(batch) // 2  # which needs less room at once
            continue
        spared.update((place_of(verdict), verdict) for verdict in kept)
        at += len(batch)
        progress(Progress("forget", at, len(drops)))
        if at < len(drops):
            time.sleep(_PAUSE_SECONDS)
    if not made.named:
        drop_strays(store, {verdict.checkpoint.run for verdict in made.verdicts})
    verdicts = [spared.get(place_of(verdict), verdict) for verdict in made.verdicts]
    return replace(made, verdicts=tuple(verdicts), dry_run=False)


def _in_order(made: ForgetPlan) -> list[Verdict]:
    """Return what goes, a checkpoint before what it needs: so every moment is a consistent one."""
    drops = [verdict for verdict in made.verdicts if not verdict.keep]
    return sorted(drops, key=lambda one: (one.checkpoint.run, -one.checkpoint.sequence))


def _refuse_kept(reader: RecordReader, made: ForgetPlan) -> None:
    """Raise ``ConflictError`` for the first checkpoint named that something keeps."""
    drops = _in_order(made)
    look = Look.at(reader.transaction, {verdict.checkpoint.run for verdict in drops})
    _judge(Guard(reader.transaction, look), drops, named=True)


def _drop_batch(
    store: ObjectStore, batch: Sequence[Verdict], seen: Look | None, *, named: bool
) -> tuple[list[Verdict], Look]:
    """Forget what nothing keeps by now; returns what is spared, and the look for the next batch.

    A look at long runs is rather taken outside the transaction, which others wait for.
    """
    names = {verdict.checkpoint.run for verdict in batch}
    for tries_left in reversed(range(_LOOKS)):
        if seen is None or not names <= seen.runs.keys():
            seen = store.read(lambda reader: Look.at(reader.transaction, names))
        done = store.write(
            partial(_drop, batch=batch, seen=seen, named=named, patient=not tries_left),
            frees_space=True,
        )
        if done is not None:
            return done
        seen = None
    raise AssertionError("the last attempt looks as long as it takes")


def _drop(
    writer: RecordWriter, batch: Sequence[Verdict], seen: Look, *, named: bool, patient: bool
) -> tuple[list[Verdict], Look] | None:
    """Do one batch; None if one had to look for long, and nothing was done."""
    look = seen.advanced(writer.transaction)
    if look is None and not patient:
        return None
    look = look or Look.at(writer.transaction, seen.runs)
    catalogue = CatalogueWriter(writer.writing)
    guard = Guard(writer.transaction, look)
    spared, gone = _judge(guard, batch, named=named)
    records, runs = [], []
    for run, rows in gone.items():
        records += [row.record for row in rows.values()]
        anchors = [anchor_of(sequence, row) for sequence, row in rows.items()]
        records += drop_pending(writer.writing, run.number, anchors)
        runs.append(catalogue.drop(run, rows))
    if records:
        writer.unroot(*records)
    return spared, guard.after(writer.counters.root_epoch, runs)


def _judge(
    guard: Guard, drops: Sequence[Verdict], *, named: bool
) -> tuple[list[Verdict], dict[RunRow, dict[int, CheckpointRow]]]:
    """Return what is spared of those that are to go, and the rows that go, by run and sequence.

    What somebody else forgot is neither.

    Raises:
        NotFoundError: One that was named is not there.
        ConflictError: One that was named must stay.
    """
    spared: list[Verdict] = []
    gone: dict[RunRow, dict[int, CheckpointRow]] = {}
    for verdict in drops:
        checkpoint = verdict.checkpoint
        found = guard.find(checkpoint.run, checkpoint.sequence, checkpoint.id)
        if found is None or (named and found[1].hidden):
            if named:
                place = f"{checkpoint.run}@{checkpoint.sequence}"
                raise NotFoundError(f"{place} was forgotten already")
            continue
        run, row = found
        reason = guard.why_kept(run, checkpoint.sequence, row)
        if reason is None:
            guard.forget(run, checkpoint.sequence, row)
            gone.setdefault(run, {})[checkpoint.sequence] = row
        elif named:
            raise _conflict(checkpoint, reason)
        else:
            spared.append(Verdict(checkpoint, True, (reason,), hidden=row.hidden))
    return spared, gone


def _conflict(checkpoint: Checkpoint, reason: Reason) -> ConflictError:
    of_run = reason.rule in ("head", "resumable")
    instead = "; to be rid of the whole run, delete it (hive rm)" if of_run else ""
    return ConflictError(
        f"{checkpoint.run}@{checkpoint.sequence} cannot be forgotten: {reason.text}{instead}",
        run=checkpoint.run,
    )


def place_of(verdict: Verdict) -> Place:
    """Return run and sequence of the checkpoint that a verdict is about."""
    return verdict.checkpoint.run, verdict.checkpoint.sequence


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
    sizes, tags, pins = reader.run(partial(_protections, only=only))
    manifests = ManifestReader(reader.load)
    names = sizes if only is None else [only]
    total, done = sum(sizes.values()), 0
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
    reader: RecordReader, only: str | None
) -> tuple[dict[str, int], dict[Digest, list[str]], dict[Digest, PinRow]]:
    """Return how many checkpoints each run has, or one, and tags and pins by the id they name."""
    catalogue = Catalogue(reader.transaction)
    tags: dict[Digest, list[str]] = {}
    for tag in catalogue.tags():
        tags.setdefault(tag.id, []).append(tag.name)
    # Of one run it is asked often, for each of the threads of a saver say, of which there are many.
    runs = catalogue.runs() if only is None else filter(None, [catalogue.run(only)])
    sizes = {run.name: run.kept for run in runs}
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
    if run.head and catalogue.head(run) is None:
        # What is kept for its sake would go, and all else where only heads are kept.
        raise CorruptStoreError(
            f"the head of run {name!r} is lost, so nothing of it can be forgotten; repair the "
            "store (hive check --repair)"
        )
    rows: list[_Found] = []
    for sequence, row in catalogue.newest(run.number, below=below):
        record = reader.read_as(row.record, row.id)
        is_pending = is_unresolved(reader.transaction, run, sequence, row)
        rows.append(_Found(run, sequence, row, record, is_pending))
        if len(rows) == _READ_BATCH:
            break
    return rows
