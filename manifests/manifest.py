"""``Manifest``: the small object that a checkpoint is. ``Checkpoint`` and ``RunInfo``: its faces.

A manifest holds what is true of the checkpoint everywhere: where it was first saved, what was
saved, and the links to the trees of state and execution record. What depends on the store or on
the run under which it is listed stands in the catalogue.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

import pydantic
from pydantic_core import core_schema

from cas.digest import DIGEST_BYTES, Digest
from cas.errors import CorruptObjectError, UnsupportedFormatError
from manifests.cbor import (
    MANIFEST,
    NULL,
    array_head,
    bytes_head,
    encode_int,
    encode_text,
    map_head,
    tag_head,
)
from manifests.decoder import Loader, StoredObject
from manifests.forms import Form, Forms, Tagged, form_of
from manifests.names import check_labels, check_name
from manifests.pieces import Linked, Piece, PieceSink, join, size_of
from manifests.registry import Registry
from manifests.rows import HIGHEST_NUMBER, CheckpointRow
from manifests.together import ATOMS

__all__ = [
    "MANIFEST_BYTES",
    "MANIFEST_FORMAT",
    "Checkpoint",
    "Manifest",
    "ManifestReader",
    "RunInfo",
    "RunStats",
    "StoreStats",
    "checkpoint_of",
    "from_microseconds",
    "microseconds",
    "state_of",
]

MANIFEST_FORMAT: Final = 1
MANIFEST_BYTES: Final = 1_024
"""Largest manifest (inclusive), however large the state."""
_STATE_BYTES: Final = 384
"""Largest root of a state, or of an execution record, that stays inside the manifest: an object
of its own would cost it a digest and an index row at every step."""

_FIELDS: Final = 13
_LOGICAL_BYTES: Final = 10
_STATE: Final = 11
_HEAD: Final = tag_head(MANIFEST) + array_head(_FIELDS)
_HEX_DIGEST: Final = 64
_SHAPES: Final = frozenset(
    (int, str, int, parent, str, node, list, int, graph, dict, int)
    for parent in (bytes, type(None))
    for node in (str, type(None))
    for graph in (bytes, str, type(None))
)
"""The types of the fields before the state."""


class _DigestSchema:
    """Lets pydantic models hold digests: themselves in Python, hex digits in JSON."""

    @staticmethod
    def __get_pydantic_core_schema__(
        _source: Any, _handler: Callable[[Any], core_schema.CoreSchema]
    ) -> core_schema.CoreSchema:
        def read(value: Any) -> Digest:
            if isinstance(value, Digest):
                return value
            if isinstance(value, str):
                return Digest.parse(value)
            raise ValueError("not a digest")

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


DigestField = Annotated[Digest, _DigestSchema]


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Checkpoint(_Frozen):
    """A saved state, as it is listed in a run.

    ``sequence`` counts a run's checkpoints from 1. ``logical_bytes`` is the size of the state and
    its execution record written out whole; ``new_bytes`` and ``new_objects`` are what saving it
    added to this store. ``origin_run`` and ``origin_sequence`` say where it was first saved; they
    differ from ``run`` and ``sequence`` once it is listed in a fork. ``key`` is the sortable id
    that the framework which owns the run gave it.
    """

    id: DigestField
    run: str
    sequence: int
    parent: DigestField | None
    kind: str
    node: str | None
    next_nodes: tuple[str, ...]
    created_at: dt.datetime
    graph: str | None
    labels: dict[str, str]
    logical_bytes: int
    new_bytes: int
    new_objects: int
    origin_run: str
    origin_sequence: int
    key: str | None = None


class RunInfo(_Frozen):
    """A run: its head and how many of its checkpoints are kept."""

    name: str
    head: Checkpoint
    checkpoints: int
    created_at: dt.datetime
    updated_at: dt.datetime


class RunStats(_Frozen):
    """Bytes of a run: as if written whole, of its own, and shared with other runs.

    ``unique_bytes`` and ``shared_bytes`` count the uncompressed payload of the objects that only
    this run reaches, and of those that another run or a tag reaches too.
    """

    checkpoints: int
    logical_bytes: int
    unique_bytes: int
    shared_bytes: int


class StoreStats(_Frozen):
    """Bytes of a store.

    ``logical_bytes``: all checkpoints written out whole. ``unique_bytes``: the payload of the
    distinct objects. ``stored_bytes``: their records as stored, compressed. ``disk_bytes``: what
    the file system has allocated. Garbage not yet collected counts in the last three.
    """

    checkpoints: int
    objects: int
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    disk_bytes: int
    runs: dict[str, RunStats]


class Manifest:
    """The fields of a manifest before it is encoded, or after its payload was read."""

    __slots__ = (
        "created_at",
        "execution",
        "graph",
        "kind",
        "labels",
        "logical_bytes",
        "next_nodes",
        "node",
        "origin_run",
        "origin_sequence",
        "parent",
        "state",
    )

    def __init__(
        self,
        *,
        origin_run: str,
        origin_sequence: int,
        parent: Digest | None,
        kind: str,
        node: str | None,
        next_nodes: Sequence[str],
        created_at: dt.datetime,
        graph: str | None,
        labels: dict[str, str],
        logical_bytes: int,
        state: Any,
        execution: Any,
    ) -> None:
        """Keep the fields. ``state`` and ``execution`` are pieces to write, or forms once read."""
        self.origin_run = origin_run
        self.origin_sequence = origin_sequence
        self.parent = parent
        self.kind = kind
        self.node = node
        self.next_nodes = next_nodes
        self.created_at = created_at
        self.graph = graph
        self.labels = labels
        self.logical_bytes = logical_bytes
        self.state = state
        self.execution = execution

    def seal(self, sink: PieceSink, next_nodes: Piece) -> Digest:
        """Put the manifest's object into the sink and return its digest, the checkpoint's id.

        ``state`` and ``execution`` must be pieces; ``next_nodes`` is given as one.
        """
        labels = b""
        if self.labels:
            check_labels(self.labels)
            labels = b"".join([encode_text(text) for pair in self.labels.items() for text in pair])
        pieces: list[Piece] = [
            encode_int(MANIFEST_FORMAT),
            encode_text(self.origin_run),
            encode_int(self.origin_sequence),
            NULL if self.parent is None else bytes_head(len(self.parent)) + bytes(self.parent),
            encode_text(self.kind),
            NULL if self.node is None else encode_text(self.node),
            next_nodes,
            encode_int(microseconds(self.created_at)),
            _graph_piece(self.graph),
            map_head(len(self.labels)) + labels,
            encode_int(self.logical_bytes),
            sink.place(self.state, _STATE_BYTES),
            sink.place(self.execution, _STATE_BYTES),
        ]
        whole = join(_HEAD, pieces)
        while size_of(whole) > MANIFEST_BYTES:
            largest = max(range(len(pieces)), key=lambda index: size_of(pieces[index]))
            pieces[largest] = sink.seal(pieces[largest])
            whole = join(_HEAD, pieces)
        return _only_digest(sink.seal(whole))


class ManifestReader:
    """Reads manifests; state and execution record stay unread ``Form``s."""

    def __init__(self, load: Loader) -> None:
        self._forms = Forms(Registry(), load)

    def read(self, item: StoredObject) -> Manifest:
        """Return the manifest in an object; ``CorruptObjectError`` if it is none."""
        try:
            *fields, state, execution = _parts(item.payload, item.links)
            # A field too long for the manifest itself is an object of its own.
            values = [field if _is_plain(field) else self._forms.value(field) for field in fields]
            if tuple(map(type, values)) not in _SHAPES:
                raise TypeError("no manifest has such fields")
            _, run, sequence, parent, kind, node, next_nodes, created, graph, labels, size = values
            if not (
                _are_texts(next_nodes)
                and (not labels or _are_texts([*labels, *labels.values()]))
                and (type(graph) is not bytes or len(graph) == DIGEST_BYTES)
                and 0 < sequence <= HIGHEST_NUMBER
                and size >= 0
            ):
                raise ValueError("no manifest has such fields")
            return Manifest(
                origin_run=run,
                origin_sequence=sequence,
                parent=None if parent is None else Digest(parent),
                kind=kind,
                node=node,
                next_nodes=next_nodes,
                created_at=from_microseconds(created),
                graph=graph.hex() if isinstance(graph, bytes) else graph,
                labels=labels,
                logical_bytes=size,
                state=state,
                execution=execution,
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise CorruptObjectError("an object that should be a manifest is none") from error

    def logical_bytes(self, item: StoredObject) -> int:
        """Return the logical bytes of the manifest in an object, and read nothing else of it."""
        size = _parts(item.payload, item.links)[_LOGICAL_BYTES]
        return size if type(size) is int and size >= 0 else self.read(item).logical_bytes


def state_of(manifest: StoredObject) -> Form:
    """Return the form of the state in a manifest, which the caller must not change.

    Raises:
        CorruptObjectError: The object is no manifest.
        UnsupportedFormatError: It is of a newer Hive.
    """
    return _remembered_state(manifest.payload, tuple(manifest.links))


# Those on the way back from a head are looked at again at every turn; such a state is small.
@lru_cache(maxsize=4_096)
def _remembered_state(payload: bytes, links: tuple[Any, ...]) -> Form:
    return _parts(payload, links)[_STATE]


def _parts(payload: bytes, links: Sequence[Any]) -> Sequence[Form]:
    """Return the forms of a manifest's fields, state and execution record."""
    match form_of(payload, links):
        case Tagged(tag=tag, content=[version, *rest]) if tag == MANIFEST:
            if version != MANIFEST_FORMAT:
                raise UnsupportedFormatError(
                    f"manifest format {version} is not known here; upgrade Hive"
                )
            if len(rest) == _FIELDS - 1:
                return [version, *rest]
    raise CorruptObjectError("an object that should be a manifest is none")


def _are_texts(values: Sequence[Any]) -> bool:
    return {*map(type, values)} <= {str}


def _is_plain(form: Form) -> bool:
    """Whether a form is its value: a scalar, or a list or dict of scalars."""
    if type(form) is list:
        return ATOMS.issuperset(map(type, form))
    return type(form) in ATOMS or (
        type(form) is dict and ATOMS.issuperset(map(type, form.values()))
    )


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def microseconds(moment: dt.datetime) -> int:
    """Return a moment as whole microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def from_microseconds(count: int) -> dt.datetime:
    """Return the moment that many microseconds after 1970 began in UTC."""
    return _EPOCH + dt.timedelta(microseconds=count)


def _graph_piece(graph: str | None) -> bytes:
    if graph is None:
        return NULL
    check_name(graph, "graph digest")
    if len(graph) == _HEX_DIGEST and set(graph) <= set("0123456789abcdef"):
        return bytes_head(_HEX_DIGEST // 2) + bytes.fromhex(graph)
    return encode_text(graph)


def _only_digest(link: Linked) -> Digest:
    (digest,) = link.parts
    assert isinstance(digest, Digest)
    return digest


def checkpoint_of(
    manifest: Manifest, digest: Digest, run: str, sequence: int, row: CheckpointRow
) -> Checkpoint:
    """Return the checkpoint that a manifest is when listed as ``run``@``sequence``."""
    # Trusted fields: the manifest was checked when it was read or made. Validating each of 10,000
    # rows of a log again would take longer than reading them.
    return Checkpoint.model_construct(
        id=digest,
        run=run,
        sequence=sequence,
        parent=manifest.parent,
        kind=manifest.kind,
        node=manifest.node,
        next_nodes=tuple(manifest.next_nodes),
        created_at=manifest.created_at,
        graph=manifest.graph,
        labels=manifest.labels,
        logical_bytes=manifest.logical_bytes,
        new_bytes=row.new_bytes,
        new_objects=row.new_objects,
        origin_run=manifest.origin_run,
        origin_sequence=manifest.origin_sequence,
        key=row.key,
    )
