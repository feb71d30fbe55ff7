"""What this process knows of the runs that it committed last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cas.digest import Digest
from cas.mutex import Mutex
from manifests.memo import Node
from manifests.placing import Place

__all__ = ["RunMemories", "RunMemory"]

_MOST_MEMORIES: Final = 64
_MOST_BYTES: Final = 512 * 1024 * 1024
"""Logical bytes of the states remembered beside the newest one. A run whose memory was dropped is
compared with what is stored instead."""


@dataclass(frozen=True, slots=True)
class RunMemory:
    """What the commit ``id`` saw of a run's state and of its execution record.

    ``size``: the logical bytes of both. ``follows_restores``: commits of the run go on from what
    was restored.
    """

    id: Digest | None = None
    state: Node | None = None
    execution: Node | None = None
    size: int = 0
    follows_restores: bool = False


class RunMemories:
    """The memories of the runs committed last. Each is used by one commit, which leaves the next.

    It keeps the objects of those states alive. So there are few of them, and of large states fewer:
    a process that goes through many runs, one after the other, would hold the last of each.
    """

    def __init__(self) -> None:
        self._lock = Mutex()
        self._memories: dict[str, RunMemory] = {}
        self._distrusted: set[str] = set()

    def distrust(self, run: str) -> None:
        """Note that nothing stored of a run is to be built on by its next commit."""
        with self._lock:
            self._memories.pop(run, None)
            self._distrusted.add(run)

    def trusts_again(self, run: str) -> bool:
        """Return whether a run was distrusted until now."""
        with self._lock:
            is_distrusted = run in self._distrusted
            self._distrusted.discard(run)
            return is_distrusted

    def take(self, place: Place) -> RunMemory:
        """Take the memory of the commit that will be the parent, or an empty one.

        Only of the parent: what is not encoded again must be reachable from a listed checkpoint.
        """
        # Safe beside gc: the transaction that writes the commit finds the parent listed as the
        # head, so everything below it is stored; and it resolves links by digest then, not by
        # numbers remembered here. Were the parent only named elsewhere (a deleted run that starts
        # again) and swept, a link would be missing and the commit refused, not stored with a hole.
        with self._lock:
            memory = self._memories.pop(place.run, None)
        if memory is None or memory.id != place.parent or place.branches:
            return RunMemory()
        return memory

    def borrow(self, run: str, id: Digest) -> RunMemory | None:
        """Take the memory of a commit, to be kept again, if what was restored of it is awaited."""
        with self._lock:
            memory = self._memories.get(run)
            if memory is None or memory.id != id or not memory.follows_restores:
                return None
            return self._memories.pop(run)

    def keep(self, run: str, memory: RunMemory) -> None:
        """Keep a memory for the next commit of the run."""
        with self._lock:
            self._memories.pop(run, None)  # the newest stands last
            self._memories[run] = memory
            others = sum([one.size for one in self._memories.values()]) - memory.size
            while len(self._memories) > _MOST_MEMORIES or others > _MOST_BYTES:
                others -= self._memories.pop(next(iter(self._memories))).size
