"""Writes the checkpoints of one run, each on top of the one before, as durably as configured."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.background import drop_after_fork, in_thread, is_alone
from hive.graph.discretion import Discretion
from hive.graph.outcome import Outcome
from hive.graph.save_errors import SaveErrors
from hive.graph.saves import Pend, Save, Staged
from hive.graph.transient import is_transient

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.graph.background import BackgroundThread
    from hive.graph.housekeeping import Housekeeper
    from hive.graph.schema import StateSchema
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Checkpoint, PreparedCommit, Repository
    from manifests.claims import RunClaim
    from manifests.events import Event

__all__ = ["STOPS", "RunWriter"]

STOPS: Final = frozenset({"paused", "failed", "final"})
"""The kinds of checkpoint at which a run stops; ``exit`` durability writes these at once."""

_PENDING: Final = "branch"
_LOGGER: Final = logging.getLogger("hive.graph")


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
        self._errors = SaveErrors(run, config, repository.events)
        self.problems = self._errors.problems
        self._schema = schema
        self._discretion = Discretion.of(repository)
        self._repository = repository
        self._tip = tip
        self._last: Digest | None = None if tip is None else tip.id
        self._background = background
        self._sleep = sleep
        self._claims = False
        self._claim: RunClaim | None = None
        self._held: PreparedCommit | None = None
        self._failure: Exception | None = None
        self.round = 0
        self._lock = threading.Lock()
        self._housekeeper = housekeeper
        self._retention = housekeeper.of_run(repository, run)
        drop_after_fork(self)

    def stage(self, state: Any, *, kind: str, frozen: bool = False, **fields: Any) -> Staged:
        """Encode a checkpoint, and hand it over as far as that needs no waiting.

        Args:
            state: The state.
            kind: Of checkpoint.
            frozen: Neither the state nor the execution record will ever change: they may be encoded
                later. A value that cannot be encoded is then an error of a later call.
            **fields: ``node``, ``next_nodes``, ``execution``, ``labels``, ``graph`` and
                ``trust_identity`` as for ``Repository.commit``.

        Raises:
            HiveError: An earlier save failed in the background, or this state cannot be encoded,
                and the policy is to raise.
        """
        self._surface()
        fields["labels"] = self._schema.labels(fields.get("labels"))

        def prepare() -> PreparedCommit:
            return self._prepare(state, kind=kind, frozen=frozen, **fields)

        if frozen and self.config.durability == "async":
            save = Save(self, None, prepare)
            if kind in STOPS and is_alone() and not self._background.pending(self):
                # Whoever stops a run waits for this next, and waking a thread takes longer.
                return Staged(None, save)
            return self._queue(save, None)
        try:
            prepared = self._prepare_behind(state, kind=kind, frozen=frozen, **fields)
            if self.config.durability == "async":
                return self._queue(Save(self, prepared, None), prepared.id)
        except errors.HiveError as error:
            self._errors.judge(error)
            return Staged(None)
        if self.config.durability == "exit":
            self._held = prepared
            return Staged(prepared.id, self.flush if kind in STOPS else None)
        # Until this save returns, the state is what it was: it can be encoded once more.
        return Staged(
            prepared.id,
            lambda: self._complete(prepared, again=prepare),
            partial(Save, self, prepared, prepare),
        )

    def refuse_unstorable(self, values: Mapping[str, Any]) -> None:
        """Raise what saving a state with these values would, unless the policy is to warn of it."""
        if self.config.on_save_error == "raise":
            self._repository.refuse_unstorable(values)

    async def asave(self, state: Any, *, kind: str, **fields: Any) -> Digest | None:
        """Save a checkpoint as ``stage`` and ``complete`` do; the event loop does not block.

        Saves of several runs share transactions.
        """
        staged = self.stage(state, kind=kind, **fields)
        # Where saves wait already there are other tasks; to count them takes long if they are many.
        if staged.save is None or (not self._background.is_busy and is_alone()):
            return staged.id if staged.finish is None else await in_thread(staged.finish)
        outcome: Outcome[Digest] = Outcome()
        self._background.submit(self, staged.save(outcome), bounded=False)
        try:
            return await outcome.wait()
        except errors.HiveError as error:
            self._errors.judge(error)
            return None

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
        return self._tip_id

    def settle(self) -> None:
        """Wait until what was handed to the background thread is written, or has failed."""
        self._background.join(self)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to write, and no failure to be told of."""
        left = self._held is not None or self._failure is not None
        return not left and not self._background.pending(self)

    def drop_in_child(self) -> None:
        """Forget what is not written: it is the parent process's, which writes it."""
        self._lock = threading.Lock()
        self._held = None
        self._failure = None
        self._last = self._tip_id

    @property
    def _tip_id(self) -> Digest | None:
        return None if self._tip is None else self._tip.id

    def _prepare(self, state: Any, **fields: Any) -> PreparedCommit:
        """Encode a checkpoint on top of what is durable."""
        tip, parent = self._tip, self._tip_id
        # The repository remembers what it saw last of the run, which nearly always is the tip.
        prepared = self._encoded(state, **fields)
        if prepared.place.branches or prepared.place.parent != parent:
            place = None if tip is None else (self.run, tip.sequence)
            try:
                prepared = self._encoded(state, parent=place, **fields)
            except errors.NotFoundError as error:
                raise errors.ConflictError(
                    f"run {self.run!r} was deleted by somebody else, or went on and its checkpoint "
                    "that this one follows was forgotten; resume what is there, or begin anew",
                    run=self.run,
                ) from error
        if prepared.place.branches or prepared.place.parent != parent:
            raise errors.ConflictError(
                f"run {self.run!r} was moved on by somebody else; resume it from its head, or from "
                "a checkpoint as a fork",
                run=self.run,
            )
        self._last = prepared.id
        if tip is None and self._claims:
            self.let_go()  # of a first checkpoint that could not be written
            prepared, self._claim = self._repository.claim_with(prepared)
        return prepared

    def _prepare_behind(self, state: Any, **fields: Any) -> PreparedCommit:
        """Encode a checkpoint on top of the last one, which may not be written yet."""
        if self._last != self._tip_id and self._background.pending(self):
            prepared = self._encoded(state, **fields)
            if prepared.place.parent == self._last and not prepared.place.branches:
                self._last = prepared.id
                return prepared
            # Somebody resolved or committed the run through the same handle meanwhile.
            self.settle()
            self._surface()
        return self._prepare(state, **fields)

    def _encoded(self, state: Any, *, frozen: bool, **fields: Any) -> PreparedCommit:
        if frozen and self._discretion is not None:
            fields["execution"] = self._discretion.record(fields["execution"])
        return self._repository.prepare(self.run, state, **fields)

    def _complete(
        self, prepared: PreparedCommit, *, again: Callable[[], PreparedCommit] | None = None
    ) -> Digest | None:
        try:
            if again is not None and not self.is_next(prepared):
                self.settle()
                prepared = prepared if self.is_next(prepared) else again()
            return self.write(prepared, again=again)
        except errors.HiveError as error:
            self._errors.judge(error)
            return None

    def _queue(self, save: Save, digest: Digest | None) -> Staged:
        if self._background.submit(self, save, wait=False):
            return Staged(digest)

        def when_there_is_room() -> Digest | None:
            self._background.submit(self, save)
            return digest

        return Staged(digest, when_there_is_room)

    # Beside the states

    async def pend(self, task: str, value: Any) -> None:
        """Save what one branch has done since the last checkpoint, as durably as checkpoints.

        It replaces what was saved under the same task. Nothing in ``value`` may ever change.

        Raises:
            HiveError: This, or an earlier save in the background, failed, and the policy is to
                raise.
        """
        self._surface()
        discretion = self._discretion

        def write() -> None:
            if self._tip is not None:
                stored = value if discretion is None else discretion.branch(value)
                write = PendingWrite(task, 0, _PENDING, stored)
                self._repository.put_pending(self.run, self._tip.sequence, [write], replace=True)

        from manifests import PendingWrite

        if self.config.durability == "async":
            pending = Pend(self, write)
            if not self._background.submit(self, pending, wait=False):
                await in_thread(lambda: self._background.submit(self, pending))
        elif self.config.durability == "sync":
            try:
                await in_thread(write)
            except errors.HiveError as error:
                self._errors.judge(error)

    def effect(self, name: str, default: Any) -> Any:
        """Return a recorded side effect of the run, or ``default``."""
        return self._repository.effect(self.run, name, default)

    def record_effect(self, name: str, value: Any, alias: str) -> Any:
        """Record a side effect durably, whatever the durability; return what is recorded.

        Rules of a redaction may also call it by its ``alias``.

        Raises:
            HiveError: It could not be stored, and the policy is to raise.
        """
        try:
            return self._repository.record_effect(self.run, name, value, alias=alias)
        except errors.HiveError as error:
            self._errors.judge(error)
            return value

    # Who goes on with the run

    def claim(self) -> None:
        """Say durably that this process goes on with the run from the writer's tip.

        Raises:
            ConflictError: Somebody else does.
            HiveError: It could not be written, and the policy is to raise.
        """
        tip = self._tip
        self._claims = True
        if tip is None:
            return  # the first checkpoint brings the claim along, and is refused if it is not
        try:
            self._claim = self._repository.claim(self.run, tip, stopped=tip.kind in STOPS)
        except errors.HiveError as error:
            self._errors.judge(error)

    def let_go(self) -> None:
        """End the claim in this process."""
        if self._claim is not None:
            self._repository.end_claim(self._claim, durable=False)

    def give_up(self) -> None:
        """Write what waits, then let others go on with the run. Nobody is told what fails here."""
        with contextlib.suppress(errors.HiveError):
            self.flush()
        if self._claim is not None:
            claim, self._claim = self._claim, None
            with contextlib.suppress(errors.HiveError):
                self._repository.end_claim(claim)

    # For the saves of this run

    def write(
        self, prepared: PreparedCommit, *, again: Callable[[], PreparedCommit] | None = None
    ) -> Digest:
        """Write an encoded checkpoint; ``again`` encodes it anew where that can help."""
        try:
            self.wrote(self._store(prepared))
        except errors.MissingObjectError:
            # Something stored earlier turned out to be damaged. A commit that is encoded
            # anew carries everything, and storing that heals it.
            if again is None:
                raise
            prepared = again()
            self.wrote(self._store(prepared))
        return prepared.id

    def is_next(self, prepared: PreparedCommit) -> bool:
        """Whether an encoded checkpoint stands on what is durable now."""
        return prepared.place.parent == self._tip_id

    def write_all(
        self, prepared: Sequence[PreparedCommit]
    ) -> Sequence[Checkpoint | errors.HiveError]:
        """Write encoded checkpoints of several runs together; return what came of each."""
        return self._repository.write_all(prepared)

    def wrote(self, tip: Checkpoint) -> None:
        """Note what is durable."""
        self._tip = tip
        self._retention.saved(tip)

    def failed(self, error: Exception) -> None:
        """Note what could not be written, for the next caller. What stands on it is discarded."""
        with self._lock:
            self._failure = error
            self.round += 1

    def _store(self, prepared: PreparedCommit) -> Checkpoint:
        tries_left, delay = self.config.write_attempts, self.config.retry_delay_seconds
        while True:
            tries_left -= 1
            try:
                return self._repository.write(prepared)
            except errors.HiveError as error:
                if not tries_left or not is_transient(error):
                    raise
                from hive.graph.events import SaveRetried

                self.tell(SaveRetried(run=self.run, error=type(error).__name__, seconds=delay))
                self._sleep(delay)
                delay *= 2

    def _surface(self) -> None:
        """Report a failure of the background thread to the caller, once."""
        failure = None
        if self._failure is not None:
            with self._lock:
                failure, self._failure = self._failure, None
        if failure is not None:
            self._last = self._tip_id
            self._errors.judge(failure)
        self._surface_housekeeping()

    def _surface_housekeeping(self) -> None:
        """Warn of what could not be dropped or freed, perhaps of other runs. Nothing is lost."""
        for what, error in self._housekeeper.take_problems():
            if not isinstance(error, errors.HiveError):
                raise error
            self._errors.warn(error, what)

    def is_heard(self, level: int) -> bool:
        """Whether anybody is told of an event of a run, which is logged at that level."""
        return self._repository.events.is_heard(_LOGGER, level)

    def tell(self, event: Event) -> None:
        """Tell whoever subscribed to the manager."""
        self._repository.events.emit(event)
