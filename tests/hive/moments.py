"""Moments that tests wait for, and time that they let pass, whatever the machine is busy with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hive.graph.recorder import BranchRecorder

if TYPE_CHECKING:
    import pytest

__all__ = ["SavedBranches", "let_pass"]


class SavedBranches:
    """Notes each node behind which a branch handed over where it stands, to be saved.

    What dies before that has not done the node; so a test that makes something die behind it waits.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin to note; it ends with ``monkeypatch``."""
        self._nodes: set[str | None] = set()
        save = BranchRecorder.save

        async def noted(recorder: BranchRecorder, kind: Any, node: str | None, *rest: Any) -> None:
            await save(recorder, kind, node, *rest)
            self._nodes.add(node)

        monkeypatch.setattr(BranchRecorder, "save", noted)

    async def wait_for(self, node: str) -> None:
        """Return when a branch has been saved behind a node."""
        while node not in self._nodes:
            await asyncio.sleep(0.001)


def let_pass(seconds: float) -> None:
    """Make the running event loop believe that so much time has passed.

    So a timeout can be too long for a busy machine to reach by accident.
    """
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]
