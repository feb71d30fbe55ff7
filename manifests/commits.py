"""Commits: what is encoded before a transaction, and what one transaction then makes durable."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from cas.digest import Digest
from cas.errors import HiveError, InvalidInputError
from cas.leases import STAGE_BYTES, Lease
from cas.objects import Object
from cas.store import ObjectStore
from cas.writer import RecordWriter
from manifests.arguments import listed
from manifests.catalogue import CatalogueWriter
from manifests.claims import PreparedClaim
from manifests.encoder import Encoder
from manifests.incremental import Memory
from manifests.likeness import Likeness
from manifests.manifest import Checkpoint, Manifest, checkpoint_of, microseconds
from manifests.memo import Node
from manifests.memories import RunMemories, RunMemory
from manifests.names import check_name
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.pieces import Piece, PieceSink, logical_size
from manifests.placing import Place, refuse_moved
from manifests.recall import recalled
from manifests.redacting import RedactingEncoder
from manifests.registry import Registry
from manifests.restored import expect
from manifests.rows import CheckpointRow
from manifests.template import Watched

__all__ = [
    "CommitEncoder",
    "PreparedCommit",
    "abandon",
    "write_commit",
]

_NULL: Final = b"\xf6"
_MANY_COMPARED: Final = 64
"""If so many items were other objects and equal, they had been restored, it seems."""


@dataclass(frozen=True, slots=True)
class PreparedCommit:
    """An encoded checkpoint that is not stored yet. Its id is final; the state may change now.

    Of a very large one most objects are stored already, without a name, under ``lease``. The first
    one of a run may bring a ``claim`` along.
    """

    place: Place
    id: Digest
    manifest: Manifest
    objects: Mapping[Digest, Object]
    lease: Lease | None = None
    claim: PreparedClaim | None = None

    @property
    def object_bytes(self) -> int:
        """The payload bytes of its objects, stored already or not."""
        return sum([len(item.payload) for item in self.objects.values()])

    def apply(self, writer: RecordWriter) -> Checkpoint:
        """Store and list it in the writer's transaction; see ``write_commit``."""
        if self.claim is None:
            return write_commit(writer, self)
        self.claim.check(writer)  # against the head before this commit
        written = write_commit(writer, self)
        self.claim.put(writer)  # last: were the commit refused, the group would store it alone
        return written

    @property
    def run(self) -> str:
        """The run it will be listed in."""
        return self.place.run

    @property
    def sequence(self) -> int:
        """The sequence it will have there."""
        return self.place.sequence


class CommitEncoder:
    """Encodes states into prepared commits, with the classes and sizes of one repository."""

    def __init__(
        self,
        store: ObjectStore,
        registry: Registry,
        parameters: TreeParameters,
        redaction: Redaction | None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._parameters = parameters
        self._redaction = redaction
        self._likeness = Likeness(registry)
        self._memories = RunMemories()

    def prepare(
        self,
        place: Place,
        state: Any,
        *,
        kind: str,
        node: str | None,
        next_nodes: Sequence[str],
        execution: Mapping[str, Any] | None,
        labels: Mapping[str, str] | None,
        graph: str | None,
        created_at: dt.datetime,
        changed: Collection[Any] | None = None,
        trust_identity: bool = False,
    ) -> PreparedCommit:
        """Encode everything a checkpoint holds.

        Of a run whose last commit this encoder has prepared, only what changed since is encoded.
        The disk is touched only where more than 16 MB are new: then they are stored piece by piece
        while they are encoded, so that they are never in memory a second time as a whole.
        """
        check_name(place.run, "run name")
        check_name(kind, "kind")
        if execution is not None and not isinstance(execution, Mapping):
            raise InvalidInputError("an execution record is a mapping")
        if labels is not None and not isinstance(labels, Mapping):
            raise InvalidInputError("labels are a mapping of texts to texts")
        if node is not None:
            check_name(node, "node name")
        if next_nodes:
            next_nodes = listed(next_nodes, "next_nodes is a list of node names")
            for name in next_nodes:
                check_name(name, "node name")
        if created_at.tzinfo is None:
            raise InvalidInputError("the clock must return moments with a time zone")
        old = self._memories.take(place)
        root = old.state if old.id is not None else self._recalled(place)
        lease = Lease(self._store)
        sink = PieceSink(lease.stage, STAGE_BYTES // 2)
        # A set: looking for one key in an iterator would use up those before it.
        named = None if changed is None else frozenset(listed(changed, "changed is a list of keys"))
        memory = Memory(
            root,
            changed=named,
            trust_identity=trust_identity,
            likeness=self._likeness,
            recalled=old.id is None,
        )
        seen: Node | None = None
        try:
            state_piece = self._encoder(sink, "state", memory).state(state)
            execution_piece: Piece = _NULL
            if execution is not None:
                execution_memory = Memory(old.execution, likeness=self._likeness)
                encoder = self._encoder(sink, "execution", execution_memory)
                execution_piece = encoder.state(dict(execution))
                seen = execution_memory.root
            manifest = Manifest(
                origin_run=place.run,
                origin_sequence=place.sequence,
                parent=place.parent,
                kind=kind,
                node=node,
                next_nodes=list(next_nodes),
                created_at=created_at.astimezone(dt.UTC),
                graph=graph,
                labels=dict(labels or {}),
                logical_bytes=logical_size(state_piece) + logical_size(execution_piece),
                state=state_piece,
                execution=execution_piece,
            )
            names = self._encoder(sink, "next_nodes", None).value(manifest.next_nodes)
            digest = manifest.seal(sink, names)
        except BaseException:
            abandon(lease)
            raise
        if not place.branches:
            follows = not memory.expected_others and (
                old.follows_restores or memory.compared >= _MANY_COMPARED
            )
            self._memories.keep(place.run, RunMemory(digest, memory.root, seen, follows))
        used = lease if lease.is_used else None
        return PreparedCommit(place, digest, manifest, sink.objects, used)

    def _recalled(self, place: Place) -> Node | None:
        """Return what is stored of a parent that the commit is placed behind, to be compared."""
        distrusted = self._memories.trusts_again(place.run)
        # A parent in another run need not be listed any more when the commit is written.
        unlisted = place.parent is None or not place.parent_sequence or place.branches
        if distrusted or unlisted or self._redaction is not None:
            return None
        return recalled(self._store, self._parameters, place)

    def restored(self, run: str, id: Digest, state: Any, watched: Watched) -> None:
        """Prepare for that a state restored just now is what the next commit of a run goes on from.

        Only where that was so before: a caller who restores to look, and commits what he has
        himself, would wait for nothing.
        """
        if not watched or type(state) is not dict:
            return
        memory = self._memories.borrow(run, id)
        if memory is not None and memory.state is not None:
            expect(memory.state, state, watched, self._likeness)
            self._memories.keep(run, memory)

    def distrust(self, run: str) -> None:
        """Let the next commit of a run encode everything: what is stored may be damaged."""
        self._memories.distrust(run)

    def refuse_unstorable(self, fields: Mapping[str, Any]) -> None:
        """Encode values as fields of a state would be, and keep nothing of it."""
        encoder = self._encoder(PieceSink(lambda _objects: None), "state", None)
        for name, value in fields.items():
            encoder.field(name, value)

    def _encoder(self, sink: PieceSink, root: str, memory: Memory | None) -> Encoder:
        if root == "state" and self._redaction is not None:
            return RedactingEncoder(self._registry, self._parameters, sink, self._redaction)
        return Encoder(self._registry, self._parameters, sink, root=root, memory=memory)


def write_commit(writer: RecordWriter, prepared: PreparedCommit) -> Checkpoint:
    """Store a prepared commit and list it, in the writer's transaction.

    The condition is tested before anything is put: ``ConflictError`` leaves no trace.
    """
    catalogue = CatalogueWriter(writer.writing)
    place = prepared.place
    run = catalogue.run(place.run)
    head = None if run is None else catalogue.head(run)
    refuse_moved(catalogue, run, head, place)
    objects, stored = writer.counters.objects, writer.counters.stored_bytes
    lease = prepared.lease
    if lease is not None:
        lease.release(writer.writing)
        objects, stored = objects - lease.objects, stored - lease.stored_bytes
    number = 0
    for digest, item in prepared.objects.items():
        number = writer.put(digest, item)
    writer.flush(place.run)
    if run is None:
        run = catalogue.new_run(place.run, microseconds(prepared.manifest.created_at))
    elif not run.last:  # until now it had but pending writes or effects
        run = replace(run, created_us=microseconds(prepared.manifest.created_at))
    known = None
    if place.sequence <= run.last:
        known = catalogue.checkpoint(run.number, place.sequence)
    is_newest = place.key is None or catalogue.is_newest(run, place.key)
    row = CheckpointRow(
        record=number,
        id=prepared.id,
        parent=place.parent_sequence,
        new_objects=writer.counters.objects - objects,
        new_bytes=writer.counters.stored_bytes - stored,
        needs_parent=place.needs_parent,
        tip=not is_newest if known is None else known.tip,
        key=place.key,
    )
    if known is not None:
        catalogue.put_checkpoint(run.number, place.sequence, row)
        catalogue.move_pin(run.name, place.sequence, known.id, row)
        writer.unroot(known.record)
    else:
        leaves_head = run.head not in (0, place.parent_sequence)
        if leaves_head and is_newest:
            catalogue.mark_tip(run.number, run.head, tip=True)
        if leaves_head or not is_newest:
            catalogue.mark_tip(run.number, place.parent_sequence, tip=False)
        catalogue.append(run, row)
    writer.root(number)
    return checkpoint_of(prepared.manifest, prepared.id, place.run, place.sequence, row)


def abandon(lease: Lease | None) -> None:
    """Give up what was staged for a commit that will not be written."""
    if lease is not None and lease.is_used:
        with suppress(HiveError):  # a lease ends with its process at the latest
            lease.abandon()
