"""``Repository``: runs of checkpoints in a content-addressed store; this layer's front door."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cas.closing import Closing
from cas.errors import (
    InvalidInputError,
)
from cas.kept import KEPT_BYTES
from cas.store import ObjectStore
from manifests import history, listing, runs
from manifests.arguments import check_count, expect
from manifests.beside import Beside
from manifests.bodies import BodyEncoder
from manifests.browsing import Browsing
from manifests.clock import Clock, checked_clock, system_clock
from manifests.commit_encoder import CommitEncoder
from manifests.diff import Change, Touched
from manifests.encoding import Encoding
from manifests.events import Forked, Restored
from manifests.group import GroupCommitter
from manifests.kept import KeptValues
from manifests.limits import check_limit
from manifests.listeners import Events, OnEvent
from manifests.manifest import Checkpoint, RunInfo, StoreStats, microseconds
from manifests.outline import Outline
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.pending import check_anchor
from manifests.pending_rows import Anchor
from manifests.places import PathLike
from manifests.reading import stable
from manifests.redacted import redacted_fields
from manifests.refs import RefLike
from manifests.registry import Registry
from manifests.roots import STORE_TABLES
from manifests.saving import LAST_SEEN, LastSeen, Saving
from manifests.seen import SeenHeads
from manifests.statistics import measure
from manifests.upkeep import OBJECTS_FOLDER

__all__ = ["LAST_SEEN", "OBJECTS_FOLDER", "LastSeen", "Repository"]


class Repository(Browsing, Beside, Saving, Closing):
    """Saves and restores the states of runs. Safe to share by threads; close it when done."""

    def __init__(
        self,
        home: Path,
        store: ObjectStore,
        *,
        registry: Registry,
        clock: Clock,
        redact: Redaction | None,
    ) -> None:
        """Use ``Repository.open`` instead."""
        self.home = home
        self.registry: Registry = registry
        self._store = store
        self._clock = clock
        self._redact = redact
        self._encode_with(registry)
        self._committer = GroupCommitter(store)
        self._seen = SeenHeads()
        self.events = Events()

    def _encode_with(self, registry: Registry) -> None:
        self.registry = registry
        self._values = KeptValues(registry, self._store.kept.most_bytes)
        parameters = TreeParameters.from_header(self._store.parameters)
        self._encoding = encoding = Encoding(registry, parameters, self._redact)
        self._encoder = CommitEncoder(self._store, encoding)
        self._bodies = BodyEncoder(self._store, encoding)

    def with_registry(self, registry: Registry) -> Self:
        """Return the same open store with other classes. Closing either closes both."""
        view = copy.copy(self)
        view._encode_with(registry)
        return view

    @classmethod
    def open(
        cls,
        home: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        registry: Registry | None = None,
        clock: Clock = system_clock,
        redact: Redaction | None = None,
        force_network: bool = False,
        max_bytes: int | None = None,
        kept_bytes: int = KEPT_BYTES,
        parameters: TreeParameters | None = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Open the repository whose objects are in ``<home>/objects``.

        ``create`` makes a missing one. ``read_only`` opens beside live writers and refuses every
        change. ``registry`` names the classes states may hold. ``redact`` replaces values before
        anything is hashed. ``max_bytes`` bounds the file, ``kept_bytes`` the objects that stay in
        memory once they were verified, for the next restore, and again the values made of them (0:
        none). The states last committed stay in memory too, to be compared with the next: of 64
        runs at most, and 512 MB of them beside the newest. ``parameters`` shape the trees of a new
        store; an existing one keeps its own. ``on_event`` is told what this handle does from now on
        (see ``manifests.events``).

        Raises ``NotFoundError`` (absent and not to be created), ``InvalidInputError``,
        ``AccessError``, ``CorruptStoreError`` or ``UnsupportedFormatError``.
        """
        home = Path(home)
        expect(registry, Registry, "registry")
        expect(redact, Redaction, "redact")
        clock = checked_clock(clock)
        check_count(kept_bytes, "kept_bytes")
        check_count(max_bytes, "max_bytes")
        if on_event is not None and not callable(on_event):
            raise InvalidInputError("on_event is a function that takes an event, or None")
        store = ObjectStore.open(
            home / OBJECTS_FOLDER,
            tables=STORE_TABLES,
            parameters=(parameters or TreeParameters()).to_header(),
            create=create and not read_only,
            read_only=read_only,
            force_network=force_network,
            max_bytes=max_bytes,
            kept_bytes=kept_bytes,
        )
        try:
            registry = Registry() if registry is None else registry
            repository = cls(home, store, registry=registry, clock=clock, redact=redact)
            if on_event is not None:
                repository.events.subscribe(on_event)
            return repository
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Release the store. Closing twice is harmless."""
        self._store.close()

    @property
    def redaction(self) -> Redaction | None:
        """What replaces values before this handle stores them, if anything does."""
        return self._redact

    def redacted(self, fields: Mapping[str, Any], *, typed: bool = True) -> Mapping[str, Any]:
        """Return fields of a state with what would be stored in the place of what rules name.

        A field of which nothing is replaced is the same object; without any, ``fields`` itself is
        returned. Another one is as a restore would return it, or without ``typed`` as one that
        knows no classes would, which can be stored again whatever was replaced in it.

        Raises ``InvalidInputError`` or ``LimitError`` for a field that cannot be stored.
        """
        return redacted_fields(self._encoding, fields, self.registry if typed else Registry())

    def _see_head(self, found: history.Found, moment: int) -> None:
        if found.is_head:
            self._seen.note_read(found.checkpoint, moment)

    # Reading

    def restore(self, ref: RefLike, *, keys: Iterable[Any] | None = None) -> Any:
        """Return the state of a checkpoint, equal to what was committed, types included.

        ``keys`` limits it to these keys of a dict (or fields of a registered type), returned as a
        dict; only what they need is read. Every object read is verified.

        Raises ``NotFoundError``, ``CorruptObjectError`` or ``MissingObjectError``.
        """
        wanted = None if keys is None else _distinct(keys)
        moment = self._seen.moment
        with self.events.during("restore") as tell:
            found, state, restoring = stable(
                self._store, lambda reader: history.restore(reader, self._values, ref, wanted)
            )
            partial, checkpoint = wanted is not None, found.checkpoint
            if not partial:
                self._encoder.restored(checkpoint.run, checkpoint.id, state, restoring.watched)
            tell(lambda s: Restored(checkpoint=checkpoint, partial=partial, seconds=s))
        self._see_head(found, moment)
        return state

    def value(self, ref: RefLike, path: PathLike) -> Any:
        """Return what stands at one place of a state; only what leads there is read.

        ``path`` is a text such as ``messages[-1].content``, ``['a key']`` or ``items[2:5].name``
        (of each of the items), or a sequence of its steps. A text that is exactly a key of the
        state is that key. A text or byte string can be sliced too.

        Raises ``NotFoundError``, saying how far the path leads, ``InvalidInputError`` for what is
        no path, or what ``restore`` raises.
        """
        return stable(
            self._store, lambda reader: history.value_at(reader, self.registry, ref, path)
        )

    def outline(
        self, ref: RefLike, path: PathLike = "", *, start: int = 0, stop: int = 100
    ) -> Outline:
        """Return what stands at one place of a state in a few words, with its parts.

        Nothing below the parts is read, so this shows a state of any size level by level. The
        parts (items, keys, fields) are those from ``start`` to before ``stop``. Raises what
        ``value`` raises.
        """
        part = range(max(start, 0), max(stop, 0))
        return stable(
            self._store, lambda reader: history.outline_at(reader, self.registry, ref, path, part)
        )

    def execution(self, ref: RefLike) -> dict[str, Any]:
        """Return the execution record of a checkpoint, empty if it has none."""
        return stable(self._store, lambda reader: history.execution(reader, self._values, ref))

    def resolve(self, ref: RefLike) -> Checkpoint:
        """Return the checkpoint that a reference names.

        A reference is ``run`` (its head), ``run@12``, ``run~3``, ``tag:name``, six or more hex
        digits of an id, an id, a checkpoint, or (run, sequence).
        """
        moment = self._seen.moment
        found = stable(self._store, lambda reader: history.find(reader, ref))
        self._see_head(found, moment)
        return found.checkpoint

    def runs(self) -> list[RunInfo]:
        """Return all runs, by name.

        Raises ``CorruptionError`` or ``UnsupportedFormatError`` if the head of one cannot be read;
        ``readable_runs`` returns the others.
        """
        return stable(self._store, runs.runs)

    def log(
        self, run: str, *, limit: int | None = None, below: Anchor | None = None
    ) -> list[Checkpoint]:
        """Return the checkpoints that a run lists, newest first, at most ``limit`` of them.

        ``below`` is the sequence to start under (exclusive), or the key where the run has keys; it
        need not be listed. A run with keys is in the order of its keys.
        """
        check_limit(limit)
        if below is not None:
            check_anchor(below)
        return stable(self._store, lambda reader: history.log(reader, run, limit, below))

    def diff(self, before: RefLike, after: RefLike, *, limit: int | None = None) -> list[Change]:
        """Return what changed from one state to another. Equal subtrees are not read.

        Both may be any references, of the same run or not. The order of dict keys does not count.
        With ``limit``, at most so many differences are built.
        """
        check_limit(limit)
        return stable(
            self._store, lambda reader: history.diff(reader, self.registry, before, after, limit)
        )

    def touched(self, refs: Sequence[RefLike]) -> list[list[Touched] | None]:
        """Return, for each checkpoint, which parts of its parent's state it changed.

        Values are not built and equal subtrees not read, so this costs little more than the changes
        are large. The entry is None where the parent was forgotten.
        """
        return stable(self._store, lambda reader: history.touched_by(reader, self.registry, refs))

    def tags(self) -> dict[str, Checkpoint]:
        """Return all tags with their checkpoints."""
        return stable(self._store, history.tags)

    def stats(self) -> StoreStats:
        """Return logical, unique, stored and on-disk bytes, and what each run shares."""
        return measure(self._store)

    # Naming

    def fork(self, ref: RefLike, new_run: str) -> Checkpoint:
        """Start a run at the checkpoint named. Copies no object.

        It is the run's first one, unless it cannot be used without others: those stand before it.

        Raises ``ConflictError`` if the run exists.
        """
        self._refuse_read_only()
        created_us = microseconds(self._clock())
        with self.events.during("fork") as tell:
            head = self._store.write(lambda writer: listing.fork(writer, ref, new_run, created_us))
            forked = self.resolve((new_run, head))
            tell(lambda seconds: Forked(checkpoint=forked, seconds=seconds))
            return forked

    def tag(self, name: str, ref: RefLike, *, force: bool = False) -> Checkpoint:
        """Give a checkpoint a name, which also keeps it from being forgotten.

        Raises ``ConflictError`` if another checkpoint has that tag, unless ``force`` moves it.
        """
        self._refuse_read_only()
        self._store.write(lambda writer: listing.tag(writer, name, ref, force=force))
        return stable(self._store, lambda reader: history.find_tag(reader, name)).checkpoint

    def untag(self, name: str) -> None:
        """Remove a tag; the checkpoint stays where a run lists it. ``NotFoundError`` if absent."""
        self._refuse_read_only()
        self._store.write(lambda writer: listing.untag(writer, name), frees_space=True)


def _distinct(keys: Iterable[Any]) -> list[Any]:
    """Return the keys that were asked for, each once."""
    if isinstance(keys, str | bytes):
        raise InvalidInputError("keys is a list of keys, not one key")
    try:
        return list(dict.fromkeys(keys))
    except TypeError as error:
        raise InvalidInputError("keys is a list of what can be keys of a dict") from error
