"""Writes the checkpoints of one run, each on top of the one before, as durably as configured."""

from __future__ import annotations

import errno
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.background import drop_after_fork

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.graph.background import BackgroundThread
    from hive.graph.housekeeping import Housekeeper
    from hive.graph.schema import StateSchema
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Checkpoint, PreparedCommit, Repository

__all__ = ["CheckpointWarning", "RunWriter", "Staged", "is_transient"]

STOPS: Final = frozenset({"paused", "failed", "final"})
"""The kinds of checkpoint at which a run stops; ``exit`` durability writes these at once."""

_PASSING: Final = frozenset({"EAGAIN", "EINTR", "EBUSY", "EMFILE", "ENFILE", "ETIMEDOUT"})


class CheckpointWarning(UserWarning):
    """A checkpoint was not saved, or not dropped, and the run goes on without that."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A checkpoint that is encoded, so that the state it was made from may change.

    Attributes:
        id: Its id; None if it could not be encoded and the policy is to warn.
        finish: What is left to do, and may block on the disk or on a full queue; returns the id,
            or None if it could not be saved and the policy is to warn. None: nothing is left.
    """

    id: Digest | None
    finish: Callable[[], Digest | None] | None = None

    def complete(self) -> Digest | None:
        """Do what is left and return the id."""
        return self.id if self.finish is None else self.finish()


class RunWriter:
    """The checkpoints of one run, as one writer makes them.

    Every checkpoint names the one before it as its parent, also while that one is not written yet.
    After a failed write, those encoded on top of it are discarded: the next one is encoded on top
    of what is durable. So the stored history never has a gap that looks like none.
    """

    def __init__(
        self,
        repository: Repository,
        run: str,
        config: CheckpointConfig,
        *,
        tip: Checkpoint | None,
        background: BackgroundThread,
        housekeeper: Housekeeper,
        sleep: Callable[[float], None],
        schema: StateSchema,
    ) -> None:
        """Write on top of ``tip``, the run's head; None if the run must be new."""
        self.run = run
        self.config = config
        self.problems: list[Exception] = []
        self._schema = schema
        self._repository = repository
        self._tip = tip
        self._last: Digest | None = None if tip is None else tip.id
        self._background = background
        self._sleep = sleep
        self._held: PreparedCommit | None = None
        self._failure: Exception | None = None
        self._round = 0
        self._lock = threading.Lock()
        self._housekeeper = housekeeper
        self._retention = housekeeper.of_run(repository, run)
        drop_after_fork(self)

    def stage(self, state: Any, *, kind: str, **fields: Any) -> Staged:
        """Encode a checkpoint, and hand it over as far as that needs no waiting.

        Args:
            state: The state.
            kind: Of checkpoint.
            **fields: ``node``, ``next_nodes``, ``execution``, ``labels``, ``graph`` and
                ``trust_identity`` as for ``Repository.commit``.

        Raises:
            HiveError: An earlier save failed in the background, or this state cannot be encoded,
                and the policy is to raise.
        """
        self._surface()
        fields["labels"] = self._schema.labels(fields.get("labels"))
        try:
            prepared = self._prepare(state, kind=kind, **fields)
        except errors.HiveError as error:
            self._judge(error)
            return Staged(None)
        match self.config.durability:
            case "sync":
                # Until this save returns, the state is what it was: it can be encoded once more.
                return Staged(
                    prepared.id,
                    lambda: self._complete(
                        prepared, again=lambda: self._prepare(state, kind=kind, **fields)
                    ),
                )
            case "async":
                return self._queue(prepared)
            case "exit":
                self._held = prepared
                return Staged(prepared.id, self.flush if kind in STOPS else None)

    def flush(self) -> Digest | None:
        """Wait until everything saved is durable; return the id of the run's last checkpoint.

        Raises:
            HiveError: Something could not be written, and the policy is to raise.
        """
        if self._held is not None:
            try:
                if self._complete(self._held) is not None:
                    self._held = None
            except errors.ConflictError:
                self._held = None  # it can never be written; what else failed may pass
                raise
        self.settle()
        self._surface()
        self._retention.settle()
        self._surface_housekeeping()
        return None if self._tip is None else self._tip.id

    def settle(self) -> None:
        """Wait until what was handed to the background thread is written, or has failed."""
        self._background.join(self)

    def drop_in_child(self) -> None:
        """Forget what is not written: it is the parent process's, which writes it."""
        self._lock = threading.Lock()
        self._held = None
        self._failure = None
        self._last = None if self._tip is None else self._tip.id

    def _prepare(self, state: Any, **fields: Any) -> PreparedCommit:
        if self.config.durability == "async" and self._background.pending(self):
            # The one before may not be written yet. The repository remembers what it encoded last.
            prepared = self._repository.prepare(self.run, state, **fields)
            if prepared.place.parent == self._last and not prepared.place.branches:
                self._last = prepared.id
                return prepared
            # Somebody resolved or committed the run through the same handle meanwhile.
            self.settle()
            self._surface()
        tip = self._tip
        place = None if tip is None else (self.run, tip.sequence)
        prepared = self._repository.prepare(self.run, state, parent=place, **fields)
        if prepared.place.branches or prepared.place.parent != (None if tip is None else tip.id):
            raise errors.ConflictError(
                f"run {self.run!r} was moved on by somebody else; resume it from its head, or from "
                "a checkpoint as a fork",
                run=self.run,
            )
        self._last = prepared.id
        return prepared

    def _complete(
        self, prepared: PreparedCommit, *, again: Callable[[], PreparedCommit] | None = None
    ) -> Digest | None:
        try:
            try:
                self._write(prepared)
            except errors.MissingObjectError:
                # Something stored earlier turned out to be damaged. A commit that is encoded
                # anew carries everything, and storing that heals it.
                if again is None:
                    raise
                prepared = again()
                self._write(prepared)
        except errors.HiveError as error:
            self._judge(error)
            return None
        return prepared.id

    def _queue(self, prepared: PreparedCommit) -> Staged:
        number = self._round

        def job() -> None:
            with self._lock:
                if self._round != number:
                    return  # encoded on top of one that could not be written
            try:
                self._write(prepared)
            except Exception as error:  # any: it has to reach the caller, in another thread
                with self._lock:
                    self._failure = error
                    self._round += 1

        if self._background.submit(self, job, wait=False):
            return Staged(prepared.id)

        def when_there_is_room() -> Digest:
            self._background.submit(self, job)
            return prepared.id

        return Staged(prepared.id, when_there_is_room)

    def _write(self, prepared: PreparedCommit) -> None:
        self._tip = tip = self._store(prepared)
        self._retention.saved(tip)

    def _store(self, prepared: PreparedCommit) -> Checkpoint:
        tries_left, delay = self.config.write_attempts, self.config.retry_delay_seconds
        while True:
            tries_left -= 1
            try:
                return self._repository.write(prepared)
            except errors.HiveError as error:
                if not tries_left or not is_transient(error):
                    raise
                self._sleep(delay)
                delay *= 2

    def _surface(self) -> None:
        """Report a failure of the background thread to the caller, once."""
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            self._last = None if self._tip is None else self._tip.id
            self._judge(failure)
        self._surface_housekeeping()

    def _surface_housekeeping(self) -> None:
        """Warn of what could not be dropped or freed, perhaps of other runs. Nothing is lost."""
        while self._housekeeper.problems:
            what, error = self._housekeeper.problems.pop(0)
            if not isinstance(error, errors.HiveError):
                raise error
            self._warn(error, what)

    def _judge(self, error: Exception) -> None:
        # Going on after a conflict would repeat the side effects of whoever continues the run.
        conflict = isinstance(error, errors.ConflictError)
        expected = isinstance(error, errors.HiveError)
        if self.config.on_save_error == "raise" or conflict or not expected:
            raise error
        self._warn(error, "a checkpoint was not saved")

    def _warn(self, error: Exception, what: str) -> None:
        self.problems.append(error)
        warnings.warn(f"run {self.run!r}: {what}: {error}", CheckpointWarning, stacklevel=2)


def is_transient(error: Exception) -> bool:
    """Tell whether a failed write may succeed if it is repeated.

    A full store, missing permissions, a moved head and a value that cannot be stored stay so.
    What passes is a lack of something that others give back: the lower layers report it with
    the system's error as the cause.
    """
    cause = error.__cause__
    if isinstance(cause, OSError):
        return errno.errorcode.get(cause.errno or 0) in _PASSING
    return isinstance(error, errors.LimitError) and cause is not None
