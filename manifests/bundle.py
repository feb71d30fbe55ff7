r"""The bundle file: checkpoints with the objects they need, independent of any store's engine.

::

    magic      16 bytes  89 "hive bundle" 0d 0a 1a 0a
    version    2 bytes   1, or 2 if there are keys or notes
    stream     one zstd frame, window at most 8 MiB
    digest     32 bytes  BLAKE3 of everything before

Every item of the stream has its length (u32) in front: first the header, CBOR [checkpoints,
objects, bytes of all frames, [id of a checkpoint that the receiver must have, ...]], in version 2
with the number of notes behind; then that many checkpoints, CBOR [run, sequence, id, sequences back
to the parent, flags], with the key behind if there is one; then the notes: pending writes of a
task, CBOR [0, run, sequence, path, task, [index, name, value, ...]], and effects, CBOR [1, run,
name, at, value]; then the objects, as frames (``cas.objects``), children before parents, none
twice.

A bundle comes from anywhere. Nothing of it is believed: lengths and counts are bounded before
memory is taken, and an object's address is computed, never read.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import cbor2
import zstandard
from blake3 import blake3

from cas.digest import DIGEST_BYTES, Digest
from cas.errors import (
    CorruptionError,
    HiveError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    UnsupportedFormatError,
)
from cas.failures import translate
from cas.filesystem import FILE_MODE, sync_directory
from cas.objects import MAX_LINKS, MAX_PAYLOAD_BYTES, Object
from manifests.cbor import loads, tag_decoders
from manifests.names import check_key, check_name, check_place

__all__ = [
    "BUNDLE_VERSION",
    "BundleEntry",
    "BundleHeader",
    "BundleReader",
    "EffectNote",
    "Note",
    "WritesNote",
    "write_bundle",
]

T = TypeVar("T")

BUNDLE_VERSION: Final = 2
_FIRST_VERSION: Final = 1
_MAGIC: Final = b"\x89hive bundle\r\n\x1a\n"
_VERSION_BYTES: Final = 2
_LENGTH_BYTES: Final = 4
_LEVEL: Final = 9
_WINDOW_LOG: Final = 23
_PIECE_BYTES: Final = 1 << 20
_MOST_HEADER_BYTES: Final = 1 << 22
_MOST_ENTRY_BYTES: Final = 4_096
_MOST_NOTE_BYTES: Final = 1 << 24
_WRITES, _EFFECT = 0, 1
_MOST_FRAME_BYTES: Final = 5 + MAX_LINKS * DIGEST_BYTES + MAX_PAYLOAD_BYTES
_MOST_SEQUENCE: Final = 0xFFFF_FFFF
_LEAST_LIMIT_BYTES: Final = 256 << 20
_LIMIT_RATIO: Final = 200
_NO_TAGS: Final = tag_decoders({})
_DEPTH: Final = 4
_KEYED_PARTS: Final = 6


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """How much follows, and what the receiver must have already."""

    checkpoints: int
    objects: int
    frame_bytes: int
    have: tuple[Digest, ...]
    notes: int = 0


@dataclass(frozen=True, slots=True)
class WritesNote:
    """What one task wrote at a checkpoint of the bundle: (name, value) by index.

    A value is an object's digest, or the payload of a small one.
    """

    run: str
    sequence: int
    path: str
    task: str
    writes: dict[int, tuple[str, bytes]]

    @property
    def values(self) -> list[bytes]:
        """The values."""
        return [value for _name, value in self.writes.values()]


@dataclass(frozen=True, slots=True)
class EffectNote:
    """An effect that a run of the bundle recorded when its last sequence was ``at``."""

    run: str
    name: str
    at: int
    value: bytes

    @property
    def values(self) -> list[bytes]:
        """The value."""
        return [self.value]


Note = WritesNote | EffectNote
"""What a run has beside its states."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A checkpoint in its run. ``parent`` is a sequence of the run, 0 if it is elsewhere."""

    run: str
    sequence: int
    id: Digest
    parent: int
    needs_parent: bool
    tip: bool
    hidden: bool = False
    key: str | None = None


def write_bundle(
    path: Path,
    header: BundleHeader,
    entries: Sequence[BundleEntry],
    notes: Sequence[Note],
    frames: Iterable[bytes],
) -> int:
    """Write a bundle to ``path``, replacing what is there once it is complete; returns its bytes.

    Raises:
        HiveError: The file cannot be written, or what ``frames`` raises; nothing is left behind.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            with open(descriptor, "wb") as file:
                _write(file, header, entries, notes, frames)
                file.flush()
                os.fsync(descriptor)
                size = file.tell()
            os.replace(draft, path)
            sync_directory(path.parent)
            return size
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no folder {str(path.parent)!r} to write to") from error
    except OSError as error:
        raise translate(error, path) from error


class _Hashing:
    """Passes bytes on to a file and hashes them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = blake3()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._file.write(data)


def _write(
    file: BinaryIO,
    header: BundleHeader,
    entries: Sequence[BundleEntry],
    notes: Sequence[Note],
    frames: Iterable[bytes],
) -> None:
    out = _Hashing(file)
    # What an older version can read, it shall.
    is_plain = not notes and all(entry.key is None and not entry.hidden for entry in entries)
    version = _FIRST_VERSION if is_plain else BUNDLE_VERSION
    out.write(_MAGIC + version.to_bytes(_VERSION_BYTES, "big"))
    parameters = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=_WINDOW_LOG)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(out, closefd=False) as stream:  # type: ignore[arg-type]
        ids = [bytes(digest) for digest in header.have]
        first = [header.checkpoints, header.objects, header.frame_bytes, ids]
        items = _items(
            cbor2.dumps(first if is_plain else [*first, len(notes)]),
            map(_entry_bytes, entries),
            map(_note_bytes, notes),
            frames,
        )
        for item in items:
            stream.write(len(item).to_bytes(_LENGTH_BYTES, "big") + item)
    file.write(out.hash.digest())


def _items(first: bytes, *others: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    for items in others:
        yield from items


def _entry_bytes(entry: BundleEntry) -> bytes:
    back = entry.sequence - entry.parent if entry.parent else 0
    flags = entry.needs_parent | entry.tip << 1 | entry.hidden << 2
    key = [] if entry.key is None else [entry.key]
    return cbor2.dumps([entry.run, entry.sequence, bytes(entry.id), back, flags, *key])


def _note_bytes(note: Note) -> bytes:
    if isinstance(note, EffectNote):
        return cbor2.dumps([_EFFECT, note.run, note.name, note.at, _value_fields(note.value)])
    flat: list[Any] = []
    for index, (name, value) in note.writes.items():
        flat += (index, name, _value_fields(value))
    return cbor2.dumps([_WRITES, note.run, note.sequence, note.path, note.task, flat])


def _value_fields(value: bytes) -> bytes | list[bytes]:
    """Return a payload as it is, a digest in a list."""
    return [bytes(value)] if isinstance(value, Digest) else value


class BundleReader:
    """Reads a bundle: ``header``, ``entries``, ``notes``, ``objects``, in this order.

    Opening it verifies the digest of the whole file, so that a bundle which was damaged or cut off
    on its way is refused before anything else happens.
    """

    def __init__(self, file: BinaryIO, path: Path, *, max_bytes: int | None) -> None:
        """Use ``BundleReader.open``."""
        self._path = path
        end, self._version = _verify(file, path)
        file.seek(len(_MAGIC) + _VERSION_BYTES)
        self._file = _Part(file, end - file.tell())
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
        self._stream = decompressor.stream_reader(self._file)  # type: ignore[arg-type]
        self.header = self._read_header()
        limit = max(_LEAST_LIMIT_BYTES, _LIMIT_RATIO * end) if max_bytes is None else max_bytes
        if self.header.frame_bytes > limit:
            raise LimitError(
                f"the bundle {path} holds {self.header.frame_bytes} bytes of objects in a file of "
                f"{end}, over the limit of {limit}; if you trust it, allow more (max_bytes)"
            )
        # What is listed beside the objects is held in memory, and may be a bomb like them.
        self._beside_left = limit - self.header.frame_bytes

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, max_bytes: int | None = None) -> Iterator[BundleReader]:
        """Open and verify the bundle at ``path``.

        Args:
            path: The file.
            max_bytes: The most bytes of objects to accept, inclusive. By default 200 times the
                size of the file or 256 MiB, whichever is more: a few bytes of zstd can claim to be
                very many.

        Raises:
            CorruptionError: The file is damaged, cut off, or no bundle.
            UnsupportedFormatError: A newer Hive wrote it.
            LimitError: It holds too much.
            HiveError: It cannot be read.
        """
        try:
            with open(path, "rb") as file:
                yield cls(file, path, max_bytes=max_bytes)
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {str(path)!r}") from error
        except OSError as error:
            raise translate(error, path) from error

    def _read_header(self) -> BundleHeader:
        fields = self._decoded(self._item(_MOST_HEADER_BYTES))
        if self._version == _FIRST_VERSION and type(fields) is list:
            fields = [*fields, 0]
        match fields:
            case [int(checkpoints), int(objects), int(frame_bytes), list(have), int(notes)]:
                counts = checkpoints, objects, frame_bytes, notes
                if min(counts) >= 0 and {*map(type, have)} <= {bytes}:
                    ids = self._checked(lambda: tuple(map(Digest, have)))
                    return BundleHeader(checkpoints, objects, frame_bytes, ids, notes)
        raise self._damaged("its header makes no sense")

    def entries(self) -> list[BundleEntry]:
        """Return the checkpoints.

        Raises:
            InvalidInputError: A run has a name that no run can have.
            LimitError: There are too many.
        """
        found: dict[tuple[str, int], BundleEntry] = {}
        for _ in range(self.header.checkpoints):
            entry = self._entry(self._beside(_MOST_ENTRY_BYTES))
            if (entry.run, entry.sequence) in found:
                raise self._damaged("it lists a checkpoint twice")
            found[entry.run, entry.sequence] = entry
        return list(found.values())

    def _entry(self, fields: Any) -> BundleEntry:
        key: str | None = None
        if self._version > _FIRST_VERSION and type(fields) is list and len(fields) == _KEYED_PARTS:
            key = fields.pop()
            self._checked(lambda: check_key(key or ""))
        most_flags = 1 << 2 if self._version == _FIRST_VERSION else 1 << 3
        match fields:
            case [str(run), int(sequence), bytes(digest), int(back), int(flags)]:
                check_name(run, "run name")
                if 0 < sequence <= _MOST_SEQUENCE and 0 <= back < sequence:
                    if 0 <= flags < most_flags:
                        parent = sequence - back if back else 0
                        known = self._checked(lambda: Digest(digest))
                        marks = bool(flags & 1), bool(flags & 2), bool(flags & 4)
                        return BundleEntry(run, sequence, known, parent, *marks, key)
        raise self._damaged("a checkpoint in it makes no sense")

    def notes(self) -> list[Note]:
        """Return what the runs have beside their states. ``LimitError`` if it is too much."""
        return [self._note(self._beside(_MOST_NOTE_BYTES)) for _ in range(self.header.notes)]

    def _note(self, fields: Any) -> Note:
        match fields:
            case [int(kind), str(run), int(sequence), str(path), str(task), list(flat)]:
                if kind == _WRITES and 0 < sequence <= _MOST_SEQUENCE and len(flat) % 3 == 0:
                    writes = {
                        index: (name, self._value(value))
                        for index, name, value in zip(*[iter(flat)] * 3, strict=True)
                    }
                    self._checked(lambda: check_place(path, task, writes))
                    if len(writes) == len(flat) // 3:
                        return WritesNote(run, sequence, path, task, writes)
            case [int(kind), str(run), str(name), int(at), value]:
                if kind == _EFFECT and 0 <= at <= _MOST_SEQUENCE:
                    self._checked(lambda: check_name(name, "name of an effect"))
                    return EffectNote(run, name, at, self._value(value))
        raise self._damaged("what a run has beside its states makes no sense")

    def _value(self, fields: Any) -> bytes:
        match fields:
            case bytes():
                return fields
            case [bytes(digest)]:
                return self._checked(lambda: Digest(digest))
        raise self._damaged("a value in it makes no sense")

    def objects(self) -> Iterator[tuple[Digest, Object, int]]:
        """Yield (address, object, bytes of its frame); each address is that of the bytes read.

        The end of the file is verified with the last one.
        """
        left = self.header.frame_bytes
        for _ in range(self.header.objects):
            frame = self._item(min(_MOST_FRAME_BYTES, left))
            left -= len(frame)
            item = self._checked(lambda data=frame: Object.from_frame(data))  # type: ignore[misc]
            yield Digest.of(frame), item, len(frame)
        if left or self._read(1) or self._file.left:
            raise self._damaged("it does not end where it says")

    def _beside(self, most: int) -> Any:
        """Return the next item, decoded: one that stands beside the objects."""
        item = self._item(most)
        self._beside_left -= len(item)
        if self._beside_left < 0:
            raise LimitError(
                f"the bundle {self._path} lists more than its limit leaves beside its objects; if "
                "you trust it, allow more (max_bytes)"
            )
        return self._decoded(item)

    def _item(self, most: int) -> bytes:
        size = int.from_bytes(self._exactly(_LENGTH_BYTES), "big")
        if size > most:
            raise self._damaged(f"an item claims {size} bytes, at most {most} can be")
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self._read(min(size, _PIECE_BYTES))
            if not piece:
                raise self._damaged("it ends too early")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except zstandard.ZstdError as error:
            raise self._damaged("it cannot be decompressed") from error

    def _decoded(self, item: bytes) -> Any:
        return self._checked(lambda: loads(item, _NO_TAGS, depth=_DEPTH))

    def _checked(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except UnsupportedFormatError:
            raise
        except (HiveError, RecursionError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> CorruptionError:
        return CorruptionError(f"the bundle {self._path} is damaged: {what}; fetch it again")


class _Part:
    """The next bytes of a file, up to an end that is not the file's."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.left = size

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes."""
        data = self._file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data


def _verify(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Check magic, version and digest; return where the digest begins, and the version."""
    head = file.read(len(_MAGIC) + _VERSION_BYTES)
    if not head.startswith(_MAGIC):
        raise InvalidInputError(f"{path} is no bundle of Hive")
    version = int.from_bytes(head[len(_MAGIC) :], "big")
    if version > BUNDLE_VERSION:
        raise UnsupportedFormatError(
            f"the bundle {path} has version {version}, this Hive knows {BUNDLE_VERSION}; upgrade"
        )
    end = os.fstat(file.fileno()).st_size - DIGEST_BYTES
    digest, left = blake3(head), end - len(head)
    while left > 0:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    if left or file.read(DIGEST_BYTES) != digest.digest():
        raise CorruptionError(
            f"the bundle {path} is damaged or cut off: its digest does not match; fetch it again"
        )
    return end, version
