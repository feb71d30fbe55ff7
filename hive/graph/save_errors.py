"""What could not be saved: whether the run goes on without it, and who is told."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hive import errors

if TYPE_CHECKING:
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests.listeners import Events

__all__ = ["CHECKPOINT", "CheckpointWarning", "SaveErrors"]

CHECKPOINT: Final = "a checkpoint was not saved"


class CheckpointWarning(UserWarning):
    """A checkpoint was not saved, or not dropped, and the run goes on without that."""


class SaveErrors:
    """Judges what went wrong with saving one run, by the policy of its manager.

    Attributes:
        problems: What the run went on without, and why; whoever reports it takes it out.
    """

    def __init__(self, run: str, config: CheckpointConfig, events: Events) -> None:
        """Tell ``events`` of the run."""
        from cas.mutex import Mutex  # late: importing this package loads no store

        self.problems: list[tuple[str, Exception]] = []
        self._run = run
        self._config = config
        self._events = events
        self._noted: list[tuple[str, BaseException]] = []
        self._cause: BaseException | None = None
        self._lock = Mutex()

    @property
    def is_owed(self) -> bool:
        """Whether something went wrong of which nobody was told yet."""
        return bool(self._noted)

    def note(self, error: BaseException, what: str = CHECKPOINT) -> None:
        """Keep what went wrong in the background for the next caller."""
        if what == CHECKPOINT:
            self._cause = error
        with self._lock:
            self._noted.append((what, error))

    def note_another(self) -> None:
        """Note that another checkpoint shares the fate of the last one, if that is warned of.

        An error is raised once: what follows it is no news.
        """
        if self._cause is not None and not self._is_raised(self._cause):
            self.note(self._cause)

    def surface(self) -> None:
        """Judge what was noted. One error is raised for all of it, where one has to be."""
        if self._noted:
            with self._lock:
                noted, self._noted = self._noted, []
            self._judge(noted)

    def judge(self, error: Exception, what: str = CHECKPOINT) -> None:
        """Raise an error of a save, or warn of it if the policy is to go on.

        Args:
            error: What went wrong.
            what: Says what was not done.
        """
        self._judge([(what, error)])

    def warn(self, error: Exception, what: str) -> None:
        """Warn of an error; ``what`` says what was not done."""
        self.problems.append((what, error))
        warnings.warn(f"run {self._run!r}: {what}: {error}", CheckpointWarning, stacklevel=2)

    def _judge(self, found: Sequence[tuple[str, BaseException]]) -> None:
        from hive.graph.events import SaveFailed

        raised: list[BaseException] = []
        for what, error in found:
            code = error.code if isinstance(error, errors.HiveError) else None
            name = type(error).__name__
            self._events.emit(SaveFailed(run=self._run, error=name, code=code, seconds=0.0))
            if isinstance(error, Exception) and not self._is_raised(error):
                self.warn(error, what)
            else:
                raised.append(error)
        if raised:
            # A conflict ends the run here for good, whatever else went wrong.
            raise min(raised, key=lambda error: not isinstance(error, errors.ConflictError))

    def _is_raised(self, error: BaseException) -> bool:
        # Going on after a conflict would repeat the side effects of whoever continues the run.
        conflict = isinstance(error, errors.ConflictError)
        expected = isinstance(error, errors.HiveError)
        return self._config.on_save_error == "raise" or conflict or not expected

    def drop_in_child(self) -> None:
        """Leave to the parent process what it was not told of."""
        self._noted = []
