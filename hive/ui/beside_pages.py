"""What a run has beside its states: pending writes of a checkpoint, and effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hive.literals import glimpse
from hive.text import escape
from hive.ui.links import link, step_link
from hive.ui.request import Query
from hive.ui.site import Site

__all__ = ["effects", "pending"]

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
    writes = site.repository.pending(found.run, found.sequence)
    start = query.number("start")
    rows = [
        Row(
            name=escape(write.name),
            value=glimpse(write.value, width=_WIDTH),
            place=escape(f"{write.task} ({write.path})" if write.path else write.task),
        )
        for write in writes[start : start + _PAGE]
    ]
    return site.render(
        "beside.html",
        title="Pending writes",
        of=found,
        run=found.run,
        command=("Show", site.commands.show(found)),
        about="What tasks behind this step have written that is in no state yet. "
        "It is not written again when the run goes on.",
        headings=("Name", "Value", "Task"),
        rows=rows,
        total=len(writes),
        next_page=step_link(found, "pending", start=start + _PAGE),
        more=len(writes) > start + _PAGE,
    )


def effects(site: Site, query: Query) -> str:
    """The page of the effects that a run recorded; from the effect ``start`` on."""
    run = query.needed("name")
    found = site.repository.recorded_effects(run)
    if not found:
        site.repository.log(run, limit=1)  # a run that is not there is an error
    start = query.number("start")
    rows = [
        Row(
            name=escape(effect.name),
            value=glimpse(effect.value, width=_WIDTH),
            place=f"step {effect.after}" if effect.after else "before its first step",
            page=link("step", run=run, at=effect.after) if effect.after else "",
        )
        for effect in found[start : start + _PAGE]
    ]
    return site.render(
        "beside.html",
        title="Effects",
        of=None,
        run=run,
        command=("List", site.commands.effects(run)),
        about="What this run did outside of its state. It is not done again when the run goes on.",
        headings=("Effect", "Value", "After"),
        rows=rows,
        total=len(found),
        next_page=link("effects", name=run, start=start + _PAGE),
        more=len(found) > start + _PAGE,
    )
