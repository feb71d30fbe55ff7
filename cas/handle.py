"""The one LMDB handle that a process has on a store, and how transactions run on it.

LMDB forbids opening a file twice in a process, so all ``Environment`` objects of one store
share a handle (``cas.registry`` keeps them). It owns what must be done around each transaction:
the generation lock, reopening when the generation moved on or a commit failed, letting the map
grow, and giving up the ballast when a transaction that frees space finds the disk full.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import lmdb

from cas.ballast import release_ballast
from cas.database import Database, MapLimits
from cas.errors import InvalidInputError, StoreFullError
from cas.failures import translate
from cas.filesystem import sync_directory
from cas.forking import abandon, refuse_after_fork
from cas.generation import GenerationLock, generation_directory
from cas.mutex import give_back
from cas.readers import Reader
from cas.transactions import MapFullSignal, ReadTransaction, WriteTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cas.table import Table

__all__ = ["Handle"]

T = TypeVar("T")

_LOGGER: Final = logging.getLogger("hive.store")

_READER_ATTEMPTS: Final = 200
_READER_PAUSE_SECONDS: Final = 0.025
_FORK_WAIT_SECONDS: Final = 10.0


class _StaleSignal(Exception):  # noqa: N818 - a signal to the retry loops, which no caller sees
    """The open database is not the one to use: refresh the handle, then begin again."""


class _GrowSignal(Exception):  # noqa: N818 - likewise
    """The map is too small for this write: let it grow, then begin again."""


class _ResizedSignal(Exception):  # noqa: N818 - likewise
    """Another process uses more than this one's map: adopt the size, then begin again."""


class Handle:
    """A store's open LMDB environment, shared by all its users in this process."""

    def __init__(self, store: Path) -> None:
        """Make the handle of the store in the real directory ``store``; ``serve`` opens it."""
        self.store = store
        self.users = 0
        self.read_only = True
        self.generation = 0
        self.lock: GenerationLock | None = None
        self._database: Database | None = None
        self._suspect = False
        self._writing = False
        self._tables: dict[str, Table] = {}
        self._limits: MapLimits | None = None
        # Their owner may lock them again, as in ``Gate``. A writer never waits for itself.
        self._opening = threading.RLock()
        self._writer = threading.RLock()
        # What each thread has open, innermost last. A dictionary and not a thread-local: a forked
        # child must find the transactions that it inherited.
        self._active: dict[int, list[ReadTransaction]] = {}
        self._frozen = False
        self._abandoned = False

    # -- opening and closing ---------------------------------------------------------------

    def serve(self, tables: Iterable[Table], limits: MapLimits, *, read_only: bool) -> None:
        """Serve one more user: open the store, or extend what is open to that user's wishes.

        Raises:
            InvalidInputError: This thread is inside a transaction, and the handle must change.
            HiveError: The store cannot be opened that way.
        """
        with self._opening:
            new = {table.name: table for table in tables if table.name not in self._tables}
            if self.lock is None:
                self.read_only = read_only
                self.lock = GenerationLock(self.store, read_only=read_only)
            elif not new and (read_only or not self.read_only):
                self._raise_limits(limits)
                return

            def extend(_: int) -> None:
                if self.read_only and not read_only:
                    self._lock().upgrade()
                    self.read_only = False
                self._tables.update(new)
                self._raise_limits(limits)
                self._suspect = True

            self.lock.alone(extend)
        self._refresh()

    def _raise_limits(self, limits: MapLimits) -> None:
        self._limits = limits if self._limits is None else self._limits.merge(limits)
        if self._database is not None:
            self._database.limits = self._limits

    def _refresh(self) -> None:
        """Open the current generation afresh, once no transaction of this process is active."""
        if self._abandoned:
            refuse_after_fork(self.store)
        self._lock().alone(self._reopen)

    def _reopen(self, generation: int) -> None:
        if self._is_current(generation) or self._limits is None:
            return  # Another thread was faster.
        self._lock().refuse_another()  # The data file is found by its path.
        trusted = self._database is not None and generation == self.generation
        if self._database is not None:
            self._database.close()
            self._database = None
        # LMDB is opened for reading until the first write: opened for writing, it would have to
        # wait for other writers, and a stopped one would keep even readers waiting for ever.
        writing, self._writing = self._writing, False
        self._database = Database(
            generation_directory(self.store, generation),
            self._tables.values(),
            self._limits,
            read_only=not writing,
            change_nothing=self.read_only,
            trusted=trusted,
        )
        self._writing = writing
        if self.generation and generation != self.generation:
            _LOGGER.info("the file was replaced; going on with generation %d", generation)
        self.generation = generation
        self._suspect = False

    def _is_current(self, generation: int) -> bool:
        return self._database is not None and not self._suspect and generation == self.generation

    def _lock(self) -> GenerationLock:
        if self.lock is None:
            raise InvalidInputError(f"the store {self.store} is closed")
        return self.lock

    def _opened(self) -> Database:
        if self._database is None:
            raise InvalidInputError(f"the store {self.store} is closed")
        return self._database

    def when_quiet(self, action: Callable[[], None]) -> None:
        """Run ``action``, which may close the handle, while no transaction is active.

        Raises:
            InvalidInputError: This thread is inside a transaction.
        """
        if self.lock is None:
            action()
            return
        gate = self.lock.gate
        if gate.is_mine():
            raise InvalidInputError("the store cannot be closed inside one of its transactions")
        try:
            gate.shut()
            action()
        finally:
            try:
                gate.reopen()
            except BaseException:
                gate.reopen()
                raise

    def close(self) -> None:
        """Close the store, in ``when_quiet``. If that is interrupted, repeat it or ``serve``."""
        self._suspect = True
        if self._database is not None:
            self._database.close()
            self._database = None
        lock, self.lock = self.lock, None
        if lock is not None:
            lock.close()

    # -- transactions ----------------------------------------------------------------------

    def read(self, work: Callable[[ReadTransaction], T]) -> T:
        """Run ``work`` on a snapshot. Inside another ``read`` it is that one's snapshot."""
        me = threading.get_ident()
        if me in self._active:
            return self._read_nested(work, self._active[me])
        while True:
            try:
                return self._read_once(work, me)
            except _StaleSignal:
                self._refresh()
            except _ResizedSignal:
                self._lock().alone(self._adopt_map)

    def readers(self) -> list[Reader]:
        """Return the read transactions of all processes, this call's own included."""
        return self.read(lambda _view: self._opened().readers())

    def _read_nested(self, work: Callable[[ReadTransaction], T], stack: list[ReadTransaction]) -> T:
        # No new LMDB snapshot inside a read: it could need a larger map, which cannot be set
        # while the outer one is active. Inside a write nobody else can have committed.
        height = len(stack)
        inside_write = stack[-1].writes
        view = self._new_reader() if inside_write else stack[-1].nested()
        try:
            stack.append(view)
            if inside_write:
                self._begin(view)
            return work(view)
        finally:
            del stack[height:]
            if inside_write:
                view.abort()
            view.end()

    def _read_once(self, work: Callable[[ReadTransaction], T], me: int) -> T:
        lock = self._lock()
        view = None
        try:
            self._enter(lock)
            view = self._new_reader()
            self._begin(view)
            self._active[me] = [view]
            return work(view)
        finally:
            try:
                self._leave(lock, me, view)
            except BaseException:
                self._leave(lock, me, view)
                raise

    def write(self, work: Callable[[WriteTransaction], T], *, frees_space: bool) -> T:
        """Run ``work`` in a write transaction and commit it; see ``Environment.write``."""
        me = threading.get_ident()
        if me in self._active:
            raise InvalidInputError(
                "a write cannot begin inside another transaction of the same thread: it would "
                "wait for itself; return from the outer function first"
            )
        try:
            with self._writer:
                while True:
                    try:
                        return self._write_once(work, me)
                    except _StaleSignal:
                        self._refresh()
                    except _ResizedSignal:
                        self._lock().alone(self._adopt_map)
                    except _GrowSignal:
                        self._lock().alone(partial(self._grow, reserve=frees_space))
                    except StoreFullError:
                        if not (frees_space and release_ballast(self.store)):
                            raise
                        _LOGGER.warning("the disk is full; the ballast was given up to free space")
        finally:
            give_back(self._writer)

    def _write_once(self, work: Callable[[WriteTransaction], T], me: int) -> T:
        lock = self._lock()
        view = None
        try:
            self._enter(lock)
            if not self._writing:
                self._suspect = self._writing = True
                raise _StaleSignal
            view = WriteTransaction(self._opened().databases, self.store, self.generation)
            self._begin(view)
            self._active[me] = [view]
            result = work(view)
            if view.failure is not None:
                raise view.failure  # The function went on after a failure; LMDB cannot.
            view.commit()
        except Exception:
            if view is not None and isinstance(view.failure, MapFullSignal):
                raise _GrowSignal from None
            # After a failed write or sync the handle's idea of the file is not to be trusted, and
            # a second sync would claim success for pages that were never written.
            self._suspect |= view is not None and view.failure is not None
            raise
        finally:
            try:
                self._leave(lock, me, view)
            except BaseException:
                self._leave(lock, me, view)
                raise
        return result

    def _enter(self, lock: GenerationLock) -> None:
        """Take the generation lock shared, with the current generation open."""
        if self._database is None:
            raise _StaleSignal
        lock.enter()
        if not self._is_current(lock.generation):
            raise _StaleSignal
        if self._opened().is_outdated():
            self._suspect = True
            raise _StaleSignal

    def _leave(self, lock: GenerationLock, me: int, view: ReadTransaction | None) -> None:
        """Undo ``_enter`` and what followed. May be repeated, and is after an interrupt.

        In a forked child there is nothing to undo: the lock is another one, and the transaction
        was dropped.
        """
        self._active.pop(me, None)
        if view is not None:
            view.abort()
        lock.leave(0)

    def _new_reader(self) -> ReadTransaction:
        return ReadTransaction(self._opened().databases, self.store, self.generation)

    def _begin(self, view: ReadTransaction) -> None:
        """Begin the LMDB transaction of ``view``."""
        database = self._opened()
        for attempt in range(_READER_ATTEMPTS):
            try:
                return view.begin(database.lmdb)
            except lmdb.MapResizedError:
                raise _ResizedSignal from None
            except lmdb.ReadersFullError as error:
                if attempt == _READER_ATTEMPTS - 1:
                    raise translate(error, self.store) from error
                database.clear_stale_readers()
                if attempt:
                    time.sleep(_READER_PAUSE_SECONDS)
            except lmdb.Error as error:
                self._suspect |= view.writes
                raise translate(error, self.store) from error
        raise AssertionError("the last attempt raises")

    def copy(self, descriptor: int, *, compact: bool) -> None:
        """Copy the LMDB file as of one moment; see ``Environment.copy``.

        Raises:
            InvalidInputError: This thread is inside a transaction, and the copy not compact.
            lmdb.Error: The copy cannot be written.
        """

        def work(view: ReadTransaction) -> None:
            view.copy_to(self._opened().lmdb, descriptor, compact=compact)

        if compact:
            return self.read(work)
        if threading.get_ident() in self._active:
            raise InvalidInputError("the file cannot be copied inside a transaction: end it first")
        # To copy the file as it is, LMDB waits for the writer's lock, and py-lmdb lets no thread
        # abort a transaction meanwhile: one that has that lock could never give it up.
        with self._writer:
            self.read(work)

    def _adopt_map(self, _: int) -> None:
        if self._database is not None:
            self._database.adopt_map()

    def _grow(self, _: int, *, reserve: bool) -> None:
        if self._database is not None:
            self._database.grow(reserve=reserve)
            _LOGGER.debug("the map of the file grew")

    # -- replacing -------------------------------------------------------------------------

    def replace(self, finish: Callable[[ReadTransaction], Path]) -> int:
        """Put another LMDB environment in this one's place; see ``Environment.replace``."""
        with self._writer:
            try:
                with self._lock().exclusive() as generation:
                    self._reopen(generation)
                    view = self._new_reader()
                    try:
                        self._begin(view)
                        draft = finish(view)
                    finally:
                        view.abort()
                        view.end()
                    place = generation_directory(self.store, generation + 1)
                    shutil.rmtree(place, ignore_errors=True)
                    os.rename(draft, place)
                    sync_directory(self.store)
                    # From here on the next transaction, of whatever process, opens the new one.
                    self._lock().advance(generation + 1)
            except OSError as error:
                raise translate(error, self.store) from error
            finally:
                self._suspect = True
        return generation + 1

    # -- forking ---------------------------------------------------------------------------

    def freeze_for_fork(self) -> None:
        """Wait until no other thread is inside a transaction, and let none begin."""
        self._frozen = self._opening.acquire(timeout=_FORK_WAIT_SECONDS)
        if self.lock is not None:
            quiet = self.lock.gate.freeze(timeout_seconds=_FORK_WAIT_SECONDS)
            self._frozen = self._frozen and quiet

    def thaw_after_fork(self) -> None:
        """Let transactions begin again in the parent."""
        if self.lock is not None:
            self.lock.gate.reopen()
        self._opening.release()

    def renew_after_fork(self) -> None:
        """Drop in a forked child what belongs to the parent; the next use opens the store anew."""
        active, self._active = self._active, {}
        self._opening = threading.RLock()
        self._writer = threading.RLock()
        self._writing = False
        if self.lock is not None:
            self.lock.renew_after_fork()
        database, self._database = self._database, None
        if database is None:
            return
        if not self._frozen:
            self._abandoned = True
            abandon(database.lmdb)
            return
        # Only the forking thread can have transactions here. Dropping LMDB's objects without
        # ending them leaves the parent's reader slots and write lock alone.
        for stack in active.values():
            for view in stack:
                view.end()
        database.close()
