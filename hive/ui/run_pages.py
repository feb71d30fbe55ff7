"""The list of runs, and the timeline of one."""

from __future__ import annotations

from typing import Final

from hive.errors import CorruptionError, NotFoundError, UnsupportedFormatError
from hive.graph.standing import failure_of
from hive.ui.request import Query
from hive.ui.site import STATUSES, Site
from hive.ui.timeline import checkpoints_of, timeline_of, window_of
from manifests import Repository, RunInfo, UnreadableRun

__all__ = ["changed", "newer", "run", "runs"]

_RUNS: Final = 50
_MOST_UNREADABLE: Final = 20
"""Runs that are named although they cannot be read."""
_PARTS: Final = 4
"""Changed parts of a state that a timeline names for each step."""


def runs(site: Site, query: Query) -> str:
    """The list of runs, the latest first; ``q`` and ``status`` limit it, ``page`` counts from 0."""
    wanted, status, page = query.text("q").strip(), query.text("status"), query.number("page")
    infos, unreadable = site.repository.readable_runs()
    infos.sort(key=lambda info: (info.updated_at, info.name), reverse=True)
    counts = dict.fromkeys(STATUSES, 0)
    found: list[tuple[RunInfo, str]] = []
    for info in infos:
        try:
            stands = site.status_of(info.head)
        except (CorruptionError, UnsupportedFormatError) as error:
            unreadable.append(UnreadableRun(info.name, error))
            continue
        counts[stands] = counts.get(stands, 0) + 1
        if wanted.casefold() in info.name.casefold() and status in ("", stands):
            found.append((info, stands))
    return site.render(
        "runs.html",
        rows=found[page * _RUNS : (page + 1) * _RUNS],
        found=len(found),
        total=len(infos) + len(unreadable),
        unreadable=unreadable[:_MOST_UNREADABLE],
        unreadable_count=len(unreadable),
        counts={name: number for name, number in counts.items() if number},
        wanted=wanted,
        status=status,
        page=page,
        pages=max(1, -(-len(found) // _RUNS)),
    )


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
