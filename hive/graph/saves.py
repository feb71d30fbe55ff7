"""Saves that wait to be written, and writing those of several runs in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hive import errors
from hive.graph.outcome import Outcome, announce

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.graph.background import Job
    from hive.graph.run_writer import RunWriter
    from manifests import Checkpoint, PreparedCommit

__all__ = ["Save", "Staged", "write_together"]


class Save:
    """One checkpoint of a run on its way to the disk; calling it takes it there."""

    __slots__ = ("_prepare", "_prepared", "_writer", "outcome")

    def __init__(
        self,
        writer: RunWriter,
        prepared: PreparedCommit | None,
        prepare: Callable[[], PreparedCommit] | None,
        outcome: Outcome[Digest] | None = None,
    ) -> None:
        """Save what is prepared, or what ``prepare`` will encode when its turn has come.

        ``prepare`` is None where the state may have changed since. ``outcome`` becomes the
        checkpoint's id when it is durable, or what went wrong; without one, the writer is told of
        that.
        """
        self.outcome = outcome
        self._writer = writer
        self._prepared = prepared
        self._prepare = prepare

    def __call__(self) -> None:
        """Write the checkpoint and wait until it is durable."""
        if self.encode():
            self.conclude(None)

    def encode(self) -> bool:
        """Encode the checkpoint if it is not; whether there is anything to write."""
        if self._prepared is not None:
            if self._writer.chain.is_next(self._prepared):
                return True
            self._writer.chain.drop(self._prepared)  # it stands on one that could not be written
        if self._prepare is None:
            self._writer.discarded()
            return False
        try:
            self._prepared = self._prepare()
        except BaseException as error:  # any: it has to reach the caller, in another thread
            self._fail(error)
            return False
        return True

    def write_with(self, others: Sequence[Save]) -> None:
        """Write it and the saves of other runs of the manager; all are encoded."""
        saves = [self, *others]
        prepared = [save._prepared for save in saves if save._prepared is not None]
        try:
            written: Sequence[Checkpoint | errors.HiveError | None]
            written = self._writer.chain.write_all(prepared)
        except BaseException:  # any, as a listener may call sys.exit: each meets and reports it
            written = [None] * len(saves)
        for save, result in zip(saves, written, strict=True):
            save.conclude(result)

    def conclude(self, written: Checkpoint | errors.HiveError | None) -> None:
        """Note that the encoded checkpoint is durable; write it alone if that is what is left.

        Args:
            written: What came of writing it together with others; None if that was not tried.
        """
        assert self._prepared is not None
        saved = self._prepared.id
        try:
            if written is None or isinstance(written, errors.HiveError):
                saved = self._writer.chain.write(self._prepared, again=self._prepare)
            else:
                self._writer.chain.wrote(written)
            if self.outcome is not None:
                self.outcome.succeed(saved)
        except BaseException as error:  # any: it has to reach the caller, in another thread
            self._writer.chain.drop(self._prepared)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self.outcome is None:
            self._writer.failed(error)
        else:
            self._writer.failed(None)
            self.outcome.fail(error)


@dataclass(frozen=True, slots=True)
class Staged:
    """A checkpoint on its way, so that the state it was made from may change.

    Attributes:
        id: Its id; None if it is not known yet, or it could not be encoded and the policy is to
            warn.
        finish: What is left to do, and may block on the disk or on a full queue; returns the id,
            or None if it could not be saved and the policy is to warn. None: nothing is left.
        save: Makes the same for the background thread, where that may do it.
    """

    id: Digest | None
    finish: Callable[[], Digest | None] | None = None
    save: Callable[[Outcome[Digest]], Save] | None = None

    def complete(self) -> Digest | None:
        """Do what is left and return the id."""
        return self.id if self.finish is None else self.finish()


def write_together(jobs: Sequence[Job]) -> None:
    """Do jobs of different runs; their saves share a transaction."""
    saves = []
    for job in jobs:
        if isinstance(job, Save):
            if job.encode():
                saves.append(job)
        else:
            job()
    if len(saves) == 1:
        saves[0].conclude(None)
    elif saves:
        saves[0].write_with(saves[1:])
    announce([job.outcome for job in jobs if isinstance(job, Save) and job.outcome is not None])
