"""``hive runs`` and ``hive log``: which runs there are, and what a run's checkpoints cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hive.cli.describe import checkpoint_json, status, tags_by_id
from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_read
from hive.cli.output import Column, line, table, write_json
from hive.cli.text import age, size

if TYPE_CHECKING:
    from manifests import Checkpoint, Repository

__all__ = ["log", "runs"]


def runs(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the runs, the latest first."""
    from manifests.clock import system_clock

    with open_to_read(home) as repo:
        infos = sorted(repo.runs(), key=lambda info: (info.updated_at, info.name), reverse=True)
        rows = [
            {
                "run": info.name,
                "status": status(repo.home, info.head),
                **_progress(repo, info.head),
                "checkpoints": info.checkpoints,
                "created_at": info.created_at.isoformat(),
                "updated_at": info.updated_at.isoformat(),
                "head": checkpoint_json(info.head),
            }
            for info in infos
        ]
    if as_json:
        write_json(rows)
        return
    if not rows:
        line("No runs yet: `hive demo` makes one, `hive run FILE.py:GRAPH` runs yours.")
        return
    moment = system_clock()
    table(
        [
            Column(title="RUN", shrinks=True),
            Column(title="STATUS"),
            Column(title="STEPS", right=True),
            Column(title="LAST NODE", shrinks=True),
            Column(title="AGE", right=True),
            Column(title="CHECKPOINTS", right=True),
        ],
        [
            [
                row["run"],
                row["status"],
                "-" if row["steps"] is None else str(row["steps"]),
                row["last_node"] or "-",
                age(moment - info.updated_at),
                str(row["checkpoints"]),
            ]
            for row, info in zip(rows, infos, strict=True)
        ],
    )


def log(
    run: RunArgument,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, metavar="N", help="Only the N newest.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the checkpoints of a run, the newest first."""
    from manifests.clock import system_clock

    with open_to_read(home) as repo:
        checkpoints = repo.log(run, limit=limit)
        tags = tags_by_id(repo)
    if as_json:
        write_json([checkpoint_json(found, tags.get(found.id, ())) for found in checkpoints])
        return
    moment = system_clock()
    table(
        [
            Column(title="SEQ", right=True),
            Column(title="ID"),
            Column(title="KIND"),
            Column(title="NODE", shrinks=True),
            Column(title="AGE", right=True),
            Column(title="STATE", right=True),
            Column(title="NEW", right=True),
            Column(title="TAGS", shrinks=True),
        ],
        [
            [
                str(found.sequence),
                found.id.short,
                found.kind,
                found.node or "-",
                age(moment - found.created_at),
                size(found.logical_bytes),
                size(found.new_bytes),
                ", ".join(tags.get(found.id, ())),
            ]
            for found in checkpoints
        ],
    )


def _progress(repo: Repository, head: Checkpoint) -> dict[str, Any]:
    """Say how far a run is, from what its executor keeps; another program may keep neither."""
    execution = repo.execution(head)
    steps, path = execution.get("steps"), execution.get("path")
    last = path[-1] if isinstance(path, list) and path else head.node
    return {
        "steps": steps if type(steps) is int else None,
        "last_node": last if isinstance(last, str) else None,
    }
