"""Saves that wait to be written, and writing those of several runs in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hive import errors

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.graph.background import Job
    from hive.graph.run_writer import RunWriter
    from manifests import Checkpoint, PreparedCommit

__all__ = ["Pend", "Save", "Staged", "write_together"]


class Save:
    """One checkpoint of a run on its way to the disk; calling it takes it there."""

    __slots__ = ("_prepare", "_prepared", "_round", "_writer", "future")

    def __init__(
        self,
        writer: RunWriter,
        prepared: PreparedCommit | None,
        prepare: Callable[[], PreparedCommit] | None,
        *,
        future: Future[Digest] | None = None,
    ) -> None:
        """Save what is prepared, or what ``prepare`` will encode when its turn has come.

        ``prepare`` is None where the state may have changed since. ``future`` completes with the
        checkpoint's id when it is durable, or with what went wrong; without one, the writer is told
        of that.
        """
        self.future = future
        self._writer = writer
        self._prepared = prepared
        self._prepare = prepare
        self._round = writer.round

    def __call__(self) -> None:
        """Write the checkpoint and wait until it is durable."""
        if self.encode():
            self.conclude(None)

    def encode(self) -> bool:
        """Encode the checkpoint if it is not; whether there is anything to write."""
        if self.future is None and self._writer.round != self._round:
            return False  # it was meant to stand on one that could not be written
        try:
            if self._prepared is None and self._prepare is not None:
                self._prepared = self._prepare()
        except Exception as error:  # any: it has to reach the caller, in another thread
            self._fail(error)
            return False
        return True

    def submit(self) -> Future[Checkpoint]:
        """Queue the encoded checkpoint for the next transaction."""
        assert self._prepared is not None
        return self._writer.submit(self._prepared)

    def conclude(self, written: Future[Checkpoint] | None) -> None:
        """Wait until the encoded checkpoint is durable; write it alone if that is what is left.

        Args:
            written: What ``submit`` gave; None if it was not called.
        """
        assert self._prepared is not None
        try:
            if written is not None:
                error = written.exception()
                if error is None:
                    self._writer.wrote(written.result())
                    self._succeed(self._prepared.id)
                    return
                if not isinstance(error, errors.HiveError):
                    raise error
            self._succeed(self._writer.write(self._prepared, again=self._prepare))
        except Exception as error:  # any: it has to reach the caller, in another thread
            self._fail(error)

    def _succeed(self, digest: Digest) -> None:
        if self.future is not None:
            self.future.set_result(digest)

    def _fail(self, error: Exception) -> None:
        if self.future is None:
            self._writer.failed(error)
        else:
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Staged:
    """A checkpoint on its way, so that the state it was made from may change.

    Attributes:
        id: Its id; None if it is not known yet, or it could not be encoded and the policy is to
            warn.
        finish: What is left to do, and may block on the disk or on a full queue; returns the id,
            or None if it could not be saved and the policy is to warn. None: nothing is left.
        save: The same for the background thread, where that may do it.
    """

    id: Digest | None
    finish: Callable[[], Digest | None] | None = None
    save: Save | None = None

    def complete(self) -> Digest | None:
        """Do what is left and return the id."""
        return self.id if self.finish is None else self.finish()


class Pend:
    """A pending write on its way to the disk, in its turn among the saves of its run."""

    def __init__(self, writer: RunWriter, write: Callable[[], None]) -> None:
        """Do ``write`` when called."""
        self._writer = writer
        self._round = writer.round
        self._write = write

    def __call__(self) -> None:
        """Write it, unless the checkpoint that it belongs to could not be written."""
        if self._writer.round != self._round:
            return
        try:
            self._write()
        except Exception as error:  # any: it has to reach the caller, in another thread
            self._writer.failed(error)


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
        return
    submitted = [(save, save.submit()) for save in saves]
    for save, future in submitted:
        save.conclude(future)
