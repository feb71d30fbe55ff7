"""A lock that a forked child can go on with."""

from __future__ import annotations

import threading

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
