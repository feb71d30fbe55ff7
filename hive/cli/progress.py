"""A progress bar on the error stream, for people at a terminal who wait for over a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from cas.upkeep import OnProgress, Progress

__all__ = ["shown_progress", "shown_waiting"]

PATIENCE_SECONDS: Final = 1.0


@contextmanager
def shown_progress() -> Iterator[OnProgress | None]:
    """Show what a long task tells of itself; None where nobody would see it."""
    if not _is_seen():
        yield None
        return
    begun = time.monotonic()
    bars: list[Bars] = []
    tasks = {}

    def show(progress: Progress) -> None:
        if not bars and time.monotonic() - begun < PATIENCE_SECONDS:
            return
        if not bars:
            bars.append(_bars())
            bars[0].start()
        if progress.phase not in tasks:
            tasks[progress.phase] = bars[0].add_task(progress.phase, total=progress.total)
        bars[0].update(tasks[progress.phase], completed=progress.done, total=progress.total)

    try:
        yield show
    finally:
        for each in bars:
            each.stop()


@contextmanager
def shown_waiting(what: str) -> Iterator[None]:
    """Show that something is going on that does not tell how far it is."""
    if not _is_seen():
        yield
        return
    bars: list[Bars] = []

    def begin() -> None:
        bars.append(_bars())
        bars[0].add_task(what, total=None)
        bars[0].start()

    timer = threading.Timer(PATIENCE_SECONDS, begin)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for each in bars:
            each.stop()


def _is_seen() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)
