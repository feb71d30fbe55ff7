"""The LMDB environment made safe: the one door through which the rest of the package stores bytes.

A store is a directory::

    generation     which g<N> is current, and the lock that compaction takes (cas.generation)
    turnstile      keeps that lock fair
    g<N>/          the LMDB environment of generation N: data.mdb and lock.mdb
    ballast        room to free space with when the disk is full (cas.ballast)

Reading and writing take a function, so that it can be run again: LMDB asks for that when the map
is too small, when another process made it larger, or when compaction replaced the file. ::

    with Environment.open(path, [HEADS]) as environment:
        environment.write(lambda tx: tx.put(HEADS, b"run", b"..."))
        head = environment.read(lambda tx: tx.get(HEADS, b"run"))
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import lmdb

from cas.ballast import BALLAST_FILE, restore_ballast
from cas.closing import Closing
from cas.creation import (
    create_new_store,
    create_store,
    refuse_inside_store,
    remove_dead_creations,
)
from cas.database import MapLimits, create_database
from cas.errors import (
    CorruptStoreError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyStoreError,
)
from cas.failures import translate
from cas.filesystem import (
    allocated_bytes,
    make_private_file,
    secure_link,
    secure_tree,
    sync_directory,
)
from cas.generation import GENERATION_FILE
from cas.leftovers import remove_leftovers
from cas.mounts import refuse_network_file_system
from cas.readers import Reader
from cas.registry import acquire, release
from cas.table import Table
from cas.transactions import MapFullSignal, ReadTransaction, WriteTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cas.handle import Handle

__all__ = ["Environment", "ReadTransaction", "Table", "WriteTransaction"]

T = TypeVar("T")

_DEFAULT_MAP_BYTES: Final = 1 << 30
_FIRST_MAP_BYTES: Final = 16 << 20


class Environment(Closing):
    """An open store of named tables, for any number of threads.

    Environments of one path share one LMDB handle within a process. They survive ``fork``: a
    child opens the store for itself at its next use.
    """

    def __init__(self, handle: Handle, *, read_only: bool) -> None:
        """Wrap a handle; use ``Environment.open``."""
        self._handle: Handle | None = handle
        self._store = handle.store
        self._read_only = read_only

    @classmethod
    def open(
        cls,
        path: Path,
        tables: Sequence[Table],
        *,
        create: bool = True,
        read_only: bool = False,
        prepare: Callable[[WriteTransaction], None] | None = None,
        map_size: int = _DEFAULT_MAP_BYTES,
        max_bytes: int | None = None,
        force_network: bool = False,
    ) -> Environment:
        """Open the store in the directory ``path``, creating it if it is absent.

        Args:
            path: The directory of the store.
            tables: The tables to use. A store that lacks one gets it; read-only, it reads as empty.
            create: Create an absent store.
            read_only: Change nothing in the store, not even permissions. Works beside a writer
                in another process. Where LMDB's lock file cannot be written (a read-only disk),
                it is safe only while nobody writes.
            prepare: Run once, in the first transaction of a new store, before the store becomes
                visible at ``path``.
            map_size: Address space to begin with, in bytes (1 MiB or more). It grows as needed.
            max_bytes: The most bytes the data file may have (inclusive, 1 MiB or more); ``None``:
                no limit. Environments of one path in one process share the largest limit given.
            force_network: Open the store although it is on a network file system. Only safe
                while a single machine uses it.

        Raises:
            NotFoundError: There is no store, and ``create`` is false or ``read_only`` true.
            InvalidInputError: The path is something else than a store, or inside another one.
            AccessError: Somebody else owns the store, the operating system refuses access, or
                the store is on a network file system.
            CorruptStoreError: The store is truncated or damaged.
            UnsupportedFormatError: A newer version wrote the store.
            ReadOnlyStoreError: The file system is read-only.
            StoreFullError: There is no room for a new store.
        """
        limits = MapLimits(map_size, max_bytes)
        _refuse_bytes(path)
        try:
            store = _real_path(Path(path))
            if not force_network:
                refuse_network_file_system(store)
            if not _is_store(store):
                refuse_inside_store(store)
                if read_only or not create:
                    raise NotFoundError(
                        f"there is no store at {path}: name another folder, or save something first"
                    )
                create_store(store, lambda place: _fill(place, tables, prepare, limits))
            secure_tree(store, repair=not read_only)
        except OSError as error:
            raise translate(error, Path(path)) from error
        handle = acquire(store, tables, limits, read_only=read_only)
        if not read_only:
            remove_dead_creations(store)
            remove_leftovers(store)
            restore_ballast(store)
        return cls(handle, read_only=read_only)

    @classmethod
    def make(
        cls,
        path: Path,
        tables: Sequence[Table],
        *,
        prepare: Callable[[WriteTransaction], None],
        begin: Callable[[Path], None],
    ) -> bool:
        """Make a new store that has something in it by the time it appears.

        Args:
            path: The directory of the store.
            tables: Its tables.
            prepare: Run in the first transaction.
            begin: Run with the directory of the store as long as that is a private one, in which it
                may be opened. Where it raises, no store appears.

        Returns:
            Whether the store was made; False where there is one.

        Raises:
            HiveError: What ``open`` raises where it makes a store, or ``begin``; nothing is left.
        """
        _refuse_bytes(path)
        try:
            store = _real_path(path)
            refuse_network_file_system(store)
            if _is_store(store):
                return False
        except OSError as error:
            raise translate(error, path) from error

        def fill(place: Path) -> None:
            _fill(place, tables, prepare, MapLimits(_DEFAULT_MAP_BYTES, None))
            begin(place.parent)

        return create_new_store(store, fill)

    @property
    def path(self) -> Path:
        """The real path of the store's directory."""
        return self._store

    @property
    def read_only(self) -> bool:
        """Whether this environment refuses to write."""
        return self._read_only

    @property
    def generation(self) -> int:
        """The number of the open LMDB file; compaction advances it."""
        return self._open_handle().generation

    def _open_handle(self) -> Handle:
        if self._handle is None:
            raise InvalidInputError(f"the store {self._store} is closed")
        return self._handle

    def read(self, work: Callable[[ReadTransaction], T]) -> T:
        """Run ``work`` on a snapshot of the store and return its result.

        Inside another ``read`` of the same thread it sees that one's snapshot; inside a ``write``,
        what is committed. Keep it short: pages that a snapshot needs are not reused. And do not
        wait in it for another thread that writes: that one may have to wait until no transaction
        of the process is active, because the map must grow.

        Raises:
            InvalidInputError: The environment is closed.
            CorruptStoreError: The store is damaged.
        """
        return self._open_handle().read(work)

    def write(self, work: Callable[[WriteTransaction], T], *, frees_space: bool = False) -> T:
        """Run ``work`` in a write transaction, commit it durably, and return its result.

        ``work`` may be run several times, so it must have no effect outside the transaction. If
        it raises, nothing is changed.

        Args:
            work: The function.
            frees_space: The transaction frees more than it takes (forget, gc): on a full disk
                the ballast may be given up for it, and it may pass ``max_bytes`` by 1 MiB.

        Raises:
            ReadOnlyStoreError: The environment is read-only.
            InvalidInputError: The environment is closed, or this thread is inside a transaction.
            StoreFullError: The disk is full, or ``max_bytes`` is reached. Nothing is changed.
            LimitError: The transaction changes too much at once.
            CorruptStoreError: The store is damaged.
        """
        handle = self._open_handle()
        if self._read_only:
            raise ReadOnlyStoreError(f"the store {self._store} is open for reading only")
        return handle.write(work, frees_space=frees_space)

    def copy(self, place: Path, *, compact: bool) -> None:
        """Copy the LMDB file, as of one moment, to the new file ``place``, private and synced.

        It is one long read, during which the file may grow. Only for one that is not compact do the
        writers of this process have to wait.

        Args:
            place: Where the copy shall be; nothing may be there.
            compact: Leave out free pages, and with them what was deleted. LMDB walks its tree for
                that, which needs a sound file; otherwise the file is copied as it is.

        Raises:
            HiveError: Reading or writing failed.
        """
        handle = self._open_handle()
        try:
            make_private_file(place)
            with open(place, "r+b") as file:
                handle.copy(file.fileno(), compact=compact)
                os.fsync(file.fileno())
            sync_directory(place.parent)
        except (lmdb.Error, OSError) as error:
            raise translate(error, place) from error

    def replace(self, finish: Callable[[ReadTransaction], Path]) -> None:
        """Put another LMDB environment in the place of the current one.

        All other threads and processes have to wait while ``finish`` runs, and go on in the new
        one. A crash at any moment leaves the old one or the new one.

        Args:
            finish: Gets the last view of the old environment; completes the new one, in a directory
                inside the store's, synced and closed, and returns that directory. If it raises,
                nothing is replaced.

        Raises:
            ReadOnlyStoreError: The environment is read-only.
            InvalidInputError: This thread is inside a transaction.
            HiveError: The directory cannot be put in place.
        """
        handle = self._open_handle()
        if self._read_only:
            raise ReadOnlyStoreError(f"the store {self._store} is open for reading only")
        handle.replace(finish)

    def readers(self) -> list[Reader]:
        """Return the read transactions of other processes."""
        return [each for each in self._open_handle().readers() if each.pid != os.getpid()]

    def disk_bytes(self) -> int:
        """Return the bytes allocated on disk for the store, without the ballast."""
        try:
            return allocated_bytes(self._store, without=BALLAST_FILE)
        except OSError as error:
            raise translate(error, self._store) from error

    def close(self) -> None:
        """Close the environment, after this process's active transactions. Idempotent.

        Raises:
            InvalidInputError: This thread is inside a transaction.
        """
        if self._handle is not None:
            release(self._handle)
            self._handle = None


def _refuse_bytes(path: Path) -> None:
    """Refuse a path with bytes that are no text: LMDB takes none, and no message could name it."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"the path {str(path)!a} is not UTF-8: choose another") from error


def _real_path(path: Path) -> Path:
    """Return the real path of the store, which may be a symbolic link of this user's own."""
    if os.path.lexists(path):
        secure_link(path)
    return Path(os.path.realpath(path))


def _is_store(store: Path) -> bool:
    """Whether there is a store in the directory ``store``; ``False`` where one can be created.

    Raises:
        InvalidInputError: There is something else.
        CorruptStoreError: There is a store without its generation file.
    """
    if not store.exists():
        return False
    if not store.is_dir():
        raise InvalidInputError(f"{store} is not a directory, so it cannot be a store")
    names = sorted(os.listdir(store))
    if GENERATION_FILE in names:
        return True
    if not names:
        return False
    generations = [name for name in names if name.startswith("g") and name[1:].isdecimal()]
    if generations:
        raise CorruptStoreError(
            f"the store {store} has lost its file {GENERATION_FILE} (directories present: "
            f"{', '.join(generations)}); restore it from a copy, or salvage the store",
            path=store,
        )
    raise InvalidInputError(
        f"the directory {store} is not empty and holds no store; choose another place, or empty it"
    )


def _fill(
    place: Path,
    tables: Sequence[Table],
    prepare: Callable[[WriteTransaction], None] | None,
    limits: MapLimits,
) -> None:
    """Create the LMDB environment of a new store in ``place`` and run ``prepare`` in it."""
    # Where addresses are limited, there may not be as many as the map shall have later.
    first = MapLimits(min(limits.initial, _FIRST_MAP_BYTES), limits.most)
    database = create_database(place, tables, first)
    try:
        while prepare is not None:
            view = WriteTransaction(database.databases, place, generation=1)
            view.begin(database.lmdb)
            try:
                prepare(view)
                view.commit()
                return
            except MapFullSignal:
                view.abort()
                database.grow()
            finally:
                view.abort()
    finally:
        database.close()
