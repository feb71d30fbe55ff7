"""``hive salvage``: take what verifies out of a store that does not open any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hive.cli.check import DAMAGED, damage_json, named
from hive.cli.options import HomeOption, JsonOption, home_of, parse_folder
from hive.cli.output import line, write_json
from hive.cli.progress import shown_progress
from hive.cli.text import count, escape
from hive.commands import command_line

if TYPE_CHECKING:
    from manifests import SalvageReport

__all__ = ["salvage"]


def salvage(
    into: Annotated[
        Path,
        typer.Argument(
            metavar="INTO", help="The home of the new store, which is made.", parser=parse_folder
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Take objects that are missing from this home or bundle.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take what verifies out of a damaged store into a new one.

    It works where the store does not open any more, since the structure of its file is damaged.
    The old store is only read. Exit code 5 means that something is missing in the new one.
    """
    from manifests import salvage as take_over

    with shown_progress() as progress:
        report = take_over(home_of(home), into, source=source, progress=progress)
    if as_json:
        write_json(_report_json(into, report))
    else:
        _show(into, report)
    if not report.ok:
        raise typer.Exit(DAMAGED)


def _show(into: Path, report: SalvageReport) -> None:
    for damage in report.damage:
        line(f"{damage.kind}: {escape(damage.text)}")
        if damage.hits:
            line(f"  hits {named(damage.hits)}")
    if report.damage:
        line()
    held = (
        f"{count(report.runs, 'run')}, {count(report.checkpoints, 'checkpoint')}, "
        f"{count(report.records, 'record')}"
    )
    line(f"taken over into {escape(str(into))}: {held}")
    for run, before, now in report.moved_heads:
        line(f"the head of {escape(run)} moves from {before} to {now}")
    for what in report.fixed:
        line(f"made anew: {escape(what)}")
    if report.uncertain:
        line(f"perhaps deleted before, and back now: {named(report.uncertain)}")
    for what in report.missing:
        line(f"missing: {escape(what)}")
    if report.lost:
        line(f"cannot be restored: {named(report.lost)}")
    if report.ok:
        line("nothing is missing")
    line(
        f"`{command_line('runs', home=str(into))}` lists what is in it; the old store is as it was"
    )


def _report_json(into: Path, report: SalvageReport) -> dict[str, Any]:
    return {
        "home": str(into),
        "ok": report.ok,
        "runs": report.runs,
        "checkpoints": report.checkpoints,
        "records": report.records,
        "lost": list(report.lost),
        "missing": list(report.missing),
        "uncertain": list(report.uncertain),
        "moved_heads": [
            {"run": run, "before": before, "now": now} for run, before, now in report.moved_heads
        ],
        "fixed": list(report.fixed),
        "damage": [damage_json(damage) for damage in report.damage],
    }
