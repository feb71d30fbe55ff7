"""The threads of a saver: their namespaces and checkpoints, dropping and copying them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.base import SerializerProtocol

from hive.adapters.langgraph.places import Place, prefix_of, thread_of
from hive.adapters.langgraph.records import metadata_of, rest_of
from hive.adapters.langgraph.salvage import naming
from hive.adapters.langgraph.serializer import serving
from hive.errors import InvalidInputError, NotFoundError
from hive.threads import rebuilt_names
from manifests import Repository, RetentionPolicy
from manifests.arguments import listed

__all__ = ["Threads"]

_BATCH: Final = 32
_KEEP_ALL: Final = RetentionPolicy()
_KEEP_LATEST: Final = RetentionPolicy(mode="latest_only", keep_tips=False)


class Threads:
    """What ``HiveSaver`` does with whole threads."""

    repository: Repository
    serde: SerializerProtocol

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of a thread, in all its namespaces.

        Danger: also what is tagged or pinned there. A run of that name which no saver made is left
        alone.
        """
        thread = thread_of(thread_id)
        for place in self._namespaces(thread):
            with suppress(NotFoundError):
                self.repository.delete_run(place.run, force=True)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that some runs of graphs made, and their writes.

        What the delta channels of others are rebuilt from stays in the store, out of sight. Every
        checkpoint of the store is looked at, which takes a second for some 8,000 of them.
        """
        wanted = set(map(str, listed(run_ids, "run_ids is a list of ids")))
        if not wanted:
            return
        for run in self.repository.keyed_runs():
            place = Place.of_run(run)
            made = [
                checkpoint_id
                for checkpoint_id, _place in self._ids_of(place, None, None)
                if self._is_of(place, checkpoint_id, wanted)
            ]
            if made:
                with suppress(NotFoundError):
                    self.repository.withdraw(run, made)
                    # And of what it hides, go without what no delta channel is rebuilt from.
                    self.repository.forget(_KEEP_ALL, run=run, rebuilt=rebuilt_names)

    def _is_of(self, place: Place, checkpoint_id: str, run_ids: set[str]) -> bool:
        with suppress(NotFoundError):
            return self._metadata_of(place, checkpoint_id).get("run_id") in run_ids
        return False

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """List all checkpoints and writes of a thread in another one too. Copies no object.

        Raises:
            ConflictError: There is a thread of that name; nothing is changed.
        """
        source, target = thread_of(source_thread_id), thread_of(target_thread_id)
        held = self.repository.keyed_runs(source)
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
            strategy: ``keep_latest`` keeps the newest of each namespace and every one where a
                step waits: with an interrupt, or with writes that none was built on. Tagged and
                pinned ones stay. What delta channels of these are rebuilt from stays out of sight.
                ``delete`` drops all.

        Raises:
            InvalidInputError: There is no such strategy, or ``thread_ids`` is no list of ids.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InvalidInputError(f"a strategy is keep_latest or delete, not {strategy!r}")
        for thread in [*map(thread_of, listed(thread_ids, "thread_ids is a list of ids"))]:
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            for place in self._namespaces(thread):
                with suppress(NotFoundError):
                    self.repository.forget(_KEEP_LATEST, run=place.run, rebuilt=rebuilt_names)

    # Finding

    def _places_of(self, config: RunnableConfig | None) -> Mapping[Place, str | None]:
        """Return the places that a config means, of all each with its newest id."""
        if config is None:
            return {Place.of_run(run): head for run, head in self.repository.keyed_runs().items()}
        place = Place.of(config)
        if config.get("configurable", {}).get("checkpoint_ns") is not None:
            return {place: None}
        return dict.fromkeys(self._namespaces(place.thread))

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

    def _ids_of(
        self, place: Place, below: str | None, wanted: str | None, newest: str | None = None
    ) -> Iterator[tuple[str, Place]]:
        """Yield the ids below one, newest first. ``newest`` spares a look where few are used."""
        if wanted is not None:
            if below is None or wanted < below:
                yield wanted, place
            return
        if newest is not None and (below is None or newest < below):
            yield newest, place
            below = newest
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

    def _has_metadata(self, place: Place, checkpoint_id: str, wanted: Mapping[str, Any]) -> bool:
        metadata = self._metadata_of(place, checkpoint_id)
        return all(metadata.get(key) == value for key, value in wanted.items())

    def _metadata_of(self, place: Place, checkpoint_id: str) -> Mapping[str, Any]:
        with serving(self.serde), naming(place, checkpoint_id):
            record = rest_of(self.repository.execution((place.run, checkpoint_id)))
        return metadata_of(record)
