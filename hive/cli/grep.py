"""``hive grep``: find a text in the states of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from hive.cli.completion import complete_ref, complete_run
from hive.cli.describe import shown_path
from hive.cli.failures import FAILED, say
from hive.cli.options import HomeOption, JsonOption, open_to_read
from hive.cli.output import line, styled, terminal_width, write_json
from hive.cli.progress import shown_progress
from hive.cli.text import escape
from hive.cli.unreadable import exit_if_unreadable, say_unreadable

if TYPE_CHECKING:
    import re

    from cas.upkeep import OnProgress
    from hive.cli.shapes import MatchJson
    from manifests import Match, Repository, RunInfo

__all__ = ["grep"]

SHOWN: Final = 200
BEFORE: Final = 30
"""Characters shown before what matched, where the whole line does not fit."""


def grep(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="A regular expression.")],
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF",
            help="Search these checkpoints only; without them, all of all runs.",
            show_default=False,
            autocompletion=complete_ref,
        ),
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="All checkpoints of this run. May be repeated.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    heads: Annotated[
        bool, typer.Option("--heads", help="Only the last checkpoint of each run.")
    ] = False,
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", "-i", help="Upper and lower case are the same.")
    ] = False,
    fixed: Annotated[
        bool, typer.Option("--fixed-strings", "-F", help="PATTERN is a plain text.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N matches.")
    ] = SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="All matches.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find a text in the states of runs, and in what is pending there.

    It prints each line that matches, where it stands, and since when. Texts and the keys of
    dicts are searched. Each different object is read once, however many checkpoints hold it.
    Exit code 1 means that nothing matches, 5 that a run was left out since it is damaged.
    """
    import re

    from cas.errors import InvalidInputError

    try:
        wanted = re.compile(
            re.escape(pattern) if fixed else pattern, re.IGNORECASE if ignore_case else 0
        )
    except re.error as error:
        raise InvalidInputError(f"{pattern!r} is no regular expression: {error}") from error
    with open_to_read(home) as repo, shown_progress() as progress:
        infos, unreadable = repo.readable_runs()
        if refs or runs:
            unreadable = []
        found = _search(
            repo,
            wanted,
            infos,
            refs=refs or [],
            runs=runs or [],
            heads=heads,
            limit=None if everything else limit + 1,
            progress=progress,
        )
    more = not everything and len(found) > limit
    shown = found[:limit] if more else found
    if as_json:
        write_json([_as_json(match) for match in shown])
    for match in () if as_json else shown:
        _show(match)
    if more:
        say(f"there are more than {limit:,} matches; --limit N or --all shows them")
    say_unreadable(unreadable)
    exit_if_unreadable(unreadable)
    if not found:
        raise typer.Exit(FAILED)


def _search(
    repo: Repository,
    wanted: re.Pattern[str],
    infos: list[RunInfo],
    *,
    refs: list[str],
    runs: list[str],
    heads: bool,
    limit: int | None,
    progress: OnProgress | None,
) -> list[Match]:
    if not refs and not runs:
        runs = [info.name for info in infos]
    if heads:
        refs, runs = [*refs, *runs], []
    total = len(refs) + sum(info.checkpoints for info in infos if info.name in runs)

    def searched(count: int) -> None:
        if progress is not None:
            from cas.upkeep import Progress

            progress(Progress("search", count, total))

    return repo.search(wanted, refs=refs, runs=runs, limit=limit, pending=True, searched=searched)


def _show(match: Match) -> None:
    found = match.checkpoint
    where = shown_path(match.path) or "state"
    if match.pending is not None:
        where = f"pending {shown_path(f'[{match.pending!r}]{match.path}')}"
    place = f"{escape(found.run)}@{found.sequence} {escape(where)}"
    before, text, after = (
        match.text[: match.start],
        match.text[match.start : match.end],
        match.text[match.end :],
    )
    room = max(terminal_width() - len(place) - 2, 40)
    if len(match.text) > room and len(before) > BEFORE:
        before = "..." + before[-BEFORE:]
    left = max(room - len(before) - len(text), 0)
    if len(after) > left:
        after = after[: max(left - 3, 0)] + "..."
    line(f"{styled(place, 'cyan')}: {escape(before)}{styled(escape(text), 'red')}{escape(after)}")


def _as_json(match: Match) -> MatchJson:
    return {
        "run": match.checkpoint.run,
        "sequence": match.checkpoint.sequence,
        "id": str(match.checkpoint.id),
        "path": match.path,
        "text": match.text,
        "start": match.start,
        "end": match.end,
        "pending": match.pending,
        "task": match.task,
    }
