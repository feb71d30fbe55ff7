"""``Pack``: consecutive records stored, and compressed, together.

The objects of one commit are read together later, so they are written as one unit: their payloads
share a compression window, and one table row serves several records. Bytes of a pack::

    codec      1 byte    0 raw, 1 zstd (magicless frame), 2 zstd, and the meta part too, 3 zstd
                         with the digests in the window before the body, and the meta part too,
                         4 the same with links as steps
    count      1 byte    number of records, 1..255
    fragments  2 bytes   table rows over which the pack is spread
    meta size  2 bytes
    digests    32 bytes for each record
    meta       CBOR [body bytes, [payload bytes...], [[link...]...]] and perhaps [offset...]
    body       the payloads, one behind the other, as the codec says

A record's number is the pack's base number plus its offset (0, 1, 2... unless offsets are given,
as they are once a record in the middle was swept). A link is the record's number minus the linked
record's number, always above zero: children are stored before parents. As steps, the first link of
a record is written so, and each other one as what is to be added to the number so written before:
the versions of a growing list differ in their first number then, and compress to next to nothing.

Digests stand uncompressed in front: verifying one record needs the digests of the records it links
to, not their payloads.
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from operator import sub
from typing import Any, Final

import cbor2
import zstandard

from cas.digest import DIGEST_BYTES, Digest
from cas.errors import CorruptObjectError, MissingObjectError, UnsupportedFormatError
from cas.objects import MAX_PAYLOAD_BYTES
from cas.shortage import raise_shortage

__all__ = [
    "FRAGMENT_BYTES",
    "MAX_PACK_BYTES",
    "MAX_PACK_LINKS",
    "MAX_PACK_RECORDS",
    "NewRecord",
    "Pack",
]

MAX_PACK_RECORDS: Final = 255
MAX_PACK_LINKS: Final = 4_096
"""Links of all records of a pack together, so that the meta part's size fits its field."""
MAX_PACK_BYTES: Final = 64 * 1024
"""Payload bytes at which a pack is closed: bounds what must be decompressed to read one record."""

# Two rows of this size fill a 4,096-byte LMDB page to the byte: 16 bytes of page header, and for
# each row 2 of pointer, 8 of node header, 8 of key. One byte more and a row moves to an overflow
# page of its own (measured in a prototype: 29 % of such pages wasted).
FRAGMENT_BYTES: Final = 2_022

_HEADER: Final = struct.Struct(">BBHH")
_RAW: Final = 0
_ZSTD: Final = 1
_ZSTD_META: Final = 2
_ZSTD_DIGESTS: Final = 3
_ZSTD_STEPS: Final = 4
_WITH_META: Final = (_ZSTD_META, _ZSTD_DIGESTS, _ZSTD_STEPS)
_WITH_DIGESTS: Final = (_ZSTD_DIGESTS, _ZSTD_STEPS)
_MOST_META_BYTES: Final = 0xFFFF
_LEVELS: Final = (3, 6)
"""For commits, and for what is packed once and kept (5 % smaller, four times the time)."""
_FRAME_DESCRIPTOR: Final = b"\0"
"""First byte of a zstd frame without magic number, content size, checksum and dictionary id."""


_SHARE_OF_DIGESTS: Final = 1 / 16
"""Of the payloads, from which on they may be full of digests: those of manifests hold parents'."""


class _Codecs(threading.local):
    """Reused zstd contexts: a fresh one per call costs 25 us; they are not thread-safe."""

    def __init__(self) -> None:
        self.parameters = [
            zstandard.ZstdCompressionParameters.from_level(
                level,
                format=zstandard.FORMAT_ZSTD1_MAGICLESS,
                write_content_size=0,
                write_checksum=0,
                write_dict_id=0,
            )
            for level in _LEVELS
        ]
        self.compressor, self.thorough_compressor = (
            zstandard.ZstdCompressor(compression_params=each) for each in self.parameters
        )
        self.decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)


_codecs: Final = _Codecs()


_ODD: Final = (
    ValueError,
    TypeError,
    LookupError,
    struct.error,
    cbor2.CBORError,
    zstandard.ZstdError,
)
"""What parsing bytes that are no pack may raise."""


def _inflate(frame: bytes | memoryview, most_bytes: int, before: bytes = b"") -> bytes:
    """Decompress a frame. ``before`` is what stood in the window before its content."""
    if bytes(frame[:1]) != _FRAME_DESCRIPTOR:
        # A damaged frame may state a size of its own, and the library allocates that first.
        raise ValueError("no frame of this format")
    decompressor = _codecs.decompressor
    if before:
        decompressor = zstandard.ZstdDecompressor(
            dict_data=_window(before), format=zstandard.FORMAT_ZSTD1_MAGICLESS
        )
    return decompressor.decompress(frame, max_output_size=most_bytes)


def _deflate_behind(before: bytes, payloads: bytes) -> bytes:
    """Compress thoroughly, with ``before`` in the window."""
    parameters = _codecs.parameters[-1]
    compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_window(before))
    return compressor.compress(payloads)


def _window(before: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class NewRecord:
    """A record about to be written: its number, digest, link numbers and payload."""

    __slots__ = ("digest", "links", "number", "payload")

    def __init__(self, number: int, digest: Digest, links: Sequence[int], payload: bytes) -> None:
        self.number = number
        self.digest = digest
        self.links = links
        self.payload = payload


def _distances(record: NewRecord) -> list[int]:
    """Return how far below a record each of its links leads."""
    return [record.number - link for link in record.links]


def _steps(record: NewRecord) -> list[int]:
    """Return how far below a record its first link leads, and how much farther each other one."""
    links = record.links
    return [record.number - links[0], *map(sub, links, links[1:])] if links else []


class Pack:
    """One parsed pack. Payloads are decompressed when the first of them is asked for."""

    __slots__ = (
        "_body",
        "_codec",
        "_data",
        "_deltas",
        "_ends",
        "_payloads",
        "base",
        "numbers",
        "sizes",
    )

    def __init__(self, base: int, data: bytes) -> None:
        """Parse the bytes of the pack whose first possible record number is ``base``.

        Raises ``CorruptObjectError`` if the bytes are no pack, ``UnsupportedFormatError`` if they
        are of a codec that is not known here. Digests are *not* verified: whoever takes a payload
        out hashes it.
        """
        self.base = base
        try:
            codec, count, _fragments, meta_size = _HEADER.unpack_from(data)
            if codec > _ZSTD_STEPS:  # before the rest is read, which may have another form then
                raise UnsupportedFormatError(
                    f"the pack at record {base} uses codec {codec}, which is not known here; "
                    "upgrade Hive"
                )
            body_at = _HEADER.size + count * DIGEST_BYTES + meta_size
            encoded_meta = data[body_at - meta_size : body_at]
            if codec in _WITH_META:
                encoded_meta = _inflate(encoded_meta, _MOST_META_BYTES)
            meta = cbor2.loads(encoded_meta)
            body_size, sizes, self._deltas = meta[:3]
            self.sizes: Sequence[int] = sizes
            self.numbers: Sequence[int] = (
                [base + offset for offset in meta[3]]
                if len(meta) > 3
                else range(base, base + count)
            )
            self._ends = [0, *accumulate(sizes)]
            if not (
                len(sizes) == len(self._deltas) == len(self.numbers) == count
                and {*map(type, sizes), *map(type, meta[3] if len(meta) > 3 else ())} == {int}
                and min(sizes) >= 0
                and self._ends[-1] <= MAX_PAYLOAD_BYTES
                and len(data) == body_at + body_size
            ):
                raise ValueError("sizes do not add up")
        except _ODD as error:
            raise_shortage(error)
            raise CorruptObjectError(f"the pack at record {base} is damaged") from error
        self._codec = codec
        self._data = data
        self._body = body_at
        self._payloads: bytes | None = None

    @property
    def memory_bytes(self) -> int:
        """What the pack takes in memory once its payloads are decompressed, about."""
        size: int = len(self._data) + self._ends[-1]
        return size

    def digest(self, index: int) -> bytes:
        """Return the digest that the ``index``-th record claims to have."""
        at = _HEADER.size + index * DIGEST_BYTES
        return self._data[at : at + DIGEST_BYTES]

    def digests(self, indexes: Iterable[int]) -> list[bytes]:
        """Return the digests that some records claim to have."""
        data, first = self._data, _HEADER.size
        return [data[at : at + DIGEST_BYTES] for at in [first + n * DIGEST_BYTES for n in indexes]]

    def place_of(self, number: int) -> int:
        """Return which of its records has a number.

        Raises ``MissingObjectError`` if none has.
        """
        numbers = self.numbers
        at = number - self.base if type(numbers) is range else bisect_left(numbers, number)
        if at < len(numbers) and numbers[at] == number:
            return at
        raise MissingObjectError(f"record {number} is not in the store")

    def links(self, index: int) -> list[int]:
        """Return the record numbers that the ``index``-th record links to."""
        deltas = self._deltas[index]
        if not deltas:
            return []
        number = self.numbers[index]
        try:
            if self._codec == _ZSTD_STEPS:
                deltas = accumulate(deltas)
            links = [number - delta for delta in deltas]
            if links and not (
                {*map(type, links)} == {int} and 0 < min(links) <= max(links) < number
            ):
                raise ValueError("a link leads to no earlier record")
        except (TypeError, ValueError, LookupError) as error:
            raise CorruptObjectError(f"the pack at record {self.base} is damaged") from error
        return links

    def distances(self) -> Sequence[Sequence[int]]:
        """Return of each record how far below it its links lead.

        What ``links`` says of all records at once, for marking: without a step for each link.
        """
        deltas: Sequence[Sequence[int]] = self._deltas
        try:
            if self._codec == _ZSTD_STEPS:
                deltas = [list(accumulate(below)) for below in deltas]
            flat = list(chain.from_iterable(deltas))
            sound = not flat or ({*map(type, flat)} == {int} and min(flat) > 0)
            if sound and max(flat, default=0) >= self.base:
                sound = all(
                    max(below, default=0) < number
                    for number, below in zip(self.numbers, deltas, strict=True)
                )
        except (TypeError, ValueError) as error:
            raise CorruptObjectError(f"the pack at record {self.base} is damaged") from error
        if not sound:
            raise CorruptObjectError(f"the pack at record {self.base} is damaged")
        return deltas

    def size(self, index: int) -> int:
        """Return the payload size of the ``index``-th record in bytes."""
        return self.sizes[index]

    def payload(self, index: int) -> bytes:
        """Return the payload of the ``index``-th record, unverified."""
        return self.payloads((index,))[0]

    def payloads(self, indexes: Iterable[int]) -> list[bytes]:
        """Return the payloads of some records, unverified."""
        payloads = self._payloads
        if payloads is None:
            payloads = self._payloads = self._decompress()
        ends = self._ends
        return [payloads[ends[index] : ends[index + 1]] for index in indexes]

    def _decompress(self) -> bytes:
        size, body = self._ends[-1], memoryview(self._data)[self._body :]
        if self._codec == _RAW:
            payloads = bytes(body)
        else:
            try:
                before = self._digests() if self._codec in _WITH_DIGESTS else b""
                payloads = _inflate(body, size, before)
            except (ValueError, zstandard.ZstdError) as error:
                raise_shortage(error)
                raise CorruptObjectError(
                    f"the pack at record {self.base} cannot be decompressed"
                ) from error
        if len(payloads) != size:
            raise CorruptObjectError(f"the pack at record {self.base} is damaged")
        return payloads

    def _digests(self) -> bytes:
        return self._data[_HEADER.size : _HEADER.size + len(self.numbers) * DIGEST_BYTES]

    @staticmethod
    def encode(
        records: Sequence[NewRecord],
        fragment_bytes: int,
        *,
        cut: Callable[[int], Sequence[int]] | None = None,
        thorough: bool = False,
    ) -> list[bytes]:
        """Return the pack of ``records`` (ascending numbers) as rows of up to ``fragment_bytes``.

        The first record's number is the base. ``cut`` may choose other sizes of rows: it is given
        the size of the pack and returns sizes that add up to it. ``thorough`` takes more time to
        make it smaller.
        """
        base = records[0].number
        payloads = b"".join([record.payload for record in records])
        codec, body = _RAW, payloads
        compressor = _codecs.thorough_compressor if thorough else _codecs.compressor
        compressed = compressor.compress(payloads)
        if len(compressed) < len(payloads):
            codec, body = _ZSTD, compressed
        digests = b"".join([record.digest for record in records])
        if thorough and codec == _ZSTD and len(digests) >= _SHARE_OF_DIGESTS * len(payloads):
            compressed = _deflate_behind(digests, payloads)
            if len(compressed) <= len(body):  # also if not smaller: links are, as steps
                codec, body = _ZSTD_STEPS, compressed
        offsets = [record.number - base for record in records]
        meta: list[Any] = [
            len(body),
            [len(record.payload) for record in records],
            [_steps(record) if codec == _ZSTD_STEPS else _distances(record) for record in records],
        ]
        if offsets != list(range(len(records))):
            meta.append(offsets)
        encoded_meta = cbor2.dumps(meta)
        if thorough and codec != _RAW:
            smaller_meta = compressor.compress(encoded_meta)
            if codec == _ZSTD_STEPS:
                encoded_meta = smaller_meta
            elif len(smaller_meta) < len(encoded_meta):
                codec, encoded_meta = _ZSTD_META, smaller_meta
        size = _HEADER.size + len(digests) + len(encoded_meta) + len(body)
        if cut is None:
            starts: Sequence[int] = range(0, size, fragment_bytes)
        else:
            starts = [0, *accumulate(cut(size)[:-1])]
        header = _HEADER.pack(codec, len(records), len(starts), len(encoded_meta))
        data = b"".join((header, digests, encoded_meta, body))
        return [data[at:end] for at, end in pairwise((*starts, size))]

    @staticmethod
    def fragments(first: bytes) -> int:
        """Return over how many rows the pack is spread whose first row is ``first``."""
        if len(first) < _HEADER.size:
            return 1
        count: int = _HEADER.unpack_from(first)[2]
        return count
