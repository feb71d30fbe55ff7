"""A lock that a forked child can go on with."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import cas.mutex
from cas.mutex import Mutex
from tests.cas.children import in_child


def hold(mutex: Mutex, held: threading.Event, end: threading.Event) -> None:
    with mutex:
        held.set()
        end.wait()


def test_only_one_thread_is_inside() -> None:
    mutex, inside, most = Mutex(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(2_000):
            with mutex:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_child_can_lock_what_a_thread_of_the_parent_holds() -> None:
    mutex, held, end = Mutex(), threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(mutex, held, end))
    thread.start()
    held.wait()

    def child() -> str:
        with mutex:
            return "inside"

    try:
        assert in_child(child) == "+inside"
    finally:
        end.set()
        thread.join()
    with mutex:
        assert not thread.is_alive()


def test_it_is_never_left_locked_by_an_interrupt() -> None:
    """Ctrl-C can come at any instruction of a function of Python, also at its first one."""
    mutex, left, last = Mutex(), 0, -1

    def interrupt(frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename != cas.mutex.__file__:
            return None
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return interrupt

    while left < 0 or last < 0:
        last += 1
        left = last
        sys.settrace(interrupt)
        try:
            with mutex:
                pass
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        assert mutex._lock.acquire(blocking=False), f"locked by an interrupt at place {last}"
        mutex._lock.release()
    assert last
