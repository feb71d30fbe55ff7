"""Find and read the text files of a folder, within bounds, the same way every time.

Nothing here follows a symbolic link, opens anything but a regular file, or reads more than the
limits allow: the folder is whatever a person typed after ``hive demo``, a home directory included.
What is passed over is counted with its reason, so that the report can say so.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from blake3 import blake3

__all__ = ["Document", "Finding", "Limits", "UnreadableError", "find_files", "read_document"]

PASSED_OVER: Final = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "build", "dist"}
)
"""Folders of generated or foreign files. Hidden files and folders are passed over as well."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a folder is looked at; every bound is inclusive."""

    max_files: int = 400
    max_bytes: int = 5_000_000
    """Size of all files together."""
    max_file_bytes: int = 500_000
    """A larger file is left out whole: half a document would give a misleading summary."""
    max_entries: int = 50_000
    """Directory entries looked at, so that ``hive demo /`` ends."""


@dataclass(frozen=True)
class Finding:
    """The files to read, in path order, and how many were left out for which reason."""

    files: tuple[tuple[str, int], ...]
    """(path below the folder with ``/``, size in bytes)."""
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A text file as read: its path below the folder, its text and the digest of its bytes."""

    path: str
    text: str
    size_bytes: int
    digest: str


class UnreadableError(Exception):
    """A file that cannot be surveyed; ``reason`` is a short phrase for the report."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def find_files(
    folder: Path, *, limits: Limits | None = None, skip: Collection[Path] = ()
) -> Finding:
    """List regular files below ``folder`` as far as ``limits`` allow, upper folders first.

    ``skip`` names files or folders to pass over silently, such as the demo's own store when it
    lies inside the folder: surveying it would change it.
    """
    limits = limits or Limits()
    skipped = {path.resolve() for path in skip}
    files: list[tuple[str, int]] = []
    left_out: dict[str, int] = {}
    total = 0
    for entries, (path, reason_or_size) in enumerate(_walk(folder, skipped), start=1):
        if entries > limits.max_entries:
            # Counting the rest would mean walking it.
            left_out[f"not looked at after {limits.max_entries:,} entries"] = 1
            break
        if isinstance(reason_or_size, str):
            reason = reason_or_size
        elif reason_or_size > limits.max_file_bytes:
            reason = f"larger than {limits.max_file_bytes:,} bytes"
        elif len(files) >= limits.max_files:
            reason = f"beyond the first {limits.max_files:,} files"
        elif total + reason_or_size > limits.max_bytes:
            reason = f"beyond {limits.max_bytes:,} bytes in all"
        else:
            files.append((path, reason_or_size))
            total += reason_or_size
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    return Finding(tuple(sorted(files)), left_out)


def read_document(folder: Path, path: str, *, max_file_bytes: int) -> Document:
    """Read one text file found before.

    Raises:
        UnreadableError: It has gone, cannot be opened, has grown past ``max_file_bytes``,
            or is not UTF-8 text.
    """
    try:
        # O_NONBLOCK: a file may have been replaced by a pipe since it was found, and opening a
        # pipe for reading waits for a writer. O_NOFOLLOW: or by a link out of the folder.
        descriptor = os.open(
            folder / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError as error:
        raise UnreadableError(_reason(error)) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableError("not a regular file")
        try:
            data = file.read(max_file_bytes + 1)
        except OSError as error:
            raise UnreadableError(_reason(error)) from error
    if len(data) > max_file_bytes:
        raise UnreadableError(f"larger than {max_file_bytes:,} bytes")
    if b"\0" in data:
        raise UnreadableError("not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError("not UTF-8 text") from error
    return Document(path, text, len(data), blake3(data).hexdigest())


def _walk(top: Path, skipped: set[Path]) -> Iterator[tuple[str, int | str]]:
    """Yield (path, size) for regular files and (path, reason) for what cannot be listed.

    Folder by folder, upper ones first, so that limits cut off the depths and not the later letters
    of the alphabet. Not recursive: folders can be nested deeper than Python calls can.
    """
    folders = deque([(top, "")])
    while folders:
        folder, prefix = folders.popleft()
        try:
            with os.scandir(folder) as entries:
                # Sorted by bytes, not by locale: the same order on every machine.
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield prefix or ".", _reason(error)
            continue
        for entry in found:
            path, place = prefix + entry.name, folder / entry.name
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if skipped and place.resolve() in skipped:
                continue
            try:
                if not entry.is_dir(follow_symlinks=False):
                    yield from _sized(entry, path)
                elif entry.name not in PASSED_OVER:
                    folders.append((place, path + "/"))
            except OSError as error:
                yield path, _reason(error)


def _sized(entry: os.DirEntry[str], path: str) -> Iterator[tuple[str, int | str]]:
    """Yield a regular file with its size, if its name can be kept."""
    if entry.is_file(follow_symlinks=False):
        try:
            # A name that is not UTF-8 reaches Python as lone surrogates, which no state can hold;
            # encoding it finds out.
            path.encode("utf-8")
            yield path, entry.stat(follow_symlinks=False).st_size
        except UnicodeEncodeError:
            yield ascii(path), "name is not UTF-8"


def _reason(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "gone meanwhile"
    return "cannot be read"
