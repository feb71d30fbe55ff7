"""``Saving``: the part of a repository that commits states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from cas.errors import (
    ConflictError,
    HiveError,
    InvalidInputError,
    MissingObjectError,
    NotFoundError,
)
from manifests import history
from manifests.claiming import Claiming
from manifests.commit_encoder import CommitEncoder
from manifests.commits import PreparedCommit, abandon
from manifests.events import Saved
from manifests.listeners import Operation
from manifests.manifest import Checkpoint
from manifests.names import check_key, check_name
from manifests.parts import Structure
from manifests.placing import Place, keyed_place, place_after
from manifests.refs import RefLike
from manifests.seen import Head, SeenHeads

__all__ = ["LAST_SEEN", "LastSeen", "Saving"]


class LastSeen:
    """The default of ``parent``: what this handle last saw of the run."""

    def __repr__(self) -> str:
        return "LAST_SEEN"


LAST_SEEN: Final = LastSeen()
_MOST_TRIES: Final = 100
"""How often a commit with a key makes room for others that come in between."""


class Saving(Claiming):
    """What ``Repository`` does to save states."""

    _encoder: CommitEncoder
    _seen: SeenHeads

    def commit(
        self,
        run: str,
        state: Any,
        *,
        node: str | None = None,
        kind: str = "node_complete",
        next_nodes: Sequence[str] = (),
        execution: Mapping[str, Any] | Structure | None = None,
        labels: Mapping[str, str] | None = None,
        graph: str | None = None,
        parent: RefLike | LastSeen | None = LAST_SEEN,
        changed: Collection[Any] | None = None,
        trust_identity: bool = False,
        key: str | None = None,
        needs_parent: bool = False,
        extends_head: bool = False,
    ) -> Checkpoint:
        """Save a state as the next checkpoint of a run; durable when this returns.

        ``execution`` is kept beside the state, split into objects and redacted like it; in a
        ``manifests.parts.Structure`` it is stored as it is. ``labels`` have at most 512 bytes in
        all. ``parent`` is the head this commit builds on: by default what this handle
        last saw of the run (committed, restored or resolved), or else whatever the head is; None
        for a run that must be new.
        Naming an older checkpoint forks inside the run on purpose.

        Only what changed since this handle's last commit of the run is encoded; what changed is
        found, in place or not. Two promises save the search: ``changed`` names the only top-level
        keys that may differ (the others are not looked at), and ``trust_identity`` says that an
        item of a list (of 4 or more) or dict (of 16 or more) which is the same object as in the
        last commit has not changed inside. If a promise is broken, the checkpoint silently misses
        the change.

        ``key`` is for runs that a framework owns: its own sortable id of the checkpoint, at most
        255 bytes. The newest checkpoint of such a run is the one with the greatest key, ``(run,
        key)`` is a reference, and a key that is listed already has its checkpoint replaced. An
        explicit ``parent`` (None: it has none) may then be any checkpoint of the run, and other
        writers do no harm, unless it ``extends_head``: then the parent must be the head.
        ``needs_parent``: it cannot be used without its parent, which is kept as long as it is.

        Raises ``ConflictError`` if another writer moved the head, ``InvalidInputError`` or
        ``LimitError`` naming the place of a value that cannot be stored, ``StoreFullError``.
        """

        def prepared() -> PreparedCommit:
            return self.prepare(
                run,
                state,
                node=node,
                kind=kind,
                next_nodes=next_nodes,
                execution=execution,
                labels=labels,
                graph=graph,
                parent=parent,
                changed=changed,
                trust_identity=trust_identity,
                key=key,
                needs_parent=needs_parent,
                extends_head=extends_head,
            )

        check_name(run, "run name")
        before = self._seen.last(run)
        try:
            with self.events.during("save") as tell:
                if key is not None and not extends_head and not isinstance(parent, LastSeen):
                    saved = self._write_keyed(prepared)
                else:
                    saved = self._write_healing(prepared)
                tell(lambda seconds: Saved(checkpoint=saved, seconds=seconds))
                return saved
        except Exception:
            raise
        except BaseException:
            # Ctrl-C may come where nobody has what was prepared, to take it back.
            if self._seen.head(run) != self._head(run):
                self._seen.put_back(run, before)
            raise

    def _write_keyed(self, prepared: Callable[[], PreparedCommit]) -> Checkpoint:
        for _ in range(_MOST_TRIES):
            # Whoever came in between took the sequence; there is always a next one.
            with suppress(ConflictError):
                return self._write_healing(prepared)
        return self._write_healing(prepared)

    def _write_healing(self, prepared: Callable[[], PreparedCommit]) -> Checkpoint:
        try:
            return self._write_or_abandon(prepared())
        except MissingObjectError:
            # Something that was stored turned out to be damaged since. The failed commit was
            # forgotten with what it remembered, and nothing is recalled: this time everything is
            # encoded, and storing it again heals it.
            return self._write_or_abandon(prepared())

    def _write_or_abandon(self, prepared: PreparedCommit) -> Checkpoint:
        try:
            return self._write(prepared)
        except HiveError:
            abandon(prepared.lease)  # nobody has it any more to write it again
            raise

    def prepare(
        self,
        run: str,
        state: Any,
        *,
        node: str | None = None,
        kind: str = "node_complete",
        next_nodes: Sequence[str] = (),
        execution: Mapping[str, Any] | Structure | None = None,
        labels: Mapping[str, str] | None = None,
        graph: str | None = None,
        parent: RefLike | LastSeen | None = LAST_SEEN,
        changed: Collection[Any] | None = None,
        trust_identity: bool = False,
        key: str | None = None,
        needs_parent: bool = False,
        extends_head: bool = False,
    ) -> PreparedCommit:
        """Encode a commit without storing it, for ``write``. The state may change afterwards.

        Several commits of one run may be prepared one after the other before the first is
        written; they must be written in that order.
        """
        self._refuse_read_only()
        place = self._place(run, parent, key, extends_head=extends_head)
        if needs_parent:
            if not place.parent_sequence:
                raise InvalidInputError("a checkpoint needs a parent in its own run, or none")
            place = replace(place, needs_parent=True)
        prepared = self._encoder.prepare(
            place,
            state,
            kind=kind,
            node=node,
            next_nodes=next_nodes,
            execution=execution,
            labels=labels,
            graph=graph,
            created_at=self._clock(),
            changed=changed,
            trust_identity=trust_identity,
        )
        if key is None or not place.branches:
            self._seen.note_prepared(prepared)
        return prepared

    def refuse_unstorable(self, fields: Mapping[str, Any], *, within: int = 1) -> None:
        """Encode values as fields of a state would be, and store nothing.

        ``within`` is in how many containers they will stand, of which the state is one.
        Raises ``InvalidInputError`` or ``LimitError`` for the first that a state cannot hold.
        """
        self._encoder.refuse_unstorable(fields, within)

    def write(self, prepared: PreparedCommit) -> Checkpoint:
        """Store a prepared commit in one durable transaction. Raises what ``commit`` raises."""
        with self.events.during("save") as tell:
            saved = self._write(prepared)
            tell(lambda seconds: Saved(checkpoint=saved, seconds=seconds))
            return saved

    def _write(self, prepared: PreparedCommit) -> Checkpoint:
        try:
            checkpoint = self._committer.write(prepared)
        except ConflictError:
            self._seen.take_back(prepared.place)
            abandon(prepared.lease)  # it can never be written
            raise
        except BaseException:
            # Ctrl-C, or a lack of memory, may come behind the transaction: what was stored is what
            # the next builds on.
            if not self._is_head(prepared):
                self._seen.take_back(prepared.place)
            self._encoder.distrust(prepared.run)
            raise
        self._seen.note_stored(prepared)
        return checkpoint

    def _is_head(self, prepared: PreparedCommit) -> bool:
        return self._head(prepared.run) == (prepared.sequence, prepared.id)

    def _head(self, run: str) -> Head | None:
        with suppress(HiveError):
            return self._store.read(lambda reader: history.head_of(reader, run))
        return None

    def submit(self, prepared: PreparedCommit) -> Future[Checkpoint]:
        """Queue a prepared commit and return at once; the future completes when it is durable.

        The commits of one thread are written in the order in which they were submitted, and share
        transactions with whatever else waits. Raises nothing: the future does.
        """
        operation = self.events.begin("save")

        def note(done: Future[Checkpoint]) -> None:
            self._note(prepared, done.exception() or done.result(), operation)

        future = self._committer.submit(prepared)
        future.add_done_callback(note)
        return future

    def write_all(self, commits: Sequence[PreparedCommit]) -> list[Checkpoint | HiveError]:
        """Store prepared commits, in this order, in as few transactions as they fit into.

        Returns when all are durable or have failed: of each its checkpoint, or what ``write`` would
        raise.
        """
        operations = [self.events.begin("save") for _ in commits]
        outcomes = self._committer.write_all(commits)
        for prepared, outcome, operation in zip(commits, outcomes, operations, strict=True):
            self._note(prepared, outcome, operation)
        return outcomes

    def _note(
        self,
        prepared: PreparedCommit,
        outcome: Checkpoint | BaseException,
        operation: Operation | None,
    ) -> None:
        """Note, and tell, what came of a commit that was not written alone."""
        if isinstance(outcome, BaseException):
            # Of an interrupted transaction of another thread it is not known what came of it.
            if isinstance(outcome, ConflictError) or not self._is_head(prepared):
                self._seen.take_back(prepared.place)
            self._encoder.distrust(prepared.run)
            if operation is not None:
                operation.failed(outcome)
            return
        self._seen.note_stored(prepared)
        if operation is not None:
            operation.done(lambda s: Saved(checkpoint=outcome, seconds=s))

    def _place(
        self, run: str, parent: RefLike | LastSeen | None, key: str | None, *, extends_head: bool
    ) -> Place:
        check_name(run, "run name")
        if key is not None:
            check_key(key)
            return self._keyed_place(run, parent, key, extends_head=extends_head)
        if parent is None:
            return Place.next(run, None)
        seen = self._seen.head(run)
        if not isinstance(parent, LastSeen):
            return self._store.read(lambda reader: place_after(reader, run, parent, seen))
        if not self._seen.knows(run):
            seen = self._store.read(lambda reader: history.head_of(reader, run))
        return Place.next(run, seen)

    def _keyed_place(
        self, run: str, parent: RefLike | LastSeen | None, key: str, *, extends_head: bool
    ) -> Place:
        if not isinstance(parent, LastSeen):
            place = self._store.read(
                lambda reader: keyed_place(reader, run, key, parent, extends_head=extends_head)
            )
            if extends_head and place.branches:
                raise ConflictError(
                    f"the parent of {key} is not the head of run {run!r}: another writer moved "
                    "it; restore the head and go on from there",
                    run=run,
                )
            return place
        seen = self._seen.head(run)
        if not self._seen.knows(run):
            seen = self._store.read(lambda reader: history.head_of(reader, run))
        head = None if seen is None else (run, seen[0])
        try:
            place = self._store.read(
                lambda reader: keyed_place(reader, run, key, head, extends_head=True)
            )
        except NotFoundError:
            # A key that is replaced lies before the head; a head that is gone is a conflict.
            place = self._store.read(
                lambda reader: keyed_place(reader, run, key, None, extends_head=True)
            )
        return replace(place, head=seen)
