"""The ``hive`` program: its commands, put together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hive.cli.abandon import abandon
from hive.cli.check import check
from hive.cli.copies import backup, export, import_bundle
from hive.cli.demo import demo
from hive.cli.diff import diff
from hive.cli.doctor import doctor
from hive.cli.effects import effects
from hive.cli.failures import guarded, run_to_the_end
from hive.cli.forget import forget, rm
from hive.cli.grep import grep
from hive.cli.log import log
from hive.cli.naming import fork, pin, tag, unpin, untag
from hive.cli.options import HomeOption, JsonOption
from hive.cli.output import line, prepare_streams
from hive.cli.overview import overview
from hive.cli.running import resume, run
from hive.cli.runs import runs
from hive.cli.salvage import salvage
from hive.cli.show import show
from hive.cli.space import compact, gc
from hive.cli.stats import stats
from hive.cli.threads import import_langgraph
from hive.cli.ui import ui

__all__ = ["app", "main"]

# rich_markup_mode: help in rich's panels takes twice as long to start as all the rest together.
# pretty_exceptions: `guarded` prints errors, and typer's own tracebacks would show local values.
app = typer.Typer(
    name="hive",
    help="Keep the state of agent runs: run a graph, look at its checkpoints, resume it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    *(demo, run, resume, abandon),
    *(runs, log, show, diff, grep, effects, stats),
    *(tag, untag, pin, unpin, fork),
    *(forget, rm, gc, compact, check, salvage, doctor, export, backup, ui),
):
    app.command()(guarded(command))
app.command("import")(guarded(import_bundle))
app.command("import-langgraph")(guarded(import_langgraph))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            line(f"hive {version('hive-checkpoints')}")
        except PackageNotFoundError:  # run from a folder of sources
            line("hive (not installed)")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the state of agent runs: run a graph, look at its checkpoints, resume it.

    Alone, it says how the runs stand and what to do next.
    """
    if context.invoked_subcommand is None:
        guarded(overview)(home=home, as_json=as_json)
    else:
        # `hive --home DIR runs` is `hive runs --home DIR`.
        given = {"home": home, "as_json": as_json or None}
        defaults = {name: value for name, value in given.items() if value is not None}
        context.default_map = {context.invoked_subcommand: defaults}


def main() -> None:
    """Run the command line on ``sys.argv`` and exit with the code that docs/cli.md gives."""
    prepare_streams()
    sys.exit(run_to_the_end(lambda: app(prog_name="hive")))
