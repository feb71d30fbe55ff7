"""Reading bundle files, whose format ``manifests.bundle`` describes, without believing them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

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
from cas.objects import MAX_LINKS, MAX_PAYLOAD_BYTES, Object
from cas.shortage import raise_shortage
from manifests.bundle import (
    BUNDLE_VERSION,
    EFFECT,
    FIRST_VERSION,
    LENGTH_BYTES,
    MAGIC,
    VERSION_BYTES,
    WINDOW_LOG,
    WRITES,
    BundleEntry,
    BundleHeader,
    EffectNote,
    Note,
    WritesNote,
)
from manifests.cbor import loads, tag_decoders
from manifests.names import check_key, check_name, check_place
from manifests.rows import HIGHEST_NUMBER

__all__ = ["BundleReader"]

T = TypeVar("T")

_PIECE_BYTES: Final = 1 << 20
_MOST_HEADER_BYTES: Final = 1 << 22
_MOST_ENTRY_BYTES: Final = 4_096
_MOST_NOTE_BYTES: Final = 1 << 24
_MOST_FRAME_BYTES: Final = 5 + MAX_LINKS * DIGEST_BYTES + MAX_PAYLOAD_BYTES
_LEAST_LIMIT_BYTES: Final = 256 << 20
_LIMIT_RATIO: Final = 200
_COST_BYTES: Final = 512
"""Memory that each thing takes which a bundle lists, however few bytes it has there."""
_NO_TAGS: Final = tag_decoders({})
_DEPTH: Final = 4
_KEYED_PARTS: Final = 6


class BundleReader:
    """Reads a bundle: ``header``, ``entries``, ``notes``, ``objects``, in this order.

    Opening it verifies the digest of the whole file, so that a bundle which was damaged or cut off
    on its way is refused before anything else happens.
    """

    def __init__(self, file: BinaryIO, path: Path, *, max_bytes: int | None) -> None:
        """Use ``BundleReader.open``."""
        self._path = path
        end, self._version = _verify(file, path)
        file.seek(len(MAGIC) + VERSION_BYTES)
        self._file = _Part(file, end - file.tell())
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
        self._stream = decompressor.stream_reader(self._file)  # type: ignore[arg-type]  # it can read
        self.header = self._read_header()
        limit = max(_LEAST_LIMIT_BYTES, _LIMIT_RATIO * end) if max_bytes is None else max_bytes
        self._cost = _COST_BYTES if max_bytes is None else 0
        listed = self.header.objects + self.header.checkpoints
        if self.header.frame_bytes + self._cost * listed > limit:
            raise LimitError(
                f"the bundle {path} holds {self.header.frame_bytes} bytes of objects, and lists "
                f"{listed} objects and checkpoints, in a file of {end} bytes: over the limit of "
                f"{limit}; if you trust it, allow more (max_bytes)"
            )
        # What is listed beside the objects is held in memory, and may be a bomb like them.
        self._beside_left = limit - self.header.frame_bytes - self._cost * listed

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, max_bytes: int | None = None) -> Iterator[BundleReader]:
        """Open and verify the bundle at ``path``.

        Args:
            path: The file.
            max_bytes: The most bytes of objects to accept, inclusive. By default 200 times the
                size of the file or 256 MiB, whichever is more: a few bytes of zstd can claim to be
                very many. Each object, checkpoint and pending write counts as 512 bytes more then.

        Raises:
            CorruptionError: The file is damaged, cut off, or no bundle.
            InvalidInputError: It is a folder or a pipe.
            UnsupportedFormatError: A newer Hive wrote it.
            LimitError: It holds too much.
            HiveError: It cannot be read.
        """
        try:
            with open(path, "rb") as file:
                if not file.seekable():
                    raise InvalidInputError(
                        f"{str(path)!r} is a pipe, which cannot be read twice: make a file of it"
                    )
                yield cls(file, path, max_bytes=max_bytes)
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {str(path)!r}") from error
        except IsADirectoryError as error:
            raise InvalidInputError(f"{str(path)!r} is a folder, and no bundle of Hive") from error
        except OSError as error:
            raise translate(error, path) from error

    def _read_header(self) -> BundleHeader:
        fields = self._decoded(self._item(_MOST_HEADER_BYTES))
        if self._version == FIRST_VERSION and type(fields) is list:
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
        if self._version > FIRST_VERSION and type(fields) is list and len(fields) == _KEYED_PARTS:
            key = fields.pop()
            self._checked(lambda: check_key(key or ""))
        most_flags = 1 << 2 if self._version == FIRST_VERSION else 1 << 3
        match fields:
            case [str(run), int(sequence), bytes(digest), int(back), int(flags)]:
                check_name(run, "run name")
                if 0 < sequence <= HIGHEST_NUMBER and 0 <= back < sequence:
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
                if kind == WRITES and 0 < sequence <= HIGHEST_NUMBER and len(flat) % 3 == 0:
                    self._spend(self._cost * (len(flat) // 3))
                    writes = {
                        index: (name, self._value(value))
                        for index, name, value in zip(*[iter(flat)] * 3, strict=True)
                    }
                    self._checked(lambda: check_place(path, task, writes))
                    if len(writes) == len(flat) // 3:
                        return WritesNote(run, sequence, path, task, writes)
            case [int(kind), str(run), str(name), int(at), value]:
                if kind == EFFECT and 0 <= at <= HIGHEST_NUMBER:
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
            item = self._checked(partial(Object.from_frame, frame))
            yield Digest.of(frame), item, len(frame)
        if left or self._read(1) or self._file.left:
            raise self._damaged("it does not end where it says")

    def _beside(self, most: int) -> Any:
        """Return the next item, decoded: one that stands beside the objects."""
        item = self._item(most)
        self._spend(len(item))
        return self._decoded(item)

    def _spend(self, size: int) -> None:
        self._beside_left -= size
        if self._beside_left < 0:
            raise LimitError(
                f"the bundle {self._path} lists more than its limit leaves beside its objects; if "
                "you trust it, allow more (max_bytes)"
            )

    def _item(self, most: int) -> bytes:
        size = int.from_bytes(self._exactly(LENGTH_BYTES), "big")
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
            raise_shortage(error)
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
    head = file.read(len(MAGIC) + VERSION_BYTES)
    if not head.startswith(MAGIC):
        raise InvalidInputError(f"{path} is no bundle of Hive")
    version = int.from_bytes(head[len(MAGIC) :], "big")
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
