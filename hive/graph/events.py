"""Events of runs, beside those of the repository (see :mod:`manifests.events`) they go to.

They carry names and numbers, never values. ``CheckpointManager(on_event=...)`` hears all of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from manifests.events import Event

__all__ = ["AttemptEnded", "RunBegan", "RunEnded", "SaveFailed", "SaveRetried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBegan(Event):
    """An executor goes on with a run. ``steps`` ended before; 0 unless it is resumed."""

    level: ClassVar[int] = logging.INFO
    run: str
    steps: int

    def __str__(self) -> str:
        return f"run {self.run!r} {f'goes on after {self.steps} steps' if self.steps else 'begins'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """One attempt of a visit of a node ended. ``branch`` is empty outside of parallel branches."""

    run: str
    node: str
    visit: int
    attempt: int
    success: bool
    branch: tuple[str, ...] = ()

    def __str__(self) -> str:
        how = "succeeded" if self.success else "failed"
        return f"attempt {self.attempt} of visit {self.visit} of node {self.node!r} {how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """A call of an executor ended. ``status`` is completed, paused, failed or interrupted."""

    level: ClassVar[int] = logging.INFO
    run: str
    status: str
    steps: int

    def __str__(self) -> str:
        return f"run {self.run!r} {self.status} after {self.steps} steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRetried(Event):
    """A save failed and is tried again; ``seconds`` is the wait before that.

    Of a checkpoint, of what a branch did, of an effect or of the claim on a run. ``error`` is the
    class's name.
    """

    level: ClassVar[int] = logging.WARNING
    run: str
    error: str

    def __str__(self) -> str:
        return f"a save of run {self.run!r} is tried again after {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFailed(Event):
    """A save of a run failed for good, whatever the policy made of that."""

    level: ClassVar[int] = logging.ERROR
    run: str
    error: str
    code: str | None

    def __str__(self) -> str:
        return f"a save of run {self.run!r} failed: {self.error}"
