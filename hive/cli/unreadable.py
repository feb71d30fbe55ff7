"""Runs that are there and cannot be read: beside the others, never in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

from hive.cli.failures import exit_code, say
from hive.cli.hints import hint

if TYPE_CHECKING:
    from hive.cli.shapes import UnreadableRunJson
    from manifests import UnreadableRun

__all__ = [
    "UNREADABLE_STATUSES",
    "exit_if_unreadable",
    "say_unreadable",
    "unreadable_json",
]

UNREADABLE_STATUSES: Final = ("damaged", "newer")
"""How a run stands that cannot be read: it is damaged, or a later version of Hive wrote it."""
_MOST_SAID: Final = 5


def unreadable_json(run: UnreadableRun) -> UnreadableRunJson:
    """Return such a run in the JSON shape that docs/cli.md documents."""
    return {
        "run": run.name,
        "status": "damaged" if run.is_damaged else "newer",
        "error": str(run.error),
    }


def say_unreadable(unreadable: Sequence[UnreadableRun]) -> None:
    """Say on the error stream which runs cannot be read, and what to do."""
    for run in unreadable[:_MOST_SAID]:
        say(f"run {run.name!r} cannot be read: {run.error}")
    if len(unreadable) > _MOST_SAID:
        say(f"and {len(unreadable) - _MOST_SAID:,} more")
    if any(run.is_damaged for run in unreadable):
        say(
            f"the others are whole as far as this looked; {hint('check')} tells all that is "
            f"damaged, and {hint('check', options=['--repair'])} puts right or drops it "
            "(--from BACKUP without a loss)"
        )
    elif unreadable:
        say("a later version of Hive wrote that; upgrade to read it")


def exit_if_unreadable(unreadable: Sequence[UnreadableRun]) -> None:
    """End with exit code 5 if any run is damaged, with 6 if a later version wrote one."""
    for run in sorted(unreadable, key=lambda run: not run.is_damaged):
        raise typer.Exit(exit_code(run.error))
