"""``Beside``: the part of a repository that keeps what runs have beside their states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from cas.records import RecordReader
from manifests.ancestry import Behind, behind
from manifests.bodies import BodyEncoder
from manifests.catalogue import Catalogue
from manifests.commit_encoder import CommitEncoder
from manifests.commits import abandon
from manifests.effects import (
    PreparedEffect,
    RecordedEffect,
    count_effects,
    has_effect,
    read_effects,
)
from manifests.events import RunDeleted
from manifests.group import GroupCommitter
from manifests.kept import KeptValues
from manifests.limits import check_limit
from manifests.listing import delete_unmoved
from manifests.manifest import Checkpoint, microseconds
from manifests.names import check_name
from manifests.paths import Alias
from manifests.pending import (
    PendingWrite,
    PreparedWrites,
    check_anchor,
    check_writes,
    count_pending,
    read_pending,
)
from manifests.pending_rows import Anchor
from manifests.reading import stable
from manifests.refs import RefLike
from manifests.registry import Registry
from manifests.snapshots import Snapshot, snapshot
from manifests.upkeep import Upkeep
from manifests.withdrawal import copy_runs, withdraw

__all__ = ["Beside"]

T = TypeVar("T")


class Beside(Upkeep):
    """Pending writes, effects, and what frameworks do with their runs; for ``Repository``."""

    registry: Registry
    _values: KeptValues
    _encoder: CommitEncoder
    _bodies: BodyEncoder
    _committer: GroupCommitter

    def put_pending(
        self,
        run: str,
        anchor: Anchor,
        writes: Sequence[PendingWrite],
        *,
        replace: bool = False,
        by_task: bool = False,
    ) -> None:
        """Keep results that belong to a checkpoint but are not part of its state yet.

        They are durable when this returns, and kept as long as the checkpoint; while no other was
        built on it, it is not forgotten. A place (path, task, index) that has a write keeps it,
        unless ``replace``: then the new one stands there. With ``by_task`` a task that has writes
        there under another path goes on under that one; all tasks of the checkpoint are looked at.

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
        job = PreparedWrites(run, anchor, tuple(writes), encoded, created_us, replace, by_task)
        self._write_job(job)

    def pending(self, run: str, anchor: Anchor) -> list[PendingWrite]:
        """Return the pending writes of a checkpoint, ordered by (path, task, index).

        ``NotFoundError`` if the checkpoint was forgotten.
        """
        check_anchor(anchor)
        return stable(self._store, lambda reader: read_pending(reader, self._values, run, anchor))

    def count_pending(self, run: str, anchor: Anchor) -> int:
        """Return how many pending writes a checkpoint has; reads none of their values.

        ``NotFoundError`` if the checkpoint was forgotten.
        """
        check_anchor(anchor)
        return self._store.read(lambda reader: count_pending(reader, run, anchor))

    def record_effect(self, run: str, name: str, value: Any, *, alias: str | None = None) -> Any:
        """Record what a run did outside, under a name, unless it has; returns what is recorded.

        ``alias`` is another name by which the rules of a redaction may call the value.
        The first one wins, whoever records it. Durable when this returns; kept as long as the run.
        A fork has the effects from before its checkpoint, and those of the step behind it if no
        checkpoint was built on it: then that step may be under way, else the fork begins it again.

        Raises ``InvalidInputError`` or ``LimitError`` if the value cannot be stored.
        """
        self._refuse_read_only()
        check_name(run, "run name")
        if not stable(self._store, lambda reader: has_effect(reader, run, name)):
            step = name if alias is None else Alias(name, alias)
            encoded = self._bodies.encode([(step, value)])
            self._write_job(PreparedEffect(run, name, encoded, microseconds(self._clock())))
        return self.effect(run, name)

    def effect(self, run: str, name: str, default: Any = None) -> Any:
        """Return a recorded effect, or ``default`` if the run has none of that name."""
        found = stable(self._store, lambda reader: read_effects(reader, self._values, run, name))
        return found[0].value if found else default

    def effects(self, run: str) -> dict[str, Any]:
        """Return all effects that a run recorded, by name."""
        return {found.name: found.value for found in self.recorded_effects(run)}

    def recorded_effects(self, run: str) -> list[RecordedEffect]:
        """Return all effects of a run with what is known of each, the earliest first."""
        return stable(self._store, lambda reader: read_effects(reader, self._values, run))

    def count_effects(self, run: str) -> int:
        """Return how many effects a run recorded; reads none of their values."""
        return self._store.read(lambda reader: count_effects(reader, run))

    # For frameworks that own their runs

    def snapshot(self, ref: RefLike, use: Callable[[Snapshot], T]) -> T:
        """Return what ``use`` makes of a checkpoint and all that is beside it, read together.

        ``use`` may be called again if the store is compacted meanwhile. Raises what ``restore``
        raises.
        """
        on_state = self._encoder.restored
        return stable(
            self._store, lambda reader: use(snapshot(reader, self._values, ref, on_state))
        )

    def behind(self, ref: RefLike, names: Collection[str]) -> dict[str, Behind]:
        """Return what lies behind a checkpoint, for each of some keys of the state.

        That is what was written pending under that name at its ancestors, back to the nearest one
        whose state has the key, and its value there. The way back leads over checkpoints that are
        not listed any more, which others need. Raises what ``restore`` raises.
        """
        return stable(self._store, lambda reader: behind(reader, self._values, ref, names))

    def keyed_runs(self, prefix: str = "") -> dict[str, str]:
        """Return the runs whose checkpoints have keys, by name, each with the key of its head."""

        def look_up(reader: RecordReader) -> dict[str, str]:
            catalogue = Catalogue(reader.transaction)
            heads = {run.name: catalogue.head(run) for run in catalogue.runs_named(prefix)}
            return {
                name: head.key
                for name, head in heads.items()
                if head is not None and head.key is not None
            }

        return self._store.read(look_up)

    def head_key(self, run: str) -> str | None:
        """Return the greatest key of a run, None if it has none or there is no such run."""

        def look_up(reader: RecordReader) -> str | None:
            catalogue = Catalogue(reader.transaction)
            found = catalogue.run(run)
            head = None if found is None else catalogue.head(found)
            return None if head is None else head.key

        return self._store.read(look_up)

    def keys(
        self,
        run: str,
        *,
        below: str | None = None,
        limit: int | None = None,
        hidden: bool = False,
    ) -> list[str]:
        """Return the keys of what a run lists, greatest first, from under ``below``.

        With ``hidden``, also of what is not listed any more and stays because others need it.
        Raises ``NotFoundError`` if there is no such run.
        """
        check_limit(limit)

        def look_up(reader: RecordReader) -> list[str]:
            catalogue = Catalogue(reader.transaction)
            rows = catalogue.newest_by_key(catalogue.need_run(run).number, below=below)
            keys = (row.key for _, row in rows if row.key and (hidden or not row.hidden))
            return list(islice(keys, limit))

        return self._store.read(look_up)

    def withdraw(self, run: str, keys: Collection[str]) -> int:
        """Take checkpoints off a run's list by their keys, the head included; returns how many.

        Unlike ``forget`` it asks no policy. What another checkpoint cannot be used without stays
        as long as that is so, but is not listed or found any more. The greatest key that is left
        is the head; a run without any is removed. A tag or pin still keeps its checkpoint.

        Raises ``NotFoundError``, ``InvalidInputError`` for a run without keys, or
        ``CorruptStoreError`` if it lists fewer checkpoints than it counts.
        """
        self._refuse_read_only()
        withdrawn = self._store.write(lambda writer: withdraw(writer, run, keys), frees_space=True)
        self._seen.lose(run)
        return withdrawn

    def delete_unmoved(self, heads: Sequence[Checkpoint]) -> int:
        """Remove runs with all they list, if these are their heads still; returns how much that is.

        For who looked at runs and found them old: one that was extended since is not. All of it
        happens, or nothing. Raises ``NotFoundError``, or ``ConflictError`` if a run was extended,
        or something of it is tagged or pinned.
        """
        self._refuse_read_only()
        with self.events.during("delete_run") as tell:
            deleted = self._store.write(
                lambda writer: delete_unmoved(writer, heads), frees_space=True
            )
            for head, checkpoints in zip(heads, deleted, strict=True):
                self._seen.lose(head.run)
                tell(_deleted(head.run, checkpoints))
            return sum(deleted)

    def copy_runs(self, names: Mapping[str, str]) -> int:
        """List all that runs list in new ones too, with all beside it; returns how many.

        ``names`` leads from each run to its copy. Copies no object; all of it happens, or nothing.
        Raises ``NotFoundError``, or ``ConflictError`` if a copy's name is taken.
        """
        self._refuse_read_only()
        created_us = microseconds(self._clock())
        return self._store.write(lambda writer: copy_runs(writer, names, created_us))

    def _write_job(self, job: PreparedWrites | PreparedEffect) -> None:
        written: int = 0
        try:
            written = self._committer.write(job)
        finally:
            if not written:
                # Also where somebody else's was there first: what was staged is in no row.
                abandon(job.encoded.lease)


def _deleted(run: str, checkpoints: int) -> Callable[[float], RunDeleted]:
    return lambda seconds: RunDeleted(run=run, checkpoints=checkpoints, seconds=seconds)
