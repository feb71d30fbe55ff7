"""The options that make up a retention policy, shared by the commands that take one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hive.cli.quantities import parse_size, parse_span

if TYPE_CHECKING:
    from manifests import KeepEvery, RetentionPolicy

__all__ = [
    "KeepEveryOption",
    "KeepKindOption",
    "KeepLastOption",
    "KeepTaggedOption",
    "KeepTipsOption",
    "KeepWithinOption",
    "MaxBytesOption",
    "MaxBytesPerRunOption",
    "MaxCheckpointsOption",
    "MaxCheckpointsPerRunOption",
    "PolicyOption",
    "policy_from",
]

PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="MODE",
        help="all, latest_only or prune_old. Without it: prune_old if there is a --keep option.",
        show_default=False,
    ),
]
KeepLastOption = Annotated[
    int | None,
    typer.Option(
        "--keep-last", min=1, metavar="N", help="Of each run, the N newest.", show_default=False
    ),
]
KeepWithinOption = Annotated[
    str | None,
    typer.Option(
        "--keep-within",
        "--max-age",
        metavar="SPAN",
        help="Those at most that old: 12h, 7d, 2w.",
        show_default=False,
    ),
]
KeepEveryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-every",
        metavar="UNIT[:N]",
        help="Of each run, the newest of each of the last N hours, days or weeks: day:30. "
        "May be repeated.",
        show_default=False,
    ),
]
KeepKindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-kind",
        metavar="KIND",
        help="Those of that kind: paused, failed, final. May be repeated.",
        show_default=False,
    ),
]
KeepTaggedOption = Annotated[
    bool, typer.Option("--keep-tagged", help="Tagged ones, as always; lets that be all.")
]
KeepTipsOption = Annotated[
    bool, typer.Option("--keep-tips/--no-keep-tips", help="The ends of branches that a run left.")
]
MaxCheckpointsOption = Annotated[
    int | None,
    typer.Option(
        "--max-checkpoints",
        min=1,
        metavar="N",
        help="At most N in all; the runs extended longest ago go first.",
        show_default=False,
    ),
]
MaxBytesOption = Annotated[
    str | None,
    typer.Option(
        "--max-bytes",
        metavar="SIZE",
        help="At most so many bytes of distinct objects in all: 2GB.",
        show_default=False,
    ),
]
MaxCheckpointsPerRunOption = Annotated[
    int | None,
    typer.Option(
        "--max-checkpoints-per-run",
        min=1,
        metavar="N",
        help="At most N of each run.",
        show_default=False,
    ),
]
MaxBytesPerRunOption = Annotated[
    str | None,
    typer.Option(
        "--max-bytes-per-run",
        metavar="SIZE",
        help="At most so many bytes of each run.",
        show_default=False,
    ),
]


def policy_from(
    *,
    mode: str | None,
    keep_within: str | None,
    keep_every: list[str] | None,
    keep_kinds: list[str] | None,
    max_bytes: str | None,
    max_bytes_per_run: str | None,
    keep_tips: bool,
    **numbers: int | bool | None,
) -> RetentionPolicy | None:
    """Return the policy that the options say, None if there is none of them.

    Raises:
        InvalidInputError: An option has a value that means nothing, or they contradict each other.
    """
    from pydantic import ValidationError

    from cas.errors import InvalidInputError
    from manifests import RetentionPolicy

    given: dict[str, Any] = {name: value for name, value in numbers.items() if value}
    if mode is not None:
        given["mode"] = mode
    if keep_within is not None:
        given["keep_within"] = parse_span(keep_within)
    if keep_every:
        given["keep_every"] = tuple(map(_every, keep_every))
    if keep_kinds:
        given["keep_kinds"] = frozenset(keep_kinds)
    if max_bytes is not None:
        given["max_bytes"] = parse_size(max_bytes)
    if max_bytes_per_run is not None:
        given["max_bytes_per_run"] = parse_size(max_bytes_per_run)
    if not given:
        return None
    try:
        return RetentionPolicy(**given, keep_tips=keep_tips)
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors())
        raise InvalidInputError(f"these options make no policy: {problems}") from error


def _every(text: str) -> KeepEvery:
    from pydantic import ValidationError

    from cas.errors import InvalidInputError
    from manifests import KeepEvery

    unit, colon, count = text.partition(":")
    try:
        return KeepEvery.model_validate({"unit": unit, "count": count if colon else None})
    except ValidationError as error:
        raise InvalidInputError(
            f"--keep-every {text!r} means nothing; write hour, day or week, perhaps with a count: "
            "day:30"
        ) from error
