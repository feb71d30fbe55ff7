"""Finding the data file of a store that may be damaged in any way, and keeping others out of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cas.database import DATA_FILE
from cas.errors import ConflictError, CorruptStoreError, NotFoundError
from cas.failures import translate
from cas.flock import FlockFile
from cas.generation import GENERATION_FILE, LINE_BYTES, generation_directory, parse_generation_line

__all__ = ["DamagedStore", "damaged_store"]


@dataclass(frozen=True, slots=True)
class DamagedStore:
    """Where the data file of a store is, and what is wrong around it (empty if nothing is)."""

    data_file: Path
    damage: str


@contextmanager
def damaged_store(store: Path) -> Iterator[DamagedStore]:
    """Find the data file of the store in a directory; no transaction begins until the end.

    Nothing is changed, so it works on a read-only disk. Where the generation file does not say
    which directory is the current one, it is the last one: compaction completes it before that is
    noted, and removes the one before afterwards.

    Raises:
        NotFoundError: There is no store, or no data file of one.
        ConflictError: A process is in the middle of a transaction.
        UnsupportedFormatError: The store has a newer layout.
        HiveError: The directory cannot be read.
    """
    try:
        if not os.path.lexists(store):
            raise NotFoundError(f"there is no store at {store}: name another home")
        names = [name[1:] for name in os.listdir(store) if name[:1] == "g" and name[1:].isdecimal()]
        found = {
            int(name): path
            for name in names
            if (path := generation_directory(store, int(name)) / DATA_FILE).exists()
        }
        if not found:
            raise NotFoundError(
                f"there is no data file of a store in {store}: name another home, or restore a copy"
            )
        with _kept_out(store) as line:
            number, damage = _current(store, line, set(found))
            yield DamagedStore(found[number], damage)
    except OSError as error:
        raise translate(error, store) from error


@contextmanager
def _kept_out(store: Path) -> Iterator[bytes]:
    """Hold the lock that transactions take, and give what the generation file says."""
    try:
        file = FlockFile(store / GENERATION_FILE, os.O_RDONLY)
    except FileNotFoundError:
        yield b""
        return
    with closing(file):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"a process is at work on the store {store}; stop it, then repeat"
            ) from error
        yield os.pread(file.fileno(), LINE_BYTES + 1, 0)


def _current(store: Path, line: bytes, present: set[int]) -> tuple[int, str]:
    """Return the number of the current generation, and what is wrong with what says it."""
    try:
        number = parse_generation_line(line, store)
        damage = f"the file {GENERATION_FILE} names generation {number}, which is not there"
    except CorruptStoreError:
        number, damage = 0, f"the file {GENERATION_FILE} is missing or damaged"
    if number in present:
        return number, ""
    return max(present), f"{damage}; the last one, {max(present)}, was taken"
