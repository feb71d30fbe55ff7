"""The checkpoints of one run on their way into the store, each on top of the one before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hive import errors

if TYPE_CHECKING:
    from cas.digest import Digest
    from hive.graph.discretion import Discretion
    from hive.graph.possession import Possession
    from hive.graph.transient import Persistence
    from manifests import Checkpoint, PreparedCommit, Repository

__all__ = ["Chain"]


class Chain:
    """What of a run is durable, and encoding and writing what follows that.

    Every checkpoint names the one before it as its parent, also while that one is not written yet.
    After a failed write, those encoded on top of it are discarded, and those that can be are
    encoded anew, on top of what is durable. So what is stored always follows what is stored.

    Attributes:
        tip: The last checkpoint that is durable; None if the run must be new.
        is_behind: The last one was lost: what branches do since then belongs to none.
    """

    def __init__(
        self,
        repository: Repository,
        run: str,
        tip: Checkpoint | None,
        *,
        discretion: Discretion | None,
        possession: Possession,
        persist: Persistence,
        written: Callable[[Checkpoint], None],
    ) -> None:
        """Begin on top of ``tip``; ``written`` is told of each checkpoint that is durable."""
        self.tip = tip
        self.is_behind = False
        self._repository = repository
        self._discretion = discretion
        self._run = run
        self._last = self.tip_id
        self._possession = possession
        self._persist = persist
        self._written = written

    @property
    def tip_id(self) -> Digest | None:
        """The id of the last checkpoint that is durable."""
        return None if self.tip is None else self.tip.id

    @property
    def waits_encoded(self) -> bool:
        """Whether checkpoints are encoded that are not written yet, as far as is known."""
        return self._last != self.tip_id

    def forget_encoded(self) -> None:
        """Encode the next one on top of what is durable: what was encoded will not be written."""
        self._last = self.tip_id

    def encode(self, state: Any, *, ahead: bool = False, **fields: Any) -> PreparedCommit:
        """Encode a checkpoint on top of what is durable.

        Args:
            state: The state.
            ahead: One was encoded there already; it is to be replaced.
            **fields: As for ``Repository.prepare``; and ``frozen``, whether the execution record is
                an executor's, in which nothing will ever change.

        Raises:
            ConflictError: Somebody else moved the run on.
            HiveError: The state cannot be encoded.
        """
        # The repository remembers what it saw last of the run, which nearly always is the tip.
        prepared = None if ahead else self._encoded(state, **fields)
        if prepared is None or not self._is_on_tip(prepared):
            if prepared is not None:
                self.drop(prepared)
            prepared = self._encode_on_tip(state, **fields)
        self._last = prepared.id
        return prepared if self.tip is not None else self._possession.with_first(prepared)

    def encode_behind(self, state: Any, **fields: Any) -> PreparedCommit | None:
        """Encode a checkpoint on top of the last one that was encoded, but perhaps not written.

        Returns:
            None if that is not the last one that the repository knows of: somebody resolved or
            committed the run through the same handle meanwhile.
        """
        prepared = self._encoded(state, **fields)
        if prepared.place.parent != self._last or prepared.place.branches:
            self.drop(prepared)
            return None
        self._last = prepared.id
        return prepared

    def is_next(self, prepared: PreparedCommit) -> bool:
        """Whether an encoded checkpoint stands on what is durable now."""
        return prepared.place.parent == self.tip_id

    def write(
        self, prepared: PreparedCommit, *, again: Callable[[], PreparedCommit] | None = None
    ) -> Digest:
        """Write an encoded checkpoint and return its id.

        Args:
            prepared: The checkpoint.
            again: Encodes it anew, where that can help.

        Raises:
            HiveError: It could not be written.
        """
        try:
            self.wrote(self._persist(lambda: self._repository.write(prepared)))
        except errors.MissingObjectError:
            # Something stored earlier turned out to be damaged. A commit that is encoded
            # anew carries everything, and storing that heals it.
            if again is None:
                raise
            self.drop(prepared)
            return self.write(again())
        except BaseException as error:
            # Ctrl-C may come behind the transaction, in this thread or in one that wrote for it.
            stored = self._stored(prepared)
            if stored is not None and self.tip_id != stored.id:
                self.wrote(stored)
            if stored is None or not isinstance(error, errors.HiveError):
                raise
        return prepared.id

    def _stored(self, prepared: PreparedCommit) -> Checkpoint | None:
        """Return the run's head if it is that checkpoint."""
        with contextlib.suppress(errors.HiveError):
            for head in self._repository.log(self._run, limit=1):
                return head if head.id == prepared.id else None
        return None

    def write_all(
        self, prepared: Sequence[PreparedCommit]
    ) -> Sequence[Checkpoint | errors.HiveError]:
        """Write encoded checkpoints of several runs together; return what came of each."""
        return self._repository.write_all(prepared)

    def wrote(self, tip: Checkpoint) -> None:
        """Note what is durable."""
        self.tip = tip
        self.is_behind = False
        self._written(tip)

    def drop(self, prepared: PreparedCommit) -> None:
        """Give up an encoded checkpoint, with what was stored of a very large one already."""
        from manifests.commits import abandon

        abandon(prepared.lease)

    def _encoded(self, state: Any, *, frozen: bool, **fields: Any) -> PreparedCommit:
        if frozen and self._discretion is not None:
            fields["execution"] = self._discretion.record(fields["execution"])
        return self._repository.prepare(self._run, state, **fields)

    def _is_on_tip(self, prepared: PreparedCommit) -> bool:
        return not prepared.place.branches and self.is_next(prepared)

    def _encode_on_tip(self, state: Any, **fields: Any) -> PreparedCommit:
        place = None if self.tip is None else (self._run, self.tip.sequence)
        try:
            prepared = self._encoded(state, parent=place, **fields)
        except errors.NotFoundError as error:
            raise errors.ConflictError(
                f"run {self._run!r} was deleted by somebody else, or went on and its checkpoint "
                "that this one follows was forgotten; resume what is there, or begin anew",
                run=self._run,
            ) from error
        if not self._is_on_tip(prepared):
            self.drop(prepared)
            raise errors.ConflictError(
                f"run {self._run!r} was moved on by somebody else; resume it from its head, or "
                "from a checkpoint as a fork",
                run=self._run,
            )
        return prepared
