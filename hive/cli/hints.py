"""Commands that are hinted at: as they can be typed, for the home that this one was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from hive.commands import command_line

if TYPE_CHECKING:
    from manifests import Checkpoint, Repository

__all__ = ["answer_options", "hint", "hints_for", "resume_hint", "resume_options", "typed"]

_home: ContextVar[str | None] = ContextVar("home", default=None)


@contextmanager
def hints_for(home: object) -> Iterator[None]:
    """Name a home in all hints meanwhile; none if it is None, as where a command chose its own."""
    before = _home.set(None if home is None else str(home))
    try:
        yield
    finally:
        _home.reset(before)


def typed(name: str, *arguments: str, options: Sequence[str] = ()) -> str:
    """Return a command as it can be typed. It names the home that this command was given."""
    return command_line(name, *arguments, options=options, home=_home.get())


def hint(name: str, *arguments: str, options: Sequence[str] = ()) -> str:
    """Return what ``typed`` does between backticks, for a sentence."""
    return f"`{typed(name, *arguments, options=options)}`"


def resume_hint(run: str, *options: str) -> str:
    """Return the command that continues a run, for a sentence."""
    return hint("resume", run, options=options)


def answer_options(kinds: Mapping[str, str], step: str) -> Sequence[str]:
    """Return what answers a step of a run, given what each step waits for."""
    answer = ("--input", "{...}") if kinds[step] == "input" else ("--approve",)
    return (*answer, "--step", step) if len(kinds) > 1 else answer


def resume_options(repo: Repository, head: Checkpoint) -> Sequence[str]:
    """Return the options without which ``hive resume`` does not continue the run of that head.

    One that a program of the user's own began needs its graph named.
    """
    from hive.cli.launches import was_launched
    from hive.cli.waiting import waits_in

    target = () if was_launched(repo.home, head.run) else ("--target", "FILE.py:GRAPH")
    kinds = {wait["step"]: wait["kind"] for wait in waits_in(repo, head)}
    answer = answer_options(kinds, next(iter(kinds))) if kinds else ()
    return (*target, *answer)
