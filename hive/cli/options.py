"""Options and arguments that several commands share, and how a command opens its store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from manifests import Repository

__all__ = ["HomeOption", "JsonOption", "RunArgument", "open_to_read", "open_to_write"]

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Hive's folder; without it $HIVE_HOME, else ~/.hive.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, as documented in docs/cli.md.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's name.")]


def open_to_read(home: Path | None) -> Repository:
    """Open an existing store for reading only; asking about a run never creates a store.

    Raises:
        NotFoundError: when there is no store in ``home``.
    """
    import hive

    return hive.open(_absolute(home), create=False, read_only=True)


def open_to_write(home: Path | None, *, create: bool) -> Repository:
    """Open the store to add to it; ``create`` makes a missing one."""
    import hive

    return hive.open(_absolute(home), create=create)


def _absolute(home: Path | None) -> Path | None:
    # `hive resume` goes into another folder, and a node may; the store must not move with them.
    return None if home is None else home.absolute()
