"""``hive tag``, ``untag``, ``pin``, ``unpin``, ``fork``: names that keep checkpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from hive.cli.completion import complete_tag
from hive.cli.describe import checkpoint_json
from hive.cli.options import HomeOption, JsonOption, RefArgument, open_to_write
from hive.cli.output import line, write_json
from hive.cli.text import escape

__all__ = ["fork", "pin", "tag", "unpin", "untag"]

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The tag's name.", autocompletion=complete_tag),
]


def tag(
    name: NameArgument,
    ref: RefArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Move a tag that another checkpoint has.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a checkpoint a name, which also keeps it."""
    with open_to_write(home, create=False) as repo:
        found = repo.tag(name, ref, force=force)
    if as_json:
        write_json(checkpoint_json(found, [name]))
    else:
        line(f"tag {escape(name)} names {escape(found.run)}@{found.sequence} ({found.id.short})")


def untag(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove a tag; the checkpoint stays where a run lists it."""
    with open_to_write(home, create=False) as repo:
        repo.untag(name)
    if as_json:
        write_json({"tag": name})
    else:
        line(f"removed the tag {escape(name)}")


def pin(
    ref: RefArgument,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why it is kept.", show_default=False),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a checkpoint from being forgotten."""
    with open_to_write(home, create=False) as repo:
        found = repo.pin(ref, reason)
    if as_json:
        write_json({**checkpoint_json(found), "reason": reason or ""})
    else:
        line(f"pinned {escape(found.run)}@{found.sequence} ({found.id.short})")


def unpin(ref: RefArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove a pin."""
    with open_to_write(home, create=False) as repo:
        found = repo.resolve(ref)
        repo.unpin(found)
    if as_json:
        write_json(checkpoint_json(found))
    else:
        line(f"unpinned {escape(found.run)}@{found.sequence}")


def fork(
    ref: RefArgument,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The new run's name.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a run at a checkpoint; nothing is copied."""
    with open_to_write(home, create=False) as repo:
        found = repo.fork(ref, run)
    if as_json:
        write_json(checkpoint_json(found))
    else:
        line(f"run {escape(found.run)} begins at {found.id.short}")
