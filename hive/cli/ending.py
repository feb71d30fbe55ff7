"""How a run ended, and what to do next."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from hive.cli.failures import FAILED, say
from hive.cli.output import Column, line, table, write_json
from hive.cli.text import count, escape
from hive.cli.values import describe, to_json

if TYPE_CHECKING:
    from hive.graph import ExecutionResult

__all__ = ["finish", "resume_command", "short_path"]


def finish(result: ExecutionResult, as_json: bool) -> None:
    """Print the result; exit with 1 when the run failed."""
    paused = result.paused_at is not None
    status = "paused" if paused else "done" if result.success else "failed"
    if as_json:
        write_json(
            {
                "run": result.run_id,
                "status": status,
                "steps": result.steps_executed,
                "path": result.path,
                "paused_at": result.paused_at,
                "error": result.error,
                "checkpoint": result.checkpoint_id,
                "output": to_json(result.output),
            }
        )
    else:
        line(f"run {escape(result.run_id)}: {status} after {count(result.steps_executed, 'step')}")
        line(f"path: {escape(short_path(result.path))}")
        if result.output:
            line()
            table(
                [Column(title="KEY", shrinks=True), Column(title="VALUE", shrinks=True)],
                [[key, describe(value)] for key, value in result.output.items()],
            )
    if paused:
        say(f"waits after {result.paused_at!r}; {resume_command(result.run_id)} continues")
    elif not result.success:
        say(f"run failed: {result.error}")
        say(f"when that is mended, {resume_command(result.run_id)} goes on from there")
        raise typer.Exit(FAILED)


def short_path(path: Iterable[str]) -> str:
    """Write the nodes of a path in one line, repeated ones once: ``find, read x8, index``."""
    parts = []
    for node, visits in itertools.groupby(path):
        times = sum(1 for _ in visits)
        parts.append(node if times == 1 else f"{node} x{times}")
    return ", ".join(parts)


def resume_command(name: str) -> str:
    """Return the command that continues a run, as it can be typed."""
    return f"`hive resume {shlex.quote(name)}`"
