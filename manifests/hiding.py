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

from cas.errors import NotFoundError
from cas.store import ObjectStore
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter
from manifests.forgetting import ForgetPlan, Place, place_of
from manifests.guard import Guard, Look
from manifests.needs import Needs, Rebuilt, Rows, read_needs
from manifests.reading import stable
from manifests.retention import Verdict

__all__ = ["hide"]

_BATCH: Final = 500
"""Most rows written in one transaction: it holds up every other writer."""
_TRIES: Final = 4
"""How often a run that others write to is looked at; then all stays, out of sight."""


def hide(store: ObjectStore, made: ForgetPlan) -> ForgetPlan:
    """Hide what a plan drops or keeps only for others, and cut what none needs.

    That is done in those runs of which it was told key by key what their checkpoints need;
    afterwards nothing there needs what the plan drops, so that it can be forgotten. If a run is
    gone or changes all the time, nothing of it is cut.

    Returns:
        The plan, in which what became worth listing since it was made is kept.
    """
    going: dict[str, list[Verdict]] = {name: [] for name in made.by_key}
    for verdict in made.verdicts:
        if verdict.checkpoint.run in going and (verdict.hidden or not verdict.keep):
            going[verdict.checkpoint.run].append(verdict)
    listed: dict[Place, Verdict] = {}
    for name, verdicts in going.items():
        for at in range(0, len(verdicts), _BATCH):
            some = verdicts[at : at + _BATCH]
            take_off = partial(_take_off, name=name, going=some)
            listed.update(store.write(take_off, frees_space=True))
        _cut(store, name, made.by_key[name])
    return replace(made, verdicts=tuple(listed.get(place_of(each), each) for each in made.verdicts))


def _take_off(writer: RecordWriter, name: str, going: Sequence[Verdict]) -> dict[Place, Verdict]:
    """Take checkpoints off their run's list.

    Returns:
        Of those that have to stand there by now, what is true instead.
    """
    catalogue = CatalogueWriter(writer.writing)
    listed: dict[Place, Verdict] = {}
    run = catalogue.run(name)
    if run is None:
        return listed
    guard = Guard(writer.transaction, Look.at(writer.transaction, ()))
    hidden = 0
    for verdict in going:
        checkpoint = verdict.checkpoint
        row = catalogue.checkpoint(run.number, checkpoint.sequence)
        if row is None or row.id != checkpoint.id or row.hidden:
            continue
        reason = guard.why_listed(run, checkpoint.sequence, row)
        if reason is not None:
            listed[place_of(verdict)] = Verdict(checkpoint, True, (reason,))
        else:
            catalogue.put_checkpoint(run.number, checkpoint.sequence, replace(row, hidden=True))
            hidden += 1
    if hidden:
        catalogue.put_run(replace(run, kept=run.kept - hidden))
        writer.unroot()
    return listed


def _cut(store: ObjectStore, name: str, rebuilt: Rebuilt) -> None:
    for _ in range(_TRIES):
        try:
            now = stable(store, partial(read_needs, run=name, rebuilt=rebuilt))
        except NotFoundError:
            return
        if now is None:
            return
        relink = partial(_relink, needs=now, changed=now.relinked())
        if store.write(relink, frees_space=True):
            return


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
