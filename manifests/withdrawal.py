"""Withdrawing checkpoints from runs whose framework gave them keys, and copying whole such runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from cas.errors import ConflictError, CorruptStoreError, InvalidInputError
from cas.writer import RecordWriter
from manifests.bodies import records_of
from manifests.catalogue import CatalogueWriter
from manifests.effects import drop_effects, effect_rows, put_effect
from manifests.pending import anchor_of
from manifests.pending_rows import copy_pending, drop_pending, pending_anchors
from manifests.rows import CheckpointRow, RunRow

__all__ = ["copy_runs", "withdraw"]


def withdraw(writer: RecordWriter, name: str, keys: Collection[str]) -> int:
    """Take checkpoints off a run's list by their keys, its head included; returns how many.

    What another one cannot be used without stays, hidden, as long as that is so, with its pending
    writes. The greatest key that is left is the head; a run without any is removed.

    Raises:
        NotFoundError: There is no such run.
        InvalidInputError: Its checkpoints have no keys.
        CorruptStoreError: Not all rows of its checkpoints are there.
    """
    if isinstance(keys, str):
        raise InvalidInputError("keys is a list of keys, not one key")  # any part of it would match
    catalogue = CatalogueWriter(writer.writing)
    run = catalogue.need_run(name)
    head = catalogue.head(run)
    if head is not None and head.key is None:
        raise InvalidInputError(f"checkpoints of run {name!r} have no keys; forget them")
    rows = dict(catalogue.newest(run.number))
    gone = {at for at, row in rows.items() if row.key in keys and not row.hidden}
    if not gone:
        return 0
    listed = {at: row for at, row in rows.items() if at not in gone and not row.hidden}
    if len(listed) + len(gone) != run.kept:
        raise CorruptStoreError(
            f"run {name!r} counts {run.kept} checkpoints and lists {len(listed) + len(gone)}; "
            "repair the store (hive check --repair)"
        )
    if not listed:
        records = [row.record for row in rows.values()]
        records += drop_pending(writer.writing, run.number, None)
        records += drop_effects(writer.writing, run.number)
        catalogue.drop_run(run)
        writer.unroot(*records)
        return len(gone)
    needed = _needed(rows, listed)
    for at in gone & needed:
        catalogue.put_checkpoint(run.number, at, replace(rows[at], hidden=True))
    dropped = [at for at in rows if at not in listed and at not in needed]
    records = [rows[at].record for at in dropped]
    anchors = [anchor_of(at, rows[at]) for at in dropped]
    records += drop_pending(writer.writing, run.number, anchors)
    catalogue.drop(run, dropped)
    newest = max(listed, key=lambda at: listed[at].key or "")
    catalogue.put_run(replace(run, head=newest, kept=len(listed)))
    parents = {row.parent for at, row in rows.items() if at in listed or at in needed}
    for at in {rows[each].parent for each in gone} - parents - {newest}:
        # What was built on it is gone, so its step may be begun again.
        catalogue.mark_tip(run.number, at, tip=True)
    writer.unroot(*records)
    return len(gone)


def _needed(rows: Mapping[int, CheckpointRow], listed: Mapping[int, CheckpointRow]) -> set[int]:
    """Return the sequences that listed checkpoints cannot be used without."""
    needed: set[int] = set()
    for row in listed.values():
        below: CheckpointRow | None = row
        while below is not None and below.needs_parent and below.parent not in needed:
            needed.add(below.parent)
            below = rows.get(below.parent)
    return needed


def copy_runs(writer: RecordWriter, names: Mapping[str, str], created_us: int) -> int:
    """List all that some runs list in new ones, with all that is beside it; returns how many.

    It copies no object. All of it happens, or nothing.
    """
    catalogue = CatalogueWriter(writer.writing)
    if len(set(names.values())) != len(names):
        raise InvalidInputError("two runs cannot be copied to one")
    for new in names.values():
        known = catalogue.run(new)
        if known is not None and known.last:
            raise ConflictError(f"there is a run {new!r} already", run=new)
    records: list[int] = []
    copied = 0
    for name, new in names.items():
        run = catalogue.need_run(name)
        target = catalogue.run(new) or catalogue.new_run(new, created_us)
        records += _copy(writer, catalogue, run, target)
        copied += run.kept
    writer.root(*records)
    return copied


def _copy(
    writer: RecordWriter, catalogue: CatalogueWriter, run: RunRow, target: RunRow
) -> list[int]:
    records = []
    for at, row in list(catalogue.newest(run.number)):
        records.append(row.record)
        moved = replace(row, new_objects=0, new_bytes=0)
        catalogue.put_checkpoint(target.number, at, moved)
    catalogue.put_run(replace(run, number=target.number, name=target.name))
    for anchor in pending_anchors(writer.transaction, run.number):
        records += copy_pending(writer, (run.number, anchor), (target.number, anchor))
    for effect in list(effect_rows(writer.transaction, run.number)):
        put_effect(writer.writing, target.number, effect)
        records += records_of([effect.body])
    return records
