"""``hive show REF [KEY]``: one checkpoint, or one value of its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hive.cli.describe import checkpoint_json, tags_by_id
from hive.cli.options import HomeOption, JsonOption, open_to_read
from hive.cli.output import Column, line, table, terminal_width, write_json, write_raw
from hive.cli.text import count, escape, size
from hive.cli.values import describe, pretty, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests import Checkpoint

__all__ = ["show"]


def show(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="run, run@12, run~3, tag:name, or 6 or more digits of an id."
        ),
    ],
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY", help="A key of the state; only its value is read.", show_default=False
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="With KEY: the text or bytes as they are, for a file or a pipe. Not escaped: a "
            "terminal may obey what they hold.",
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a checkpoint, or one value of its state."""
    from hive import InvalidInputError

    if raw and (key is None or as_json):
        raise InvalidInputError("--raw prints the value of one KEY, and not as JSON")
    with open_to_read(home) as repo:
        checkpoint = repo.resolve(ref)
        state = repo.restore(checkpoint, keys=None if key is None else [key])
        tags = tags_by_id(repo).get(checkpoint.id, [])
    if key is None:
        if as_json:
            write_json({**checkpoint_json(checkpoint, tags), "state": to_json(state)})
        else:
            _show_checkpoint(checkpoint, tags)
            _show_keys(state)
        return
    value = state[key]
    if as_json:
        write_json({**checkpoint_json(checkpoint, tags), "key": key, "value": to_json(value)})
    elif raw:
        _write_raw(value, key)
    else:
        line(pretty(value, width=terminal_width()))


def _show_checkpoint(checkpoint: Checkpoint, tags: list[str]) -> None:
    fields = {
        "checkpoint": f"{checkpoint.run}@{checkpoint.sequence}",
        "id": str(checkpoint.id),
        "parent": str(checkpoint.parent) if checkpoint.parent else "-",
        "kind": checkpoint.kind,
        "node": checkpoint.node or "-",
        "next": ", ".join(checkpoint.next_nodes) or "-",
        "created": checkpoint.created_at.isoformat(timespec="seconds"),
        "tags": ", ".join(tags),
        "labels": ", ".join(f"{name}={text}" for name, text in checkpoint.labels.items()),
        "graph": checkpoint.graph or "",
        "state": f"{size(checkpoint.logical_bytes)} as a full copy; saving it added "
        f"{size(checkpoint.new_bytes)} in {count(checkpoint.new_objects, 'object')}",
    }
    for name, text in fields.items():
        if text:
            line(f"{name:<11} {escape(text)}")


def _show_keys(state: object) -> None:
    line()
    if not isinstance(state, dict):
        line(pretty(state, width=terminal_width()))
        return
    rows: Mapping[Any, Any] = state
    table(
        [Column(title="KEY", shrinks=True), Column(title="VALUE", shrinks=True)],
        [
            [name if isinstance(name, str) else repr(name), describe(value)]
            for name, value in rows.items()
        ],
    )


def _write_raw(value: object, key: str) -> None:
    from hive import InvalidInputError

    if isinstance(value, str):
        write_raw(value.encode("utf-8"))
    elif isinstance(value, (bytes, bytearray)):
        write_raw(bytes(value))
    else:
        raise InvalidInputError(
            f"the value of {key!r} is a {type(value).__name__}; --raw prints text or bytes, "
            "--json prints the rest"
        )
