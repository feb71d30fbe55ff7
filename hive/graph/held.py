"""What a run would go on from, under ``exit`` durability: held back until it is needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from hive import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive.graph.chain import Chain
    from manifests import PreparedCommit

__all__ = ["Held"]


class Held:
    """Holds one encoded checkpoint, and what branches did since. The next one replaces both.

    A lock makes threads take turns: one may flush all runs while another goes on with one of them,
    and what that encodes has to follow what is written meanwhile.
    """

    def __init__(self, chain: Chain) -> None:
        """Hold nothing yet of ``chain``."""
        self._chain = chain
        self._prepared: PreparedCommit | None = None
        self._branches: dict[str, Any] = {}
        self._is_lost = False
        self._turn = threading.RLock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to write."""
        return self._prepared is None and not self._branches

    def replace(self, state: Any, **fields: Any) -> PreparedCommit:
        """Encode a checkpoint and hold it, instead of the one before.

        Raises:
            HiveError: It cannot be encoded; the one before stays.
        """
        with self._turn:
            before = self._prepared
            try:
                prepared = self._chain.encode(state, ahead=before is not None, **fields)
            except errors.HiveError:
                self._is_lost = True
                raise
            self._prepared, self._branches, self._is_lost = prepared, {}, False
            if before is not None:
                self._chain.drop(before)
            return prepared

    def add_branch(self, task: str, value: Any) -> None:
        """Hold what a branch has done since the last checkpoint; nothing if that one was lost."""
        with self._turn:
            if not self._is_lost:
                self._branches[task] = value

    def write(self) -> None:
        """Write what is held, if anything is. What cannot be written now stays for the next time.

        Raises:
            ConflictError: Somebody else moved the run on, so that it can never be written.
            HiveError: It could not be written.
        """
        with self._turn:
            prepared, self._prepared = self._prepared, None
            if prepared is None:
                return
            try:
                self._chain.write(prepared)
            except errors.ConflictError:
                raise
            except BaseException:
                if self._chain.tip_id != prepared.id:
                    self._prepared = prepared
                raise

    def write_branches(self, put: Callable[[Mapping[str, Any]], None]) -> None:
        """Let ``put`` write what branches did, once the checkpoint at which they began is written.

        Raises:
            HiveError: It could not be written, and stays for the next time.
        """
        with self._turn:
            if self._branches and self._prepared is None:
                put(self._branches)
                self._branches = {}

    def drop_in_child(self) -> None:
        """Leave to the parent process what is held."""
        self._turn = threading.RLock()
        self._prepared = None
        self._branches = {}
