"""A coding agent: messages, a working folder of text files, a list of what is to be done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final

from benchmarks.text import TextSource
from benchmarks.workloads.base import Kind, Turn, Workload
from benchmarks.workloads.messages import Message, assistant, novel_bytes, tool, user

__all__ = ["DeepAgent"]

_RUN: Final = "deep-agent"


class DeepAgent(Workload):
    """Each turn: 5 messages, 2 of them outputs of 2 to 20 KB; a few lines of 1 file edited."""

    name = "deep-agent"
    kinds: ClassVar[Mapping[str, Kind]] = {
        "messages": "append",
        "files": "merge",
        "todos": "replace",
        "turn": "replace",
    }

    def __init__(self, turns: int, *, files: int = 50) -> None:
        self._count = turns
        self._files = files

    @property
    def title(self) -> str:
        """What it is, with its size."""
        return f"deep agent, {self._count} turns, {self._files} files"

    def turns(self) -> list[Turn]:
        """Return all turns."""
        return self._turns

    @cached_property
    def _turns(self) -> list[Turn]:
        text = TextSource("deep agent")
        files = {
            f"src/{text.identifier(4)}/module_{number:02d}.py": text.source(_size(text, 4, 40))
            for number in range(self._files)
        }
        todos: list[dict[str, str]] = []
        turns = [_first_turn(text, files, todos)]
        for number in range(2, self._count + 1):
            messages = _messages(text)
            path = text.rng.choice(list(files))
            files[path], lines = _edited(text, files[path])
            todos, item = _worked_on(text, todos, number)
            writes = {
                "messages": messages,
                "files": {path: files[path]},
                "todos": todos,
                "turn": number,
            }
            novel = novel_bytes(*messages, lines, item, number)
            turns.append(Turn(_RUN, writes, novel))
        return turns


def _size(text: TextSource, least_kb: float, most_kb: float) -> int:
    """Return a size whose logarithm is spread evenly, as those of real files and outputs are."""
    return int(1_000 * math.exp(text.rng.uniform(math.log(least_kb), math.log(most_kb))))


def _messages(text: TextSource) -> list[Message]:
    return [
        user(text, 300),
        assistant(text, 500, calls="search"),
        tool(text, _size(text, 2, 20)),
        assistant(text, 500, calls="edit_file"),
        tool(text, _size(text, 2, 20)),
    ]


def _first_turn(text: TextSource, files: dict[str, str], todos: list[dict[str, str]]) -> Turn:
    messages = _messages(text)
    todos += [_todo(text) for _ in range(8)]
    writes = {"messages": messages, "files": dict(files), "todos": list(todos), "turn": 1}
    return Turn(_RUN, writes, novel_bytes(*messages, *files, *files.values(), *todos, 1))


def _edited(text: TextSource, before: str) -> tuple[str, str]:
    """Return a file with two lines changed and one added, and the new lines."""
    lines = before.split("\n")
    place = text.rng.randrange(max(1, len(lines) - 2))
    new = [text.line(), text.line(), text.line()]
    lines[place : place + 2] = new
    return "\n".join(lines), "\n".join(new)


def _todo(text: TextSource) -> dict[str, str]:
    return {"id": text.identifier(8), "content": text.prose(70), "status": "pending"}


def _worked_on(
    text: TextSource, todos: list[dict[str, str]], number: int
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return the list with one item moved on or, every tenth turn, one added; and that item."""
    if number % 10 == 0:
        item = _todo(text)
        return [*todos, item], item
    place = text.rng.randrange(len(todos))
    others = {"in_progress", "completed", "blocked"} - {todos[place]["status"]}
    status = text.rng.choice(sorted(others))
    item = {**todos[place], "status": status}
    return [*todos[:place], item, *todos[place + 1 :]], {"id": item["id"], "status": status}
