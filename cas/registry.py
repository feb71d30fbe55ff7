"""The handles of this process, one per store, and what happens to them at a fork.

A store is known by device and inode of its generation file. Its path would not do: two paths can
lead to one store without a symbolic link (a bind mount), and opening it a second time would drop
LMDB's locks on its lock file; and a path can lead to another store later.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from cas.failures import translate
from cas.generation import GENERATION_FILE
from cas.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cas.database import MapLimits
    from cas.table import Table

__all__ = ["acquire", "release"]


class _Registry:
    """Handles by device and inode. ``lock`` is never held while a transaction is waited for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handles: dict[tuple[int, int], Handle] = {}
        self.frozen: list[Handle] = []

    def before_fork(self) -> None:
        """Bring all handles to rest. A handle may appear meanwhile, hence the loop."""
        self.frozen = []
        while True:
            with self.lock:
                missing = set(self.handles.values()) - set(self.frozen)
            if not missing:
                break
            for handle in missing:
                handle.freeze_for_fork()
                self.frozen.append(handle)

    def after_fork_in_parent(self) -> None:
        """Let the handles go on."""
        for handle in self.frozen:
            handle.thaw_after_fork()
        self.frozen = []

    def after_fork_in_child(self) -> None:
        """Drop what belongs to the parent."""
        self.lock = threading.Lock()
        self.frozen = []
        for handle in self.handles.values():
            handle.renew_after_fork()


_registry = _Registry()
os.register_at_fork(
    before=_registry.before_fork,
    after_in_parent=_registry.after_fork_in_parent,
    after_in_child=_registry.after_fork_in_child,
)


def acquire(store: Path, tables: Iterable[Table], limits: MapLimits, *, read_only: bool) -> Handle:
    """Return this process's handle on the store in the real directory ``store``.

    Pair it with ``release``.

    Raises:
        HiveError: The store cannot be opened.
    """
    try:
        status = os.stat(store / GENERATION_FILE)
    except OSError as error:
        raise translate(error, store) from error
    with _registry.lock:
        key = status.st_dev, status.st_ino
        handle = _registry.handles.setdefault(key, Handle(store))
        handle.users += 1
    try:
        handle.serve(tables, limits, read_only=read_only)
    except BaseException:
        release(handle)
        raise
    return handle


def release(handle: Handle) -> None:
    """Give back what ``acquire`` returned; the last user closes it, after active transactions.

    Raises:
        InvalidInputError: This thread is inside a transaction on the handle.
    """
    with _registry.lock:
        if handle.users > 1:
            handle.users -= 1
            return

    def drop() -> None:
        # It may be repeated, after Ctrl-C. So the last user is counted until nothing is left open.
        with _registry.lock:
            if handle.users > 1:
                handle.users -= 1
                return
            # Before it leaves the registry: LMDB refuses to open what is open already.
            handle.close()
            _registry.handles = {k: h for k, h in _registry.handles.items() if h is not handle}
            handle.users = 0

    handle.when_quiet(drop)
