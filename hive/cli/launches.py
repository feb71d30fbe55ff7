"""How runs were launched, kept beside the store so that ``hive resume RUN`` needs no more words.

A record is a file ``<home>/launches/<blake3 of the run's name>.json`` that says which target was
run and in which folder. It is the user's own local note. It is not part of the store, of an export
or of an import: a store from elsewhere can therefore never make this machine import a module.
For the same reason a record that somebody else could have written is refused.

While a launched run is executing, its process holds a lock on the file of the same name ending in
``.lock``. The system drops the lock with the process, however it ends, so the lock tells a run that
is being worked on from one that was interrupted, without pids or clocks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3

from cas.errors import (
    AccessError,
    ConflictError,
    CorruptionError,
    InvalidInputError,
    StoreFullError,
    UnsupportedFormatError,
)

__all__ = [
    "Launch",
    "find_launch",
    "forget_launch",
    "is_executing",
    "record_launch",
    "was_launched",
    "while_executing",
]

FORMAT: Final = 1


@dataclass(frozen=True)
class Launch:
    """What was typed: the run's name, the target, and the absolute folder it was typed in."""

    run: str
    target: str
    folder: Path


def record_launch(home: Path, launch: Launch) -> None:
    """Write the record of a run, replacing an older one in one step."""
    path = _path(home, launch.run, ".json")
    text = json.dumps(
        {
            "format": FORMAT,
            "run": launch.run,
            "target": launch.target,
            "folder": str(launch.folder),
        }
    )
    with _wrapped(path):
        # The temporary file is private (0600) from its first moment, and lies in the same folder
        # because a rename cannot cross file systems.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise


def find_launch(home: Path, run: str) -> Launch | None:
    """Return the record of a run, or None when it was not launched by ``hive run``.

    Raises:
        AccessError: Another user owns the record or may write to it.
        CorruptionError: It cannot be understood.
        UnsupportedFormatError: A newer Hive wrote it.
    """
    path = _path(home, run, ".json", create=False)
    with _wrapped(path):
        descriptor = _opened(path)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise AccessError(
                    f"the launch record {str(path)!r} belongs to, or can be written by, another "
                    "user; check it, make it yours with mode 0600, or name the graph: --target",
                    path=path,
                )
            data = file.read(1 << 20)
    try:
        fields = json.loads(data)
        if fields["format"] != FORMAT:
            raise UnsupportedFormatError(
                f"the launch record of {run!r} has format {fields['format']!r}; this Hive knows "
                f"{FORMAT}: upgrade, or name the graph with --target"
            )
        launch = Launch(fields["run"], str(fields["target"]), Path(fields["folder"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"the launch record {str(path)!r} is damaged; name the graph with --target"
        ) from error
    if launch.run != run:
        raise CorruptionError(
            f"the launch record {str(path)!r} is of another run; name the graph with --target"
        )
    return launch


def was_launched(home: Path, run: str) -> bool:
    """Tell whether there is a record of the run, sound or not."""
    return _path(home, run, ".json", create=False).exists()


def forget_launch(home: Path, run: str) -> None:
    """Remove the record of a run that was deleted: another one may get its name."""
    path = _path(home, run, ".json", create=False)
    with _wrapped(path):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def while_executing(home: Path, run: str) -> Iterator[None]:
    """Hold the lock that says that this process is executing ``run``.

    Raises:
        ConflictError: Another process is.
    """
    path = _path(home, run, ".lock")
    with _wrapped(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, run)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, run: str) -> None:
    # A `hive runs` that looks at the lock holds it for some microseconds.
    for patience_seconds in (0.01, 0.04, 0.16, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if patience_seconds is None:
                raise ConflictError(
                    f"another process is executing run {run!r}; wait for it or stop it", run=run
                ) from error
            time.sleep(patience_seconds)


def is_executing(home: Path, run: str) -> bool | None:
    """Tell whether a process executes the run; None when nothing here ever held its lock."""
    path = _path(home, run, ".lock", create=False)
    with _wrapped(path):
        descriptor = _opened(path)
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _opened(path: Path) -> int | None:
    """Open a file for reading, None if there is none; a link is refused."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def _path(home: Path, run: str, suffix: str, *, create: bool = True) -> Path:
    try:
        name = blake3(run.encode("utf-8")).hexdigest()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"the run name {run!a} is not UTF-8 text") from error
    folder = home / "launches"
    if create:
        with _wrapped(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / (name + suffix)


@contextlib.contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError(f"no room to write {str(path)!r}; free some, repeat") from error
        raise AccessError(f"{str(path)!r}: {error.strerror}", path=path) from error
