"""Writing bundle files, whose format ``manifests.bundle`` describes."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import cbor2
import zstandard
from blake3 import blake3

from cas.digest import Digest
from cas.errors import InvalidInputError, NotFoundError
from cas.failures import translate
from cas.filesystem import FILE_MODE, sync_directory
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
)

__all__ = ["write_bundle"]

_LEVEL: Final = 9


def write_bundle(
    path: Path,
    header: BundleHeader,
    entries: Sequence[BundleEntry],
    notes: Sequence[Note],
    frames: Iterable[bytes],
) -> int:
    """Write a bundle to ``path``, replacing what is there once it is complete; returns its bytes.

    Raises:
        InvalidInputError: The path is that of a folder, a link, a device or a pipe.
        HiveError: The file cannot be written, or what ``frames`` raises; nothing is left behind.
    """
    if path.is_dir():
        raise InvalidInputError(f"{str(path)!r} is a folder: name the file to write")
    # It is replaced by a rename, which would take /dev/null, or the link /dev/stdout, away.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InvalidInputError(f"{str(path)!r} is no plain file: name the file to write")
    _remove_abandoned(path)
    try:
        draft, descriptor = _new_draft(path)
        try:
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


def _new_draft(path: Path) -> tuple[Path, int]:
    """Create a file beside ``path``, locked for as long as it is open; returns its descriptor."""
    while True:
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with suppress(OSError):  # a file system without locks; nobody else gets one there either
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        if draft.exists():
            return draft, descriptor
        os.close(descriptor)  # another process took it for an abandoned one before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove what killed exports to ``path`` left beside it: files of its size, and hidden.

    A failure is none: the next export tries again.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.[0-9a-f]{{8}}")
    with suppress(OSError):
        for each in os.listdir(path.parent):
            if name.fullmatch(each):
                with suppress(OSError):
                    _remove_unlocked(path.with_name(each))


def _remove_unlocked(draft: Path) -> None:
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()
    finally:
        os.close(descriptor)


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
    version = FIRST_VERSION if is_plain else BUNDLE_VERSION
    out.write(MAGIC + version.to_bytes(VERSION_BYTES, "big"))
    parameters = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=WINDOW_LOG)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(out, closefd=False) as stream:  # type: ignore[arg-type]  # can write
        ids = [bytes(digest) for digest in header.have]
        first = [header.checkpoints, header.objects, header.frame_bytes, ids]
        items = _items(
            cbor2.dumps(first if is_plain else [*first, len(notes)]),
            map(_entry_bytes, entries),
            map(_note_bytes, notes),
            frames,
        )
        for item in items:
            stream.write(len(item).to_bytes(LENGTH_BYTES, "big") + item)
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
        return cbor2.dumps([EFFECT, note.run, note.name, note.at, _value_fields(note.value)])
    flat: list[Any] = []
    for index, (name, value) in note.writes.items():
        flat += (index, name, _value_fields(value))
    return cbor2.dumps([WRITES, note.run, note.sequence, note.path, note.task, flat])


def _value_fields(value: bytes) -> bytes | list[bytes]:
    """Return a payload as it is, a digest in a list."""
    return [bytes(value)] if isinstance(value, Digest) else value
