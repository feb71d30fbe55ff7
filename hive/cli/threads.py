"""``hive import-langgraph``: threads of LangGraph from the database of another saver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from hive import errors
from hive.cli.check import DAMAGED
from hive.cli.options import HomeOption, JsonOption, home_of
from hive.cli.output import line, write_json
from hive.cli.progress import shown_progress
from hive.cli.text import count, escape, size

if TYPE_CHECKING:
    from hive.adapters.langgraph.importing import ImportedThreads
    from hive.cli.store_shapes import ImportedThreadsJson

__all__ = ["import_langgraph"]

_MOST_SHOWN: Final = 10


def import_langgraph(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="sqlite:///FILE, sqlite:////ABSOLUTE/FILE or postgresql://..."
        ),
    ],
    thread: Annotated[
        list[str] | None,
        typer.Option(
            "--thread", metavar="ID", help="Only this thread. May be repeated.", show_default=False
        ),
    ] = None,
    and_compact: Annotated[
        bool, typer.Option("--compact", help="Then make the file smaller, as `hive compact`.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over threads of LangGraph from a database of SqliteSaver or PostgresSaver.

    All their checkpoints and pending writes come along; the database is only read. What is here
    already is passed over, so an import that was interrupted can be repeated and goes on.

    Exit code 5 means that some checkpoints could not be read; all others were taken over.
    """
    try:
        from hive.adapters.langgraph.importing import import_threads
    except ImportError as error:
        raise errors.InvalidInputError(str(error)) from error
    with shown_progress() as progress:
        report = import_threads(
            url, home_of(home), threads=thread, compact=and_compact, progress=progress
        )
    if as_json:
        write_json(_json(report))
    else:
        _show(report)
    if report.problems:
        raise typer.Exit(DAMAGED)


def _json(report: ImportedThreads) -> ImportedThreadsJson:
    return {
        "threads": report.threads,
        "checkpoints": report.checkpoints,
        "known": report.known,
        "writes": report.writes,
        "source_bytes": report.source_bytes,
        "bytes_before": report.bytes_before,
        "bytes_after": report.bytes_after,
        "problems": report.problems,
    }


def _show(report: ImportedThreads) -> None:
    line(
        f"imported {count(report.checkpoints, 'checkpoint')} of {count(report.threads, 'thread')} "
        f"with {count(report.writes, 'pending write')}; {report.known:,} known before"
    )
    grown = report.bytes_after - report.bytes_before
    line(
        f"the database takes {size(report.source_bytes)}; this store took "
        f"{size(report.bytes_before)} and takes {size(report.bytes_after)}"
        + (f" ({size(grown)} more)" if grown > 0 else "")
    )
    for problem in report.problems[:_MOST_SHOWN]:
        line(f"  not taken over: {escape(problem)}")
    if len(report.problems) > _MOST_SHOWN:
        line(f"  and {len(report.problems) - _MOST_SHOWN:,} more; --json shows them")
