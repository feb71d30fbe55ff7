"""Writes what an executor knows about one run into checkpoints, or nowhere without a manager."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.background import in_thread
from hive.graph.fingerprint import digest_of

if TYPE_CHECKING:
    from hive.graph.run_writer import RunWriter
    from hive.graph.runtime import Decision, Runtime, Severity
    from manifests.kinds import Kind

__all__ = ["WITHIN_NODE", "RunRecorder"]

WITHIN_NODE: Final = "node_progress"
"""The kind of checkpoint that a node saves itself, while it runs."""


class RunRecorder:
    """Saves the checkpoints of one run; each kind of executor has a subclass that says what of.

    The execution record of a checkpoint is the executor's progress together with the canonical
    texts of what it executes and the decisions so far.

    Attributes:
        checkpoint_id: The id of the last checkpoint.
        is_whole: State and progress belong together. An executor says False before it changes
            several things, and saving makes it True: Ctrl-C may come in between, and what is saved
            then would count a node that has to run again.
    """

    def __init__(
        self, writer: RunWriter | None, *, run: str, runtime: Runtime, checkpoint_id: str | None
    ) -> None:
        """Record ``run``, whose last checkpoint so far is ``checkpoint_id``."""
        self.checkpoint_id = checkpoint_id
        self.is_whole = True
        self._writer = writer
        self._run = run
        self._runtime = runtime
        self._recorded: list[tuple[Decision, dict[str, Any]]] = []

    def specifications(self) -> dict[str, str]:
        """Return the canonical texts of what is executed, by their names; the first one decides.

        Its digest is the ``graph`` of every checkpoint.
        """
        raise NotImplementedError

    async def record(
        self,
        kind: Kind,
        node: str | None,
        state: Any,
        progress: Mapping[str, Any],
        next_nodes: Sequence[str],
    ) -> None:
        """Save a checkpoint, as durably as the manager is configured.

        Args:
            kind: Of checkpoint.
            node: What it was saved after.
            state: The state. What is the same object as at the last checkpoint is not looked into,
                and nothing in it may ever change: it may be encoded while the run goes on.
            progress: Goes into the execution record; the same holds for it.
            next_nodes: What comes next.

        Raises:
            HiveError: It could not be saved and the manager's policy is to raise.
        """
        if self._writer is None:
            return
        with self._reporting(node):
            saved = await self._writer.asave(
                state,
                kind=kind,
                node=node,
                next_nodes=next_nodes,
                execution=self.execution_of(progress),
                graph=self._digest,
                # Values in memory are replaced and never changed, so what is the same object as
                # at the last checkpoint need not be looked into.
                trust_identity=True,
                frozen=True,
                surface=kind != WITHIN_NODE,
            )
            if saved is not None:
                self.checkpoint_id = str(saved)

    async def begin(self) -> None:
        """Claim the run for this execution, which ends with ``let_go``.

        Raises:
            ConflictError: Somebody else goes on with it.
            HiveError: The claim could not be written and the manager's policy is to raise.
        """
        if self._writer is not None:
            with self._reporting(None):
                await in_thread(self._writer.claim)

    async def give_up(self) -> None:
        """After an interruption: write what waits, and leave the run to whoever wants it."""
        if self._writer is not None:
            await in_thread(self._writer.give_up)

    def let_go(self) -> None:
        """End the claim within this process; others see by the run's head that it stopped."""
        if self._writer is not None:
            self._writer.let_go()

    def tell_begin(self, steps: int) -> None:
        """Tell observers that an execution begins behind so many steps."""
        if self._writer is not None:
            from hive.graph.events import RunBegan

            self._writer.tell(RunBegan(run=self._run, steps=steps, seconds=0.0))

    def tell_attempt(
        self,
        node: str,
        *,
        visit: int,
        attempt: int,
        success: bool,
        seconds: float,
        branch: tuple[str, ...] = (),
    ) -> None:
        """Tell observers that an attempt ended."""
        if self._writer is not None and self._writer.is_heard(logging.DEBUG):
            from hive.graph.events import AttemptEnded

            self._writer.tell(
                AttemptEnded(
                    run=self._run,
                    node=node,
                    visit=visit,
                    attempt=attempt,
                    success=success,
                    branch=branch,
                    seconds=seconds,
                )
            )

    def tell_end(self, status: str, steps: int, seconds: float) -> None:
        """Tell observers that the execution ended."""
        if self._writer is not None:
            from hive.graph.events import RunEnded

            self._writer.tell(RunEnded(run=self._run, status=status, steps=steps, seconds=seconds))

    async def flush(self) -> None:
        """Wait until what was saved is durable."""
        if self._writer is not None:
            with self._reporting(None):
                last = await in_thread(self._writer.flush)
                self.checkpoint_id = None if last is None else str(last)

    async def effect(self, name: str, default: Any) -> Any:
        """Return the recorded side effect of that name, or ``default`` if there is none."""
        return default if self._writer is None else self._writer.effect(name, default)

    async def record_effect(self, name: str, value: Any, alias: str) -> Any:
        """Record a side effect durably and return the value that is stored: the first one.

        ``alias`` is what the rules of a redaction may call it besides its name.

        Raises:
            HiveError: It could not be stored and the manager's policy is to raise.
        """
        if self._writer is None:
            return value
        writer = self._writer
        with self._reporting(None):
            return await in_thread(lambda: writer.record_effect(name, value, alias))

    def refuse_unstorable(self, values: Mapping[str, Any], within: int) -> None:
        """Refuse values that a checkpoint cannot hold in so many containers, where one is saved.

        Raises:
            InvalidInputError: One of them cannot be stored; it names which.
            LimitError: One of them is too deep or too large.
        """
        if self._writer is not None:
            self._writer.refuse_unstorable(values, within)

    def execution_of(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """Return the execution record: the progress, what is executed, and the decisions."""
        return {**progress, **self._texts, "decisions": self._decisions()}

    @property
    def saves(self) -> bool:
        """Tell whether anything is saved at all."""
        return self._writer is not None

    @property
    def has_stopped(self) -> bool:
        """Tell whether it is saved, if anything is, that the run stopped in this execution."""
        return self._writer is None or self._writer.has_stopped

    @property
    def saves_failed_attempts(self) -> bool:
        """Tell whether a failed attempt is worth a checkpoint of its own."""
        return self._writer is not None and self._writer.config.save_failed_attempts

    def _decisions(self) -> list[dict[str, Any]]:
        """Return the decisions as records, the same objects as the last time where possible.

        So the next checkpoint encodes only those that are new.
        """
        decisions = self._runtime.record(self._run).decisions
        self._recorded[len(decisions) :] = []
        for index, decision in enumerate(decisions):
            if index == len(self._recorded):
                self._recorded.append((decision, decision.to_record()))
            elif self._recorded[index][0] is not decision:
                self._recorded[index] = decision, decision.to_record()
        return [record for _, record in self._recorded]

    @contextmanager
    def _reporting(self, node: str | None) -> Iterator[None]:
        """Put what goes wrong with saving into the run's report, raised or not."""
        try:
            yield
        except errors.HiveError as error:
            self._report("critical", "checkpoint not saved", error, node)
            raise
        finally:
            while self._writer is not None and self._writer.problems:
                self._report("warning", *self._writer.problems.pop(0), node)

    def _report(self, severity: Severity, what: str, error: Exception, node: str | None) -> None:
        self._runtime.report_problem(
            severity,
            f"{what}: {type(error).__name__}: {error}",
            node_id=node,
            run=self._run,
        )

    @cached_property
    def _texts(self) -> dict[str, str]:
        return self.specifications()

    @cached_property
    def _digest(self) -> str:
        return digest_of(next(iter(self._texts.values())))
