"""One checkpoint: what it is, its state as a tree, and commands to go on from it."""

from __future__ import annotations

from typing import Final

from hive.graph.standing import failure_of
from hive.threads import delta_channels_of
from hive.ui.links import step_link
from hive.ui.request import MovedError, Query
from hive.ui.site import Site
from hive.ui.timeline import despite_damage, neighbours
from hive.ui.tree import PAGE, TEXT_BYTES, TextView, Tree, briefly, crumbs, text_of, tree_of
from manifests import Checkpoint, Outline

__all__ = ["go", "parts", "step", "text"]

_TOUCHED: Final = 12
"""Changed parts of a state that the page of a step names."""


def go(site: Site, query: Query) -> str:
    """Lead from a reference that somebody typed to the page of its checkpoint."""
    raise MovedError(step_link(site.repository.resolve(query.needed("ref").strip())))


def step(site: Site, query: Query) -> str:
    """The page of a checkpoint; ``path`` shows a part of its state alone, ``start`` from where."""
    repository = site.repository
    found = repository.resolve(query.place())
    path, record, start = query.path(), query.is_record(), query.number("start")
    here = _outline(site, found, query)
    focused = bool(path) or record
    older, newer, parent = neighbours(repository, found)
    touched = [] if focused or parent is None else repository.touched([found])[0] or []
    unread: list[str] = []
    tags: list[str] = []
    with despite_damage(unread, "tags"):
        tags = repository.tagged().get(found.id, [])
    return site.render(
        "step.html",
        found=found,
        here=here,
        brief=briefly(here),
        tree=tree_of(found, here, path, record=record),
        text=None if here.unit == "items" else _text(site, found, query),
        crumbs=crumbs(found, path, record=record),
        path=path,
        record=record,
        focused=focused,
        start=start,
        older=older,
        newer=newer,
        parent=parent,
        touched=touched[:_TOUCHED],
        touched_more=len(touched) - _TOUCHED,
        tags=tags,
        unread=unread,
        error="" if focused else failure_of(repository, found),
        elsewhere=[] if focused else delta_channels_of(repository, found),
        pending=0 if focused else repository.count_pending(found.run, found.sequence),
        has_record=bool(repository.execution_outline(found, stop=0).length),
    )


def parts(site: Site, query: Query) -> str:
    """Some lines of the tree; fetched when a line is unfolded."""
    found = site.repository.resolve(query.place())
    return site.render("parts.html", tree=_tree(site, found, query))


def text(site: Site, query: Query) -> str:
    """Some of a long text; fetched when it is unfolded."""
    found = site.repository.resolve(query.place())
    return site.render("text.html", text=_text(site, found, query))


def _outline(site: Site, found: Checkpoint, query: Query) -> Outline:
    outline = site.repository.execution_outline if query.is_record() else site.repository.outline
    start = query.number("start")
    return outline(found, query.path(), start=start, stop=start + PAGE)


def _tree(site: Site, found: Checkpoint, query: Query) -> Tree:
    here = _outline(site, found, query)
    return tree_of(found, here, query.path(), record=query.is_record())


def _text(site: Site, found: Checkpoint, query: Query) -> TextView:
    path, record = query.path(), query.is_record()
    part = site.repository.excerpt(
        found, path, start=query.number("start"), most=TEXT_BYTES, execution=record
    )
    return text_of(found, part, path, record=record)
