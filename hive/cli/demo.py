"""``hive demo``: watch a run being killed in the middle and resumed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hive.cli.demo_view import outcome_json, section, show_outcome
from hive.cli.failures import FAILED, say
from hive.cli.options import HomeOption, JsonOption
from hive.cli.output import heading, line, write_json
from hive.cli.text import escape

if TYPE_CHECKING:
    from hive.demo.driver import Outcome

__all__ = ["demo"]


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="What to survey; by default this project's own files.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep/--no-keep",
            help="Keep the demo's store to look further, or delete it at the end. Without --home "
            "it is a new folder among the temporary files.",
        ),
    ] = True,
    max_files: Annotated[
        int, typer.Option(min=0, metavar="N", help="Survey at most N files.")
    ] = 400,
    max_bytes: Annotated[
        int, typer.Option(min=0, metavar="N", help="Survey at most N bytes in all.")
    ] = 5_000_000,
    as_json: JsonOption = False,
) -> None:
    """Survey a folder, get killed in the middle, and resume.

    Needs no model and no network. The survey runs in a process of its own, which is killed with
    SIGKILL while a node is under way; a new process resumes it, and the result is compared with
    that of a run that nobody killed.
    """
    from hive.demo.driver import DemoError, run_demo
    from hive.demo.files import Limits

    surveyed = _folder(folder)
    with _home(home, keep) as place:
        if not as_json:
            heading(f"Hive demo: a survey of {escape(str(surveyed))}")
            line()
        try:
            outcome = run_demo(
                surveyed,
                place,
                hive=[sys.executable, "-m", "hive.cli"],
                environment=_environment(),
                limits=Limits(max_files=max_files, max_bytes=max_bytes),
                tell=_ignore if as_json else _tell,
            )
        except DemoError as error:
            say(f"the demo failed: {error}")
            say(f"its files are in {place}" if keep or home else "--keep keeps its files")
            raise typer.Exit(FAILED) from error
        if as_json:
            write_json(outcome_json(outcome, surveyed, place))
        else:
            show_outcome(outcome)
            if keep or home:
                _show_commands(outcome, place)
    if not all(check.holds for check in outcome.checks):
        raise typer.Exit(FAILED)


def _folder(folder: Path | None) -> Path:
    from hive import InvalidInputError

    if folder is not None:
        if not folder.is_dir():
            raise InvalidInputError(f"{str(folder)!r} is not a folder")
        return folder.resolve()
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent
    return checkout if (checkout / "pyproject.toml").is_file() else package


@contextlib.contextmanager
def _home(home: Path | None, keep: bool) -> Iterator[Path]:
    """Give the demo a home: the one named, else a new one, deleted at the end unless kept."""
    from hive.home import check_home

    if home is not None:
        check_home(home)
        yield home.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="hive-demo-"))
    try:
        yield made.resolve()
    finally:
        if not keep:
            shutil.rmtree(made, ignore_errors=True)


def _environment() -> dict[str, str]:
    """The environment for the demo's processes: this one's, able to import the same Hive."""
    environment = dict(os.environ)  # noqa: TID251  the command line may read it
    root = Path(__file__).resolve().parent.parent.parent
    # Installed packages are found anyway; naming their folder here would put all of them before
    # the standard library.
    if root.name not in ("site-packages", "dist-packages"):
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{before}" if before else str(root)
    return environment


def _tell(text: str) -> None:
    line(f"  {escape(text)}")
    sys.stdout.flush()


def _ignore(text: str) -> None:
    del text


def _show_commands(outcome: Outcome, home: Path) -> None:
    hive = shlex.join(_command())
    run = outcome.killed.run
    section("Look further")
    if home != _default_home():
        line(f"  export HIVE_HOME={escape(shlex.quote(str(home)))}")
    for arguments in (f"log {run}", f"show {run}@3", f"show {run}@3 documents", "stats"):
        line(f"  {escape(hive)} {arguments}")
    line(f"  less {escape(shlex.quote(str(outcome.killed.work / 'report.md')))}")


def _command() -> list[str]:
    """How this program was started, so that a printed command works where it is pasted."""
    started = Path(sys.argv[0])
    if started.name != "hive":
        return [sys.executable, "-m", "hive.cli"]
    found = shutil.which("hive")
    if found is not None and Path(found).resolve() == started.resolve():
        return ["hive"]
    return [str(started)]


def _default_home() -> Path | None:
    from hive import InvalidInputError
    from hive.home import home_directory

    try:
        return home_directory(os.environ).resolve()  # noqa: TID251  as above
    except InvalidInputError:
        return None
