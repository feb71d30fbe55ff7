"""``hive export``, ``hive import``, ``hive backup``: checkpoints in files, and whole stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hive import errors
from hive.cli.completion import complete_ref
from hive.cli.options import (
    HomeOption,
    JsonOption,
    home_of,
    open_to_read,
    open_to_write,
    parse_folder,
)
from hive.cli.output import line, write_json
from hive.cli.progress import shown_waiting
from hive.cli.quantities import parse_size
from hive.cli.text import count, escape, size
from hive.commands import command_line

if TYPE_CHECKING:
    from manifests.importing import ImportReport

__all__ = ["backup", "export", "import_bundle"]


def export(
    refs: Annotated[
        list[str],
        typer.Argument(metavar="REF", help="The checkpoints.", autocompletion=complete_ref),
    ],
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The bundle to write.")
    ],
    history: Annotated[
        bool, typer.Option("--history", help="With all that their runs keep before them.")
    ] = False,
    have: Annotated[
        list[str] | None,
        typer.Option(
            "--have",
            metavar="REF",
            help="Leave out what this checkpoint reaches: the receiver has it. May be repeated.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write checkpoints, and only the objects they need, to one file."""
    if str(file) == "-":
        raise errors.InvalidInputError(
            "a bundle cannot go to the standard output: name the file to write"
        )
    with open_to_read(home) as repo, shown_waiting("export"):
        report = repo.export(refs, file, history=history, have=have or ())
    if as_json:
        write_json(
            {
                "file": str(file),
                "checkpoints": report.checkpoints,
                "objects": report.objects,
                "file_bytes": report.file_bytes,
            }
        )
    else:
        held = f"{count(report.checkpoints, 'checkpoint')}, {count(report.objects, 'object')}"
        line(f"wrote {escape(str(file))}: {held}, {size(report.file_bytes)}")


def import_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="RUN", help="Import its only run as this one.", show_default=False
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            "--max-bytes",
            metavar="SIZE",
            help="Accept so many bytes of objects; by default 200 times the file's size.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over the checkpoints of a bundle. Everything is verified before it gets a name."""
    limit = None if max_bytes is None else parse_size(max_bytes)
    with shown_waiting("import"):
        report = _imported(file, name, limit, home)
    if as_json:
        write_json(
            {
                "checkpoints": [
                    {"run": run, "sequence": sequence} for run, sequence in report.checkpoints
                ],
                "known": report.known,
                "objects": report.objects,
                "new_objects": report.new_objects,
                "new_bytes": report.new_bytes,
            }
        )
        return
    runs = sorted({run for run, _sequence in report.checkpoints})
    line(
        f"imported {count(len(report.checkpoints), 'checkpoint')}, {report.known:,} known before; "
        f"{report.new_objects:,} of {count(report.objects, 'object')} were new"
    )
    for run in runs:
        line(f"  {escape(run)}")


def _imported(file: Path, name: str | None, limit: int | None, home: Path | None) -> ImportReport:
    """Import a bundle. Where there is no store, one appears only with all of it."""
    try:
        opened = open_to_write(home, create=False)
    except errors.NotFoundError:
        from manifests.importing import import_as_new

        made = import_as_new(home_of(home), file, name=name, max_bytes=limit)
        if made is not None:
            return made
        opened = open_to_write(home, create=False)
    with opened as repo:
        return repo.import_bundle(file, name=name, max_bytes=limit)


def backup(
    place: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The new home of the copy.", parser=parse_folder),
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the whole store while others work with it.

    Copying its folder instead would give no usable store.
    """
    with open_to_read(home) as repo, shown_waiting("copy"):
        copy = repo.backup(place)
    if as_json:
        write_json({"home": str(copy)})
    else:
        look = command_line("runs", home=str(copy))
        line(f"copied to {escape(str(copy))}; `{look}` lists what is in it")
