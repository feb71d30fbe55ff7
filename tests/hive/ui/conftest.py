"""A real browser, where the machine has one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Chromium must not look for anything in the network; as root it has no sandbox to be started in.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
)


# Not of the session: while Playwright is at work its thread counts as one that runs an event loop,
# in which no test that came behind could begin one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless. Without one, tests skip; in CI they fail."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        reason = "no chromium on this machine: `make browser` installs it where it can"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield started
        started.close()
