"""``hive forget`` and ``hive rm``: taking checkpoints, or a run, off the lists."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_write
from hive.cli.output import Column, line, table, write_json
from hive.cli.policy import (
    KeepEveryOption,
    KeepKindOption,
    KeepLastOption,
    KeepTaggedOption,
    KeepTipsOption,
    KeepWithinOption,
    MaxBytesOption,
    MaxBytesPerRunOption,
    MaxCheckpointsOption,
    MaxCheckpointsPerRunOption,
    PolicyOption,
    policy_from,
)
from hive.cli.text import age, count, escape

if TYPE_CHECKING:
    from manifests import ForgetPlan

__all__ = ["forget", "rm", "show_plan"]

ROWS_SHOWN = 100


def forget(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REF]...", help="Exactly these.", show_default=False),
    ] = None,
    policy: PolicyOption = None,
    keep_last: KeepLastOption = None,
    keep_within: KeepWithinOption = None,
    keep_every: KeepEveryOption = None,
    keep_kind: KeepKindOption = None,
    keep_tagged: KeepTaggedOption = False,
    keep_tips: KeepTipsOption = True,
    max_checkpoints: MaxCheckpointsOption = None,
    max_bytes: MaxBytesOption = None,
    max_checkpoints_per_run: MaxCheckpointsPerRunOption = None,
    max_bytes_per_run: MaxBytesPerRunOption = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="Only of this run.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would go, and change nothing.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget checkpoints, by name or by a policy.

    A checkpoint is kept if any --keep option keeps it, as far as the --max options allow. The
    head of a run, its newest checkpoint that can be resumed, tagged and pinned ones are always
    kept. Space is freed by `hive gc`.
    """
    chosen = policy_from(
        mode=policy,
        keep_last=keep_last,
        keep_within=keep_within,
        keep_every=keep_every,
        keep_kinds=keep_kind,
        keep_tagged=keep_tagged,
        keep_tips=keep_tips,
        max_checkpoints=max_checkpoints,
        max_bytes=max_bytes,
        max_checkpoints_per_run=max_checkpoints_per_run,
        max_bytes_per_run=max_bytes_per_run,
    )
    if (chosen is None) == (not refs):
        from cas.errors import InvalidInputError

        raise InvalidInputError("name checkpoints, or give a policy such as --keep-last 5")
    with open_to_write(home, create=False) as repo:
        what = refs or [] if chosen is None else chosen
        plan = repo.forget(what, run=run, dry_run=dry_run)
    if as_json:
        write_json(plan_json(plan))
    else:
        show_plan(plan)


def rm(
    run: RunArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Even if checkpoints of it are tagged or pinned.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a run with all its checkpoints, the last one included."""
    with open_to_write(home, create=False) as repo:
        deleted = repo.delete_run(run, force=force)
    if as_json:
        write_json({"run": run, "checkpoints": deleted})
    else:
        line(
            f"deleted run {escape(run)}, {count(deleted, 'checkpoint')}; `hive gc` frees the space"
        )


def show_plan(plan: ForgetPlan) -> None:
    """Print what goes and what stays, with the reasons."""
    from manifests.clock import system_clock

    moment = system_clock()
    rows = [_row(verdict, moment) for verdict in plan.verdicts[:ROWS_SHOWN]]
    table(
        [
            Column(title=""),
            Column(title="CHECKPOINT", shrinks=True),
            Column(title="ID"),
            Column(title="KIND"),
            Column(title="AGE", right=True),
            Column(title="WHY", shrinks=True),
        ],
        rows,
    )
    if len(plan.verdicts) > ROWS_SHOWN:
        line(f"... and {len(plan.verdicts) - ROWS_SHOWN:,} more; --json lists all")
    line()
    gone, kept = len(plan.dropped), len(plan.kept)
    verb = "would be forgotten" if plan.dry_run else "forgotten"
    line(f"{count(gone, 'checkpoint')} {verb}, {kept:,} kept" + _gc_hint(plan))


def _gc_hint(plan: ForgetPlan) -> str:
    return "; `hive gc` frees the space" if plan.dropped and not plan.dry_run else ""


def _row(verdict: Any, moment: datetime) -> list[str]:
    found = verdict.checkpoint
    return [
        "keep" if verdict.keep else "drop",
        f"{found.run}@{found.sequence}",
        found.id.short,
        found.kind,
        age(moment - found.created_at),
        ", ".join(reason.text for reason in verdict.reasons),
    ]


def plan_json(plan: ForgetPlan) -> dict[str, Any]:
    """Return a plan in the JSON shape that docs/cli.md documents."""
    return {
        "dry_run": plan.dry_run,
        "kept": len(plan.kept),
        "dropped": len(plan.dropped),
        "verdicts": [
            {
                "run": verdict.checkpoint.run,
                "sequence": verdict.checkpoint.sequence,
                "id": str(verdict.checkpoint.id),
                "keep": verdict.keep,
                "reasons": [
                    {"rule": reason.rule, "text": reason.text} for reason in verdict.reasons
                ],
            }
            for verdict in plan.verdicts
        ],
    }
