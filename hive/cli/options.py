"""Options and arguments that several commands share, and how a command opens its store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hive.cli.completion import complete_ref, complete_run

if TYPE_CHECKING:
    from hive.runner import Agent
    from manifests import Repository

__all__ = [
    "HomeOption",
    "JsonOption",
    "RefArgument",
    "RunArgument",
    "home_of",
    "open_to_change",
    "open_to_read",
    "open_to_write",
    "parse_folder",
]


def parse_folder(text: str) -> Path:
    """Read the path of a folder; one that is surely not meant is a mistake.

    An empty one, as of a variable that is not set, would be the current folder.
    """
    from hive.home import folder_problem

    if not text:
        raise typer.BadParameter("it is empty: name a folder")
    problem = folder_problem(Path(text))
    if problem:
        raise typer.BadParameter(f"it {problem}")
    return Path(text)


def _parse_home(text: str) -> Path:
    # `hive resume` goes into another folder, and a node may; the store must not move with them.
    return parse_folder(text).absolute()


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        parser=_parse_home,
        help="Hive's folder; without it $HIVE_HOME, else ~/.hive.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, as documented in docs/cli.md.")
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="The run's name.", autocompletion=complete_run),
]
RefArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="A checkpoint: run, run@12, run~3, tag:name, or 6 or more digits of an id.",
        autocompletion=complete_ref,
    ),
]


def open_to_read(home: Path | None) -> Repository:
    """Open an existing store for reading only; asking about a run never creates a store.

    Raises:
        NotFoundError: There is no store in ``home``.
    """
    import hive

    return hive.open(home, create=False, read_only=True)


def open_to_write(home: Path | None, *, create: bool, agent: Agent | None = None) -> Repository:
    """Open the store to add to it, as an agent wants it; ``create`` makes a missing one."""
    import hive

    options = {} if agent is None else {"registry": agent.registry, "redact": agent.redact}
    return hive.open(home, create=create, **options)


def open_to_change(home: Path | None, *, dry_run: bool) -> Repository:
    """Open an existing store to change it, or only to say what would be changed.

    A dry run works where nothing can be written, on a read-only disk say.
    """
    return open_to_read(home) if dry_run else open_to_write(home, create=False)


def home_of(home: Path | None) -> Path:
    """Return the home that a command means, whether or not it exists.

    Raises:
        InvalidInputError: None is named and none can be chosen.
    """
    import os

    from hive.home import home_directory

    # The command line may read the environment.
    return home or home_directory(os.environ)  # noqa: TID251
