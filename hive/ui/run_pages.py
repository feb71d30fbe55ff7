"""The list of runs, and the timeline of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from hive.errors import NotFoundError
from hive.graph.standing import failure_of
from hive.listing import readable
from hive.ui.request import Query
from hive.ui.site import STATUSES, Site
from hive.ui.timeline import checkpoints_of, timeline_of, window_of
from manifests import Repository, RunInfo, UnreadableRun

__all__ = ["changed", "newer", "run", "runs"]

_RUNS: Final = 50
_MOST_UNREADABLE: Final = 20
"""Runs that are named although they cannot be read."""
_MOST_COUNTED: Final = 2_000
"""Runs up to which it is found out at every look how all of them stand: under a second."""
_PARTS: Final = 4
"""Changed parts of a state that a timeline names for each step."""


def runs(site: Site, query: Query) -> str:
    """The list of runs, the latest first; ``q`` and ``status`` limit it, ``page`` counts from 0.

    Of many runs it is only found out how those stand that are shown, unless a status is asked for.
    """
    wanted, status, page = query.text("q").strip(), query.text("status"), query.number("page")
    infos, unreadable = site.repository.readable_runs()
    infos.sort(key=lambda info: (info.updated_at, info.name), reverse=True)
    total, are_few = len(infos) + len(unreadable), len(infos) <= _MOST_COUNTED
    named = [info for info in infos if wanted.casefold() in info.name.casefold()]
    shown = slice(page * _RUNS, (page + 1) * _RUNS)
    looked_at = infos if are_few else named if status else named[shown]
    standing = _standing(site, looked_at, unreadable)
    if status:
        named = [info for info in named if standing.get(info.name) == status]
    elif are_few:
        named = [info for info in named if info.name in standing]
    counts = Counter(standing.values())
    return site.render(
        "runs.html",
        rows=[(info, standing[info.name]) for info in named[shown] if info.name in standing],
        found=len(named),
        total=total,
        unreadable=unreadable[:_MOST_UNREADABLE],
        unreadable_count=len(unreadable),
        counts={name: counts[name] for name in STATUSES if counts[name]} if are_few else None,
        statuses=STATUSES,
        wanted=wanted,
        status=status,
        page=page,
        pages=max(1, -(-len(named) // _RUNS)),
    )


def _standing(
    site: Site, infos: Iterable[RunInfo], unreadable: list[UnreadableRun]
) -> dict[str, str]:
    """Return how some runs stand, by name; those that cannot be read join ``unreadable``."""

    def look(info: RunInfo) -> tuple[str, str]:
        return info.name, site.status_of(info.head)

    return dict(readable(site.repository, infos, unreadable, look))


def run(site: Site, query: Query) -> str:
    """The timeline of a run, newest first; ``below`` is the sequence to start under."""
    name = query.needed("name")
    head = site.repository.resolve((name, _head(site.repository, name)))
    return site.render(
        "run.html",
        name=name,
        head=head,
        status=site.status_of(head),
        line=timeline_of(site.repository, name, query.number("below") or None),
        below=query.text("below"),
        effects=site.repository.count_effects(name),
        pending=site.repository.count_pending(name, head.sequence),
        error=failure_of(site.repository, head),
    )


def changed(site: Site, query: Query) -> str:
    """What each step of a timeline changed; fetched by the timeline."""
    name, below = query.needed("name"), query.number("below") or None
    window = window_of(site.repository.footprints(name), below)
    checkpoints = checkpoints_of(site.repository, name, window)
    touched = site.repository.touched(checkpoints)
    rows = [
        (checkpoint.sequence, (parts or [])[:_PARTS], len(parts or ()) - _PARTS)
        for checkpoint, parts in zip(checkpoints, touched, strict=True)
    ]
    return site.render("changed.html", rows=rows)


def newer(site: Site, query: Query) -> str:
    """Whether a run went on beyond the step ``than``; asked for by its timeline now and then."""
    name = query.needed("name")
    newest = site.repository.log(name, limit=1)
    found = [each for each in newest if each.sequence > query.number("than")]
    return site.render("newer.html", name=name, found=found)


def _head(repository: Repository, name: str) -> int:
    """Return the sequence of a run's head. As a text, a run's name may mean something else."""
    newest = repository.log(name, limit=1)
    if not newest:
        raise NotFoundError(f"run {name!r} keeps no checkpoint")
    return newest[0].sequence
