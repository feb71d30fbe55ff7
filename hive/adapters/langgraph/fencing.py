"""Fencing: telling a legitimate journey back in time from two workers on one thread.

Whoever asks for a checkpoint by its id, and it is not the newest, travels: what is saved behind it
may branch off. Whoever asked for the newest means to go on from it, and if another worker has done
so meanwhile, the next save would fork the thread without anybody noticing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from hive.graph.background import drop_after_fork

__all__ = ["Journeys"]

_MOST: Final = 10_000


class Journeys:
    """The older checkpoints that were asked for by id, as (run, id). Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[str, str], None] = OrderedDict()
        drop_after_fork(self)

    def drop_in_child(self) -> None:
        """Have a lock of its own in a forked process: the parent's may be held there for ever."""
        self._lock = threading.Lock()

    def begin(self, run: str, checkpoint_id: str) -> None:
        """Note that somebody travels to a checkpoint."""
        with self._lock:
            self._places[run, checkpoint_id] = None
            self._places.move_to_end((run, checkpoint_id))
            while len(self._places) > _MOST:
                self._places.popitem(last=False)

    def may_branch(self, run: str, checkpoint_id: str | None) -> bool:
        """Whether a save behind that checkpoint may leave the head."""
        return checkpoint_id is not None and (run, checkpoint_id) in self._places
