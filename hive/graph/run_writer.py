"""Writes the checkpoints of one run, each on top of the one before, as durably as configured."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.background import drop_after_fork, in_thread, is_alone
from hive.graph.chain import Chain
from hive.graph.discretion import Discretion
from hive.graph.held import Held
from hive.graph.outcome import Outcome
from hive.graph.possession import Possession
from hive.graph.save_errors import SaveErrors
from hive.graph.saves import Save, Staged
from hive.graph.transient import Persistence

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.graph.background import BackgroundThread
    from hive.graph.housekeeping import Housekeeper
    from hive.graph.schema import StateSchema
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Checkpoint, PreparedCommit, Repository
    from manifests.events import Event

__all__ = ["STOPS", "RunWriter"]

STOPS: Final = frozenset({"paused", "failed", "final"})
"""The kinds of checkpoint at which a run stops; ``exit`` durability writes these at once."""

_PENDING: Final = "branch"
_BRANCH: Final = "what a branch did was not saved"
_LOGGER: Final = logging.getLogger("hive.graph")


class RunWriter:
    """The checkpoints of one run, as one writer makes them.

    Attributes:
        run: Name of the run.
        config: How to save.
        chain: What of them is durable, and what follows that.
        problems: What went wrong and was warned of, with what was not done.
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
        self._background = background
        self._possession = Possession(repository, run)
        self._persist = Persistence(run, config, repository.events, sleep)
        self._housekeeper = housekeeper
        self._retention = housekeeper.of_run(repository, run)
        self.chain = Chain(
            repository,
            run,
            tip,
            discretion=self._discretion,
            possession=self._possession,
            persist=self._persist,
            written=self._retention.saved,
        )
        self._held = Held(self.chain)
        self._began = tip
        # Whether a checkpoint was lost behind which others wait, encoded, and no caller knows.
        self._is_broken = False
        drop_after_fork(self)

    def stage(
        self, state: Any, *, kind: str, frozen: bool = False, surface: bool = True, **fields: Any
    ) -> Staged:
        """Encode a checkpoint, and hand it over as far as that needs no waiting.

        Args:
            state: The state.
            kind: Of checkpoint.
            frozen: Neither the state nor the execution record will ever change: they may be encoded
                later. A value that cannot be encoded is then an error of a later call.
            surface: Tell of what failed earlier. Not where a node calls, which is not to blame.
            **fields: ``node``, ``next_nodes``, ``execution``, ``labels``, ``graph`` and
                ``trust_identity`` as for ``Repository.commit``.

        Raises:
            HiveError: An earlier save failed in the background, or this state cannot be encoded,
                and the policy is to raise.
        """
        if surface:
            self._surface()
        fields["labels"] = self._schema.labels(fields.get("labels"))

        def prepare() -> PreparedCommit:
            return self.chain.encode(state, kind=kind, frozen=frozen, **fields)

        if frozen and self.config.durability == "async":
            save = Save(self, None, prepare)
            if kind in STOPS and is_alone() and not self._background.pending(self):
                # Whoever stops a run waits for this next, and waking a thread takes longer.
                return Staged(None, save)
            return self._queue(save, None)
        try:
            if self.config.durability == "exit":
                prepared = self._held.replace(state, kind=kind, frozen=frozen, **fields)
                return Staged(prepared.id, self.flush if kind in STOPS else None)
            prepared = self._encode_last(state, kind=kind, frozen=frozen, **fields)
            if self.config.durability == "async":
                return self._queue(Save(self, prepared, None), prepared.id)
        except errors.HiveError as error:
            self.chain.is_behind = True
            self._errors.judge(error)
            return Staged(None)
        except BaseException:
            self.chain.forget_encoded()  # Ctrl-C: nobody may have been given what was encoded
            raise
        # Until this save returns, the state is what it was: it can be encoded once more.
        return Staged(
            prepared.id,
            lambda: self._complete(prepared, prepare),
            partial(Save, self, prepared, prepare),
        )

    def refuse_unstorable(self, values: Mapping[str, Any], within: int) -> None:
        """Raise what saving these values in so many containers would, unless that is warned of."""
        if self.config.on_save_error == "raise":
            self._repository.refuse_unstorable(values, within=within)

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
        try:
            self._held.write()
        except errors.HiveError as error:
            self._errors.judge(error)
        try:
            self._held.write_branches(self._put_branches)
        except errors.HiveError as error:
            self._errors.judge(error, _BRANCH)
        self.settle()
        self._surface()
        self._retention.settle()
        self._surface_housekeeping()
        return self.chain.tip_id

    def settle(self) -> None:
        """Wait until what was handed to the background thread is written, or has failed."""
        self._background.join(self)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to write, and no failure to be told of."""
        left = not self._held.is_empty or self._errors.is_owed
        return not left and not self._background.pending(self)

    @property
    def has_stopped(self) -> bool:
        """Whether a checkpoint of this writer is on disk at which the run stops."""
        tip = self.chain.tip
        return tip is not None and tip is not self._began and tip.kind in STOPS

    def drop_in_child(self) -> None:
        """Forget what is not written: it is the parent process's, which writes it."""
        self._held.drop_in_child()
        self._errors.drop_in_child()
        self.chain.forget_encoded()

    def _encode_last(self, state: Any, **fields: Any) -> PreparedCommit:
        """Encode a checkpoint on top of the last one, which may not be written yet."""
        if self._background.pending(self):
            prepared = None
            if self.chain.waits_encoded:
                prepared = self.chain.encode_behind(state, **fields)
            if prepared is not None:
                return prepared
            self.settle()  # what waits is not encoded yet, or the repository saw another head
            self._surface()
        return self.chain.encode(state, **fields)

    def _complete(
        self, prepared: PreparedCommit, again: Callable[[], PreparedCommit]
    ) -> Digest | None:
        chain = self.chain
        try:
            if not chain.is_next(prepared):
                self.settle()
                if not chain.is_next(prepared):
                    chain.drop(prepared)
                    prepared = again()
            return chain.write(prepared, again=again)
        except errors.HiveError as error:
            chain.is_behind = True
            chain.drop(prepared)
            self._errors.judge(error)
            return None

    def _queue(self, save: Save, digest: Digest | None) -> Staged:
        if self._background.submit(self, save, wait=False):
            return Staged(digest)

        def when_there_is_room() -> Digest | None:
            try:
                self._background.submit(self, save)
            except BaseException:
                self.chain.forget_encoded()
                raise
            return digest

        return Staged(digest, when_there_is_room)

    # Beside the states

    async def pend(self, task: str, value: Any, *, surface: bool = True) -> None:
        """Save what one branch has done since the last checkpoint, as durably as checkpoints.

        It replaces what was saved under the same task. Nothing in ``value`` may ever change. It
        saves work at a resume and no more, so that its loss takes no checkpoint with it; and where
        the checkpoint at which the branch began was lost, there is nothing to save.

        Raises:
            HiveError: This, or an earlier save in the background, failed, and the policy is to
                raise.
        """
        if surface:
            self._surface()

        def write() -> None:
            if not self.chain.is_behind:
                self._put_branches({task: value})

        def write_behind() -> None:
            try:
                write()
            except BaseException as error:  # any: it has to reach the caller, in another thread
                self._errors.note(error, _BRANCH)

        if self.config.durability == "exit":
            self._held.add_branch(task, value)
        elif self.config.durability == "async":
            if not self._background.submit(self, write_behind, wait=False):
                await in_thread(lambda: self._background.submit(self, write_behind))
        else:
            try:
                await in_thread(write)
            except errors.HiveError as error:
                self._errors.judge(error, _BRANCH)

    def _put_branches(self, done: Mapping[str, Any]) -> None:
        """Write what branches did since the last checkpoint that is durable, by their tasks."""
        from manifests import PendingWrite

        tip, put, discretion = self.chain.tip, self._repository.put_pending, self._discretion
        if tip is not None:
            writes = [
                PendingWrite(
                    task, 0, _PENDING, value if discretion is None else discretion.branch(value)
                )
                for task, value in done.items()
            ]
            self._persist(lambda: put(self.run, tip.sequence, writes, replace=True))

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
            record = partial(self._repository.record_effect, self.run, name, value, alias=alias)
            return self._persist(record)
        except errors.HiveError as error:
            self._errors.judge(error, "an effect was not recorded")
            return value

    # Who goes on with the run

    def claim(self) -> None:
        """Say durably that this process goes on with the run from the writer's tip.

        Raises:
            ConflictError: Somebody else does.
            HiveError: It could not be written, and the policy is to raise.
        """
        tip = self.chain.tip
        stopped = tip is not None and tip.kind in STOPS
        try:
            self._persist(lambda: self._possession.take(tip, stopped=stopped))
        except errors.HiveError as error:
            self._errors.judge(error, "the run was not claimed")

    def let_go(self) -> None:
        """End the claim in this process."""
        self._possession.let_go()

    def give_up(self) -> None:
        """Write what waits, then let others go on with the run. Nobody is told what fails here."""
        with contextlib.suppress(errors.HiveError):
            self.flush()
        self._possession.give_up()

    # For the saves of this run

    def failed(self, error: BaseException | None) -> None:
        """Note that a checkpoint was not written, and why, for the next caller; None: it is told.

        What is encoded on top of it will be discarded.
        """
        self.chain.is_behind = True
        if error is not None:
            self._is_broken = True
            self._errors.note(error)

    def discarded(self) -> None:
        """Note that a checkpoint was not written because the one that it stands on was not."""
        self.chain.is_behind = True
        self._errors.note_another()

    def _surface(self) -> None:
        """Report failures of the background thread to the caller, once."""
        if self._is_broken:  # what waits encoded cannot be built on
            self._is_broken = False
            self.chain.forget_encoded()
        self._errors.surface()
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
