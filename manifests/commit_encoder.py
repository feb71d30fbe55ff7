"""``CommitEncoder``: from states to prepared commits, of which only what changed is encoded."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from cas.digest import Digest
from cas.errors import InvalidInputError
from cas.leases import STAGE_BYTES, Lease
from cas.store import ObjectStore
from manifests.arguments import listed
from manifests.cbor import NULL
from manifests.commits import PreparedCommit, abandon
from manifests.encoding import Encoding
from manifests.incremental import Memory
from manifests.likeness import Likeness
from manifests.manifest import Manifest
from manifests.memo import Node
from manifests.memories import RunMemories, RunMemory
from manifests.names import check_name
from manifests.parts import Structure
from manifests.pieces import Piece, PieceSink, logical_size
from manifests.placing import Place
from manifests.recall import recalled
from manifests.restored import expect
from manifests.template import Watched

__all__ = ["CommitEncoder"]

_MANY_COMPARED: Final = 64
"""If so many items were other objects and equal, they had been restored, it seems."""


class CommitEncoder:
    """Encodes the states of one repository, and remembers the last one of each run."""

    def __init__(self, store: ObjectStore, encoding: Encoding) -> None:
        self._store = store
        self._encoding = encoding
        self._likeness = Likeness(encoding.registry)
        self._memories = RunMemories()

    def prepare(
        self,
        place: Place,
        state: Any,
        *,
        kind: str,
        node: str | None,
        next_nodes: Sequence[str],
        execution: Mapping[str, Any] | Structure | None,
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
        next_nodes = listed(next_nodes, "next_nodes is a list of node names") if next_nodes else []
        _check_names(place.run, kind, node, next_nodes)
        # A member of an enumeration is a text too, and would be stored as what it is.
        next_nodes = [str.__str__(name) for name in next_nodes]
        _check_shapes(execution, labels)
        old = self._memories.take(place)
        memory = self._memory(place, old, changed, trust_identity=trust_identity)
        lease = Lease(self._store)
        sink = PieceSink(lease.stage, STAGE_BYTES // 2)
        try:
            state_piece = self._encoding.of_state(sink, memory).state(state)
            execution_piece, execution_seen = self._execution(sink, execution, old.execution)
            manifest = Manifest(
                origin_run=place.run,
                origin_sequence=place.sequence,
                parent=place.parent,
                kind=kind,
                node=node,
                next_nodes=next_nodes,
                created_at=created_at.astimezone(dt.UTC),
                graph=graph,
                labels=dict(labels or {}),
                logical_bytes=logical_size(state_piece) + logical_size(execution_piece),
                state=state_piece,
                execution=execution_piece,
            )
            names = self._encoding.beside_state(sink, "next_nodes").value(manifest.next_nodes)
            digest = manifest.seal(sink, names)
        except BaseException:
            abandon(lease)
            raise
        if not place.branches:
            follows = not memory.expected_others and (
                old.follows_restores or memory.compared >= _MANY_COMPARED
            )
            size = manifest.logical_bytes
            seen = RunMemory(digest, memory.root, execution_seen, size, follows)
            self._memories.keep(place.run, seen)
        used = lease if lease.is_used else None
        return PreparedCommit(place, digest, manifest, sink.objects, used)

    def _memory(
        self,
        place: Place,
        old: RunMemory,
        changed: Collection[Any] | None,
        *,
        trust_identity: bool,
    ) -> Memory:
        """Return what a state is compared with: what the last commit saw, or what is stored."""
        # A set: looking for one key in an iterator would use up those before it.
        named = None if changed is None else frozenset(listed(changed, "changed is a list of keys"))
        return Memory(
            old.state if old.id is not None else self._recalled(place),
            changed=named,
            trust_identity=trust_identity,
            likeness=self._likeness,
            recalled=old.id is None,
        )

    def _execution(
        self, sink: PieceSink, execution: Mapping[str, Any] | Structure | None, old: Node | None
    ) -> tuple[Piece, Node | None]:
        """Encode an execution record; returns it with what was seen of it."""
        if execution is None:
            return NULL, None
        if not isinstance(execution, Structure):
            redacting = self._encoding.redacting(sink, "execution")
            if redacting is not None:
                return redacting.state(dict(execution)), None
        record = execution.content if isinstance(execution, Structure) else execution
        memory = Memory(old, likeness=self._likeness)
        encoder = self._encoding.beside_state(sink, "execution", memory)
        return encoder.state(dict(record)), memory.root

    def _recalled(self, place: Place) -> Node | None:
        """Return what is stored of a parent that the commit is placed behind, to be compared."""
        distrusted = self._memories.trusts_again(place.run)
        # A parent in another run need not be listed any more when the commit is written.
        unlisted = place.parent is None or not place.parent_sequence or place.branches
        if distrusted or unlisted or self._encoding.redaction is not None:
            return None
        return recalled(self._store, self._encoding.parameters, place)

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

    def refuse_unstorable(self, fields: Mapping[str, Any], within: int) -> None:
        """Encode values as a state of these fields would be, and keep nothing of it.

        ``within`` is in how many containers they will stand, of which the state is one.
        """
        encoder = self._encoding.of_state(PieceSink(lambda _objects: None))
        encoder.deepest -= within - 1
        encoder.state(dict(fields))


def _check_names(run: str, kind: str, node: str | None, next_nodes: Sequence[str]) -> None:
    check_name(run, "run name")
    check_name(kind, "kind")
    if node is not None:
        check_name(node, "node name")
    for name in next_nodes:
        check_name(name, "node name")


def _check_shapes(
    execution: Mapping[str, Any] | Structure | None, labels: Mapping[str, str] | None
) -> None:
    if execution is not None and not isinstance(execution, Mapping | Structure):
        raise InvalidInputError("an execution record is a mapping")
    if labels is not None and not isinstance(labels, Mapping):
        raise InvalidInputError("labels are a mapping of texts to texts")
