"""Stores to show, and clients that ask for their pages."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from starlette.testclient import TestClient

from hive.ui.application import create_app
from hive.ui.guard import ENTRY, Keys
from hive.ui.site import Site
from manifests import Checkpoint, PendingWrite, Repository, system_clock

__all__ = [
    "HOSTILE",
    "ORIGIN",
    "PORT",
    "Pages",
    "commit_survey",
    "link_in",
    "pages_of",
    "running",
    "store_of_hostile_names",
]

PORT: Final = 8_123
ORIGIN: Final = f"http://127.0.0.1:{PORT}"
NOON: Final = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)

HOSTILE: Final = (
    "../../etc/passwd",
    "<script>alert('run')</script>",
    "\u202etxt.exe",
    "n" * 1_024,
    "שלום",
    'it\'s "quoted" & <b>bold</b>',
    "-rf --home",
    "$(touch pwned); `id`",
    "run@3",
    "tag:x",
    "%2e%2e%2f",
    "{{ 7*7 }}{% raw %}",
    "a b\u00a0c\u200bd",
)
"""Names that a careless page, link or shell would take for something else."""


class Pages:
    """Asks a site for pages, as a browser that opened the link does."""

    def __init__(self, repository: Repository, **options: Any) -> None:
        self.keys = Keys()
        self.site = Site(repository, options.pop("clock", system_clock), **options)
        self.app = create_app(self.site, self.keys, port=PORT)
        self.client = TestClient(self.app, base_url=ORIGIN, follow_redirects=False)
        self.enter()

    def enter(self) -> None:
        """Open the link with the token."""
        assert self.client.get(ENTRY, params={"token": self.keys.token}).status_code == 200

    def get(self, page: str, /, *, expects: int = 200, **query: Any) -> str:
        """Return a page's text; ``from_`` stands for ``from``, a keyword of Python."""
        params = {name.rstrip("_"): value for name, value in query.items()} or None
        answer = self.client.get(page, params=params, follow_redirects=expects == 200)
        assert answer.status_code == expects, answer.text
        return answer.text


def pages_of(repository: Repository, **options: Any) -> Pages:
    """Return a client of a repository's pages."""
    return Pages(repository, **options)


@contextmanager
def running(home: Path, *options: str, **environment: str) -> Iterator[tuple[Any, str]]:
    """Run ``hive ui`` and yield it with the first line that it printed."""
    command = [sys.executable, "-m", "hive.cli", "ui", "--home", str(home), *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def link_in(line: str) -> str:
    """Return the link in the first line that ``hive ui`` prints."""
    assert line.startswith("Hive is at http://127.0.0.1:")
    return line.removeprefix("Hive is at ").strip()


def commit_survey(repository: Repository, *, steps: int = 12, run: str = "survey") -> Checkpoint:
    """Save a run that reads documents and fails in the end."""
    state: dict[str, Any] = {"goal": "read <everything>", "messages": [], "sources": {}}
    last: Checkpoint | None = None
    for number in range(1, steps + 1):
        failed = number == steps
        state["messages"].append({"role": "assistant", "content": f"message {number}\n" * 30})
        if number % 3 == 0:
            state["sources"][f"https://example.org/{number}"] = {"score": number / 7}
        last = repository.commit(
            run,
            state,
            node=("plan", "read", "write")[number % 3],
            kind="failed" if failed else "node_complete",
            execution={"steps": number, "error": "ToolError: no <answer>" if failed else None},
            labels={"team": "research"},
            graph="survey of documents",
        )
    assert last is not None
    return last


def store_of_hostile_names(home: Path) -> None:
    """Make a store whose names, keys and texts try to be markup, paths and commands."""
    with Repository.open(home) as repository:
        for name in HOSTILE:
            state = {
                name[:200]: "<img src=x onerror=alert(1)>",
                "text": "</pre><script>alert('text')</script>\x1b[2J\u202e" * 40,
                (1, "<i>"): {b"\xff\x00": float("nan"), "s": {"<b>"}},
                "[#0]": ["</li>"],
            }
            repository.commit(
                name,
                state,
                node="<u>node</u>",
                kind="failed",
                next_nodes=["<s>next</s>"],
                labels={"<label>": "</dd>"},
                execution={"error": "</pre><script>alert('error')</script>"},
            )
            last = repository.commit(
                name, {**state, "text": "other <em>text</em>"}, node=name[:200]
            )
            write = PendingWrite(name[:200], 0, "<i>name</i>", state, name[:200])
            repository.put_pending(name, last.sequence, [write])
            repository.record_effect(name, f"<b>effect</b> {name[:200]}", state)
        repository.tag("<tag>", (HOSTILE[0], 1))
        repository.fork((HOSTILE[1], 2), "<fork>")
