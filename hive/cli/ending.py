"""How a run ended, and what to do next."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from hive.cli.failures import FAILED, say
from hive.cli.hints import answer_options, hint, resume_hint
from hive.cli.output import Column, line, table, write_json
from hive.cli.text import count, escape
from hive.cli.values import to_json
from hive.literals import describe

if TYPE_CHECKING:
    from hive.cli.shapes import WaitJson
    from hive.runner import RunResult, Wait
    from manifests import Checkpoint, Repository

__all__ = ["finish", "say_what_is_left", "wait_json"]


def finish(result: RunResult, waits: list[Wait], as_json: bool) -> None:
    """Print the result and what the run waits for; exit with 1 when the run failed."""
    shown = _shown(result, waits)
    if as_json:
        write_json({**shown, "output": to_json(shown["output"])})
    else:
        line(f"run {escape(shown['run'])}: {shown['status']} after {count(shown['steps'], 'step')}")
        if shown["path"]:
            line(f"path: {escape(_short_path(shown['path']))}")
        if shown["output"]:
            line()
            table(
                [Column(title="KEY", shrinks=True), Column(title="VALUE", shrinks=True)],
                [[key, describe(value)] for key, value in shown["output"].items()],
            )
    _say_waits(result.run_id, waits)
    if shown["status"] == "failed":
        say(f"run failed: {shown['error']}")
        say(_advice(result))
        raise typer.Exit(FAILED)


def say_what_is_left(repo: Repository, name: str) -> None:
    """Say how to go on with a run that was interrupted, or that it came to its end before that."""
    from hive import errors
    from hive.graph.standing import standing_of
    from hive.runner.waiting import waits_of

    found: list[Checkpoint] = []
    with contextlib.suppress(errors.NotFoundError):
        found = repo.log(name, limit=1)
    if not found:
        say(f"nothing of run {name!r} was saved yet: begin it again")
        return
    head = found[0]
    waits = waits_of(repo.execution(head))
    if waits:
        _say_waits(name, waits)
    elif standing_of(repo, head) == "done":
        say(f"run {name!r} is done all the same; {hint('show', name)} shows what came of it")
    else:
        say(f"{resume_hint(name)} continues after the last finished step")


def _say_waits(name: str, waits: list[Wait]) -> None:
    kinds: dict[str, str] = {wait.step: wait.kind for wait in waits}
    for wait in waits:
        answer = answer_options(kinds, wait.step)
        say(f"{_wait_text(wait)}; {resume_hint(name, *answer)} continues")


def _wait_text(wait: Wait) -> str:
    """Say what a run waits for."""
    told = "" if wait.message is None else f": {wait.message}"
    match wait.kind:
        case "input":
            return f"waits after {wait.step!r}{told}"
        case "approval":
            return f"waits for an approval before {wait.step!r}{told}"
        case "escalation":
            return f"waits for somebody to look at {wait.step!r}{told}"


def wait_json(wait: Wait) -> WaitJson:
    """Return what a run waits for in the JSON shape that docs/cli.md documents."""
    return {"kind": wait.kind, "step": wait.step, "message": wait.message}


def _short_path(path: Iterable[str]) -> str:
    """Write the nodes of a path in one line, repeated ones once: ``find, read x8, index``."""
    parts = []
    for node, visits in itertools.groupby(path):
        times = sum(1 for _ in visits)
        parts.append(node if times == 1 else f"{node} x{times}")
    return ", ".join(parts)


def _advice(result: RunResult) -> str:
    from hive.plan import ExecutionStatus, PlanExecutionResult

    if isinstance(result, PlanExecutionResult) and result.status in {
        ExecutionStatus.REJECTED,
        ExecutionStatus.ABORTED,
    }:
        return "a person decided that, and the same plan cannot go on: start another run"
    what = "more" if isinstance(result, PlanExecutionResult) else "other"
    return (
        f"when that is mended, {resume_hint(result.run_id)} goes on from there, with {what} "
        "input if --input gives it"
    )


def _shown(result: RunResult, waits: list[Wait]) -> dict[str, Any]:
    from hive.graph import ExecutionResult

    waiting = [wait_json(wait) for wait in waits]
    if isinstance(result, ExecutionResult):
        paused = result.paused_at is not None
        return {
            "run": result.run_id,
            "status": "paused" if paused else "done" if result.success else "failed",
            "steps": result.steps_executed,
            "path": result.path,
            "paused_at": result.paused_at,
            "error": result.error,
            "checkpoint": result.checkpoint_id,
            "output": result.output,
            "waits": waiting,
        }
    paused = result.status.is_waiting
    failed = not (paused or result.success)
    return {
        "run": result.run_id,
        "status": "paused" if paused else "failed" if failed else "done",
        "steps": result.steps_executed,
        "path": result.completed_steps,
        "paused_at": waits[0].step if waits else None,
        "error": (result.feedback or str(result.status)) if failed else None,
        "checkpoint": result.checkpoint_id,
        "output": result.results,
        "waits": waiting,
    }
