"""``hive ui``: look at runs in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from hive.cli.options import HomeOption, JsonOption, open_to_read
from hive.cli.output import line, write_json

__all__ = ["ui"]


def ui(
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65_535, help="Listen there; 0 takes any free port."),
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at runs, their states and what changed in a browser, until Ctrl-C.

    The pages are for reading only, and for this machine only: the link that is printed holds a
    token without which nothing answers.
    """
    try:
        from hive.ui.server import Address, listen, serve
        from hive.ui.site import Site
    except ModuleNotFoundError as error:
        from hive import InvalidInputError

        if error.name in ("starlette", "jinja2", "uvicorn"):
            raise InvalidInputError(
                f"hive ui needs the package {error.name}: pip install 'hive-checkpoints[ui]'"
            ) from error
        raise

    from hive.cli.describe import status
    from hive.cli.hints import resume_options
    from hive.ui.links import Commands
    from manifests import system_clock

    def ready(address: Address) -> None:
        if as_json:
            write_json({"url": address.link, "port": address.port})
        else:
            line(f"Hive is at {address.link}")
            line("Ctrl-C stops it.")
        _flush()
        if browser:
            _open(address.ticket)

    with open_to_read(home) as repo:
        place = repo.home
        site = Site(
            repo,
            system_clock,
            status_of=lambda head: status(repo, head),
            commands=Commands(
                None if home is None else str(home),
                repo,
                lambda run: resume_options(repo, repo.log(run, limit=1)[0]),
            ),
            place=str(place),
        )
        serve(site, listen(port), ready)


def _flush() -> None:
    import sys

    if sys.stdout is not None:
        sys.stdout.flush()


def _open(address: str) -> None:
    import threading
    import webbrowser

    # In a thread: it may wait for the browser, and the server must answer meanwhile.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
