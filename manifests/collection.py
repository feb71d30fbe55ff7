"""Freeing space: collecting what no name leads to any more, and shrinking the file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

import pydantic

from cas.compact import Compactor
from cas.environment import ReadTransaction, Table
from cas.leases import LEASES, drop_dead_leases
from cas.roots import Layout, RootTable
from cas.store import ObjectStore
from cas.sweep import Collector
from cas.upkeep import OnProgress
from cas.writer import RecordWriter
from manifests.catalogue import Catalogue
from manifests.forgetting import ForgetPlan
from manifests.pending_rows import PENDING, Anchor, pending_place
from manifests.roots import LAYOUT
from manifests.rows import CHECKPOINTS, checkpoint_key
from manifests.strays import drop_strays

__all__ = ["CompactReport", "GcReport", "collect", "compact"]

Gone = Mapping[Table, Callable[[bytes], bool]]
"""Of some tables, whether the row of a key counts as dropped."""


class GcReport(pydantic.BaseModel):
    """What a collection did, or would do.

    Attributes:
        complete: Whether no garbage is left that was there when it began.
        dry_run: Nothing was removed; the figures say what would be.
        scope: What was looked at: ``nothing`` (nothing had changed since the last collection),
            ``changes`` (what could have become garbage since) or ``everything``.
        objects_removed: Objects removed.
        payload_bytes_removed: Bytes of their payloads, before compression.
        bytes_freed_inside: Bytes inside the file that new checkpoints will use; an estimate in a
            dry run. 0 if what is left of the packs takes more, compressed anew, than all did.
        bytes_returned_to_disk: Always 0: only compact makes the file smaller.
        objects_kept: Objects in the store afterwards.
        roots: Why they are kept: how many names of each kind lead to objects.
        batches: Write transactions that removed something.
        seconds: How long it took.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    complete: bool
    dry_run: bool
    scope: Literal["nothing", "changes", "everything"]
    objects_removed: int
    payload_bytes_removed: int
    bytes_freed_inside: int
    bytes_returned_to_disk: int = 0
    objects_kept: int
    roots: dict[str, int]
    batches: int
    seconds: float


class CompactReport(pydantic.BaseModel):
    """What a compaction did.

    Attributes:
        objects_kept: Objects in the new file.
        objects_left_out: Garbage that was not copied.
        bytes_before: What the store took on the disk, without its ballast.
        bytes_after: What it takes now.
        waited_seconds: For how long other users of the store had to wait.
        seconds: How long it took.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    objects_kept: int
    objects_left_out: int
    bytes_before: int
    bytes_after: int
    waited_seconds: float
    seconds: float

    @property
    def bytes_returned_to_disk(self) -> int:
        """By how much the store became smaller; negative if others wrote much meanwhile."""
        return self.bytes_before - self.bytes_after


def compact(store: ObjectStore, *, progress: OnProgress | None) -> CompactReport:
    """Compact a store; see ``Upkeep.compact``."""
    begun = time.monotonic()
    _drop_dead_leases(store)
    done = Compactor(store.environment, LAYOUT).compact(progress=progress)
    return CompactReport(
        objects_kept=done.objects,
        objects_left_out=done.objects_left_out,
        bytes_before=done.bytes_before,
        bytes_after=done.bytes_after,
        waited_seconds=done.waited_seconds,
        seconds=time.monotonic() - begun,
    )


def collect(
    store: ObjectStore,
    *,
    dry_run: bool,
    whole: bool,
    time_budget: float | None,
    after: ForgetPlan | None,
    progress: OnProgress | None,
) -> GcReport:
    """Collect the garbage of a store; see ``Upkeep.gc``."""
    begun = time.monotonic()
    if not dry_run:
        _drop_dead_leases(store)
    if whole and not dry_run:
        drop_strays(store)
    gone = {} if after is None else store.environment.read(partial(_rows_of, plan=after))
    sweep = Collector(store.environment, _layout_without(gone)).collect(
        dry_run=dry_run,
        # Nobody noted that roots were dropped, for they were not.
        whole=whole or after is not None,
        time_budget=time_budget,
        progress=progress,
    )
    return GcReport(
        complete=sweep.complete,
        dry_run=dry_run,
        scope=sweep.scope,
        objects_removed=sweep.objects_removed,
        payload_bytes_removed=sweep.payload_bytes_removed,
        # What is left of a dense pack may take more than all of it did: compact compresses harder.
        bytes_freed_inside=max(0, sweep.stored_bytes_removed),
        objects_kept=sweep.objects_kept,
        roots=store.environment.read(partial(_count_roots, gone=gone)),
        batches=sweep.batches,
        seconds=time.monotonic() - begun,
    )


def _rows_of(transaction: ReadTransaction, plan: ForgetPlan) -> Gone:
    """Return by table which rows a plan drops."""
    numbers = {run.name: run.number for run in Catalogue(transaction).runs()}
    dropped = [(numbers[found.run], found) for found in plan.dropped if found.run in numbers]
    keys = {checkpoint_key(number, found.sequence) for number, found in dropped}
    anchors: set[tuple[int, Anchor]] = {
        (number, found.key or found.sequence) for number, found in dropped
    }
    return {
        CHECKPOINTS: keys.__contains__,
        PENDING: lambda key: pending_place(key) in anchors,
    }


def _layout_without(gone: Gone) -> Layout:
    """Return the layout as if some rows named nothing."""

    def without(root: RootTable) -> RootTable:
        is_gone = gone.get(root.table)

        def numbers(key: bytes, row: bytes) -> Iterable[int]:
            return () if is_gone is not None and is_gone(key) else root.numbers(key, row)

        return root if is_gone is None else replace(root, numbers=numbers)

    return replace(LAYOUT, roots=tuple(map(without, LAYOUT.roots)))


def _count_roots(transaction: ReadTransaction, gone: Gone) -> dict[str, int]:
    counts = {root.kind: transaction.count(root.table) for root in LAYOUT.roots}
    for root in LAYOUT.roots:
        if root.table in gone:
            keys = (key for key, _row in transaction.items(root.table))
            counts[root.kind] -= sum(map(gone[root.table], keys))
    return counts


def _drop_dead_leases(store: ObjectStore) -> None:
    """Remove what processes staged that died before they named it."""
    if not store.environment.read(lambda transaction: transaction.count(LEASES)):
        return

    def drop(writer: RecordWriter) -> None:
        if drop_dead_leases(writer.writing):
            writer.unroot()

    store.write(drop, frees_space=True)
