"""``Beside``: the part of a repository that keeps what runs have beside their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifests.bodies import BodyEncoder
from manifests.commits import abandon
from manifests.effects import PreparedEffect, has_effect, read_effects
from manifests.group import GroupCommitter
from manifests.manifest import microseconds
from manifests.names import check_name
from manifests.pending import (
    Anchor,
    PendingWrite,
    PreparedWrites,
    check_anchor,
    check_writes,
    read_pending,
)
from manifests.reading import stable
from manifests.registry import Registry
from manifests.upkeep import Upkeep

__all__ = ["Beside"]


class Beside(Upkeep):
    """Pending writes and effects, for ``Repository``."""

    registry: Registry
    _bodies: BodyEncoder
    _committer: GroupCommitter

    def put_pending(
        self,
        run: str,
        anchor: Anchor,
        writes: Sequence[PendingWrite],
        *,
        replace: bool = False,
    ) -> None:
        """Keep results that belong to a checkpoint but are not part of its state yet.

        They are durable when this returns, and kept as long as the checkpoint; while no other was
        built on it, it is not forgotten. A place (path, task, index) that has a write keeps it,
        unless ``replace``: then the new one stands there.

        ``anchor`` is the checkpoint's sequence, or its key if it has one. It need not be there yet,
        nor the run. Writes whose checkpoint never comes go with the run; or with a ``forget`` by
        policy or a whole ``gc``, once the run has gone on beyond it.

        Raises ``InvalidInputError`` or ``LimitError`` naming a value that cannot be stored,
        ``NotFoundError`` if the checkpoint was forgotten, ``StoreFullError``.
        """
        self._refuse_read_only()
        check_name(run, "run name")
        check_writes(anchor, writes)
        encoded = self._bodies.encode([(write.name, write.value) for write in writes])
        created_us = microseconds(self._clock())
        job = PreparedWrites(run, anchor, tuple(writes), encoded, created_us, replace)
        self._write_job(job)

    def pending(self, run: str, anchor: Anchor) -> list[PendingWrite]:
        """Return the pending writes of a checkpoint, ordered by (path, task, index).

        ``NotFoundError`` if the checkpoint was forgotten.
        """
        check_anchor(anchor)
        return stable(self._store, lambda reader: read_pending(reader, self.registry, run, anchor))

    def record_effect(self, run: str, name: str, value: Any) -> Any:
        """Record what a run did outside, under a name, unless it has; returns what is recorded.

        The first one wins, whoever records it. Durable when this returns; kept as long as the run.
        A fork has the effects from before its checkpoint, and those of the step behind it if no
        checkpoint was built on it: then that step may be under way, else the fork begins it again.

        Raises ``InvalidInputError`` or ``LimitError`` if the value cannot be stored.
        """
        self._refuse_read_only()
        check_name(run, "run name")
        if not stable(self._store, lambda reader: has_effect(reader, run, name)):
            encoded = self._bodies.encode([(name, value)])
            self._write_job(PreparedEffect(run, name, encoded, microseconds(self._clock())))
        return self.effect(run, name)

    def effect(self, run: str, name: str, default: Any = None) -> Any:
        """Return a recorded effect, or ``default`` if the run has none of that name."""
        found = stable(self._store, lambda reader: read_effects(reader, self.registry, run, name))
        return found.get(name, default)

    def effects(self, run: str) -> dict[str, Any]:
        """Return all effects that a run recorded, by name."""
        return stable(self._store, lambda reader: read_effects(reader, self.registry, run))

    def _write_job(self, job: PreparedWrites | PreparedEffect) -> None:
        try:
            self._committer.write(job)
        except BaseException:
            abandon(job.encoded.lease)
            raise
