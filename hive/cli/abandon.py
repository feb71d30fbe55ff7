"""``hive abandon``: say that nobody will go on with a run, or take that back."""

from __future__ import annotations

from typing import Annotated

import typer

from hive.cli.describe import checkpoint_json, status
from hive.cli.hints import hint, resume_hint, resume_options
from hive.cli.options import HomeOption, JsonOption, RunArgument, open_to_write
from hive.cli.output import line, write_json
from hive.cli.text import escape

__all__ = ["abandon"]


def abandon(
    name: RunArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Take the mark back.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark a run that will not be continued; it is offered as interrupted or waiting no more.

    Nothing is lost: the mark is one more checkpoint, --undo takes it back, and resuming the run
    does as well.
    """
    from hive.cli.launches import while_executing
    from hive.graph.abandoned import abandon as mark
    from hive.graph.abandoned import reinstate

    # Locked: a process that executes the run would find its head moved on, and stop.
    with open_to_write(home, create=False) as repo:
        repo.log(name, limit=1)  # before the lock makes a file: there has to be such a run
        with while_executing(repo.home, name):
            found = (reinstate if undo else mark)(repo, name)
        stands = status(repo, found)
        options = resume_options(repo, found)
    if as_json:
        write_json({**checkpoint_json(found), "status": stands})
    elif undo:
        resumes = stands in ("interrupted", "paused", "failed")
        how = f"; {resume_hint(name, *options)} continues it" if resumes else ""
        line(escape(f"run {name} is {stands} again{how}"))
    else:
        back = hint("abandon", name, options=["--undo"])
        line(escape(f"run {name} is abandoned; {back} takes that back"))
