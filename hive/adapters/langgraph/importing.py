"""Moving threads from a database of another saver into a Hive store. It can be repeated.

Every checkpoint is saved as LangGraph would save it, oldest first, so each costs what changed since
its parent. What is there already is passed over: an import that was interrupted goes on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from langgraph.checkpoint.base import ChannelVersions, CheckpointTuple

from cas.upkeep import OnProgress, Progress
from hive.adapters.langgraph.places import Place
from hive.adapters.langgraph.saver import HiveSaver, short_path
from hive.adapters.langgraph.sources import Source, opened_source
from hive.errors import HiveError, NotFoundError
from hive.home import open_repository
from manifests import PendingWrite, system_clock

__all__ = ["ImportedThreads", "import_threads"]

_MOST_PROBLEMS: Final = 1_000
_OF_THE_STORE: Final = ("store-full", "read-only", "access", "corrupt-store")
"""Codes of errors that the next checkpoint would meet too: to go on would leave gaps."""


@dataclass(slots=True)
class ImportedThreads:
    """What an import did.

    Attributes:
        threads: Threads that the source has, of those asked for.
        checkpoints: Checkpoints that were saved now.
        known: Checkpoints that were there already.
        writes: Pending writes of the checkpoints that were saved now.
        source_bytes: What the source takes, in all.
        bytes_before: What the store took before.
        bytes_after: What it takes now.
        problems: What could not be taken over, and why, up to 1,000 of them.
    """

    threads: int = 0
    checkpoints: int = 0
    known: int = 0
    writes: int = 0
    source_bytes: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    problems: list[str] = field(default_factory=list)


def import_threads(
    url: str,
    home: Path | None,
    *,
    threads: Collection[str] | None = None,
    compact: bool = False,
    progress: OnProgress | None = None,
) -> ImportedThreads:
    """Import the threads of a database: all their checkpoints, and their pending writes.

    Args:
        url: ``sqlite:///FILE``, or ``postgresql://...`` where its saver is installed.
        home: The home of the store; None: the user's own. It is made if it is not there, once a
            checkpoint was read.
        threads: Only these.
        compact: Make the store as small as it can be afterwards.
        progress: Is told how many checkpoints are done.

    Raises:
        InvalidInputError: There is no such database, or it holds no checkpoints.
        NotFoundError: There is no such file or thread, or its package is not installed.
        StoreFullError: There is no room.
        CorruptStoreError: The store's disk fails. What was saved until then stays.
    """
    with opened_source(url) as source:
        job = _Import(source, home, threads, progress)
        try:
            return job.run(compact=compact)
        finally:
            job.close()


class _Saver(HiveSaver):
    """Takes checkpoints as another saver kept them: what they lacked there is no loss here."""

    _may_lack = True


class _Import:
    def __init__(
        self,
        source: Source,
        home: Path | None,
        threads: Collection[str] | None,
        progress: OnProgress | None,
    ) -> None:
        self._source = source
        self._home = home
        self._places = _chosen(source, threads)
        self._progress = progress
        self._moment = system_clock()
        self._report = ImportedThreads(source_bytes=source.bytes_held)
        self._saver: _Saver | None = None

    def close(self) -> None:
        if self._saver is not None:
            self._saver.close()

    def _opened(self) -> _Saver:
        if self._saver is None:
            # Checkpoints get the moments at which they were made, which retention by age goes by.
            self._saver = _Saver(self._home, clock=lambda: self._moment)
            self._report.bytes_before = self._saver.repository.stats().disk_bytes
        return self._saver

    def _open_existing(self) -> None:
        """Open the store if there is one; where nothing can be imported none is made."""
        with suppress(NotFoundError):
            open_repository(self._home, create=False, read_only=True).close()
            self._opened()

    def run(self, *, compact: bool) -> ImportedThreads:
        report = self._report
        self._open_existing()
        report.threads = len({place.thread for place in self._places})
        waiting = {place: self._source.ids(place) for place in filter(self._may_be, self._places)}
        total, done = sum(map(len, waiting.values())), 0
        for place, ids in waiting.items():
            known = self._known(place, ids)
            versions: dict[str, ChannelVersions] = {}
            for checkpoint_id in ids:
                done += 1
                if checkpoint_id in known:
                    report.known += 1
                else:
                    self._take(place, checkpoint_id, versions)
                if self._progress is not None:
                    self._progress(Progress("import", done, total))
        if self._saver is not None:
            repository = self._saver.repository
            if compact:
                repository.compact()
            report.bytes_after = repository.stats().disk_bytes
        return report

    def _may_be(self, place: Place) -> bool:
        """Whether a thread can have its name here; if not, say so, and leave it out."""
        try:
            return bool(place.run)
        except HiveError as error:
            self._note(f"thread {place.thread!r}", error)
            return False

    def _known(self, place: Place, ids: Collection[str]) -> set[str]:
        """Return which checkpoints not to import: those that are there, or were in what is cut.

        Of a thread that keeps some unseen, since others are rebuilt from them, the rest was dropped
        on purpose. What came back could be rebuilt from that no more.
        """
        if self._saver is None:
            return set()
        keys = partial(self._saver.repository.keys, place.run)
        try:
            listed, held = set(keys()), set(keys(hidden=True))
        except NotFoundError:
            return set()
        if listed == held:
            return listed
        newest = max(held)
        return listed | {each for each in ids if each <= newest}

    def _take(self, place: Place, checkpoint_id: str, versions: dict[str, ChannelVersions]) -> None:
        """Save a checkpoint with its writes; the writes first, so that it never lacks them."""
        where = f"thread {place.thread!r}, checkpoint {checkpoint_id}"
        try:
            found = self._source.checkpoint(place, checkpoint_id)
            writes = self._writes_of(place, checkpoint_id)
        except HiveError as error:
            self._note(where, error)
            return
        self._moment = _made(found)
        saver = self._opened()
        try:
            for each in writes:
                saver.adopt_writes(place, checkpoint_id, each)
            parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
            config = place.config(parent or "")
            if parent is None:
                del config["configurable"]["checkpoint_id"]
            held = found.checkpoint["channel_versions"]
            before = versions.get(parent or "", {})
            changed = {name: held[name] for name in held if before.get(name) != held[name]}
            saver.put(config, found.checkpoint, found.metadata, changed)
        except HiveError as error:
            if error.code in _OF_THE_STORE:
                raise
            self._note(where, error)
            return
        versions[checkpoint_id] = held
        self._report.checkpoints += 1
        self._report.writes += sum(map(len, writes))

    def _note(self, where: str, error: HiveError) -> None:
        if len(self._report.problems) < _MOST_PROBLEMS:
            text = str(error)
            self._report.problems.append(text if where in text else f"{where}: {text}")

    def _writes_of(self, place: Place, checkpoint_id: str) -> list[list[PendingWrite]]:
        """Return the writes of each task."""
        serializer = self._source.saver.serde
        found: dict[tuple[str, str], list[PendingWrite]] = {}
        for write in self._source.writes(place, checkpoint_id):
            value = serializer.loads_typed((write.kind, write.data))
            path = short_path(write.path)
            taken = PendingWrite(write.task, write.index, write.channel, value, path)
            found.setdefault((write.task, path), []).append(taken)
        return [*found.values()]


def _chosen(source: Source, threads: Collection[str] | None) -> list[Place]:
    """Return the places of these threads; a name that was mistyped is not passed over."""
    places = source.places()
    if threads is None:
        return places
    unknown = sorted({*threads} - {place.thread for place in places})
    if unknown:
        raise NotFoundError(
            f"the database has no thread {unknown[0]!r}: see which it has in its table of "
            "checkpoints, or import all of them"
        )
    return [place for place in places if place.thread in threads]


def _made(found: CheckpointTuple) -> dt.datetime:
    """Return when a checkpoint says that it was made, in case it does."""
    try:
        moment = dt.datetime.fromisoformat(found.checkpoint["ts"])
    except (ValueError, TypeError, KeyError):
        return system_clock()
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
