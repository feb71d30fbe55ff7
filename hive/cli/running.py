"""``hive run`` and ``hive resume``: execute a graph of the user's with checkpoints."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hive import errors
from hive.cli.ending import finish, say_what_is_left
from hive.cli.hints import hint, resume_hint
from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_write

if TYPE_CHECKING:
    from hive.cli.launches import Launch
    from hive.runner import Agent, AgentRunner
    from manifests import Repository

__all__ = ["resume", "run"]


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="What to run: package.module:name or FILE.py:name (a GraphSpec, a Plan, an Agent, "
            "or a function without arguments that returns one), the description of an agent in "
            "JSON or YAML, or a folder with an agent file. Running it imports what it names.",
        ),
    ],
    given: Annotated[
        str,
        typer.Option(
            "--input", metavar="JSON", help="The input: a JSON object, @FILE, or - for stdin."
        ),
    ] = "{}",
    name: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="The run's name; without it a new one."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a graph or a plan with a checkpoint after every node or step."""
    from hive import ConflictError
    from hive.cli.launches import Launch, record_launch, while_executing
    from hive.runner.loading import load_agent
    from hive.runner.waiting import waits_of
    from manifests.names import check_name

    input_data = _read_input(given)
    if name is not None:
        check_name(name, "run name")
    folder = Path.cwd()
    agent = load_agent(target, folder)
    with (
        open_to_write(home, create=True, agent=agent) as repo,
        contextlib.ExitStack() as claim,
    ):
        if name is None:
            chosen = _claim(repo, claim, f"{agent.id}-")
        else:
            chosen = name
            claim.enter_context(while_executing(repo.home, name))
            if _exists(repo, name):
                raise ConflictError(
                    f"there is a run {name!r} already; {resume_hint(name)} continues it, "
                    "--run names another one",
                    run=name,
                )
        # Before the first checkpoint: a run that can be seen can also be resumed.
        record_launch(repo.home, Launch(chosen, target, folder))
        with _runner(agent, repo, chosen) as runner:
            result = runner.run(input_data, run=chosen)
        waits = waits_of(repo.execution(chosen))
    finish(result, waits, as_json)


def resume(
    name: RunArgument,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="TARGET",
            help="What to run, if the run was not launched by `hive run` or it has moved.",
            show_default=False,
        ),
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="JSON",
            help="What a paused run waits for, or other inputs for the step that waits for an "
            "approval, which they approve: a JSON object, @FILE, or - for stdin.",
            show_default=False,
        ),
    ] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Let the step run that waits for an approval.")
    ] = False,
    reject: Annotated[
        bool, typer.Option("--reject", help="Do not let it run, nor what depends on it.")
    ] = False,
    steps: Annotated[
        list[str] | None,
        typer.Option(
            "--step",
            metavar="STEP",
            help="The step that is answered, where several wait. May be repeated.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why, for the report.", show_default=False),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Go on although the graph, plan or goal was changed since."
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a run after its last finished node or step.

    Without --target the graph or plan is found, and relative paths are meant, as when the run was
    launched.
    """
    from hive.cli.answers import Answer, approvals_for
    from hive.cli.launches import Launch, while_executing
    from hive.runner.loading import load_agent
    from hive.runner.waiting import waits_of

    input_data = None if given is None else _read_input(given)
    answer = Answer(approve, reject, tuple(steps or ()), reason, input_data)
    with open_to_write(home, create=False) as repo:
        _expect_run(repo, name)
        place = repo.home
        waits = waits_of(repo.execution(name))
        approvals = approvals_for(name, waits, answer)
        launch = _launch_of(repo, name) if target is None else Launch(name, target, Path.cwd())
    if target is None:
        _enter(launch)
    agent = load_agent(launch.target, launch.folder)
    with (
        open_to_write(place, create=False, agent=agent) as repo,
        while_executing(repo.home, name),
        contextlib.nullcontext() if target is None else _noted(repo, launch),
    ):
        with _runner(agent, repo, name) as runner:
            result = runner.resume(
                name,
                None if approvals else input_data,
                approvals=approvals or None,
                accept_changes=accept_changes,
            )
        waits = waits_of(repo.execution(name))
    finish(result, waits, as_json)


@contextlib.contextmanager
def _noted(repo: Repository, launch: Launch) -> Iterator[None]:
    """Note a launch for the next time; take that back where the run refuses it.

    Otherwise a slip in --target would be what the next `hive resume` loads.
    """
    from hive import ConflictError, HiveError, InvalidInputError
    from hive.cli.launches import find_launch, forget_launch, record_launch

    earlier = None
    with contextlib.suppress(HiveError):  # a record that cannot be read: --target mends that
        earlier = find_launch(repo.home, launch.run)
    (head,) = repo.log(launch.run, limit=1)
    record_launch(repo.home, launch)
    try:
        yield
    except (ConflictError, InvalidInputError):
        if repo.log(launch.run, limit=1) == [head]:  # nothing was saved with it
            if earlier is None:
                forget_launch(repo.home, launch.run)
            else:
                record_launch(repo.home, earlier)
        raise


@contextlib.contextmanager
def _runner(agent: Agent, repo: Repository, name: str) -> Iterator[AgentRunner]:
    from hive.runner import AgentRunner

    try:
        with AgentRunner(agent, repo) as runner:
            yield runner
    except (KeyboardInterrupt, SystemExit, errors.StoreFullError):
        # Without room too: repeating what failed, as that error says, would begin another run.
        say_what_is_left(repo, name)
        raise


def _read_input(given: str) -> dict[str, Any]:
    """Parse what followed ``--input``."""
    from hive import InvalidInputError

    try:
        if given == "-":
            given = sys.stdin.read() if sys.stdin is not None else ""
        elif given.startswith("@"):
            given = Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"cannot read the input from {given!r}: {error}") from error
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the input is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(
            'the input must be a JSON object, such as \'{"folder": "docs"}\': its keys are '
            "what the first node gets"
        )
    return value


def _expect_run(repo: Repository, name: str) -> None:
    """Refuse what is not the name of a run, such as ``run@3``, and a thread of LangGraph."""
    from hive import InvalidInputError, NotFoundError
    from hive.threads import is_thread

    try:
        found = repo.resolve(name)
    except NotFoundError as error:
        raise NotFoundError(f"there is no run {name!r}; {hint('runs')} lists them") from error
    if is_thread(found):
        raise InvalidInputError(
            f"run {name!r} is a thread of LangGraph, so its own program goes on with it: "
            "graph.invoke(None, config), or Command(resume=...) for an answer"
        )
    if found.run != name:
        raise InvalidInputError(
            f"{name!r} names a checkpoint of {found.run!r}; only a run resumes, at its last step"
        )


def _launch_of(repo: Repository, name: str) -> Launch:
    from hive import NotFoundError
    from hive.cli.launches import find_launch

    launch = find_launch(repo.home, name)
    if launch is None:
        raise NotFoundError(
            f"run {name!r} was not launched by `hive run` here, so its graph is not known; "
            "name it: --target MODULE:GRAPH"
        )
    return launch


def _enter(launch: Launch) -> None:
    """Go where the run was launched: a node may have been given relative paths."""
    from hive import InvalidInputError

    try:
        os.chdir(launch.folder)
    except OSError as error:
        raise InvalidInputError(
            f"the run was launched in {str(launch.folder)!r}, which cannot be entered "
            f"({error.strerror}); go where it should continue and name its graph with --target"
        ) from error


def _claim(repo: Repository, claim: contextlib.ExitStack, prefix: str) -> str:
    """Choose the prefix with the next free number, and hold the lock of that name.

    Of several processes that start at once, each gets a number of its own.
    """
    from hive import ConflictError
    from hive.cli.launches import while_executing

    infos, unreadable = repo.readable_runs()
    taken = {info.name for info in infos} | {each.name for each in unreadable}
    names = (f"{prefix}{number}" for number in itertools.count(1))
    while True:
        name = next(name for name in names if name not in taken)
        with contextlib.suppress(ConflictError):
            claim.enter_context(while_executing(repo.home, name))
            if not _exists(repo, name):
                return name
            claim.close()  # it was run and finished since the list was read


def _exists(repo: Repository, name: str) -> bool:
    from hive import NotFoundError

    try:
        # Not resolve: a name such as "bees@2" or "abc123" may be a reference to something else.
        return len(repo.log(name, limit=1)) > 0
    except NotFoundError:
        return False
