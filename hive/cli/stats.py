"""``hive stats``: what the checkpoints would take as copies, and what they take here."""

from __future__ import annotations

from hive.cli.options import HomeOption, JsonOption, open_to_read
from hive.cli.output import Column, line, table, write_json
from hive.cli.text import count, escape, size

__all__ = ["stats"]

RUNS_SHOWN = 20


def stats(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what the checkpoints take, and what they share."""
    with open_to_read(home) as repo:
        figures = repo.stats()
        place = repo.home
    if as_json:
        write_json(
            {
                "home": str(place),
                "runs": len(figures.runs),
                "checkpoints": figures.checkpoints,
                "objects": figures.objects,
                "logical_bytes": figures.logical_bytes,
                "unique_bytes": figures.unique_bytes,
                "stored_bytes": figures.stored_bytes,
                "disk_bytes": figures.disk_bytes,
                "by_run": {
                    name: {
                        "checkpoints": run.checkpoints,
                        "logical_bytes": run.logical_bytes,
                        "unique_bytes": run.unique_bytes,
                        "shared_bytes": run.shared_bytes,
                    }
                    for name, run in figures.runs.items()
                },
            }
        )
        return
    line(f"home         {escape(str(place))}")
    line(
        f"kept         {count(figures.checkpoints, 'checkpoint')} of "
        f"{count(len(figures.runs), 'run')}, {count(figures.objects, 'object')}"
    )
    line(f"logical      {size(figures.logical_bytes):>8}   every checkpoint as a full copy")
    line(f"unique       {size(figures.unique_bytes):>8}   each different object once")
    line(f"stored       {size(figures.stored_bytes):>8}   after compression")
    line(f"on disk      {size(figures.disk_bytes):>8}   the store's files")
    if figures.stored_bytes:
        ratio = figures.logical_bytes / figures.stored_bytes
        line(f"ratio        {ratio:>8,.1f}   logical to stored")
    if not figures.runs:
        return
    line()
    largest = sorted(figures.runs.items(), key=lambda item: (-item[1].unique_bytes, item[0]))
    table(
        [
            Column(title="RUN", shrinks=True),
            Column(title="CHECKPOINTS", right=True),
            Column(title="LOGICAL", right=True),
            Column(title="ONLY HERE", right=True),
            Column(title="SHARED", right=True),
        ],
        [
            [
                name,
                str(run.checkpoints),
                size(run.logical_bytes),
                size(run.unique_bytes),
                size(run.shared_bytes),
            ]
            for name, run in largest[:RUNS_SHOWN]
        ],
    )
    if len(largest) > RUNS_SHOWN:
        line(f"... and {count(len(largest) - RUNS_SHOWN, 'run')} more; --json lists all")
