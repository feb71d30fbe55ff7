"""What one handle last saw of the heads of runs: the parent that its next commit expects."""

from __future__ import annotations

from dataclasses import dataclass

from cas.digest import Digest
from cas.mutex import Mutex
from manifests.commits import PreparedCommit
from manifests.manifest import Checkpoint
from manifests.placing import Place

__all__ = ["Head", "Seen", "SeenHeads"]

Head = tuple[int, Digest]
"""(sequence, id) of a run's head."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A head as it was seen at a moment, in this handle's own count; None: no such run yet."""

    head: Head | None
    moment: int


class SeenHeads:
    """The heads that a repository handle saw: committed, restored or resolved."""

    def __init__(self) -> None:
        self._lock = Mutex()
        self._seen: dict[str, Seen] = {}
        self._moment = 0

    @property
    def moment(self) -> int:
        """The present, to be noted before a reading begins."""
        return self._moment

    def knows(self, run: str) -> bool:
        """Whether anything was seen of a run."""
        return run in self._seen

    def head(self, run: str) -> Head | None:
        """Return the head last seen, None if the run was not seen, or not there."""
        seen = self._seen.get(run)
        return None if seen is None else seen.head

    def last(self, run: str) -> Seen | None:
        """Return what was seen last of a run, for ``put_back``."""
        return self._seen.get(run)

    def put_back(self, run: str, before: Seen | None) -> None:
        """Go back to what was seen before a commit that was interrupted."""
        with self._lock:
            self._moment += 1
            if before is None:
                self._seen.pop(run, None)
            else:
                self._seen[run] = before

    def note_prepared(self, prepared: PreparedCommit) -> None:
        """Note a commit that is about to be written: the next one builds on it."""
        with self._lock:
            self._set(prepared.run, (prepared.sequence, prepared.id))

    def note_stored(self, prepared: PreparedCommit) -> None:
        """Note a commit that was written, if the failure of an earlier attempt took it back."""
        with self._lock:
            head = self.head(prepared.run)
            if head is None or head[0] < prepared.sequence:
                self._set(prepared.run, (prepared.sequence, prepared.id))

    def note_read(self, head: Checkpoint, moment: int) -> None:
        """Note a head that a reading found which began at ``moment``.

        Not if this handle has committed since: what it read was old already.
        """
        with self._lock:
            seen = self._seen.get(head.run)
            if seen is None or seen.moment <= moment:
                self._seen[head.run] = Seen((head.sequence, head.id), moment)

    def take_back(self, place: Place) -> None:
        """Go back to what was seen before a commit that failed, so that a retry builds on it.

        Of several prepared in a row the first one's head is what remains; those behind it then
        fail with ``ConflictError`` and are not silently saved out of order.
        """
        with self._lock:
            head = self.head(place.run)
            if head is not None and head[0] >= place.sequence:
                self._set(place.run, place.head)

    def lose(self, run: str | None) -> None:
        """Know nothing any more of a run, or of any: this handle deleted or repaired it."""
        with self._lock:
            self._moment += 1
            if run is None:
                self._seen.clear()
            else:
                self._seen.pop(run, None)

    def _set(self, run: str, head: Head | None) -> None:
        self._moment += 1
        self._seen[run] = Seen(head, self._moment)
