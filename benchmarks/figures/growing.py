"""A short conversation that grows by one message a commit, for measuring many small commits."""

from __future__ import annotations

from typing import Any

from benchmarks.text import TextSource
from benchmarks.workloads.messages import assistant
from manifests import Repository

__all__ = ["GrowingRun"]

_LONGEST = 20


class GrowingRun:
    """Commits to a run of its own. The conversation starts again at 20 messages."""

    def __init__(self, repository: Repository, name: str) -> None:
        self._repository = repository
        self._text = TextSource(name)
        self.name = name
        self.state: dict[str, Any] = {"messages": [], "turn": 0}
        self.commits = 0
        self._messages = [assistant(self._text, 800) for _ in range(4 * _LONGEST)]

    def change(self) -> None:
        """Change the state as a turn does."""
        if len(self.state["messages"]) == _LONGEST:
            self.state["messages"].clear()
        message = {**self._messages[self.commits % len(self._messages)], "turn": self.commits}
        self.state["messages"].append(message)
        self.state["turn"] += 1
        self.commits += 1

    def commit(self) -> None:
        """Change the state and commit it."""
        self.change()
        self._repository.commit(self.name, self.state)
