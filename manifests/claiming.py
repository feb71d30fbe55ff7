"""``Claiming``: the part of a repository that knows which process goes on with which run."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final

from cas.owner import Owner
from cas.records import RecordReader
from manifests.claims import PreparedClaim, RunClaim, claim_row, claim_rows, give_up, hold, let_go
from manifests.commits import PreparedCommit
from manifests.group import GroupCommitter
from manifests.manifest import Checkpoint
from manifests.names import check_name
from manifests.reading import stable
from manifests.upkeep import Upkeep

__all__ = ["Claiming"]

_TOKEN_BYTES: Final = 8


class Claiming(Upkeep):
    """Claims on runs, for ``Repository``."""

    _committer: GroupCommitter

    def claim(self, run: str, head: Checkpoint | None, *, stopped: bool = False) -> RunClaim:
        """Say that this process goes on with a run; durable when this returns.

        ``head`` is the run's head as the caller saw it, None if the run is new. ``stopped`` says
        that the run has come to where whoever had it before is done with it, so that a claim which
        was made before that is void although its process lives.

        Raises ``ConflictError`` if another process, or another caller in this one, goes on with it,
        or its head is another one. A claim keeps nobody from committing; it warns whoever asks.
        """
        self._refuse_read_only()
        check_name(run, "run name")
        at = 0 if head is None else head.sequence
        claim = RunClaim(run, at, os.urandom(_TOKEN_BYTES), Owner.current())
        place = None if head is None else (head.sequence, head.id)
        hold(claim.token)
        try:
            self._committer.write(PreparedClaim(claim, place, stopped))
        except BaseException:
            let_go(claim.token)
            raise
        return claim

    def claim_with(self, prepared: PreparedCommit) -> tuple[PreparedCommit, RunClaim]:
        """Let the first commit of a new run claim it too, in its own transaction."""
        claim = RunClaim(prepared.run, 0, os.urandom(_TOKEN_BYTES), Owner.current())
        hold(claim.token)
        return replace(prepared, claim=PreparedClaim(claim, None, False)), claim

    def end_claim(self, claim: RunClaim, *, durable: bool = True) -> None:
        """Leave a run to whoever wants it: in this process at once, for others when it is durable.

        Without ``durable`` nothing is written; others then know it by where the run has come to.
        """
        let_go(claim.token)
        if durable:
            self._store.write(lambda writer: give_up(writer.writing, claim.run, claim.token))

    def claim_of(self, run: str) -> RunClaim | None:
        """Return the last claim on a run, held or not; None if it was never claimed."""
        return stable(self._store, lambda reader: reader.run(lambda records: _row(records, run)))

    def claims(self) -> list[RunClaim]:
        """Return the last claim on each run, held or not, also of runs that are over."""

        def rows(records: RecordReader) -> list[RunClaim]:
            return list(claim_rows(records.transaction))

        return stable(self._store, lambda reader: reader.run(rows))


def _row(records: RecordReader, run: str) -> RunClaim | None:
    return claim_row(records.transaction, run)
