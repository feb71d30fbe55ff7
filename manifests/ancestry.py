"""What lies behind a checkpoint: the pending writes at its ancestors, back to the nearest values.

A framework may keep a value as what was written to it since it was last stored whole. To build it
again takes every ancestor on the way back. Those are read many at a time, in one transaction, and
all that was written is decoded together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from cas.closure import read_known
from cas.errors import MissingObjectError
from cas.kept import KeptRecords
from cas.records import RecordReader
from manifests.catalogue import Catalogue
from manifests.decoder import StoredObject
from manifests.forms import Form, Forms
from manifests.kept import KeptValues, Restoring
from manifests.manifest import state_of
from manifests.pending import PendingBody, PendingWrite, anchor_of, pending_bodies, pending_writes
from manifests.reading import StoreReader
from manifests.refs import RefLike, Resolver
from manifests.rows import CheckpointRow

__all__ = ["Behind", "behind"]

_MOST_AT_ONCE: Final = 256
"""Ancestors of which one transaction reads manifest and pending rows, at most: some 4 KB each."""


@dataclass(slots=True)
class Behind:
    """What lies behind a checkpoint under one name.

    Attributes:
        writes: What was written at its ancestors, oldest first: since ``value`` if there is one.
        value: The nearest ancestor's value, if ``is_found``.
        is_found: An ancestor has a value.
    """

    writes: list[PendingWrite] = field(default_factory=list)
    value: Any = None
    is_found: bool = False


class _Ancestor(NamedTuple):
    sequence: int
    row: CheckpointRow
    manifest: StoredObject
    writes: Sequence[PendingBody]


def behind(
    reader: StoreReader, kept: KeptValues, ref: RefLike, names: Collection[str]
) -> dict[str, Behind]:
    """Return what lies behind the checkpoint that a reference names, for each of some names.

    The way back leads over checkpoints that are not listed any more, which are kept for this, and
    ends where each name has a value. What was written at the checkpoint itself is left out.
    """
    found = {name: Behind() for name in names}
    listed = reader.run(lambda records: Resolver(records).resolve(ref))
    forms = Restoring(kept).forms(reader)
    last, row = listed.sequence, listed.row
    wanted = set(found)
    written: list[PendingBody] = []
    values: dict[str, Form] = {}
    while row.parent and wanted:
        read = partial(_ancestors, kept=reader.kept, name=listed.run, sequence=last, row=row)
        ancestors = reader.run(read)
        if not ancestors:
            break
        for ancestor, state in zip(ancestors, _states(forms, ancestors), strict=True):
            written += [write for write in reversed(ancestor.writes) if write.name in wanted]
            for name in [*wanted]:
                try:
                    values[name] = forms.field(state, name)
                except KeyError:
                    continue
                wanted.remove(name)
            if not wanted:
                break
        last, row = ancestors[-1].sequence, ancestors[-1].row
    written.reverse()
    for write in pending_writes(written, reader, kept):
        found[write.name].writes.append(write)
    for name, form in values.items():
        found[name].value, found[name].is_found = forms.value(form), True
    return found


def _ancestors(
    records: RecordReader, kept: KeptRecords, name: str, sequence: int, row: CheckpointRow
) -> list[_Ancestor]:
    """Return some ancestors of a checkpoint of a run, nearest first; none if none is kept.

    They end with one that can be used without its parent: the next value is there most likely.

    Raises:
        MissingObjectError: The checkpoint, which was there before, is not.
    """
    catalogue = Catalogue(records.transaction)
    run = catalogue.run(name)
    there = None if run is None else catalogue.checkpoint(run.number, sequence)
    if run is None or there is None or there.id != row.id:
        raise MissingObjectError(f"checkpoint {sequence} of run {name!r} went while it was read")
    rows: list[tuple[int, CheckpointRow]] = []
    while len(rows) < _MOST_AT_ONCE and row.parent:
        above = catalogue.checkpoint(run.number, row.parent)
        if above is None:
            break
        rows.append((row.parent, above))
        row = above
        if not row.needs_parent:
            break
    ids = {row.record: row.id for _sequence, row in rows}
    manifests = read_known(records, kept, ids)
    anchors = [anchor_of(sequence, row) for sequence, row in rows]
    written = pending_bodies(records.transaction, run.number, anchors)
    return [
        _Ancestor(sequence, row, manifests[row.record], writes)
        for (sequence, row), writes in zip(rows, written, strict=True)
    ]


def _states(forms: Forms, ancestors: Sequence[_Ancestor]) -> list[Form]:
    """Return the forms of the states of ancestors, read at once where they are objects."""
    return forms.follow_each([state_of(ancestor.manifest) for ancestor in ancestors])
