"""Values that rows hold: a small one stands in its row, a larger one is an object it leads to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cas.closure import Closure
from cas.digest import DIGEST_BYTES, Digest
from cas.errors import CorruptStoreError
from cas.leases import STAGE_BYTES, Lease
from cas.objects import Object
from cas.records import RecordReader
from cas.shape import record_number
from cas.store import ObjectStore
from cas.writer import RecordWriter
from manifests.commits import abandon
from manifests.decoder import Decoder, StoredObject
from manifests.encoding import Encoding
from manifests.kept import KeptValues, Restoring
from manifests.pieces import PieceSink
from manifests.reading import StoreReader

__all__ = [
    "INLINE_BYTES",
    "BodyEncoder",
    "EncodedValues",
    "ObjectBody",
    "StoredBody",
    "body_fields",
    "body_of",
    "records_of",
    "renumbered",
    "values_of",
]

INLINE_BYTES: Final = 256
"""Largest encoded value that stands in a row (inclusive), with all that it would link to: an object
of its own costs a digest and an index row, which a value that occurs elsewhere too is worth."""


@dataclass(frozen=True, slots=True)
class ObjectBody:
    """A value that is an object: its record and its address."""

    record: int
    id: Digest


StoredBody = bytes | ObjectBody
"""The payload of a value without links, or where its object is."""


@dataclass(frozen=True, slots=True)
class EncodedValues:
    """Values that are encoded and not stored yet, with the objects they need.

    Each body is a digest, or the payload of a small value. Of very large ones most objects are
    stored already, without a name, under ``lease``.
    """

    bodies: Sequence[bytes]
    objects: Mapping[Digest, Object]
    lease: Lease | None

    @property
    def object_bytes(self) -> int:
        """The payload bytes of the objects."""
        return sum([len(item.payload) for item in self.objects.values()])

    def store(self, writer: RecordWriter, run: str) -> list[StoredBody]:
        """Store the objects of a run in the writer's transaction; returns what rows say of them.

        Whoever writes those rows calls ``writer.root`` with their records.
        """
        for digest, item in self.objects.items():
            writer.put(digest, item)
        writer.flush(run)
        stored: list[StoredBody] = [
            ObjectBody(writer.put_link(body), body) if isinstance(body, Digest) else body
            for body in self.bodies
        ]
        if self.lease is not None:
            self.lease.release(writer.writing)
            writer.unroot()
        return stored


class BodyEncoder:
    """Encodes values for rows, as one repository does."""

    def __init__(self, store: ObjectStore, encoding: Encoding) -> None:
        self._store = store
        self._encoding = encoding

    def encode(self, named: Sequence[tuple[str, Any]]) -> EncodedValues:
        """Encode (name, value) pairs. A redaction sees each value under its name in the state.

        Raises:
            InvalidInputError: A value cannot be stored.
            LimitError: It is too deep or too large.
        """
        lease = Lease(self._store)
        sink = PieceSink(lease.stage, STAGE_BYTES // 2)
        encoder = self._encoding.of_state(sink)
        bodies: list[bytes] = []
        try:
            for name, value in named:
                before = len(sink.objects)
                piece = encoder.field(name, value)
                whole = sink.unsplit(piece, INLINE_BYTES, before)
                if whole is not None:
                    bodies.append(whole)
                else:
                    (digest,) = sink.seal(piece).parts
                    assert isinstance(digest, Digest)
                    bodies.append(digest)
        except BaseException:
            abandon(lease)
            raise
        return EncodedValues(bodies, sink.objects, lease if lease.is_used else None)


def body_fields(body: StoredBody) -> bytes | list[Any]:
    """Return a body as a row keeps it."""
    return body if isinstance(body, bytes) else [body.record, bytes(body.id)]


def body_of(fields: Any) -> StoredBody:
    """Read a body of a row; ``CorruptStoreError`` if it is none."""
    match fields:
        case bytes():
            return fields
        case [int(record), bytes(digest)] if len(digest) == DIGEST_BYTES:
            return ObjectBody(record_number(record), Digest(digest))
    raise CorruptStoreError("a row holds a value that is none; check the store")


def records_of(bodies: Iterable[StoredBody]) -> list[int]:
    """Return the records that bodies lead to."""
    return [body.record for body in bodies if isinstance(body, ObjectBody)]


def renumbered(body: StoredBody, new: Callable[[int], int]) -> StoredBody:
    """Return a body with its record's new number."""
    return body if isinstance(body, bytes) else ObjectBody(new(body.record), body.id)


def values_of(bodies: Sequence[StoredBody], reader: StoreReader, kept: KeptValues) -> list[Any]:
    """Build the values of bodies, in order: read and decoded together.

    Raises:
        CorruptObjectError: One is damaged.
        MissingObjectError: One is not there.
        HiveError: What ``Decoder.value`` raises.
    """
    source = _Source(reader, bodies, kept)
    decoder = Decoder(kept.registry, source.load, source.gather, Restoring(kept))
    return decoder.values(source.names)


@dataclass(frozen=True, slots=True)
class _Inline:
    """The payload in a row, as an object without links."""

    payload: bytes
    links: tuple[int, ...] = ()


class _Source:
    """What a decoder reads bodies from. Those in rows have names below zero, which no record has.

    Attributes:
        names: What the bodies are called, in order.
    """

    def __init__(self, reader: StoreReader, bodies: Sequence[StoredBody], kept: KeptValues) -> None:
        self._reader = reader
        self._kept = kept
        self._inline: dict[int, bytes] = {}
        self._ids: dict[int, Digest] = {}
        self.names: list[int] = []
        for at, body in enumerate(bodies, 1):
            if isinstance(body, bytes):
                self._inline[-at] = body
                self.names.append(-at)
            else:
                self._ids[body.record] = body.id
                self.names.append(body.record)

    def load(self, names: Sequence[int]) -> Sequence[StoredObject]:
        """Return verified objects, in order."""
        return self._reader.run(lambda records: [self._read(records, name) for name in names])

    def _read(self, records: RecordReader, name: int) -> StoredObject:
        if name < 0:
            return _Inline(self._inline[name])
        digest = self._ids.get(name)
        return records.read(name) if digest is None else records.read_as(name, digest)

    def gather(self, names: Sequence[int]) -> Closure | None:
        """Return everything below some objects, themselves included; None if that is too much."""
        ids = {name: self._ids[name] for name in names if name in self._ids}
        numbers = [name for name in names if name >= 0]
        found = self._reader.gather(numbers, ids, self._kept) if numbers else Closure()
        if found is not None:
            found.leaves.update({name: self._inline[name] for name in names if name < 0})
        return found
