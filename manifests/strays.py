"""Strays: pending writes whose checkpoint is not listed and can no longer come.

Writes may arrive before their checkpoint, and before their run. If its commit fails and the run
goes on without it, nothing uses them. Those beyond the head still wait for theirs; so may those
below it for a moment, if two workers are at the run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from cas.environment import ReadTransaction
from cas.records import RecordReader
from cas.store import ObjectStore
from cas.writer import RecordWriter
from manifests.catalogue import Catalogue, CatalogueWriter
from manifests.effects import drop_effects
from manifests.pending import anchor_of
from manifests.pending_rows import Anchor, drop_pending, pending_anchors, pending_rows, put_row
from manifests.rows import RunRow

__all__ = ["drop_strays"]


def drop_strays(store: ObjectStore, names: Collection[str] | None = None) -> None:
    """Remove the strays of some runs, or of all.

    Only what a whole collection, one of all runs, had found to be stray before: whoever was about
    to save the checkpoint then has not. (No clock could tell that more surely.) So it is with runs
    that list nothing, which go with all runs.
    """
    for run in store.read(partial(_runs, names=names)):
        if store.read(partial(_has_strays, run=run)):
            drop = partial(_drop, name=run.name, whole=names is None)
            store.write(drop, frees_space=True)


def _runs(reader: RecordReader, names: Collection[str] | None) -> list[RunRow]:
    catalogue = Catalogue(reader.transaction)
    if names is None:
        return list(catalogue.runs())
    found = (catalogue.run(name) for name in sorted(names))
    return [run for run in found if run is not None]


def _has_strays(reader: RecordReader, run: RunRow) -> bool:
    return not run.last or bool(_strays(reader.transaction, run))


def _strays(transaction: ReadTransaction, run: RunRow) -> list[Anchor]:
    """Return the anchors of a run that are not listed and lie below its head."""
    catalogue = Catalogue(transaction)
    head = catalogue.head(run)
    if head is None:
        return []
    strays: list[Anchor] = []
    for anchor in pending_anchors(transaction, run.number):
        if isinstance(anchor, int):
            if anchor <= run.last and catalogue.checkpoint(run.number, anchor) is None:
                strays.append(anchor)
        elif catalogue.sequence_of(run.number, anchor) is None and anchor < (head.key or ""):
            strays.append(anchor)
    return _without_rows(catalogue, run, strays) if strays else []


def _without_rows(catalogue: Catalogue, run: RunRow, strays: Collection[Anchor]) -> list[Anchor]:
    """Return those of some anchors that no row of a checkpoint has; none if rows are missing.

    A key that damage has made another one leads to no checkpoint, which is there all the same; and
    of a row that was lost nobody can tell what belongs to it.
    """
    rows = list(catalogue.oldest(run.number))
    if sum(not row.hidden for _sequence, row in rows) != run.kept:
        return []
    anchors = {anchor_of(sequence, row) for sequence, row in rows}
    return [anchor for anchor in strays if anchor not in anchors]


def _drop(writer: RecordWriter, name: str, *, whole: bool) -> None:
    catalogue = CatalogueWriter(writer.writing)
    run = catalogue.run(name)
    if run is None:
        return
    if run.last:
        _drop_known(writer, run, whole=whole)
    elif whole and run.created_us:
        catalogue.put_run(replace(run, created_us=0))
    elif whole:
        records = drop_pending(writer.writing, run.number, None)
        records += drop_effects(writer.writing, run.number)
        catalogue.drop_run(run)
        writer.unroot(*records)


def _drop_known(writer: RecordWriter, run: RunRow, *, whole: bool) -> None:
    """Remove a run's strays that were known; a whole collection notes the others."""
    known: list[Anchor] = []
    for anchor in _strays(writer.transaction, run):
        rows = list(pending_rows(writer.transaction, run.number, anchor))
        if all(row.stray for _key, row in rows):
            known.append(anchor)
        elif whole:
            for key, row in rows:
                put_row(writer.writing, key, row, stray=True)
    if known:
        writer.unroot(*drop_pending(writer.writing, run.number, known))
