"""``hive check``: is everything whole? And with ``--repair``: put right what is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hive.cli.failures import FAILED, say
from hive.cli.hints import hint
from hive.cli.options import HomeOption, JsonOption, open_to_change, open_to_read
from hive.cli.output import line, write_json
from hive.cli.progress import shown_progress
from hive.cli.text import count, escape

if TYPE_CHECKING:
    from manifests import CheckReport, Damage, RepairReport

__all__ = ["DAMAGED", "check", "damage_json", "named"]

DAMAGED: Final = 5
NAMES_SHOWN: Final = 20


def check(
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not hash the data; finds most damage, not all.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Put right what can be; drop what cannot, after asking."),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="With --repair: take what is damaged from this home or bundle.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="With --repair: only say what would be done.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --repair: drop without asking.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for damage everywhere, and repair it if asked to.

    Exit code 5 means that there is damage, or that some is left. Others may work with the store
    meanwhile.
    """
    if (source is not None or dry_run or yes) and not repair:
        from cas.errors import InvalidInputError

        raise InvalidInputError("--from, --dry-run and --yes go with --repair")
    if not repair:
        with open_to_read(home) as repo, shown_progress() as progress:
            report = repo.check(read_data=not quick, progress=progress)
        if as_json:
            write_json(_report_json(report))
        else:
            _show(report)
        if not report.ok:
            raise typer.Exit(DAMAGED)
        return
    with open_to_change(home, dry_run=dry_run) as repo, shown_progress() as progress:
        plan = repo.repair(source=source, dry_run=True, progress=progress)
        if not as_json:
            _show(plan.found)
            _show_repair(plan)
        if not dry_run and not plan.found.ok:
            if plan.dropped and not yes:
                _ask()
            plan = repo.repair(source=source, progress=progress)
    if as_json:
        write_json(_repair_json(plan))
    elif not plan.dry_run:
        line("repaired")
    if plan.dry_run and not plan.found.ok:
        raise typer.Exit(DAMAGED)


def _ask() -> None:
    try:
        agreed = typer.confirm("Drop them?", err=True)
    except typer.Abort:  # nobody answers, as in a script
        typer.echo(err=True)
        agreed = False
    if not agreed:
        say("nothing was changed; --yes drops them without asking")
        raise typer.Exit(FAILED)


def _show(report: CheckReport) -> None:
    looked = f"{count(report.checkpoints, 'checkpoint')}, {count(report.records, 'record')}"
    if report.ok:
        line(f"no damage: {looked}" + ("" if report.read_data else ", data not hashed"))
        return
    for damage in report.damage:
        line(f"{damage.kind}: {escape(damage.text)}")
        if damage.hits:
            line(f"  hits {named(damage.hits)}")
    line()
    line(f"{count(len(report.damage), 'problem')} in {looked}")
    if report.hits:
        line(f"cannot be restored: {named(report.hits)}")
    if any(damage.kind == "structure" for damage in report.damage):
        line(f"{hint('salvage', 'DIR')} takes what is whole into a new store")


def _show_repair(report: RepairReport) -> None:
    if report.restored:
        line(f"to be restored: {named(report.restored)}")
    if report.dropped:
        line(f"to be dropped: {', '.join(map(escape, report.dropped))}")
    for run, before, now in report.moved_heads:
        line(f"the head of {escape(run)} moves from {before} to {now}")
    for what in report.fixed:
        line(f"to be put right: {escape(what)}")


def named(names: tuple[str, ...]) -> str:
    """Name checkpoints, tags and the like, not too many."""
    shown = ", ".join(map(escape, names[:NAMES_SHOWN]))
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _report_json(report: CheckReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "checkpoints": report.checkpoints,
        "records": report.records,
        "read_data": report.read_data,
        "hits": list(report.hits),
        "damage": [damage_json(damage) for damage in report.damage],
    }


def damage_json(damage: Damage) -> dict[str, Any]:
    """Return one problem in its documented shape."""
    return {
        "kind": damage.kind,
        "text": damage.text,
        "record": damage.record,
        "digest": None if damage.digest is None else str(damage.digest),
        "table": damage.table,
        "key": None if damage.key is None else damage.key.hex(),
        "hits": list(damage.hits),
    }


def _repair_json(report: RepairReport) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "found": _report_json(report.found),
        "restored": list(report.restored),
        "dropped": list(report.dropped),
        "moved_heads": [
            {"run": run, "before": before, "now": now} for run, before, now in report.moved_heads
        ],
        "fixed": list(report.fixed),
        "objects": report.objects,
    }
