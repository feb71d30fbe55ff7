"""Who goes on with a run: what the writer of its checkpoints says of that in the store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hive import errors

if TYPE_CHECKING:
    from manifests import Checkpoint, PreparedCommit, Repository
    from manifests.claims import RunClaim

__all__ = ["Possession"]


class Possession:
    """The claim of one writer on its run, if it makes one."""

    def __init__(self, repository: Repository, run: str) -> None:
        """Claim nothing yet."""
        self._repository = repository
        self._run = run
        self._is_wanted = False
        self._claim: RunClaim | None = None

    def take(self, tip: Checkpoint | None, *, stopped: bool) -> None:
        """Say durably that this process goes on with the run from ``tip``, where it had stopped.

        Raises:
            ConflictError: Somebody else does.
        """
        self._is_wanted = True
        # The first checkpoint brings the claim along, and is refused if it is not the first.
        if tip is not None:
            self._claim = self._repository.claim(self._run, tip, stopped=stopped)

    def with_first(self, prepared: PreparedCommit) -> PreparedCommit:
        """Return the run's first checkpoint with the claim, if one is wanted."""
        if not self._is_wanted:
            return prepared
        self._end()  # one that could not be written
        prepared, self._claim = self._repository.claim_with(prepared)
        if not self._is_wanted:  # it was let go of meanwhile, by another thread
            self._end()
        return prepared

    def let_go(self) -> None:
        """End the claim in this process; a first checkpoint that waits brings none along."""
        self._is_wanted = False
        self._end()

    def _end(self) -> None:
        if self._claim is not None:
            self._repository.end_claim(self._claim, durable=False)

    def give_up(self) -> None:
        """Let others go on with the run. Nobody is told what fails here."""
        if self._claim is not None:
            claim, self._claim = self._claim, None
            with contextlib.suppress(errors.HiveError):
                self._repository.end_claim(claim)
