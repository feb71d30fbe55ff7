"""What could not be saved: whether the run goes on without it, and who is told."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from hive import errors

if TYPE_CHECKING:
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests.listeners import Events

__all__ = ["CheckpointWarning", "SaveErrors"]


class CheckpointWarning(UserWarning):
    """A checkpoint was not saved, or not dropped, and the run goes on without that."""


class SaveErrors:
    """Judges what went wrong with saving one run, by the policy of its manager.

    Attributes:
        problems: What the run went on without; whoever reports it takes it out.
    """

    def __init__(self, run: str, config: CheckpointConfig, events: Events) -> None:
        """Tell ``events`` of the run."""
        self.problems: list[Exception] = []
        self._run = run
        self._config = config
        self._events = events

    def judge(self, error: Exception) -> None:
        """Raise an error of a save, or warn of it if the policy is to go on."""
        from hive.graph.events import SaveFailed

        expected = isinstance(error, errors.HiveError)
        code = error.code if isinstance(error, errors.HiveError) else None
        name = type(error).__name__
        self._events.emit(SaveFailed(run=self._run, error=name, code=code, seconds=0.0))
        # Going on after a conflict would repeat the side effects of whoever continues the run.
        conflict = isinstance(error, errors.ConflictError)
        if self._config.on_save_error == "raise" or conflict or not expected:
            raise error
        self.warn(error, "a checkpoint was not saved")

    def warn(self, error: Exception, what: str) -> None:
        """Warn of an error; ``what`` says what was not done."""
        self.problems.append(error)
        warnings.warn(f"run {self._run!r}: {what}: {error}", CheckpointWarning, stacklevel=2)
