"""What every store under measurement does: save steps, load any of them, drop old ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.workloads import Step, Workload

__all__ = ["CheckpointName", "Peer"]

CheckpointName = tuple[str, int]
"""A checkpoint as the benchmarks name it: its run and its step there, from 1."""


class Peer(ABC):
    """A store of checkpoints in a folder of its own, made for one workload.

    ``save`` is what is timed, so it does what the store's user waits for and no more.
    """

    name: ClassVar[str]
    copies: ClassVar[bool] = False
    """It writes the whole state every time, so a long run costs it the square of its length."""
    once: ClassVar[bool] = False
    """So slow that one round has to do."""
    saves_whole_turns: ClassVar[bool] = False
    """Its ``save`` loads too."""

    def __init__(self, folder: Path, workload: Workload) -> None:
        self.folder = folder
        self.workload = workload
        self.open()

    @classmethod
    def unsuited(cls, workload: Workload) -> str | None:
        """Return why this store cannot hold that workload, or None if it can."""
        return None

    @abstractmethod
    def open(self) -> None:
        """Open or create the store, with nothing remembered from before."""

    @abstractmethod
    def close(self) -> None:
        """Finish all writing and let go of the store. Closing twice is harmless."""

    def prepare(self, step: Step) -> None:  # noqa: B027  nothing to do for most
        """Do what the agent or its framework does before it saves. Not timed."""

    @abstractmethod
    def save(self, step: Step) -> None:
        """Save the state of a step."""

    def flush(self) -> None:  # noqa: B027  nothing to do for most
        """Wait until everything saved is on disk."""

    @abstractmethod
    def load(self, name: CheckpointName) -> Any:
        """Return the state of a checkpoint."""

    def compact(self) -> bool:
        """Take as few bytes as the store can; False if it has no such operation."""
        return False

    def forget(self, names: Sequence[CheckpointName]) -> bool:
        """Drop checkpoints and free their bytes; False if it has no such operation."""
        return False
