"""``hive runs --waiting``: what runs that wait for a person wait for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from hive.cli.ending import wait_json
from hive.cli.output import Column, line, table
from hive.cli.text import age
from hive.literals import glimpse

if TYPE_CHECKING:
    from hive.cli.shapes import RunJson, WaitJson
    from manifests import Checkpoint, Repository

__all__ = ["show_waiting", "waits_in"]

_MESSAGE: Final = 200
"""Characters of what an interrupt asks that are shown."""


def waits_in(repo: Repository, head: Checkpoint) -> list[WaitJson]:
    """Return what a run with that last checkpoint waits for, in the shape of docs/cli.md."""
    from hive.threads import is_thread, questions_of

    if is_thread(head):
        return [
            {"kind": "input", "step": asked.node, "message": glimpse(asked.value, width=_MESSAGE)}
            for asked in questions_of(repo, head)
        ]
    if head.kind != "paused":
        return []
    from hive.runner.waiting import waits_of

    return [wait_json(wait) for wait in waits_of(repo.execution(head))]


def show_waiting(rows: Sequence[RunJson], moment: datetime) -> None:
    """Print what the runs of these rows wait for, and at ``moment`` for how long."""
    if not rows:
        line("No run waits for anything.")
        return
    table(
        [
            Column(title="RUN", shrinks=True),
            Column(title="WAITS FOR"),
            Column(title="AT", shrinks=True),
            Column(title="MESSAGE", shrinks=True),
            Column(title="AGE", right=True),
        ],
        [
            [row["run"], *cells, age(moment - datetime.fromisoformat(row["updated_at"]))]
            for row in rows
            for cells in _cells(row["waits"])
        ],
    )


def _cells(waits: Sequence[WaitJson]) -> list[list[str]]:
    if not waits:
        # Stopped with Ctrl-C; or somebody's own program did not note what for.
        return [["to be resumed", "-", "-"]]
    return [[wait["kind"], wait["step"], wait["message"] or "-"] for wait in waits]
