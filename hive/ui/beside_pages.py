"""What a run has beside its states: pending writes of a checkpoint, and effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from hive.literals import glimpse
from hive.text import escape, task_name
from hive.ui.links import link, step_link
from hive.ui.request import Query
from hive.ui.site import Site
from manifests import PendingWrite, RecordedEffect

__all__ = ["effects", "pending"]

Value = TypeVar("Value")

_PAGE: Final = 100
_WIDTH: Final = 400
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value that is kept: its name, its beginning, and where it belongs."""

    name: str
    value: str
    place: str
    page: str = ""


def pending(site: Site, query: Query) -> str:
    """The page of what tasks behind a checkpoint have written; from the write ``start`` on."""
    found = site.repository.resolve(query.place())

    def row(write: PendingWrite) -> Row:
        return Row(
            name=escape(write.name),
            value=glimpse(write.value, width=_WIDTH),
            place=escape(task_name(write.task, write.path)),
        )

    return _some(
        site,
        query.number("start"),
        site.repository.pending(found.run, found.sequence),
        row,
        lambda start: step_link(found, "pending", start=start),
        title="Pending writes",
        of=found,
        run=found.run,
        command=("Show", site.commands.show(found)),
        about="What tasks behind this step have written that is in no state yet. "
        "It is not written again when the run goes on.",
        headings=("Name", "Value", "Task"),
    )


def effects(site: Site, query: Query) -> str:
    """The page of the effects that a run recorded; from the effect ``start`` on."""
    run = query.needed("name")
    found = site.repository.recorded_effects(run)
    if not found:
        site.repository.log(run, limit=1)  # a run that is not there is an error

    def row(effect: RecordedEffect) -> Row:
        return Row(
            name=escape(effect.name),
            value=glimpse(effect.value, width=_WIDTH),
            place=f"step {effect.after}" if effect.after else "before its first step",
            page=link("step", run=run, at=effect.after) if effect.after else "",
        )

    return _some(
        site,
        query.number("start"),
        found,
        row,
        lambda start: link("effects", name=run, start=start),
        title="Effects",
        of=None,
        run=run,
        command=("List", site.commands.effects(run)),
        about="What this run did outside of its state. It is not done again when the run goes on.",
        headings=("Effect", "Value", "After"),
    )


def _some(
    site: Site,
    start: int,
    found: Sequence[Value],
    row: Callable[[Value], Row],
    page_from: Callable[[int], str],
    **content: Any,
) -> str:
    """Return the page of some values, from ``start`` on, with a link to those behind them."""
    stop = start + _PAGE
    return site.render(
        "beside.html",
        rows=[row(each) for each in found[start:stop]],
        total=len(found),
        next_page=page_from(stop) if stop < len(found) else "",
        **content,
    )
