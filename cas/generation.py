r"""The generation file: which LMDB file is the current one, and the lock around replacing it.

The file ``generation`` in a store's directory is the only one that is never replaced, so it can
carry a lock for what *is* replaced. Every transaction holds it shared; compaction holds it
exclusively while it writes a new ``g<N>`` directory and advances the number. LMDB cannot tell who
has a store open, so without this a server would go on committing into an unlinked file.

The file is one line of ``LINE_BYTES`` bytes, the same width in every layout::

    hive store layout 0001 generation 00000000000000000001 check 0123abcd\n

where ``check`` is the first four bytes, in hex, of BLAKE3 over everything before ``" check"``.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from blake3 import blake3

from cas.errors import (
    CorruptStoreError,
    InvalidInputError,
    NotFoundError,
    UnsupportedFormatError,
)
from cas.failures import translate
from cas.flock import FlockFile
from cas.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "FIRST_GENERATION",
    "GENERATION_FILE",
    "LAYOUT",
    "LINE_BYTES",
    "TURNSTILE_FILE",
    "GenerationLock",
    "generation_directory",
    "generation_line",
    "parse_generation_line",
]

T = TypeVar("T")

LAYOUT: Final = 1
FIRST_GENERATION: Final = 1
GENERATION_FILE: Final = "generation"
TURNSTILE_FILE: Final = "turnstile"
LINE_BYTES: Final = 70
_LINE: Final = re.compile(rb"(hive store layout (\d{4}) generation (\d{20})) check ([0-9a-f]{8})\n")


def generation_directory(store: Path, generation: int) -> Path:
    """Return the directory that holds the LMDB files of ``generation``."""
    return store / f"g{generation}"


def generation_line(generation: int, *, layout: int = LAYOUT) -> bytes:
    """Return the ``LINE_BYTES`` bytes of the generation file."""
    body = b"hive store layout %04d generation %020d" % (layout, generation)
    return body + b" check " + blake3(body).hexdigest(length=4).encode() + b"\n"


def parse_generation_line(line: bytes, store: Path) -> int:
    """Return the generation number that ``line`` holds.

    Raises:
        UnsupportedFormatError: The store has a newer layout.
        CorruptStoreError: The line is damaged.
    """
    match = _LINE.fullmatch(line)
    if match is None or blake3(match[1]).hexdigest(length=4).encode() != match[4]:
        present = sorted(p.name for p in store.glob("g*") if p.is_dir())
        raise CorruptStoreError(
            f"the file {GENERATION_FILE} of the store {store} is damaged, so it is unknown which "
            f"of its directories is current (present: {', '.join(present) or 'none'}); restore "
            "the file from a copy; if exactly one directory g<N> is present, its number is N",
            path=store / GENERATION_FILE,
        )
    if int(match[2]) != LAYOUT:
        raise UnsupportedFormatError(
            f"the store {store} has layout {int(match[2])}, this version of Hive knows layout "
            f"{LAYOUT}; upgrade Hive"
        )
    return int(match[3])


class GenerationLock:
    """The lock on a store's generation file: shared by transactions, exclusive for compaction.

    One object, with one descriptor of the file, serves all threads of a process; the first
    thread in takes the file's lock and the last one out returns it. A thread may take it shared
    again while it holds it. Every new holder passes a turnstile (a second file), which a waiting
    exclusive holder blocks: so a steady stream of readers cannot starve compaction.
    """

    def __init__(self, store: Path, *, read_only: bool = False) -> None:
        """Open the lock of the store in the directory ``store``.

        Raises:
            HiveError: A file of the store cannot be opened.
        """
        self.store = store
        self.read_only = read_only
        self.generation = 0
        self.gate = Gate(first=self._take, last=self._give_back)
        self._line: bytes | None = None
        self._file: FlockFile | None = None
        self._turnstile: FlockFile | None = None
        self._shut_turnstile: FlockFile | None = None
        self._closed = False
        self._opened()

    def _opened(self) -> FlockFile:
        """Return the open file, opening it first in a forked child."""
        if self._closed:
            raise InvalidInputError(f"the store {self.store} is closed")
        if self._file is None:
            try:
                self._turnstile = self._open_turnstile()
                self._file = FlockFile(self.store / GENERATION_FILE, self._flags())
            except OSError as error:
                raise translate(error, self.store) from error
        return self._file

    def _flags(self) -> int:
        return os.O_RDONLY if self.read_only else os.O_RDWR

    def _open_turnstile(self) -> FlockFile | None:
        path = self.store / TURNSTILE_FILE
        try:
            return FlockFile(path, self._flags() if self.read_only else os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            # Only a reader comes here: without the file it merely cannot queue fairly.
            return None

    def upgrade(self) -> None:
        """Open the files for writing as well. Call it with the gate shut.

        Raises:
            HiveError: A file of the store cannot be opened for writing.
        """
        self.read_only = False
        self._let_go()
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_SH)
        except BaseException:
            self.read_only = True
            raise

    def close(self) -> None:
        """Let go of the files for good. Call it with the gate shut, if others may use the lock."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        # They are closed when the last thread that uses them is done.
        self._file = self._turnstile = self._shut_turnstile = None

    def renew_after_fork(self) -> None:
        """Make the lock usable in a forked child.

        The files, which the child has closed at the fork, are opened again when they are needed.
        """
        self._let_go()
        self.gate = Gate(first=self._take, last=self._give_back)

    def _take(self) -> None:
        # Who fails here leaves the gate, or reopens it, all the same: that gives the lock back.
        fcntl.flock(self._opened(), fcntl.LOCK_SH)
        self.read()

    def _give_back(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def enter(self) -> None:
        """Take the lock shared. Afterwards ``generation`` is the current one.

        Use it, with ``leave``, as ``Gate`` says.

        Raises:
            CorruptStoreError: The generation file is damaged.
            UnsupportedFormatError: The store has a newer layout.
        """
        turnstile = self._turnstile
        if turnstile is not None and not self.gate.depth():
            try:
                fcntl.flock(turnstile, fcntl.LOCK_SH)
            finally:
                fcntl.flock(turnstile, fcntl.LOCK_UN)
        self.gate.enter()

    def leave(self, depth: int) -> None:
        """Hold the lock only ``depth`` times any more."""
        self.gate.leave(depth)

    @contextmanager
    def shared(self) -> Iterator[int]:
        """Hold the lock shared; the value is the current generation."""
        depth = self.gate.depth()
        try:
            self.enter()
            yield self.generation
        finally:
            self.leave(depth)

    def alone(self, action: Callable[[int], T]) -> T:
        """Run ``action`` with the lock held shared and no other thread of this process in it.

        This is what changing the LMDB handle (growing, reopening, closing) needs; other processes
        are not kept out. ``action`` gets the current generation.

        Raises:
            InvalidInputError: This thread is inside a transaction.
        """
        self._refuse_inside()
        try:
            self.gate.shut()
            self._take()
            return action(self.generation)
        finally:
            try:
                self._reopen()
            except BaseException:
                self._reopen()
                raise

    def _refuse_inside(self) -> None:
        # Before any ``finally``: reopening would undo what the outer user of the gate has shut.
        if self.gate.is_mine():
            raise InvalidInputError("this needs a moment without transactions: end this one first")

    def _reopen(self) -> None:
        if self.gate.owned():
            self._give_back()
        self.gate.reopen()

    @contextmanager
    def exclusive(self) -> Iterator[int]:
        """Hold the lock alone among all threads and processes; the value is the generation.

        Raises:
            InvalidInputError: This thread holds the lock already, or the store is read-only.
            NotFoundError: There is no store at its path any more, or another one.
        """
        if self.read_only:
            raise InvalidInputError(f"{self.store} is open for reading only")
        self._refuse_inside()
        try:
            self.gate.shut()
            file = self._opened()
            # What is to be replaced is found by its path.
            self.refuse_another()
            # A descriptor of its own: on the shared one, another thread's passage through the
            # turnstile would turn this exclusive lock into a shared one.
            self._shut_turnstile = self._open_turnstile()
            if self._shut_turnstile is not None:
                fcntl.flock(self._shut_turnstile, fcntl.LOCK_EX)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield self.read()
        finally:
            turnstile, self._shut_turnstile = self._shut_turnstile, None
            try:
                try:
                    self._reopen()
                except BaseException:
                    self._reopen()
                    raise
            finally:
                # Unlocked and not just closed: a process forked meanwhile has copies open, and the
                # traceback of an interrupt keeps this one.
                if turnstile is not None:
                    fcntl.flock(turnstile, fcntl.LOCK_UN)

    def read(self) -> int:
        """Return the generation that the file names now. Call it while holding the lock.

        Raises:
            NotFoundError: The store was removed; what is written to it now would be lost.
            CorruptStoreError: The generation file is damaged.
            UnsupportedFormatError: The store has a newer layout.
            HiveError: It cannot be read.
        """
        descriptor = self._opened().fileno()
        try:
            is_removed = not os.fstat(descriptor).st_nlink
            line = os.pread(descriptor, LINE_BYTES + 1, 0)
        except OSError as error:
            raise translate(error, self.store) from error
        if is_removed:
            self.refuse_another()
        if line != self._line:
            self.generation = parse_generation_line(line, self.store)
            self._line = line
        return self.generation

    def refuse_another(self) -> None:
        """Refuse to go on if the store's path leads nowhere any more, or to another store.

        Raises:
            NotFoundError: It does.
            HiveError: It cannot be looked at.
        """
        try:
            found = os.stat(self.store / GENERATION_FILE)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError as error:
            raise translate(error, self.store) from error
        if found is None or not os.path.samestat(found, os.fstat(self._opened().fileno())):
            raise NotFoundError(
                f"the store {self.store} was removed or moved away while it was open; close it, "
                "and open what is there now"
            )

    def advance(self, generation: int) -> None:
        """Make ``generation`` the current one, durably. Call it inside ``exclusive``.

        The directory of that generation must be complete and synced before.

        Raises:
            InvalidInputError: The number is not above the current one.
            OSError: It cannot be written; the one before stays the current one.
        """
        before = self.read()
        if generation <= before:
            raise InvalidInputError(f"generation {generation} does not follow generation {before}")
        try:
            self._write(generation)
        except BaseException:
            # Others would see it all the same, and a power failure take it back under them.
            with suppress(OSError):
                self._write(before)
            raise
        self.read()

    def _write(self, generation: int) -> None:
        descriptor = self._opened().fileno()
        os.pwrite(descriptor, generation_line(generation), 0)
        os.fsync(descriptor)
