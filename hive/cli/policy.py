"""The options that make up a retention policy, for the commands that take one."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict, TypeVar, get_type_hints

import typer

from hive.cli.quantities import parse_size, parse_span

if TYPE_CHECKING:
    from manifests import KeepEvery, RetentionPolicy

__all__ = ["PolicyOptions", "policy_from", "with_policy_options"]

Command = TypeVar("Command", bound=Callable[..., None])


def _option(*names: str, metavar: str, help: str, least: int | None = None) -> Any:
    """Return an option that is None when it is not given."""
    return typer.Option(*names, metavar=metavar, help=help, min=least, show_default=False)


class PolicyOptions(TypedDict):
    """What was given on the command line, by the names of the parameters."""

    policy: Annotated[
        str | None,
        _option(
            "--policy",
            metavar="MODE",
            help="all, latest_only or prune_old. Without it: prune_old if there is a --keep "
            "option.",
        ),
    ]
    keep_last: Annotated[
        int | None,
        _option("--keep-last", metavar="N", help="Of each run, the N newest.", least=1),
    ]
    keep_within: Annotated[
        str | None,
        _option(
            "--keep-within",
            "--max-age",
            metavar="SPAN",
            help="Those at most that old: 12h, 7d, 2w.",
        ),
    ]
    keep_every: Annotated[
        list[str] | None,
        _option(
            "--keep-every",
            metavar="UNIT[:N]",
            help="Of each run, the newest of each of the last N hours, days or weeks: day:30. "
            "May be repeated.",
        ),
    ]
    keep_kind: Annotated[
        list[str] | None,
        _option(
            "--keep-kind",
            metavar="KIND",
            help="Those of that kind: paused, failed, final. May be repeated.",
        ),
    ]
    keep_tagged: Annotated[
        bool, typer.Option("--keep-tagged", help="Tagged ones, as always; lets that be all.")
    ]
    keep_tips: Annotated[
        bool,
        typer.Option("--keep-tips/--no-keep-tips", help="The ends of branches that a run left."),
    ]
    max_checkpoints: Annotated[
        int | None,
        _option(
            "--max-checkpoints",
            metavar="N",
            help="At most N in all; the runs extended longest ago go first.",
            least=1,
        ),
    ]
    max_bytes: Annotated[
        str | None,
        _option(
            "--max-bytes",
            metavar="SIZE",
            help="At most so many bytes of distinct objects in all: 2GB.",
        ),
    ]
    max_checkpoints_per_run: Annotated[
        int | None,
        _option("--max-checkpoints-per-run", metavar="N", help="At most N of each run.", least=1),
    ]
    max_bytes_per_run: Annotated[
        str | None,
        _option("--max-bytes-per-run", metavar="SIZE", help="At most so many bytes of each run."),
    ]


_DEFAULTS: Final = {"keep_tagged": False, "keep_tips": True}
"""Of the options that are not None when they are not given."""
_SAME: Final = ("keep_last", "keep_tagged", "max_checkpoints", "max_checkpoints_per_run")
"""Those that a policy takes as they are."""
_RENAMED: Final = {"mode": "policy", "keep_kinds": "keep-kind"}
"""The options that are called otherwise than the fields of a policy."""


def with_policy_options(command: Command) -> Command:
    """Spell out the ``**options: Unpack[PolicyOptions]`` of a command.

    Typer makes options of the parameters that a signature lists. They stand before the keyword-only
    ones of the command.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    at = sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in own)
    own[at:at] = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=hint
        )
        for name, hint in get_type_hints(PolicyOptions, include_extras=True).items()
    ]
    command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]  # inspect's
    return command


def policy_from(options: PolicyOptions) -> RetentionPolicy | None:
    """Return the policy that the options say, None if there is none of them.

    Raises:
        InvalidInputError: An option has a value that means nothing, or they contradict each other.
    """
    from pydantic import ValidationError

    from cas.errors import InvalidInputError
    from hive.validation import words_of
    from manifests import RetentionPolicy

    given: dict[str, Any] = {name: options[name] for name in _SAME if options[name]}
    if options["policy"] is not None:
        given["mode"] = options["policy"]
    if options["keep_within"] is not None:
        given["keep_within"] = parse_span(options["keep_within"])
    if options["keep_every"]:
        given["keep_every"] = tuple(map(_every, options["keep_every"]))
    if options["keep_kind"]:
        given["keep_kinds"] = frozenset(options["keep_kind"])
    if options["max_bytes"] is not None:
        given["max_bytes"] = parse_size(options["max_bytes"])
    if options["max_bytes_per_run"] is not None:
        given["max_bytes_per_run"] = parse_size(options["max_bytes_per_run"])
    if not given:
        return None
    try:
        return RetentionPolicy(**given, keep_tips=options["keep_tips"])
    except ValidationError as error:
        problems = "; ".join(
            f"{_prefix(problem['loc'])}{_with_options(words_of(problem))}"
            for problem in error.errors()
        )
        raise InvalidInputError(f"these options make no policy: {problems}") from error


def _prefix(location: tuple[int | str, ...]) -> str:
    """Return the option that a problem of a policy is about; empty if it is about several."""
    if not location:
        return ""
    return f"{_option_of(str(location[0]))}: "


def _option_of(field: str) -> str:
    return f"--{_RENAMED.get(field, field.replace('_', '-'))}"


def _with_options(text: str) -> str:
    """Return a text that names fields of a policy with the options that they are here."""
    from manifests import RetentionPolicy

    fields = "|".join(RetentionPolicy.model_fields)
    return re.sub(rf"\b({fields})\b", lambda found: _option_of(found[0]), text)


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
