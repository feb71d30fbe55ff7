"""``HiveSaver``: LangGraph's checkpoints in a Hive store."""

from __future__ import annotations

import datetime as dt
import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from hive.adapters.langgraph.codecs import MESSAGES, ThreadRegistry
from hive.adapters.langgraph.delta import delta_history
from hive.adapters.langgraph.fencing import Journeys
from hive.adapters.langgraph.places import Place, prefix_of
from hive.adapters.langgraph.records import (
    checkpoint_of,
    kind_of,
    metadata_of,
    needs_parent,
    parent_of,
    record_of,
    rest_of,
)
from hive.adapters.langgraph.salvage import enveloped, naming, pending_of, values_of
from hive.adapters.langgraph.serializer import StrictSerializer, serving
from hive.adapters.langgraph.twins import iterating_twin, twin
from hive.adapters.langgraph.upkeep import Upkeep, check_rules
from hive.adapters.langgraph.versions import next_version
from hive.closing import Closing
from hive.errors import InvalidInputError, NotFoundError
from hive.home import open_repository
from manifests import (
    Checkpoint as HiveCheckpoint,
)
from manifests import (
    Clock,
    PendingWrite,
    Repository,
    RetentionPolicy,
    Snapshot,
    system_clock,
)
from manifests.limits import check_limit

__all__ = ["HiveSaver"]

_BATCH: Final = 32
_LONGEST_PATH: Final = 1_024
_KEEP_LATEST: Final = RetentionPolicy(mode="latest_only", keep_tips=False)


class HiveSaver(Closing, BaseCheckpointSaver[Any]):
    """Saves the checkpoints of LangGraph's threads, each at the cost of what changed.

    It is shared by threads and by processes, used by sync and async graphs alike, and serves as a
    context manager in both. Closing it twice is harmless.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Repository | None = None,
        *,
        serde: SerializerProtocol | None = None,
        types: Iterable[type[Any]] | Mapping[str, type[Any]] = (),
        retention: RetentionPolicy | None = None,
        ttl: dt.timedelta | None = None,
        compact: bool = False,
        fencing: bool = False,
        trust_identity: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        """Open a store, or use one that is open.

        Args:
            store: The home of a store (made if it is not there), or a repository; by default the
                user's own home, as ``hive.open()`` chooses it. Of a repository the saver uses the
                open store, not the classes, and does not close it.
            serde: The serializer for values that no codec knows; by default LangGraph's, which
                then reads only what is on its list of safe types.
            types: Classes of the application that states hold: dataclasses, pydantic models, named
                tuples, enums. Given as a mapping, under names that survive renaming the class.
            retention: Which checkpoints of a thread to keep; the others are dropped in the
                background.
            ttl: Threads that were not extended for so long are deleted, in the background, unless
                one of their checkpoints is tagged or pinned.
            compact: Also return the space that became free to the disk.
            fencing: Refuse a save whose parent is not the newest checkpoint any more, unless that
                parent was asked for by its id: two workers on one thread then get an error instead
                of two histories.
            trust_identity: Promise that a message which is still the same object as at the last
                save has not changed inside; saves are faster then, and miss such a change.
            clock: Says what time it is.

        Raises:
            InvalidInputError: An argument cannot be what it should be.
            HiveError: What opening a store raises.
        """
        check_rules(retention, ttl)
        super().__init__(serde=serde or StrictSerializer(MESSAGES))
        self._owned = not isinstance(store, Repository)
        registry = ThreadRegistry(types)
        if isinstance(store, Repository):
            self.repository = store.with_registry(registry)
        else:
            self.repository = open_repository(store, registry=registry, clock=clock)
        self._fencing = fencing
        self._trust_identity = trust_identity
        self._journeys = Journeys()
        self._upkeep = Upkeep(
            self.repository,
            clock,
            self._delete_expired,
            retention=retention,
            ttl=ttl,
            compact=compact,
        )

    # Opening and closing

    def close(self) -> None:
        """Finish what is due in the background, and release the store if this saver opened it."""
        self._upkeep.close()
        if self._owned:
            self.repository.close()

    def flush(self) -> None:
        """Apply retention and ``ttl`` now, and free the space. Saves themselves never wait."""
        self._upkeep.settle()

    # Saving

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint behind the one that ``config`` names; durable when it returns.

        Raises:
            ConflictError: With ``fencing``, another worker has gone on from the parent.
            InvalidInputError: A value can be stored neither by a codec nor by the serializer.
            HiveError: The store cannot be written.
        """
        place = Place.of(config)
        parent_id = get_checkpoint_id(config)
        kept = get_checkpoint_metadata(config, metadata)
        with serving(self.serde), naming(place, checkpoint["id"]):
            try:
                self._commit(place, checkpoint, kept, new_versions, parent_id)
            except NotFoundError:
                # The parent is not listed: it was pruned, or never saved here.
                self._commit(place, checkpoint, kept, new_versions, parent_id, is_listed=False)
        self._upkeep.saved(place.run)
        return place.config(checkpoint["id"])

    def _commit(
        self,
        place: Place,
        checkpoint: Checkpoint,
        metadata: Mapping[str, Any],
        new_versions: ChannelVersions,
        parent_id: str | None,
        *,
        is_listed: bool = True,
    ) -> HiveCheckpoint:
        listed = parent_id if is_listed else None
        may_branch = self._journeys.may_branch(place.run, parent_id)

        def commit(values: dict[str, Any]) -> HiveCheckpoint:
            return self.repository.commit(
                place.run,
                values,
                kind=kind_of(metadata),
                execution=record_of(checkpoint, metadata, None if is_listed else parent_id),
                parent=None if listed is None else (place.run, listed),
                changed=new_versions.keys(),
                trust_identity=self._trust_identity,
                key=checkpoint["id"],
                needs_parent=listed is not None and needs_parent(checkpoint, metadata),
                extends_head=self._fencing and not may_branch,
            )

        return enveloped(commit, checkpoint["channel_values"], self.serde)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task returned, beside the checkpoint that ``config`` names.

        Special writes (errors, interrupts, answers) take the place of earlier ones; of others the
        first one stays. Raises what ``put`` raises.
        """
        place, checkpoint_id = Place.of(config), get_checkpoint_id(config)
        if checkpoint_id is None:
            raise InvalidInputError("the config names no checkpoint to keep writes beside")
        path = short_path(task_path)
        ordinary: dict[int, PendingWrite] = {}
        special: dict[int, PendingWrite] = {}
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            target = ordinary if index >= 0 else special
            target[index] = PendingWrite(task_id, index, channel, value, path)
        for found, replace in ((ordinary, False), (special, True)):
            if found:
                self._put_pending(place, checkpoint_id, [*found.values()], replace=replace)

    def adopt_writes(
        self, place: Place, checkpoint_id: str, writes: Sequence[PendingWrite]
    ) -> None:
        """Save writes under the indexes that another saver gave them; the first ones stay."""
        self._put_pending(place, checkpoint_id, writes, replace=False)

    def _put_pending(
        self, place: Place, checkpoint_id: str, writes: Sequence[PendingWrite], *, replace: bool
    ) -> None:
        def put(values: dict[int, Any]) -> None:
            chosen = [
                PendingWrite(write.task, write.index, write.name, values[write.index], write.path)
                for write in writes
            ]
            self.repository.put_pending(place.run, checkpoint_id, chosen, replace=replace)

        with serving(self.serde), naming(place, checkpoint_id):
            enveloped(put, {write.index: write.value for write in writes}, self.serde)

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that ``config`` names, or the newest of its thread and namespace.

        Raises:
            CorruptionError: It is damaged.
            InvalidInputError: A value in it cannot be read by this saver; the error names thread,
                checkpoint and channel.
        """
        place, checkpoint_id = Place.of(config), get_checkpoint_id(config)
        run = place.run
        if checkpoint_id is None:
            checkpoint_id = self._newest(run)
            if checkpoint_id is None:
                return None
            config = place.config(checkpoint_id)
            is_asked = False
        else:
            is_asked = True
        with suppress(NotFoundError):
            return self._read(place, checkpoint_id, config, is_asked=is_asked)
        return None

    def _newest(self, run: str) -> str | None:
        return self.repository.head_key(run)

    def _read(
        self, place: Place, checkpoint_id: str, config: RunnableConfig, *, is_asked: bool
    ) -> CheckpointTuple:
        def use(snapshot: Snapshot) -> CheckpointTuple:
            if is_asked and not snapshot.is_head:
                self._journeys.begin(place.run, checkpoint_id)
            return _tuple_of(snapshot, place, config)

        with serving(self.serde), naming(place, checkpoint_id):
            return self.repository.snapshot((place.run, checkpoint_id), use)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the checkpoints of a thread, or of all, newest first.

        Args:
            config: The thread; its namespace or checkpoint too, if it names them. None: all.
            filter: What their metadata must be equal to, key by key.
            before: Only those whose id is below the one that this config names.
            limit: At most so many.
        """
        below = None if before is None else get_checkpoint_id(before)
        wanted = None if config is None else get_checkpoint_id(config)
        places = self._places(config)
        found = heapq.merge(
            *(self._ids(place, below, wanted) for place in places),
            key=lambda item: item[0],
            reverse=True,
        )
        check_limit(limit)
        left = limit
        for checkpoint_id, place in found:
            if left is not None and left <= 0:
                return
            with suppress(NotFoundError):  # dropped since it was listed
                if filter and not self._matches(place, checkpoint_id, filter):
                    continue
                own = place.config(checkpoint_id)
                item = self._read(place, checkpoint_id, own, is_asked=False)
                left = None if left is None else left - 1
                yield item

    def _places(self, config: RunnableConfig | None) -> Sequence[Place]:
        if config is None:
            return [Place.of_run(run) for run in self.repository.keyed_runs()]
        place = Place.of(config)
        if config.get("configurable", {}).get("checkpoint_ns") is not None:
            return [place]
        return self._namespaces(place.thread)

    def _namespaces(self, thread: str) -> Sequence[Place]:
        """Return the places of a thread: its root namespace, and those of its subgraphs."""
        root, prefix = prefix_of(thread)
        runs = {*self.repository.keyed_runs(prefix)}
        if not self._is_foreign(root):
            runs.add(root)  # it may have writes alone
        places = [Place.of_run(run) for run in sorted(runs)]
        return [place for place in places if place.thread == thread]

    def _is_foreign(self, run: str) -> bool:
        """Whether a run has checkpoints that no saver made: an executor's, say, in one store."""
        with suppress(NotFoundError):
            return self.repository.head_key(run) is None and bool(self.repository.log(run, limit=1))
        return False

    def _ids(
        self, place: Place, below: str | None, wanted: str | None
    ) -> Iterator[tuple[str, Place]]:
        if wanted is not None:
            if below is None or wanted < below:
                yield wanted, place
            return
        while True:
            try:
                batch = self.repository.keys(place.run, below=below, limit=_BATCH)
            except NotFoundError:
                return
            for key in batch:
                yield key, place
            if len(batch) < _BATCH:
                return
            below = batch[-1]

    def _matches(self, place: Place, checkpoint_id: str, wanted: Mapping[str, Any]) -> bool:
        with serving(self.serde), naming(place, checkpoint_id):
            record = rest_of(self.repository.execution((place.run, checkpoint_id)))
        metadata: Mapping[str, Any] = metadata_of(record)
        return all(metadata.get(key) == value for key, value in wanted.items())

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what delta channels of a checkpoint are rebuilt from; see LangGraph's base."""
        place = Place.of(config)
        checkpoint_id = get_checkpoint_id(config) or self._newest(place.run)
        empty: dict[str, DeltaChannelHistory] = {name: {"writes": []} for name in channels}
        if not channels or checkpoint_id is None:
            return empty
        with suppress(NotFoundError), serving(self.serde), naming(place, checkpoint_id):
            return delta_history(self.repository, (place.run, checkpoint_id), channels)
        return empty

    # Dropping and copying

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of a thread, in all its namespaces.

        Danger: also what is tagged or pinned there. A run of that name which no saver made is left
        alone.
        """
        thread = str(thread_id)
        for place in self._namespaces(thread):
            with suppress(NotFoundError):
                self.repository.delete_run(place.run, force=True)

    def _delete_expired(self, thread: str) -> bool:
        """Delete a thread unless something of it is tagged or pinned; whether it was deleted."""
        places = self._namespaces(thread)
        kept = {found.run for found in self.repository.tags().values()}
        kept.update(pin.checkpoint.run for pin in self.repository.pins())
        if kept.intersection(place.run for place in places):
            return False
        self.delete_thread(thread)
        return True

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that some runs of graphs made, and their writes.

        What the delta channels of others are rebuilt from stays in the store, out of sight.
        """
        wanted = set(_listed(run_ids, "run_ids"))
        if not wanted:
            return
        for run in self.repository.keyed_runs():
            place = Place.of_run(run)
            made = [
                checkpoint_id
                for checkpoint_id, _place in self._ids(place, None, None)
                if self._is_of(place, checkpoint_id, wanted)
            ]
            if made:
                with suppress(NotFoundError):
                    self.repository.withdraw(run, made)

    def _is_of(self, place: Place, checkpoint_id: str, run_ids: set[str]) -> bool:
        with suppress(NotFoundError), serving(self.serde), naming(place, checkpoint_id):
            record = rest_of(self.repository.execution((place.run, checkpoint_id)))
            return metadata_of(record).get("run_id") in run_ids
        return False

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """List all checkpoints and writes of a thread in another one too. Copies no object.

        Raises:
            ConflictError: There is a thread of that name; nothing is changed.
        """
        source, target = str(source_thread_id), str(target_thread_id)
        held = self.repository.keyed_runs()
        names = {
            place.run: Place(target, place.namespace).run
            for place in self._namespaces(source)
            if place.run in held
        }
        if names and source != target:
            self.repository.copy_runs(names)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Drop the older checkpoints of some threads, or all of them.

        Args:
            thread_ids: The threads. One that is not there is passed over.
            strategy: ``keep_latest`` keeps the newest of each namespace, what its delta channels
                are rebuilt from, and every one where a step waits: with an interrupt, or with
                writes that none was built on. Tagged and pinned ones stay. ``delete`` drops all.

        Raises:
            InvalidInputError: There is no such strategy, or ``thread_ids`` is one text.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InvalidInputError(f"a strategy is keep_latest or delete, not {strategy!r}")
        for thread in _listed(thread_ids, "thread_ids"):
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            for place in self._namespaces(thread):
                with suppress(NotFoundError):
                    self.repository.forget(_KEEP_LATEST, run=place.run)

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the version after ``current``: a number, or a text where those of others are."""
        return next_version(current)

    # The same for async graphs

    aclose = twin(close)
    aflush = twin(flush)
    aput = twin(put)
    aput_writes = twin(put_writes)
    aget_tuple = twin(get_tuple)
    alist = iterating_twin(list)
    aget_delta_channel_history = twin(get_delta_channel_history)
    adelete_thread = twin(delete_thread)
    adelete_for_runs = twin(delete_for_runs)
    acopy_thread = twin(copy_thread)
    aprune = twin(prune)


def _tuple_of(snapshot: Snapshot, place: Place, config: RunnableConfig) -> CheckpointTuple:
    record = rest_of(snapshot.execution())
    checkpoint_id = snapshot.checkpoint.key or ""
    parent_id = snapshot.parent_key or parent_of(record)
    return CheckpointTuple(
        config=config,
        checkpoint=checkpoint_of(record, checkpoint_id, values_of(snapshot)),
        metadata=metadata_of(record),
        parent_config=None if parent_id is None else place.config(parent_id),
        pending_writes=[(write.task, write.name, write.value) for write in pending_of(snapshot)],
    )


def _listed(ids: Iterable[str], what: str) -> Iterable[str]:
    if isinstance(ids, str | bytes):
        # Each of its characters would be taken for an id, and there may be a thread of that name.
        raise InvalidInputError(f"{what} is a list of ids, not one id")
    return map(str, ids)


def short_path(path: str) -> str:
    """Return a task's path, cut where it is longer than a name may be. It only orders tasks."""
    return path.encode()[:_LONGEST_PATH].decode(errors="ignore")
