"""One long conversation: a checkpoint after every turn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

from benchmarks.text import TextSource
from benchmarks.workloads.base import Kind, Turn, Workload
from benchmarks.workloads.messages import assistant, novel_bytes, tool, user

__all__ = ["Chat"]


class Chat(Workload):
    """Every turn 0.3 KB of the user and 1.5 KB of the model; every second one 6 KB of a tool."""

    kinds: ClassVar[Mapping[str, Kind]] = {"messages": "append", "turn": "replace"}

    def __init__(self, turns: int) -> None:
        self.name = f"chat-{turns}"
        self._count = turns

    @property
    def title(self) -> str:
        """What it is, with its size."""
        return f"chat, {self._count} turns"

    def turns(self) -> list[Turn]:
        """Return all turns."""
        return self._turns

    @cached_property
    def _turns(self) -> list[Turn]:
        text = TextSource("chat")
        turns = []
        for number in range(1, self._count + 1):
            messages = [user(text, 300)]
            if number % 2 == 0:
                messages.append(tool(text, 6_000))
            messages.append(assistant(text, 1_500))
            novel = novel_bytes(*messages, number)
            turns.append(Turn("chat", {"messages": messages, "turn": number}, novel))
        return turns
