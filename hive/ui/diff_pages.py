"""What differs between two checkpoints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hive.text import escape
from hive.ui.links import link, shown_path, step_link
from hive.ui.request import MovedError, Query
from hive.ui.site import Site
from hive.ui.textdiff import Line, lines_of
from hive.ui.tree import briefly
from manifests import Checkpoint, Compared, Outline
from manifests.paths import path_text
from manifests.places import is_written

__all__ = ["compare", "diff"]

_CHANGES: Final = 50
_STEP: Final = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Side:
    """What stood, or stands, at a place: type, extent and beginning."""

    type: str
    extent: str
    preview: str


@dataclass(frozen=True, slots=True)
class Item:
    """One difference, with a link to the place in the later state, or the earlier one."""

    kind: str
    place: str
    page: str
    before: Side | None
    after: Side | None
    lines: list[Line]
    begins_at: int


def compare(site: Site, query: Query) -> str:
    """Lead from a reference that somebody typed to the page that compares with it."""
    run, at = query.place()
    typed = query.needed("with").strip()
    other = site.repository.resolve((run, int(typed)) if _STEP.fullmatch(typed) else typed)
    raise MovedError(_link(other, site.repository.resolve((run, at))))


def diff(site: Site, query: Query) -> str:
    """The page of differences from step ``from`` (of the run ``from_run``) to step ``at``."""
    after = site.repository.resolve(query.place())
    from_run = query.text("from_run") or after.run
    before = site.repository.resolve((from_run, query.number("from")))
    start = query.number("start")
    found = site.repository.compare(before, after, start=start, limit=_CHANGES + 1)
    return site.render(
        "diff.html",
        before=before,
        after=after,
        items=[_item(each, before, after) for each in found[:_CHANGES]],
        start=start,
        more=_link(before, after, start + _CHANGES) if len(found) > _CHANGES else "",
        swapped=_link(after, before),
    )


def _link(before: Checkpoint, after: Checkpoint, start: int = 0) -> str:
    return link(
        "diff",
        run=after.run,
        at=after.sequence,
        **{"from": before.sequence},
        from_run=None if before.run == after.run else before.run,
        start=start or None,
    )


def _item(found: Compared, before: Checkpoint, after: Checkpoint) -> Item:
    lines: list[Line] = []
    begins_at = 0
    if found.excerpts is not None:
        old, new = found.excerpts
        lines, begins_at = lines_of(old.text, new.text), new.start
    owner = before if found.kind == "removed" else after
    return Item(
        kind=found.kind,
        place=escape(shown_path(path_text(found.steps, ""))) or "the whole state",
        page=step_link(owner, path=found.steps) if is_written(found.steps) else "",
        before=_side(found.before),
        after=_side(found.after),
        lines=lines,
        begins_at=begins_at,
    )


def _side(found: Outline | None) -> Side | None:
    return None if found is None else Side(*briefly(found))
