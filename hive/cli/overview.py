"""``hive`` alone: how things stand, and what to do next."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hive.cli.describe import status
from hive.cli.hints import resume_options, typed
from hive.cli.options import home_of, open_to_read, open_to_write
from hive.cli.output import line, write_json
from hive.cli.text import age, count, escape, size
from hive.cli.unreadable import exit_if_unreadable, say_unreadable, unreadable_json

if TYPE_CHECKING:
    from hive.cli.shapes import NextStepJson, OverviewJson, Status
    from manifests import Repository, RunInfo, UnreadableRun

__all__ = ["overview"]

EACH: Final = 3
"""Runs named for each thing there is to do."""
MOST_RUNS: Final = 1_000
"""Runs, the latest, of which it is found out how they stand: a third of a second for threads."""
MOST_LOOKED_AT: Final = 100_000
"""Objects up to which it is found out what a gc would free: under a second."""
_DUE: Final[tuple[Status, ...]] = ("interrupted", "paused", "failed")
WORTH_BYTES: Final = 1_000_000
"""A gc is suggested if it frees this much, and a tenth of the file."""


def overview(home: Path | None, *, as_json: bool) -> None:
    """Print how many runs there are, and the commands that make sense now."""
    from cas.errors import NotFoundError

    place = home_of(home)
    try:
        with open_to_read(home) as repo:
            infos, unreadable = repo.readable_runs()
            infos.sort(key=lambda info: info.updated_at, reverse=True)
            total = len(infos) + len(unreadable)
            steps = _steps(repo, infos, unreadable)
            small = repo.objects() <= MOST_LOOKED_AT
    except NotFoundError:
        total, unreadable, steps, small = None, [], _begin(), False
    if total and small:
        steps += _gc(home)
    if as_json:
        shown: OverviewJson = {
            "home": str(place),
            "runs": total,
            "unreadable": list(map(unreadable_json, unreadable)),
            "next": steps,
        }
        write_json(shown)
    else:
        _show(place, total, steps)
    say_unreadable(unreadable)
    exit_if_unreadable(unreadable)


def _show(place: Path, total: int | None, steps: list[NextStepJson]) -> None:
    if total:
        line(f"{count(total, 'run')} in {escape(str(place))}")
    else:
        line("Hive keeps the state of agent runs. Three ways to begin:")
    line()
    width = max(len(step["command"]) for step in steps)
    for step in steps:
        line(f"  {step['command']:<{width}}   {escape(step['why'])}")
    line()
    line("`hive COMMAND --help` explains a command, `hive --help` lists them all.")


def _answer(repo: Repository, info: RunInfo, moment: datetime) -> NextStepJson:
    """Say how a paused run goes on: with an answer, or, after Ctrl-C, without one."""
    from hive.cli.waiting import waits_in
    from hive.threads import is_thread

    if is_thread(info.head):
        return _step("show", info.name, f"what it asks; paused {_when(info, moment)}")
    kinds = {wait["kind"] for wait in waits_in(repo, info.head)}
    if not kinds:
        return _resume(repo, info, f"paused {_when(info, moment)}")
    asks = "input" not in kinds
    waits = f"waits for {'an approval' if asks else 'input'}; paused {_when(info, moment)}"
    return _resume(repo, info, waits)


def _begin() -> list[NextStepJson]:
    run = typed("run", "FILE.py:GRAPH", options=["--input", "{...}"])
    return [
        {"command": typed("demo"), "why": "see a run killed in the middle, and resumed"},
        {"command": run, "why": "run a graph of yours, with checkpoints"},
        {"command": typed("runs"), "why": "list the runs that are kept"},
    ]


def _steps(
    repo: Repository, infos: list[RunInfo], unreadable: list[UnreadableRun]
) -> list[NextStepJson]:
    """Return what there is to do; runs that turn out to be damaged join ``unreadable``."""
    from hive.listing import readable
    from manifests.clock import system_clock

    if not infos and not unreadable:
        return _begin()
    moment = system_clock()
    whole: list[RunInfo] = []
    found: dict[Status, list[NextStepJson]] = {}

    def look(info: RunInfo) -> None:
        stands = status(repo, info.head)
        steps = found.setdefault(stands, [])
        if len(steps) < EACH:
            steps += _to_do(repo, info, stands, moment)
        whole.append(info)

    for _looked_at in readable(repo, infos[:MOST_RUNS], unreadable, look):
        pass
    steps = [step for stands in _DUE for step in found.get(stands, ())]
    if whole:
        latest = whole[0]
        steps.append(_step("log", latest.name, f"the latest run, {_when(latest, moment)}"))
    if unreadable:
        names = ", ".join(repr(run.name) for run in unreadable[:EACH])
        more = f" and {len(unreadable) - EACH:,} more" if len(unreadable) > EACH else ""
        steps.insert(0, {"command": typed("check"), "why": f"cannot be read: {names}{more}"})
    return [*steps, {"command": typed("runs"), "why": "list all runs"}]


def _to_do(repo: Repository, info: RunInfo, stands: Status, moment: datetime) -> list[NextStepJson]:
    """Return the step that a run with that status waits for, if it does."""
    match stands:
        case "interrupted":
            return [_resume(repo, info, f"interrupted {_when(info, moment)}")]
        case "paused":
            return [_answer(repo, info, moment)]
        case "failed":
            return [_step("show", info.name, f"why it failed {_when(info, moment)}")]
    return []


def _resume(repo: Repository, info: RunInfo, why: str) -> NextStepJson:
    """Say how a run goes on; one that a program of the user's own began needs its graph named."""
    options = resume_options(repo, info.head)
    if "--target" in options:
        why += "; or start its program again"
    return _step("resume", info.name, why, *options)


def _step(command: str, name: str, why: str, *options: str) -> NextStepJson:
    return {"command": typed(command, name, options=options), "why": why}


def _when(info: RunInfo, moment: datetime) -> str:
    node = f" after {info.head.node!r}" if info.head.node else ""
    return f"{age(moment - info.updated_at)} ago{node}"


def _gc(home: Path | None) -> list[NextStepJson]:
    """Return the step that frees space, if that is worth it and possible."""
    from cas.errors import HiveError

    try:
        with open_to_write(home, create=False) as repo:
            freed = repo.gc(dry_run=True).bytes_freed_inside
            disk = repo.disk_bytes()
    except HiveError:
        return []  # `hive doctor` and `hive check` tell why
    if freed < WORTH_BYTES or freed * 10 < disk:
        return []
    return [
        {
            "command": typed("gc", options=["--compact"]),
            "why": f"frees {size(freed)} of {size(disk)}",
        }
    ]
