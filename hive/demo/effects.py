"""The side-effect log of a demo run: what every process did, told by the process itself.

Each line is one JSON object, appended with a single write and synced before the step goes on, so
the log is right about a process that was killed, and owes nothing to the store that it checks on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["LOG_NAME", "Effect", "append_effect", "read_effects"]

LOG_NAME: Final = "effects.jsonl"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One line of the log: a process started or finished a step."""

    event: Literal["started", "finished"]
    node: str
    visit: int
    """Which visit of the node, from 1: a loop visits a node several times."""
    attempt: int
    """As the executor told the node, from 1."""
    key: str
    """The idempotency key that the executor gave the node."""
    pid: int

    @property
    def step(self) -> tuple[str, int]:
        """What must be finished exactly once: a visit of a node."""
        return (self.node, self.visit)


def append_effect(log: Path, effect: Effect) -> None:
    """Append one line durably: when this returns, it survives the machine's crash too."""
    data = (json.dumps(asdict(effect)) + "\n").encode("ascii")
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_effects(log: Path) -> list[Effect]:
    """Read the log so far; a last line that is still being written is left for the next time."""
    try:
        data = log.read_bytes()
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    return [Effect(**json.loads(line)) for line in whole.splitlines()]
