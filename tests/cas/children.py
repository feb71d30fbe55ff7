"""Running a piece of a test in a forked child, and saying how that ended."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cas.errors import HiveError

__all__ = [
    "PROJECT",
    "ChildFailedError",
    "finish",
    "in_child",
    "nobody",
    "start_child",
    "temporary_limit",
]

NOBODY = 65534
PROJECT = Path(__file__).resolve().parent.parent.parent


class ChildFailedError(AssertionError):
    """The child died by a signal or with an error that is none of the project's own."""


def start_child(work: Callable[[], str]) -> tuple[int, int]:
    """Fork a child that runs `work`; return its process number and where `finish` reads."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        os.close(reader)
        try:
            text = "+" + work()
        except HiveError as error:
            text = f"{type(error).__name__}: {error}"
        except BaseException:
            text = "!" + traceback.format_exc()
        data = text.encode()
        while data:
            data = data[os.write(writer, data) :]
        status = 0
    finally:
        os._exit(status)


def finish(child: tuple[int, int]) -> str:
    """Wait for a child: `+result`, or `ErrorClass: message` for one of the project's errors."""
    pid, reader = child
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise ChildFailedError(f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    if text.startswith("!") or not text:
        raise ChildFailedError(text or f"exit status {status}")
    return text


def in_child(work: Callable[[], str]) -> str:
    """Run `work` in a forked child and return how it ended, as `finish` says it."""
    return finish(start_child(work))


def nobody() -> None:
    """Become the user nobody for good: modes mean nothing to root."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@contextmanager
def temporary_limit(kind: int, value: int) -> Iterator[None]:
    """Lower a resource limit of this process for a while."""
    import resource

    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
