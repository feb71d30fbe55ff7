"""``hive show REF [PATH]``: one checkpoint, or one value of its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hive.cli.describe import checkpoint_json, tags_by_id
from hive.cli.options import HomeOption, JsonOption, RefArgument, open_to_read
from hive.cli.output import Column, line, table, terminal_width, write_json, write_raw
from hive.cli.text import count, escape, size
from hive.cli.values import describe_outline, to_json
from hive.literals import glimpse, in_one_line, pretty
from hive.text import kind_of, task_name

if TYPE_CHECKING:
    from hive.cli.shapes import PendingJson, ShownStateJson, ShownValueJson
    from manifests import Checkpoint, Outline, PendingWrite, Repository

__all__ = ["show"]

PARTS_SHOWN: Final = 200


def show(
    ref: RefArgument,
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help="A place in the state, such as messages[-1].content, ['a key'] or items[2:5]; "
            "only what leads there is read.",
            show_default=False,
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="With PATH: the text or bytes as they are, for a file or a pipe. Not escaped: a "
            "terminal may obey what they hold.",
        ),
    ] = False,
    summary: Annotated[
        bool,
        typer.Option("--summary", help="Say what is there in a few words, level by level."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a checkpoint, or one value of its state.

    Without PATH: the checkpoint and the keys of its state, each in a few words, and what tasks
    behind it have written that is in no state yet. With PATH: the value there, a text as its own
    lines, everything else as indented Python.
    """
    from hive import InvalidInputError

    if raw and (path is None or as_json or summary):
        raise InvalidInputError("--raw prints the value at one PATH, and not as JSON")
    if summary and as_json:
        raise InvalidInputError("--summary and --json exclude each other")
    with open_to_read(home) as repo:
        checkpoint = repo.resolve(ref)
        tags = tags_by_id(repo).get(checkpoint.id, [])
        if as_json:
            write_json(_as_json(repo, checkpoint, tags, path))
            return
        if path is None:
            error, names = _failure(repo, checkpoint), _elsewhere(repo, checkpoint)
            _show_checkpoint(checkpoint, tags, error, names)
            line()
        if path is None or summary:
            _show_outline(repo.outline(checkpoint, path or "", stop=PARTS_SHOWN))
            if path is None:
                _show_pending(repo.pending(checkpoint.run, checkpoint.sequence))
            return
        value = repo.value(checkpoint, path)
    if raw:
        _write_raw(value, path)
    else:
        line(pretty(value, width=terminal_width()))


def _as_json(
    repo: Repository, checkpoint: Checkpoint, tags: list[str], path: str | None
) -> ShownStateJson | ShownValueJson:
    shown: Any = checkpoint_json(checkpoint, tags)
    if path is None:
        shown["state"] = to_json(repo.restore(checkpoint))
        shown["not_in_state"] = _elsewhere(repo, checkpoint)
        pending = repo.pending(checkpoint.run, checkpoint.sequence)
        shown["pending"] = [_pending_json(write) for write in pending]
    else:
        shown["path"] = path
        shown["value"] = to_json(repo.value(checkpoint, path))
    found: ShownStateJson | ShownValueJson = shown
    return found


def _failure(repo: Repository, checkpoint: Checkpoint) -> str:
    from hive.threads import failure_of_thread, is_thread

    if is_thread(checkpoint):
        return failure_of_thread(repo, checkpoint)
    if checkpoint.kind != "failed":  # without the executors, which take a while to import
        return ""
    from hive.graph.standing import failure_of

    return failure_of(repo, checkpoint)


def _elsewhere(repo: Repository, checkpoint: Checkpoint) -> list[str]:
    """Return the keys of a thread's state that would otherwise seem to be lost."""
    from hive.threads import delta_channels_of

    return delta_channels_of(repo, checkpoint)


def _show_checkpoint(
    checkpoint: Checkpoint, tags: list[str], error: str, elsewhere: list[str]
) -> None:
    made = "made by the graph, from what earlier steps wrote"
    fields = {
        "checkpoint": f"{checkpoint.run}@{checkpoint.sequence}",
        "id": str(checkpoint.id),
        "parent": str(checkpoint.parent) if checkpoint.parent else "-",
        "kind": checkpoint.kind,
        "error": error,
        "node": checkpoint.node or "-",
        "next": ", ".join(checkpoint.next_nodes) or "-",
        "created": checkpoint.created_at.isoformat(timespec="seconds"),
        "tags": ", ".join(tags),
        "labels": ", ".join(f"{name}={text}" for name, text in checkpoint.labels.items()),
        "graph": checkpoint.graph or "",
        "state": f"{size(checkpoint.logical_bytes)} as a full copy; saving it added "
        f"{size(checkpoint.new_bytes)} in {count(checkpoint.new_objects, 'object')}",
        "not in it": f"{', '.join(elsewhere)}: {made}" if elsewhere else "",
    }
    for name, text in fields.items():
        if text:
            line(f"{name:<11} {escape(text)}")


def _show_outline(outline: Outline) -> None:
    if not outline.parts:
        line(describe_outline(outline))
        return
    table(
        [Column(title="KEY", shrinks=True), Column(title="VALUE", shrinks=True)],
        [
            [
                part.step if isinstance(part.step, str) else in_one_line(part.step),
                describe_outline(part.outline),
            ]
            for part in outline.parts
        ],
    )
    left = (outline.length or 0) - len(outline.parts)
    if left > 0:
        line(f"... and {left:,} more")


def _show_pending(writes: Sequence[PendingWrite]) -> None:
    if not writes:
        return
    line()
    table(
        [
            Column(title="PENDING", shrinks=True),
            Column(title="VALUE", shrinks=True),
            Column(title="TASK", shrinks=True),
        ],
        [
            [write.name, glimpse(write.value), task_name(write.task, write.path)]
            for write in writes[:PARTS_SHOWN]
        ],
    )
    if len(writes) > PARTS_SHOWN:
        line(f"... and {len(writes) - PARTS_SHOWN:,} more")


def _pending_json(write: PendingWrite) -> PendingJson:
    return {
        "task": write.task,
        "path": write.path,
        "index": write.index,
        "name": write.name,
        "value": to_json(write.value),
    }


def _write_raw(value: object, path: str) -> None:
    from hive import InvalidInputError

    if isinstance(value, str):
        write_raw(value.encode("utf-8"))
    elif isinstance(value, (bytes, bytearray)):
        write_raw(bytes(value))
    else:
        raise InvalidInputError(
            f"the value of {path!r} is {kind_of(value)}; --raw prints text or bytes, "
            "--json prints the rest"
        )
