"""``create_app``: the pages behind their guard, as one ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from hive.errors import ConflictError, CorruptionError, HiveError, InvalidInputError, NotFoundError
from hive.ui import beside_pages, diff_pages, run_pages, step_pages
from hive.ui.guard import Guard, Keys
from hive.ui.request import MovedError, Query
from hive.ui.site import Site

__all__ = ["create_app"]

_LOGGER: Final = logging.getLogger("hive.ui")
_STATIC: Final = Path(__file__).parent / "static"

Page = Callable[[Site, Query], str]
_PAGES: Final[dict[str, Page]] = {
    "/": run_pages.runs,
    "/run": run_pages.run,
    "/changed": run_pages.changed,
    "/newer": run_pages.newer,
    "/go": step_pages.go,
    "/step": step_pages.step,
    "/parts": step_pages.parts,
    "/text": step_pages.text,
    "/pending": beside_pages.pending,
    "/effects": beside_pages.effects,
    "/diff": diff_pages.diff,
    "/compare": diff_pages.compare,
}
_STATUS: Final[tuple[tuple[type[HiveError], int, str], ...]] = (
    (NotFoundError, 404, "Not found"),
    (InvalidInputError, 400, "Not understood"),
    (ConflictError, 409, "Try again"),
    (CorruptionError, 500, "Damaged"),
)


def create_app(site: Site, keys: Keys, *, port: int) -> ASGIApp:
    """Return the application that serves a site at a port of the loopback address."""

    def missing(_request: Request, _error: Exception) -> Response:
        return _problem(site, 404, "Not found", "There is no such page.")

    routes: list[Route | Mount] = [
        Route(path, _endpoint(site, page), methods=["GET"]) for path, page in _PAGES.items()
    ]
    routes.append(Mount("/static", StaticFiles(directory=_STATIC)))
    return Guard(Starlette(routes=routes, exception_handlers={404: missing}), keys, port=port)


def _endpoint(site: Site, page: Page) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        """Answer in a worker thread: reading the store blocks, and others wait meanwhile."""
        try:
            return HTMLResponse(_found(page, site, Query(request.query_params)))
        except MovedError as moved:
            return RedirectResponse(moved.target, status_code=303)
        except HiveError as error:
            status, title = next(
                ((code, words) for kind, code, words in _STATUS if isinstance(error, kind)),
                (500, "That did not work"),
            )
            return _problem(site, status, title, str(error))
        except Exception as error:
            # The traceback's text may quote a value; the place tells enough.
            _LOGGER.error("page %s raised %s%s", request.url.path, type(error).__name__, _at(error))
            return _problem(site, 500, "That did not work", "Hive did not expect this error.")

    return answer


def _found(page: Page, site: Site, query: Query) -> str:
    """Make a page, once more if something is not found.

    It takes several reads, and what the first one listed may be forgotten before the next. What is
    not there the second time was asked for in vain.
    """
    try:
        return page(site, query)
    except NotFoundError:
        return page(site, query)


def _at(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f" in {frame.tb_frame.f_code.co_name}, line {frame.tb_lineno}"


def _problem(site: Site, status: int, title: str, text: str) -> Response:
    page = site.render("problem.html", title=title, text=text)
    return HTMLResponse(page, status_code=status)
