"""What a person, or a program, sees of a demo that ran."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive.cli.describe import checkpoint_json
from hive.cli.output import Column, heading, line, table
from hive.cli.text import count, escape, size

if TYPE_CHECKING:
    from hive.demo.checks import Survey
    from hive.demo.driver import Outcome

__all__ = ["outcome_json", "section", "show_outcome"]


def show_outcome(outcome: Outcome) -> None:
    """Print the path, the checkpoints, the bytes and the checks."""
    _show_steps(outcome.killed)
    _show_checkpoints(outcome)
    _show_bytes(outcome)
    _show_checks(outcome)


def section(title: str) -> None:
    """Begin a part of the output."""
    line()
    heading(escape(title))


def outcome_json(outcome: Outcome, folder: Path, home: Path) -> dict[str, Any]:
    """Return the outcome in the JSON shape that docs/cli.md documents."""
    return {
        "folder": str(folder),
        "home": str(home),
        "run": outcome.killed.run,
        "unbroken_run": outcome.unbroken.run,
        "report": str(outcome.killed.work / "report.md"),
        "processes": {
            "killed": outcome.killed_pid,
            "resumed": outcome.resumed_pid,
            "unbroken": outcome.unbroken_pid,
        },
        "effects": [
            {
                "event": effect.event,
                "node": effect.node,
                "visit": effect.visit,
                "attempt": effect.attempt,
                "key": effect.key,
                "pid": effect.pid,
            }
            for effect in outcome.killed.effects
        ],
        "checkpoints": [checkpoint_json(found) for found in outcome.checkpoints],
        "unbroken_new_bytes": outcome.unbroken_new_bytes,
        "disk_bytes": outcome.stats.disk_bytes,
        "checks": [{"claim": check.claim, "holds": check.holds} for check in outcome.checks],
    }


def _show_steps(survey: Survey) -> None:
    """Which process ran which node, from what the processes logged themselves."""
    finished = {
        (effect.pid, *effect.step) for effect in survey.effects if effect.event == "finished"
    }
    started = [effect for effect in survey.effects if effect.event == "started"]
    rows = []
    for (pid, node), visits in itertools.groupby(started, lambda effect: (effect.pid, effect.node)):
        found = list(visits)
        done = sum((effect.pid, *effect.step) in finished for effect in found)
        rows.append(
            [str(pid), node, str(len(found)), "finished" if done == len(found) else "killed"]
        )
    section("The path, as the processes logged it")
    table(
        [
            Column(title="PROCESS", right=True),
            Column(title="NODE"),
            Column(title="STARTED", right=True),
            Column(title=""),
        ],
        rows,
    )


def _show_checkpoints(outcome: Outcome) -> None:
    section(f"The checkpoints of {outcome.killed.run!r}, and what each cost")
    table(
        [
            Column(title="SEQ", right=True),
            Column(title="NODE"),
            Column(title="KIND"),
            Column(title="STATE", right=True),
            Column(title="NEW", right=True),
        ],
        [
            [
                str(found.sequence),
                found.node or "-",
                found.kind,
                size(found.logical_bytes),
                size(found.new_bytes),
            ]
            for found in outcome.checkpoints
        ],
    )


def _show_bytes(outcome: Outcome) -> None:
    logical = sum(found.logical_bytes for found in outcome.checkpoints)
    new = sum(found.new_bytes for found in outcome.checkpoints)
    section("Bytes")
    line(f"  {size(logical):>8}  {count(len(outcome.checkpoints), 'checkpoint')} as full copies")
    line(f"  {size(new):>8}  what they added to the store")
    line(f"  {size(outcome.unbroken_new_bytes):>8}  what the second, equal run added")
    line(f"  {size(outcome.stats.disk_bytes):>8}  on disk, both runs together")


def _show_checks(outcome: Outcome) -> None:
    section("Checked")
    for check in outcome.checks:
        line(f"  {'yes' if check.holds else 'NO '}  {escape(check.claim)}")
