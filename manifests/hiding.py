"""Hiding: checkpoints that are to go leave their run's list before what they need is cut.

What others are rebuilt from stays, out of sight, and leads past what they are not rebuilt from.
What is listed is complete at every moment: what is to go is taken off the list first, and only the
last transaction cuts the chains that led through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from cas.store import ObjectStore
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter
from manifests.guard import Guard, Look
from manifests.manifest import Checkpoint
from manifests.needs import Needs, Rows, read_needs
from manifests.reading import stable
from manifests.retention import NEEDED, Plan, Verdict

__all__ = ["hide"]

_BATCH: Final = 500
"""Most rows written in one transaction: it holds up every other writer."""
_TRIES: Final = 4
"""How often a run that others write to is looked at; then all stays, out of sight."""


def hide(store: ObjectStore, made: Plan, needs: Needs) -> None:
    """Hide what a plan for a run drops, or keeps only for others, and cut what none needs.

    What became worth listing since the plan was made stays listed. Afterwards nothing needs what
    the plan drops, so that it can be forgotten. If the run is gone or changes all the time, nothing
    is cut.
    """
    going = [verdict.checkpoint for verdict in made.verdicts if not _is_for_itself(verdict)]
    for at in range(0, len(going), _BATCH):
        store.write(partial(_take_off, name=needs.run, going=going[at : at + _BATCH]))
    for _ in range(_TRIES):
        now = stable(store, lambda reader: read_needs(reader, needs.run, needs.rebuilt))
        if now is None or store.write(partial(_relink, needs=now, changed=now.relinked())):
            return


def _is_for_itself(verdict: Verdict) -> bool:
    return verdict.keep and any(reason.rule != NEEDED for reason in verdict.reasons)


def _take_off(writer: RecordWriter, name: str, going: Sequence[Checkpoint]) -> None:
    """Take checkpoints off their run's list, but for those that have to stand there by now."""
    catalogue = CatalogueWriter(writer.writing)
    run = catalogue.run(name)
    if run is None:
        return
    guard = Guard(writer.transaction, Look.at(writer.transaction, ()))
    hidden = 0
    for checkpoint in going:
        row = catalogue.checkpoint(run.number, checkpoint.sequence)
        if row is None or row.id != checkpoint.id or row.hidden:
            continue
        if guard.why_listed(run, checkpoint.sequence, row) is None:
            catalogue.put_checkpoint(run.number, checkpoint.sequence, replace(row, hidden=True))
            hidden += 1
    if hidden:
        catalogue.put_run(replace(run, kept=run.kept - hidden))
        writer.unroot()


def _relink(writer: RecordWriter, needs: Needs, changed: Rows) -> bool:
    """Write rows anew, if the run is as it was looked at; whether that is so."""
    catalogue = CatalogueWriter(writer.writing)
    run = catalogue.run(needs.run)
    if run is None or dict(catalogue.oldest(run.number)) != needs.rows:
        return False
    for sequence, row in changed.items():
        catalogue.put_checkpoint(run.number, sequence, row)
    if changed:
        writer.unroot()  # whoever looked at what is needed before has to look again
    return True
