"""What the shell is told when somebody presses Tab: names of runs and tags.

Completion must never get in the way: it creates nothing, prints no error, and gives up silently.
Names that a shell would take apart, or a terminal obey, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from manifests import Repository

__all__ = ["complete_ref", "complete_run", "complete_tag"]

MOST: Final = 200
"""Names offered at most."""


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Return the runs whose names begin with what was typed."""
    return _complete(context, incomplete, _runs)


def complete_tag(context: typer.Context, incomplete: str) -> list[str]:
    """Return the tags whose names begin with what was typed."""
    return _complete(context, incomplete, _tags)


def complete_ref(context: typer.Context, incomplete: str) -> list[str]:
    """Return runs, ``tag:`` names and, once a run is named, its newest checkpoints."""
    return _complete(context, incomplete, lambda repo: _refs(repo, incomplete))


def _runs(repo: Repository) -> Iterator[str]:
    infos, unreadable = repo.readable_runs()
    yield from (run.name for run in unreadable)
    newest = sorted(infos, key=lambda info: info.updated_at, reverse=True)
    yield from (info.name for info in newest)


def _tags(repo: Repository) -> list[str]:
    return sorted(chain.from_iterable(repo.tagged().values()))


def _refs(repo: Repository, incomplete: str) -> Iterator[str]:
    yield from _runs(repo)
    yield from (f"tag:{name}" for name in _tags(repo))
    run, at, _sequence = incomplete.rpartition("@")
    if at:
        yield from (f"{run}@{found.sequence}" for found in repo.log(run, limit=MOST))


def _complete(
    context: typer.Context, incomplete: str, names: Callable[[Repository], Iterable[str]]
) -> list[str]:
    import hive

    home = context.params.get("home")
    found: list[str] = []
    try:
        with hive.open(home, create=False, read_only=True) as repo:
            fitting = (name for name in names(repo) if name.startswith(incomplete))
            found.extend(islice(filter(_is_harmless, fitting), MOST))
    except Exception:
        # No store, no access, damage: whoever runs the command is told; Tab tells nothing.
        return found
    return found


def _is_harmless(name: str) -> bool:
    return name.isprintable() and not set(name) & set(" \t'\"`$\\;&|<>(){}[]*?!#~")
