"""``hive runs``: which runs there are, how they stand, and what they take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hive.cli.describe import checkpoint_json, status
from hive.cli.failures import say
from hive.cli.hints import hint
from hive.cli.options import HomeOption, JsonOption, open_to_read
from hive.cli.output import Column, line, table, write_json
from hive.cli.progress import shown_waiting
from hive.cli.quantities import parse_since
from hive.cli.text import age, size
from hive.cli.unreadable import (
    UNREADABLE_STATUSES,
    exit_if_unreadable,
    say_unreadable,
    unreadable_json,
)
from hive.cli.waiting import show_waiting, waits_in

if TYPE_CHECKING:
    from hive.cli.shapes import RunJson, Status, UnreadableRunJson
    from manifests import Checkpoint, Repository, RunInfo, RunStats

__all__ = ["runs"]

MOST_MEASURED: Final = 20_000
"""Objects up to which the bytes of runs are measured without being asked for: a quarter second."""


def runs(
    waiting: Annotated[
        bool,
        typer.Option("--waiting", help="Only those that wait for a person, and what for."),
    ] = False,
    interrupted: Annotated[
        bool, typer.Option("--interrupted", help="Only those whose process is gone.")
    ] = False,
    statuses: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only done, failed, paused, running, interrupted, unfinished, abandoned or "
            "damaged ones. May be repeated.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME[=TEXT]",
            help="Only those whose last checkpoint has this label. May be repeated: all of them.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Only those that went on since then: 12h, 7d, 2026-05-31.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, metavar="N", help="The N latest of them.", show_default=False
        ),
    ] = None,
    measured: Annotated[
        bool | None,
        typer.Option(
            "--bytes/--no-bytes",
            help="Measure what runs share, also in a large store, or never.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs, the latest first.

    ONLY HERE is what deleting the run would free, SHARED what other runs hold as well, both before
    compression: on the disk it is less. In a store of more than 20,000 objects both are left out
    unless --bytes asks for them.

    A run that cannot be read is listed as damaged (exit code 5), or as newer if a later version of
    Hive wrote it (exit code 6). Where only some runs are asked for, it is named beside them.
    """
    from hive.listing import readable
    from manifests.clock import system_clock

    moment = system_clock()
    start = None if since is None else parse_since(since, moment)
    wanted = {"paused"} if waiting else _wanted_statuses(statuses or [], interrupted)
    with open_to_read(home) as repo:
        infos, unreadable = repo.readable_runs()
        infos = [
            info
            for info in infos
            if (start is None or info.updated_at >= start) and _has_labels(info.head, labels or [])
        ]
        infos.sort(key=lambda info: (info.updated_at, info.name), reverse=True)
        left_out = measured is None and repo.objects() > MOST_MEASURED
        with shown_waiting("measure"):
            stats = {} if measured is False or left_out or not infos else _measure(repo)

        def listed(info: RunInfo) -> RunJson | None:
            stands = status(repo, info.head)
            return _row(repo, info, stands, stats) if not wanted or stands in wanted else None

        found = (row for row in readable(repo, infos, unreadable, listed) if row is not None)
        rows = list(islice(found, limit))
        more = limit is not None and next(found, None) is not None
    # What is asked for of a damaged run cannot be told: it is listed only among all.
    odd = [
        row
        for row in map(unreadable_json, unreadable)
        if row["status"] in wanted or not (wanted or labels or since)
    ]
    if as_json:
        write_json([*rows, *odd])
    elif waiting:
        show_waiting(rows, moment)
    elif rows or odd:
        _show(rows, odd, moment, measured=bool(stats))
        if left_out:
            say("not measured what each run takes, as the store is large; --bytes does it")
        if more:
            say("there are more; without --limit all are listed")
    elif wanted or labels or since:
        line(f"No such runs; {hint('runs')} lists all.")
    else:
        begin = hint("run", "FILE.py:GRAPH")
        line(f"No runs yet: {hint('demo')} shows one, {begin} runs yours.")
    say_unreadable(unreadable)
    exit_if_unreadable(unreadable)


def _wanted_statuses(statuses: list[str], interrupted: bool) -> set[str]:
    from cas.errors import InvalidInputError
    from hive.cli.describe import STATUSES

    known = (*STATUSES, *UNREADABLE_STATUSES)
    for each in statuses:
        if each not in known:
            raise InvalidInputError(f"{each!r} is no status; they are {', '.join(known)}")
    return {*statuses, *(["interrupted"] if interrupted else [])}


def _measure(repo: Repository) -> Mapping[str, RunStats]:
    """Measure every run, or none: that reads all names, and damage of one shall hide no run."""
    from cas.errors import CorruptionError, UnsupportedFormatError

    try:
        return repo.stats().runs
    except (CorruptionError, UnsupportedFormatError) as error:
        say(f"not measured what each run takes: {error}")
        return {}


def _has_labels(head: Checkpoint, wanted: list[str]) -> bool:
    for each in wanted:
        name, equals, text = each.partition("=")
        if name not in head.labels or (equals and head.labels[name] != text):
            return False
    return True


def _row(repo: Repository, info: RunInfo, stands: Status, stats: Mapping[str, RunStats]) -> RunJson:
    steps, last_node = _progress(repo, info.head)
    bytes_of = stats.get(info.name)
    return {
        "run": info.name,
        "status": stands,
        "steps": steps,
        "last_node": last_node,
        "checkpoints": info.checkpoints,
        "created_at": info.created_at.isoformat(),
        "updated_at": info.updated_at.isoformat(),
        "unique_bytes": None if bytes_of is None else bytes_of.unique_bytes,
        "shared_bytes": None if bytes_of is None else bytes_of.shared_bytes,
        "waits": waits_in(repo, info.head),
        "head": checkpoint_json(info.head),
    }


def _progress(repo: Repository, head: Checkpoint) -> tuple[int | None, str | None]:
    """Say how far a run is, from what its executor keeps; another program may keep neither."""
    execution = repo.execution(head)
    steps, path = execution.get("steps"), execution.get("path")
    last = path[-1] if isinstance(path, list) and path else head.node
    return (
        steps if type(steps) is int else None,
        last if isinstance(last, str) else None,
    )


def _show(
    rows: list[RunJson], odd: list[UnreadableRunJson], moment: datetime, *, measured: bool
) -> None:
    columns = [
        Column(title="RUN", shrinks=True),
        Column(title="STATUS"),
        Column(title="STEPS", right=True),
        Column(title="LAST NODE", shrinks=True),
        Column(title="AGE", right=True),
        Column(title="CHECKPOINTS", right=True, spare=3),
    ]
    if measured:
        columns += [
            Column(title="ONLY HERE", right=True, spare=1),
            Column(title="SHARED", right=True, spare=2),
        ]
    table(
        columns,
        [
            [
                row["run"],
                row["status"],
                "-" if row["steps"] is None else str(row["steps"]),
                row["last_node"] or "-",
                age(moment - datetime.fromisoformat(row["updated_at"])),
                str(row["checkpoints"]),
                *([size(row["unique_bytes"] or 0), size(row["shared_bytes"] or 0)] * measured),
            ]
            for row in rows
        ]
        + [[row["run"], row["status"], *["-"] * (len(columns) - 2)] for row in odd],
    )
