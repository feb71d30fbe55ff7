"""The handles of this process, one per real path, and what happens to them at a fork."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from cas.generation import GENERATION_FILE
from cas.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cas.database import MapLimits
    from cas.table import Table

__all__ = ["acquire", "release"]


class _Registry:
    """Handles by real path. ``lock`` is never held while a transaction is waited for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handles: dict[Path, Handle] = {}
        self.replaced: set[Handle] = set()
        self.frozen: list[Handle] = []

    def all_handles(self) -> set[Handle]:
        return {*self.handles.values(), *self.replaced}

    def before_fork(self) -> None:
        """Bring all handles to rest. A handle may appear meanwhile, hence the loop."""
        self.frozen = []
        while True:
            with self.lock:
                missing = self.all_handles() - set(self.frozen)
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
        for handle in self.all_handles():
            handle.renew_after_fork()


_registry = _Registry()
os.register_at_fork(
    before=_registry.before_fork,
    after_in_parent=_registry.after_fork_in_parent,
    after_in_child=_registry.after_fork_in_child,
)


def _is_replaced(handle: Handle, store: Path) -> bool:
    """Whether another store lies at the path since ``handle`` was opened."""
    identity = None if handle.lock is None else handle.lock.identity()
    if identity is None:
        return False
    try:
        status = os.stat(store / GENERATION_FILE)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) != identity


def acquire(store: Path, tables: Iterable[Table], limits: MapLimits, *, read_only: bool) -> Handle:
    """Return this process's handle on the store in the real directory ``store``.

    Pair it with ``release``.

    Raises:
        HiveError: The store cannot be opened.
    """
    with _registry.lock:
        handle = _registry.handles.get(store)
        if handle is not None and _is_replaced(handle, store):
            _registry.replaced.add(handle)
            handle = None
        if handle is None:
            handle = _registry.handles[store] = Handle(store)
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
        with _registry.lock:
            handle.users -= 1
            if handle.users:
                return
            # Before it leaves the registry: LMDB refuses to open what is open already.
            handle.close()
            _registry.replaced.discard(handle)
            if _registry.handles.get(handle.store) is handle:
                del _registry.handles[handle.store]

    handle.when_quiet(drop)
