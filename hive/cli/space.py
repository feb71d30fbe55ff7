"""``hive gc`` and ``hive compact``: free what nothing leads to, and give it back to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Unpack

import typer

from hive.cli.completion import complete_run
from hive.cli.forget import forget_by_policy, plan_json, show_plan
from hive.cli.options import HomeOption, JsonOption, open_to_change, open_to_write
from hive.cli.output import line, write_json
from hive.cli.policy import PolicyOptions, policy_from, with_policy_options
from hive.cli.progress import shown_progress
from hive.cli.text import count, size

if TYPE_CHECKING:
    from manifests import CompactReport, GcReport

__all__ = ["compact", "gc"]

_SCOPES: Final = {
    "nothing": "nothing has changed since the last gc",
    "changes": "looked at what changed since the last gc",
    "everything": "looked at everything",
}


@with_policy_options
def gc(
    *,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Apply the policy to this run alone.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would be freed.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Look at everything, not only at what changed.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            "--time-budget",
            min=0,
            metavar="SECONDS",
            help="Stop after this long; the next gc goes on.",
            show_default=False,
        ),
    ] = None,
    and_compact: Annotated[
        bool, typer.Option("--compact", help="Then make the file smaller, as `hive compact`.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    **options: Unpack[PolicyOptions],
) -> None:
    """Free what no run, tag or pin leads to any more. Others may work with the store meanwhile.

    With a policy, it first forgets what that does not keep, as `hive forget` does.
    """
    policy = policy_from(options)
    _refuse(
        ("--dry-run and --compact exclude each other", dry_run and and_compact),
        ("--run goes with a policy such as --keep-last 5", run is not None and policy is None),
    )
    plan = compacted = None
    with open_to_change(home, dry_run=dry_run) as repo, shown_progress() as progress:
        if policy is not None:
            plan = forget_by_policy(repo, policy, run=run, dry_run=dry_run, progress=progress)
        report = repo.gc(
            dry_run=dry_run,
            whole=whole,
            time_budget=budget,
            after=plan if dry_run else None,
            progress=progress,
        )
        if and_compact:
            compacted = repo.compact(progress=progress)
    if as_json:
        extra: dict[str, Any] = {} if plan is None else {"forget": plan_json(plan)}
        extra |= {} if compacted is None else {"compact": _compact_json(compacted)}
        write_json({**report.model_dump(), **extra})
        return
    if plan is not None:
        show_plan(plan)
        line()
    _show_gc(report)
    if compacted is not None:
        _show_compact(compacted)


def compact(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make the store's file as small as what is kept. Others may work with it meanwhile."""
    with open_to_write(home, create=False) as repo, shown_progress() as progress:
        report = repo.compact(progress=progress)
    if as_json:
        write_json(_compact_json(report))
    else:
        _show_compact(report)


def _refuse(*mistakes: tuple[str, bool]) -> None:
    """Raise ``InvalidInputError`` for the first mistake that was made."""
    for text, made in mistakes:
        if made:
            from cas.errors import InvalidInputError

            raise InvalidInputError(text)


def _show_gc(report: GcReport) -> None:
    verb = "would free" if report.dry_run else "freed"
    line(
        f"{verb:<12} {size(report.bytes_freed_inside):>8}   inside the file, of "
        f"{count(report.objects_removed, 'object')}"
    )
    line(f"{'returned':<12} {size(report.bytes_returned_to_disk):>8}   to the disk")
    kinds = {kind.removesuffix("s"): number for kind, number in report.roots.items() if number}
    roots = ", ".join(count(number, kind) for kind, number in kinds.items())
    kept = count(report.objects_kept, "object")
    line(f"{'kept':<12} {kept}, because of {roots or 'nothing'}")
    line(f"{'took':<12} {report.seconds:,.2f} s; {_SCOPES[report.scope]}")
    if not report.complete and not report.dry_run:
        line("not finished: run gc again")


def _show_compact(report: CompactReport) -> None:
    line(
        f"{'on disk':<12} {size(report.bytes_after):>8}   was {size(report.bytes_before)}; "
        f"{count(report.objects_kept, 'object')} kept, {report.objects_left_out:,} left out"
    )
    waited = f"others had to wait for {report.waited_seconds:.2f} s"
    line(f"{'took':<12} {report.seconds:,.2f} s; {waited}")


def _compact_json(report: CompactReport) -> dict[str, int | float]:
    return {**report.model_dump(), "bytes_returned_to_disk": report.bytes_returned_to_disk}
