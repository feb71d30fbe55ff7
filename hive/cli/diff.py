"""``hive diff``: what changed from one checkpoint to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from hive.cli.completion import complete_ref
from hive.cli.describe import checkpoint_json, shown_path
from hive.cli.options import HomeOption, JsonOption, open_to_read
from hive.cli.output import heading, line, styled, terminal_width, write_json
from hive.cli.text import escape
from hive.cli.textdiff import text_changes
from hive.cli.values import to_json
from hive.literals import glimpse, pretty

if TYPE_CHECKING:
    from hive.cli.shapes import DiffJson
    from manifests import Change, Checkpoint, Repository

__all__ = ["diff"]

SHOWN: Final = 200
_SIGNS: Final = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_ROOM: Final = 8
"""Columns that a line needs besides the path and the values."""


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="A", help="The earlier checkpoint.", autocompletion=complete_ref),
    ],
    after: Annotated[
        str | None,
        typer.Argument(
            metavar="B",
            help="The later one. Without it: A, compared with the one it was made from.",
            show_default=False,
            autocompletion=complete_ref,
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Whole values, not a few words about each.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N changes.")
    ] = SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="All changes.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed in the state from A to B.

    Places are added (+), removed (-) or changed (~); of long texts, the lines that differ.
    Parts that are equal are not even read. The paths can be given to `hive show`.
    """
    with open_to_read(home) as repo:
        if after is None:
            new, old = repo.resolve(before), _parent(repo, before)
        else:
            old, new = repo.resolve(before), repo.resolve(after)
        changes = repo.diff(old, new, limit=None if everything else limit + 1)
    more = not everything and len(changes) > limit
    shown = changes[:limit] if more else changes
    if as_json:
        write_json(_as_json(old, new, shown, complete=not more))
        return
    heading(f"{_name(old)} -> {_name(new)}")
    for change in shown:
        _show(change, full=full)
    if not shown:
        line("the states are equal")
        return
    line()
    if more:
        line(f"... only the first {limit:,} changes are shown: --limit N or --all")
    else:
        kinds = [change.kind for change in shown]
        line(", ".join(f"{kinds.count(kind):,} {kind}" for kind in _SIGNS if kind in kinds))


def _parent(repo: Repository, ref: str) -> Checkpoint:
    from hive import NotFoundError

    try:
        return repo.resolve(f"{ref}~1")
    except NotFoundError as error:
        raise NotFoundError(f"{error}; compare it with another one: hive diff A B") from error


def _name(checkpoint: Checkpoint) -> str:
    node = f" ({escape(checkpoint.node)})" if checkpoint.node else ""
    return f"{escape(checkpoint.run)}@{checkpoint.sequence}{node}"


def _show(change: Change, *, full: bool) -> None:
    sign, colour = _SIGNS[change.kind]
    path = escape(shown_path(change.path) or "state")
    width = max(terminal_width() - len(path) - _ROOM, 24)
    before, after = change.before, change.after
    if change.kind == "changed" and isinstance(before, str) and isinstance(after, str):
        lines = text_changes(before, after, context=3 if full else 1)
        if lines is not None:
            line(f"{styled(sign, colour)} {path}: text of {len(before):,} -> {len(after):,}")
            for text in lines:
                _show_text(text)
            return
    if full:
        line(f"{styled(sign, colour)} {path}")
        for mark, tint, value, there in (
            ("-", "red", before, change.kind != "added"),
            ("+", "green", after, change.kind != "removed"),
        ):
            for text in pretty(value, width=terminal_width() - 6).split("\n") if there else ():
                line(styled(f"    {mark} {text}", tint))
        return
    if change.kind == "changed":
        told = f"{glimpse(before, width=width // 2)} -> {glimpse(after, width=width // 2)}"
    else:
        told = glimpse(after if change.kind == "added" else before, width=width)
    line(f"{styled(sign, colour)} {path}: {told}")


def _show_text(text: str) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    colour = colours.get(text[:1])
    shown = "    " + escape(text)
    line(styled(shown, colour) if colour else shown)


def _as_json(
    old: Checkpoint, new: Checkpoint, changes: list[Change], *, complete: bool
) -> DiffJson:
    return {
        "before": checkpoint_json(old),
        "after": checkpoint_json(new),
        "complete": complete,
        "changes": [
            {
                "kind": change.kind,
                "path": change.path,
                "before": to_json(change.before),
                "after": to_json(change.after),
            }
            for change in changes
        ],
    }
