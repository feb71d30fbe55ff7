"""``hive forget`` and ``hive rm``: taking checkpoints, or a run, off the lists."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Unpack

import typer

from hive.cli.completion import complete_run
from hive.cli.describe import status
from hive.cli.hints import hint
from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_change, open_to_write
from hive.cli.output import Column, line, table, write_json
from hive.cli.policy import PolicyOptions, policy_from, with_policy_options
from hive.cli.progress import shown_progress
from hive.cli.text import age, count, escape

if TYPE_CHECKING:
    from cas.upkeep import OnProgress
    from manifests import ForgetPlan, Repository, RetentionPolicy
    from manifests.retention import Verdict

__all__ = ["forget", "forget_by_policy", "plan_json", "rm", "show_plan"]

ROWS_SHOWN: Final = 100


@with_policy_options
def forget(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="REF", help="Exactly these.", show_default=False),
    ] = None,
    *,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Only of this run.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would go, and change nothing.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    **options: Unpack[PolicyOptions],
) -> None:
    """Forget checkpoints, by name or by a policy.

    A checkpoint is kept if any --keep option keeps it, as far as the --max options allow. The
    head of a run, its newest checkpoint that can be resumed, tagged and pinned ones are always
    kept. Space is freed by `hive gc`.
    """
    chosen = policy_from(options)
    if (chosen is None) == (not refs):
        from cas.errors import InvalidInputError

        both = ", not both" if refs else ""
        raise InvalidInputError(f"name checkpoints, or give a policy such as --keep-last 5{both}")
    with open_to_change(home, dry_run=dry_run) as repo, shown_progress() as progress:
        plan = (
            repo.forget(refs or [], run=run, dry_run=dry_run, progress=progress)
            if chosen is None
            else forget_by_policy(repo, chosen, run=run, dry_run=dry_run, progress=progress)
        )
    if as_json:
        write_json(plan_json(plan))
        return
    show_plan(plan)
    if plan.dropped and not plan.dry_run:
        line(f"{hint('gc')} frees the space")


def forget_by_policy(
    repo: Repository,
    policy: RetentionPolicy,
    *,
    run: str | None,
    dry_run: bool,
    progress: OnProgress | None,
) -> ForgetPlan:
    """Forget what a policy does not keep, threads with delta channels as their saver does."""
    from hive.threads import rebuilt_names

    return repo.forget(policy, run=run, dry_run=dry_run, rebuilt=rebuilt_names, progress=progress)


def rm(
    run: RunArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Even if checkpoints of it are tagged or pinned.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a run with all its checkpoints, the last one included."""
    from hive.cli.launches import forget_launch

    with open_to_write(home, create=False) as repo:
        if not force:
            _refuse_running(repo, run)
        deleted = repo.delete_run(run, force=force)
        forget_launch(repo.home, run)
    if as_json:
        write_json({"run": run, "checkpoints": deleted})
    else:
        line(
            f"deleted run {escape(run)}, {count(deleted, 'checkpoint')}; {hint('gc')} frees the "
            "space"
        )


def _refuse_running(repo: Repository, run: str) -> None:
    """Refuse to delete a run under the program that executes it, which would then fail."""
    from hive import ConflictError, CorruptionError

    running = False
    with suppress(CorruptionError):  # what is damaged can be deleted
        running = any(status(repo, head) == "running" for head in repo.log(run, limit=1))
    if running:
        raise ConflictError(
            f"run {run!r} is being executed; wait for it or stop it, or delete it with --force",
            run=run,
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
    gone = [verdict for verdict in plan.verdicts if not verdict.keep]
    kept = [verdict for verdict in plan.verdicts if verdict.keep]
    verb = "would be forgotten" if plan.dry_run else "forgotten"
    line(f"{count(len(gone), 'checkpoint')} {verb}{_by_rule(gone)}")
    if not plan.named:
        hidden = sum(verdict.hidden for verdict in kept)
        unseen = f", {hidden:,} of them out of sight" if hidden else ""
        line(f"{count(len(kept), 'checkpoint')} kept{_by_rule(kept)}{unseen}")


def _by_rule(verdicts: list[Verdict]) -> str:
    """Say how many have which reason; one may have several."""
    rules = Counter(rule for verdict in verdicts for rule in {r.rule for r in verdict.reasons})
    told = ", ".join(f"{number:,} {rule}" for rule, number in rules.most_common())
    return f" ({told})" if told else ""


def _row(verdict: Verdict, moment: datetime) -> list[str]:
    found = verdict.checkpoint
    return [
        "hide" if verdict.hidden else "keep" if verdict.keep else "drop",
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
        "hidden": sum(verdict.hidden for verdict in plan.verdicts),
        "dropped": len(plan.dropped),
        "verdicts": [
            {
                "run": verdict.checkpoint.run,
                "sequence": verdict.checkpoint.sequence,
                "id": str(verdict.checkpoint.id),
                "keep": verdict.keep,
                "hidden": verdict.hidden,
                "reasons": [
                    {"rule": reason.rule, "text": reason.text} for reason in verdict.reasons
                ],
            }
            for verdict in plan.verdicts
        ],
    }
