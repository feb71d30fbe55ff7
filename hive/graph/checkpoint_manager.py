"""``CheckpointManager``: saves and finds the checkpoints of runs, for executors and for people."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.closing import Closing
from hive.graph.arguments import check_instance
from hive.graph.background import BackgroundThread, in_thread
from hive.graph.discretion import Discretion
from hive.graph.found import InterruptedRun, ResumePoint
from hive.graph.housekeeping import Housekeeper
from hive.graph.newer import refuse_newer
from hive.graph.records import completed, reading
from hive.graph.run_writer import STOPS, RunWriter
from hive.graph.save_errors import CheckpointWarning
from hive.graph.saves import write_together
from hive.graph.schema import StateSchema
from hive.graph.standing import ABANDONED
from hive.graph.termination import flush_at_termination, forget_termination
from hive.schemas.checkpoint import CheckpointConfig
from hive.text import kind_of

if TYPE_CHECKING:
    from cas.digest import Digest
    from manifests import Checkpoint, OnEvent, RefLike, Repository

__all__ = ["CheckpointManager", "CheckpointWarning", "InterruptedRun", "ResumePoint"]


class CheckpointManager(Closing):
    """Saves checkpoints as a ``CheckpointConfig`` says, and finds them again.

    ::

        with CheckpointManager("/srv/agents") as manager:
            executor = GraphExecutor(Runtime(), manager)

    ``close`` (or the end of a ``with`` or ``async with`` block) waits for everything to be on
    disk. A process that forks leaves what is not written to the parent. A manager that is not
    closed writes what is left when the interpreter ends normally.

    Args:
        storage: A repository, which stays the caller's to close; the path of a home directory;
            or None for the default home. A path is opened when it is first needed.
        config: How to save and what to keep.
        on_event: Is told what happens to runs (see ``hive.graph.events``) and in the repository
            (see ``manifests.events``), until this is closed.
        schema: The version of the states of runs, and the migrations to it; by default version 1.
        sleep: Waits before a write is tried again, in seconds.
    """

    def __init__(
        self,
        storage: Repository | str | os.PathLike[str] | None = None,
        config: CheckpointConfig | None = None,
        *,
        on_event: OnEvent | None = None,
        schema: StateSchema | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from cas.mutex import Mutex  # late: importing this package loads no store

        self.config = CheckpointConfig() if config is None else config
        self.schema = StateSchema() if schema is None else schema
        check_instance(self.config, CheckpointConfig, "config")
        check_instance(self.schema, StateSchema, "schema")
        self._home: str | os.PathLike[str] | None = None
        self._repository: Repository | None = None
        if storage is None or isinstance(storage, str | os.PathLike):
            self._home = storage
        elif callable(getattr(storage, "prepare", None)):
            self._repository = storage
        else:
            raise errors.InvalidInputError(
                f"storage is a repository, a path or None, not {kind_of(storage)}"
            )
        self._owns = self._repository is None
        self._on_event = on_event
        self._stop_telling: Callable[[], None] | None = None
        if on_event is not None and self._repository is not None:
            self._stop_telling = self._repository.events.subscribe(on_event)
        self._sleep = sleep
        self._background = BackgroundThread(
            max_pending=self.config.max_pending, together=write_together
        )
        self._housekeeper = Housekeeper(self.config)
        self._writers: dict[str, RunWriter] = {}
        self._lock = Mutex()
        self._closed = False
        if self.config.enabled and self.config.durability != "sync":
            flush_at_termination(self)
        self._at_exit = partial(_flush_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)
        # A manager that is dropped without close must not leave its thread waiting for ever.
        weakref.finalize(
            self, _let_go, self._background, self._housekeeper, self._at_exit
        ).atexit = False

    @property
    def repository(self) -> Repository:
        """The repository, opened now if it was not yet.

        Raises:
            InvalidInputError: The manager is closed, or there is no usable default home.
            HiveError: The store cannot be opened.
        """
        with self._lock:
            if self._closed:
                raise errors.InvalidInputError("this checkpoint manager is closed: make a new one")
            if self._repository is None:
                from hive.home import open_repository

                self._repository = open_repository(self._home, on_event=self._on_event)
            return self._repository

    # Saving

    def save(
        self,
        run: str,
        state: Any,
        *,
        kind: str = "node_complete",
        node: str | None = None,
        next_nodes: Sequence[str] = (),
        execution: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        graph: str | None = None,
    ) -> Digest | None:
        """Save a checkpoint on top of the last one this manager saved of the run, else of its head.

        Returns:
            The checkpoint's id; None if nothing was saved, because saving is not enabled or it
            failed and ``on_save_error`` is ``warn``. Under ``async`` and ``exit`` durability the
            checkpoint is not on disk yet.

        Raises:
            ConflictError: Somebody else moved the run on.
            HiveError: This save, or an earlier one in the background, failed.
        """
        if not self.config.enabled:
            return None
        fields: dict[str, Any] = {
            "node": node,
            "next_nodes": next_nodes,
            "execution": execution,
            "labels": labels,
            "graph": graph,
        }
        return self._writer(run).stage(state, kind=kind, **fields).complete()

    async def asave(self, run: str, state: Any, **fields: Any) -> Digest | None:
        """Do what ``save`` does; the event loop goes on while the disk is waited for.

        The state is encoded before the first wait.
        """
        if not self.config.enabled:
            return None
        return await self._writer(run).asave(state, **{"kind": "node_complete", **fields})

    def writer(self, run: str, tip: Checkpoint | None) -> RunWriter:
        """Return a writer that goes on with a run from ``tip`` alone; for executors.

        Args:
            run: Name of the run.
            tip: What must be the run's head at the first write; None if the run must be new.
        """
        repository = self.repository
        with self._lock:
            before = self._writers.get(run)
        if before is not None:
            before.flush()
        writer = RunWriter(
            repository,
            run,
            self.config,
            tip=tip,
            background=self._background,
            housekeeper=self._housekeeper,
            sleep=self._sleep,
            schema=self.schema,
        )
        with self._lock:
            self._writers[run] = writer
        return writer

    def release(self, writer: RunWriter) -> None:
        """Let go of a writer that will not be used again, unless it holds something back.

        A server keeps its manager for as long as it lives, and its clients break off many runs.
        """
        with self._lock:
            if writer.is_done and self._writers.get(writer.run) is writer:
                del self._writers[writer.run]

    def flush(self, run: str | None = None) -> None:
        """Wait until what was saved is on disk, of one run or of all.

        Raises:
            HiveError: Something could not be written; the other runs were still waited for.
        """
        failures = []
        for writer in self._writers_of(run):
            try:
                writer.flush()
            except errors.HiveError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def flush_quietly(self) -> None:
        """Write what can be written, as the process ends: nobody is left to be told of errors."""
        with contextlib.suppress(Exception):
            self.flush()

    async def aflush(self, run: str | None = None) -> None:
        """Do what ``flush`` does without holding up the event loop."""
        await in_thread(lambda: self.flush(run))

    def close(self) -> None:
        """Flush, end the background thread, and close the repository if this manager opened it.

        Closing twice is harmless.

        Raises:
            HiveError: Something could not be written; the manager is closed all the same.
        """
        if self._closed:
            return
        try:
            self.flush()
        except errors.HiveError:
            raise
        except BaseException:
            self.flush_quietly()  # Ctrl-C: nobody would write it any more
            raise
        finally:
            self._background.stop()
            self._housekeeper.close()
            atexit.unregister(self._at_exit)
            forget_termination(self)
            with self._lock:
                self._closed = True
                self._writers.clear()
                if self._stop_telling is not None:
                    self._stop_telling()
                if self._owns and self._repository is not None:
                    self._repository.close()

    # Finding

    def latest(self, run: str) -> Checkpoint | None:
        """Return the head of a run, or None if there is no such run."""
        return next(iter(self.history(run, limit=1)), None)

    def history(self, run: str, *, limit: int | None = None) -> list[Checkpoint]:
        """Return the checkpoints of a run, newest first; none if there is no such run."""
        self._settle(run)
        try:
            return self.repository.log(run, limit=limit)
        except errors.NotFoundError:
            return []

    def restore(self, ref: RefLike) -> Any:
        """Return the state of a checkpoint, migrated to the version of the manager's schema.

        Raises:
            NotFoundError: There is no such checkpoint.
            CorruptionError: It is damaged; nothing damaged is returned.
            UnsupportedFormatError: Its state has a newer version than the schema.
            InvalidInputError: A migration to the schema's version is missing, or failed.
        """
        self._settle()
        checkpoint = self.repository.resolve(ref)
        return self.schema.state(checkpoint, self.repository.restore(checkpoint))

    def fork(self, ref: RefLike, new_run: str | None = None) -> Checkpoint:
        """Start a run at a checkpoint of another one; ``<run>-fork-<n>`` if it gets no name.

        Raises:
            NotFoundError: There is no such checkpoint.
            ConflictError: A run of that name exists.
        """
        self._settle()
        if new_run is not None:
            return self.repository.fork(ref, new_run)
        checkpoint = self.repository.resolve(ref)
        number = 1
        while True:
            name = f"{checkpoint.run}-fork-{number}"
            number += 1
            if self.latest(name) is None:
                try:
                    return self.repository.fork(checkpoint, name)
                except errors.ConflictError:
                    continue  # another process took the name first

    def resume_point(self, run: str) -> ResumePoint | None:
        """Return the newest checkpoint of a run that an executor can continue; None without one.

        It is the run's head unless somebody committed to the run by hand. What this manager saved
        of the run is flushed first.
        """
        self.flush(run)
        for limit in (1, None):  # nearly always the first
            for checkpoint in self.history(run, limit=limit):
                if checkpoint.graph is not None:
                    return self.point_at(checkpoint)
        return None

    def point_at(self, ref: RefLike) -> ResumePoint:
        """Return a checkpoint with all that an executor needs to continue from it.

        Raises:
            NotFoundError: There is no such checkpoint.
            CorruptionError: It is damaged.
            UnsupportedFormatError: Its state has a newer version than the schema, or holds a value
                of a newer version than the registered class.
            InvalidInputError: A migration to the schema's version is missing, or failed.
        """
        self._settle()
        repository = self.repository
        checkpoint = repository.resolve(ref)
        head = self.latest(checkpoint.run)
        execution = repository.execution(checkpoint)
        with reading(checkpoint.run):
            if execution.get("section") is not None:
                writes = repository.pending(checkpoint.run, checkpoint.sequence)
                execution = completed(execution, {write.task: write.value for write in writes})
        state = repository.restore(checkpoint)
        where = f"{checkpoint.run}@{checkpoint.sequence}"
        refuse_newer([state, execution], repository.registry, where)
        state = self.schema.state(checkpoint, state)
        with reading(checkpoint.run):
            execution = self.schema.execution(checkpoint, execution)
        return ResumePoint(
            checkpoint,
            state,
            execution,
            head is not None and head.sequence == checkpoint.sequence,
            self.schema.is_current(checkpoint),
            Discretion.of(repository),
        )

    def interrupted_runs(self) -> list[InterruptedRun]:
        """Return the runs that were interrupted: by a crash, a kill, a power cut or a cancellation.

        A run counts if an executor claimed it, its head is not where a run stops or is abandoned,
        and the process that claimed it is gone: the process with that id was started at another
        moment, or under another boot of the machine. No clock is asked. Where the system does not
        tell enough, a process counts as alive. Claiming a run to resume it lets only one of several
        callers win.
        """
        self._settle()
        found = []
        for claim in self.repository.claims():
            head = None if claim.is_held else self.latest(claim.run)
            # Where the claim was made the head may be of any kind: a pause that was resumed.
            stands = head is not None and head.kind in {*STOPS, ABANDONED}
            if head is not None and (not stands or head.sequence == claim.at):
                found.append(InterruptedRun(claim.run, head, claim.owner))
        return found

    def _writer(self, run: str) -> RunWriter:
        check_instance(run, str, "run")
        with self._lock:
            writer = self._writers.get(run)
        return self.writer(run, self.latest(run)) if writer is None else writer

    def _settle(self, run: str | None = None) -> None:
        """Wait for the background thread, so that what was saved (of one run) is found."""
        for writer in self._writers_of(run):
            writer.settle()

    def _writers_of(self, run: str | None) -> list[RunWriter]:
        """Return the writer of one run if there is one, or all."""
        with self._lock:
            return [w for name, w in self._writers.items() if run is None or name == run]


def _let_go(
    background: BackgroundThread, housekeeper: Housekeeper, at_exit: Callable[[], None]
) -> None:
    background.stop(wait=False)
    housekeeper.let_go()
    atexit.unregister(at_exit)


def _flush_at_exit(reference: weakref.ref[CheckpointManager]) -> None:
    manager = reference()
    if manager is not None:
        manager.flush()
