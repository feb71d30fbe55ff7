"""``HiveSaver``: LangGraph's checkpoints in a Hive store."""

from __future__ import annotations

import datetime as dt
import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import ERROR

from hive.adapters.langgraph.codecs import MESSAGES, ThreadRegistry, named_types
from hive.adapters.langgraph.delta import delta_history
from hive.adapters.langgraph.fencing import Journeys
from hive.adapters.langgraph.places import Place, checkpoint_id_of
from hive.adapters.langgraph.records import (
    channels_behind,
    checkpoint_of,
    kind_of,
    metadata_of,
    parent_of,
    record_of,
    rest_of,
)
from hive.adapters.langgraph.salvage import enveloped, naming, pending_of, values_of
from hive.adapters.langgraph.serializer import StrictSerializer, serializer_for, serving
from hive.adapters.langgraph.threads import Threads
from hive.adapters.langgraph.twins import iterating_twin, twin
from hive.adapters.langgraph.upkeep import Upkeep, check_rules
from hive.adapters.langgraph.versions import next_version
from hive.closing import Closing
from hive.errors import ConflictError, InvalidInputError, NotFoundError
from hive.graph.arguments import check_instance
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
from manifests.arguments import expect, listed
from manifests.clock import checked_clock
from manifests.limits import check_limit
from manifests.parts import Structure

__all__ = ["HiveSaver"]

K = TypeVar("K")
T = TypeVar("T")

_LONGEST_PATH: Final = 1_024
_PATHS_OF_TASKS: Final = ("~__pregel_pull", "~__pregel_push")
"""How the paths begin under which tasks write. ``update_state`` writes for a task under another."""


class HiveSaver(Closing, Threads, BaseCheckpointSaver[Any]):
    """Saves the checkpoints of LangGraph's threads, each at the cost of what changed.

    It is shared by threads and by processes, used by sync and async graphs alike, and serves as a
    context manager in both. Closing it twice is harmless.
    """

    _may_lack = False
    """Whether a checkpoint is saved that is rebuilt from a parent which is not there."""

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
                then reads only what is on its list of safe types and in ``types``. It sees no
                messages and no plain data: one that encrypts is refused.
            types: Classes of the application that states hold: dataclasses, pydantic models, named
                tuples, enums. Given as a mapping, under names that survive renaming the class.
                For any other class: ``saver.repository.registry.register(cls, to_fields=...,
                from_fields=...)``.
            retention: Which checkpoints of a thread to keep; the others are dropped in the
                background.
            ttl: Threads that were not extended for so long are deleted, in the background, unless
                one of their checkpoints is tagged or pinned.
            compact: Also return the space that became free to the disk.
            fencing: Refuse a save whose parent is not the newest checkpoint any more, unless that
                parent was asked for by its id, or a copy is saved: two workers on one thread then
                get an error instead of two histories.
            trust_identity: Promise that a message which is still the same object as at the last
                save has not changed inside; saves are faster then, and miss such a change.
            clock: Says what time it is.

        Raises:
            InvalidInputError: An argument cannot be what it should be.
            HiveError: What opening a store raises.
        """
        check_rules(retention, ttl, compact)
        check_instance(fencing, bool, "fencing")
        check_instance(trust_identity, bool, "trust_identity")
        clock = checked_clock(clock)
        named = named_types(types)
        registry = ThreadRegistry(named)
        super().__init__(serde=serializer_for(serde, named.values(), MESSAGES))
        self._owned = not isinstance(store, Repository)
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
            ConflictError: With ``fencing``, another worker has gone on from the parent. Or that is
                not there (any more), and delta channels are rebuilt from it.
            InvalidInputError: A value can be stored neither by a codec nor by the serializer.
            HiveError: The store cannot be written.
        """
        place = Place.of(config)
        parent_id = checkpoint_id_of(config)
        kept = get_checkpoint_metadata(config, metadata)
        with serving(self.serde), naming(place, checkpoint["id"]):
            try:
                self._commit(place, checkpoint, kept, new_versions, parent_id)
            except NotFoundError:
                # The parent is not listed: it was pruned, or never saved here.
                lost = channels_behind(checkpoint, kept)
                if lost and not self._may_lack:
                    raise _lost(lost, parent_id) from None
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
        # A copy stands behind the parent of what was asked for; what it changed there is not said.
        is_copy = metadata.get("source") == "fork"
        may_branch = is_copy or self._journeys.may_branch(place.run, parent_id)
        redacts = self.repository.redaction is not None
        redacted = partial(self.repository.redacted, typed=False) if redacts else None

        def commit(kept: dict[str, Any], values: dict[str, Any]) -> HiveCheckpoint:
            record = record_of(checkpoint, kept, None if is_listed else parent_id, redacted)
            return self.repository.commit(
                place.run,
                values,
                kind=kind_of(metadata),
                execution=Structure(record),
                parent=None if listed is None else (place.run, listed),
                changed=None if is_copy else new_versions.keys(),
                trust_identity=self._trust_identity,
                key=checkpoint["id"],
                needs_parent=listed is not None and bool(channels_behind(checkpoint, metadata)),
                extends_head=self._fencing and not may_branch,
            )

        def commit_with(kept: dict[str, Any]) -> HiveCheckpoint:
            return self._enveloped(partial(commit, kept), checkpoint["channel_values"])

        return self._enveloped(commit_with, metadata)

    def _enveloped(self, store: Callable[[dict[K, Any]], T], values: Mapping[K, Any]) -> T:
        return enveloped(
            store, values, self.serde, is_discreet=self.repository.redaction is not None
        )

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
        place, checkpoint_id = Place.of(config), checkpoint_id_of(config)
        if checkpoint_id is None:
            raise InvalidInputError("the config names no checkpoint to keep writes beside")
        path = short_path(task_path)
        ordinary: dict[int, PendingWrite] = {}
        special: dict[int, PendingWrite] = {}
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            if channel == ERROR and isinstance(self.serde, StrictSerializer):
                # What its serializer would make of it, as a text that other programs can show too.
                value = value if isinstance(value, str) else repr(value)
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
            by_task = not all(write.path.startswith(_PATHS_OF_TASKS) for write in chosen)
            self.repository.put_pending(
                place.run, checkpoint_id, chosen, replace=replace, by_task=by_task
            )

        with serving(self.serde), naming(place, checkpoint_id):
            self._enveloped(put, {write.index: write.value for write in writes})

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that ``config`` names, or the newest of its thread and namespace.

        Raises:
            CorruptionError: It is damaged.
            InvalidInputError: A value in it cannot be read by this saver; the error names thread,
                checkpoint and channel.
        """
        place, checkpoint_id = Place.of(config), checkpoint_id_of(config)
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
            filter: What their metadata must be equal to, key by key. What a redaction replaced is
                found by what it was replaced by.
            before: Only those whose id is below the one that this config names.
            limit: At most so many.
        """
        expect(filter, dict, "filter")
        below = None if before is None else checkpoint_id_of(before)
        wanted = None if config is None else checkpoint_id_of(config)
        places = self._places_of(config).items()
        found = heapq.merge(
            *(self._ids_of(place, below, wanted, newest) for place, newest in places),
            key=lambda item: item[0],
            reverse=True,
        )
        check_limit(limit)
        left = limit
        for checkpoint_id, place in found:
            if left is not None and left <= 0:
                return
            with suppress(NotFoundError):  # dropped since it was listed
                if filter and not self._has_metadata(place, checkpoint_id, filter):
                    continue
                own = place.config(checkpoint_id)
                item = self._read(place, checkpoint_id, own, is_asked=False)
                left = None if left is None else left - 1
                yield item

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what delta channels of a checkpoint are rebuilt from; see LangGraph's base."""
        place, channels = Place.of(config), listed(channels, "channels is a list of names")
        checkpoint_id = checkpoint_id_of(config) or self._newest(place.run)
        empty: dict[str, DeltaChannelHistory] = {name: {"writes": []} for name in channels}
        if not channels or checkpoint_id is None:
            return empty
        with suppress(NotFoundError), serving(self.serde), naming(place, checkpoint_id):
            return delta_history(self.repository, (place.run, checkpoint_id), channels)
        return empty

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
    adelete_thread = twin(Threads.delete_thread)
    adelete_for_runs = twin(Threads.delete_for_runs)
    acopy_thread = twin(Threads.copy_thread)
    aprune = twin(Threads.prune)


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


def _lost(channels: Sequence[str], parent_id: str | None) -> ConflictError:
    return ConflictError(
        f"{', '.join(channels)} would be lost: the checkpoint that this one was made from, "
        f"{parent_id}, was pruned or deleted meanwhile, or never saved here; go on from another one"
    )


def short_path(path: str) -> str:
    """Return a task's path, cut where it is longer than a name may be. It only orders tasks."""
    return path.encode()[:_LONGEST_PATH].decode(errors="ignore")
