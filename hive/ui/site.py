"""What all pages share: the store they show, and the templates they are made with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import jinja2

from hive.text import age, count, escape, size
from hive.ui.links import Commands, link, shown_path, step_link
from manifests import Checkpoint, Clock, Repository

__all__ = ["STATUSES", "Site"]

STATUSES: Final = ("running", "paused", "interrupted", "unfinished", "failed", "done", "abandoned")
_STATUS_OF_KIND: Final = {
    "final": "done",
    "failed": "failed",
    "paused": "paused",
    "abandoned": "abandoned",
}


def _status_of_kind(head: Checkpoint) -> str:
    """Say how a run stands as far as its last checkpoint tells."""
    return _STATUS_OF_KIND.get(head.kind, "unfinished")


@cache
def _environment() -> jinja2.Environment:
    """Return the templates, which are compiled once for all sites of a process."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hive.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    # ``visible`` shows what would be invisible in a name; escaping for HTML is done in any case.
    environment.filters.update(size=size, visible=escape, path=shown_path)
    environment.globals.update(link=link, step_link=step_link, count=count)
    return environment


@dataclass(frozen=True)
class Site:
    """The store that the pages show.

    Attributes:
        repository: Open for reading.
        clock: Tells how long ago something was.
        status_of: Says how a run stands, by its last checkpoint.
        commands: Makes the commands that pages offer.
        place: What the store is called on every page.
        templates: What pages are made of.
    """

    repository: Repository
    clock: Clock
    status_of: Callable[[Checkpoint], str] = _status_of_kind
    commands: Commands = field(default_factory=lambda: Commands(None))
    place: str = ""
    templates: jinja2.Environment = field(default_factory=_environment)

    def render(self, template: str, **content: Any) -> str:
        """Return a page, or a part of one."""
        return self.templates.get_template(template).render(site=self, **content)

    def ago(self, moment: dt.datetime) -> str:
        """Say how long ago a moment was."""
        return f"{age(self.clock() - moment)} ago"
