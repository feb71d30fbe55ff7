"""What a search looks through: the states of checkpoints, and what is pending beside them.

What a task wrote often stands in the state of the checkpoint behind its step too, and is found
there. So only those writes are looked at whose names none of these states has: of a step that is
under way, of a key that its framework stores only now and then, or special ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from cas.digest import Digest
from cas.records import Record, RecordReader
from manifests import history
from manifests.bodies import ObjectBody
from manifests.catalogue import Catalogue
from manifests.forms import Form, Forms, form_of
from manifests.manifest import Checkpoint
from manifests.pending import PendingBody, anchor_of, pending_bodies
from manifests.reading import StoreReader
from manifests.refs import RefLike

__all__ = ["Searched", "pending_forms", "searched_refs", "searched_runs"]


@dataclass(frozen=True, slots=True)
class Searched:
    """A checkpoint, its state, and the states made from it that are searched as well."""

    checkpoint: Checkpoint
    state: Form
    behind: Sequence[Form] = ()


def searched_refs(reader: StoreReader, refs: Sequence[RefLike]) -> list[Searched]:
    """Return the checkpoints that references name. ``NotFoundError`` if one names none."""
    found = [history.find(reader, ref) for ref in refs]
    return [Searched(each.checkpoint, each.manifest.state) for each in found]


def searched_runs(reader: StoreReader, runs: Sequence[str]) -> Iterator[Searched]:
    """Yield the checkpoints of runs, oldest first. ``NotFoundError`` if there is no such run."""
    for run in runs:
        found = list(history.listed(reader, run, None))
        behind: dict[Digest, list[Form]] = {}
        for checkpoint, manifest in found:
            if checkpoint.parent is not None:
                behind.setdefault(checkpoint.parent, []).append(manifest.state)
        for checkpoint, manifest in reversed(found):
            yield Searched(checkpoint, manifest.state, behind.get(checkpoint.id, ()))


def pending_forms(
    reader: StoreReader, forms: Forms, searched: Searched
) -> Iterator[tuple[PendingBody, Form]]:
    """Yield the writes at a checkpoint that are in none of the states behind it, with their forms.

    Nothing if the checkpoint is not listed (any more).
    """
    found = reader.run(partial(_read, checkpoint=searched.checkpoint))
    if not found:
        return
    taken = {name for state in searched.behind for name in forms.names(state)}
    for write, item in found:
        if write.name not in taken:
            yield write, form_of(item, ()) if isinstance(item, bytes) else forms.open(item)


def _read(
    records: RecordReader, checkpoint: Checkpoint
) -> list[tuple[PendingBody, Record | bytes]]:
    catalogue = Catalogue(records.transaction)
    run = catalogue.run(checkpoint.run)
    row = None if run is None else catalogue.checkpoint(run.number, checkpoint.sequence)
    if run is None or row is None or row.hidden or row.id != checkpoint.id:
        return []
    anchor = anchor_of(checkpoint.sequence, row)
    return [
        (write, records.read_as(write.body.record, write.body.id))
        if isinstance(write.body, ObjectBody)
        else (write, write.body)
        for write in pending_bodies(records.transaction, run.number, [anchor])[0]
    ]
