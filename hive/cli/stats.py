"""``hive stats``: what the checkpoints would take as copies, and what they take here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from hive.cli.hints import hint
from hive.cli.options import HomeOption, JsonOption, open_to_read, open_to_write
from hive.cli.output import Column, line, table, write_json
from hive.cli.progress import shown_waiting
from hive.cli.text import count, escape, size

if TYPE_CHECKING:
    from hive.cli.store_shapes import StatsJson
    from manifests import StoreStats

__all__ = ["stats"]

RUNS_SHOWN: Final = 20


def stats(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what the checkpoints take and what they share.

    Also what a gc would free. The table shows the runs that hold most for themselves: ONLY HERE
    is what deleting one frees, before compression.
    """
    with open_to_read(home) as repo, shown_waiting("measure"):
        figures = repo.stats()
        place = repo.home
    with shown_waiting("look for garbage"):
        freeable = _freeable(home)
    if as_json:
        write_json(_as_json(place, figures, freeable))
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
    if freeable is not None:
        line(f"to be freed  {size(freeable):>8}   by {hint('gc')}")
    ratio = _ratio(figures)
    if ratio is not None:
        line(f"ratio        {ratio:>8,.1f}   logical to stored")
    if figures.runs:
        line()
        _show_runs(figures)


def _show_runs(figures: StoreStats) -> None:
    largest = sorted(figures.runs.items(), key=lambda item: (-item[1].unique_bytes, item[0]))
    table(
        [
            Column(title="RUN", shrinks=True),
            Column(title="CHECKPOINTS", right=True),
            Column(title="LOGICAL", right=True, spare=1),
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


def _freeable(home: Path | None) -> int | None:
    """Return what a gc would free, None where nobody could collect: a read-only disk, say."""
    from cas.errors import HiveError

    try:
        with open_to_write(home, create=False) as repo:
            return repo.gc(dry_run=True).bytes_freed_inside
    except HiveError:
        # Whatever it is, `hive gc` and `hive check` say it; the figures above still hold.
        return None


def _ratio(figures: StoreStats) -> float | None:
    return figures.logical_bytes / figures.stored_bytes if figures.stored_bytes else None


def _as_json(place: Path, figures: StoreStats, freeable: int | None) -> StatsJson:
    return {
        "home": str(place),
        "runs": len(figures.runs),
        "checkpoints": figures.checkpoints,
        "objects": figures.objects,
        "logical_bytes": figures.logical_bytes,
        "unique_bytes": figures.unique_bytes,
        "stored_bytes": figures.stored_bytes,
        "disk_bytes": figures.disk_bytes,
        "ratio": _ratio(figures),
        "freeable_bytes": freeable,
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
