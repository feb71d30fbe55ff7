"""One open LMDB environment of one generation: opening it safely, its tables, its map.

The durability flags are LMDB's defaults and not for choice: without sync a power failure corrupts
the file, and with a writable map a full disk kills the process.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lmdb

from cas.datafile import check_data_file
from cas.errors import CorruptStoreError, InvalidInputError, NotFoundError, StoreFullError
from cas.failures import translate
from cas.filesystem import DIRECTORY_MODE, FILE_MODE, is_file_at, make_private_file
from cas.flock import FlockFile
from cas.lockfile import LOCK_FILE, MOST_READERS, is_lock_usable, prepare_lock_file
from cas.pages import check_pages
from cas.readers import Reader, parse_readers
from cas.stamp import check_stamp, put_stamp
from cas.streams import occupy_standard_streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cas.table import Table

__all__ = ["DATA_FILE", "Database", "MapLimits", "create_database"]

DATA_FILE: Final = "data.mdb"
_MAX_TABLES: Final = 64
# LMDB 0.9, whatever LMDB_DEFAULT_LIB_VERSION in the environment says. py-lmdb 2 has no other engine
# and no such option.
_ENGINE: dict[str, Any] = {"lib_version": 0} if int(lmdb.__version__.split(".")[0]) > 2 else {}
_MAP_STEP_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class MapLimits:
    """How much address space the map may take, in bytes.

    Attributes:
        initial: The least size of the map.
        most: The most (inclusive), or ``None``. A file that is larger already is mapped whole.
    """

    initial: int
    most: int | None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            InvalidInputError: A limit is below 1 MiB, which holds no store.
        """
        if min(self.initial, self.initial if self.most is None else self.most) < _MAP_STEP_BYTES:
            raise InvalidInputError(f"the map of a store needs {_MAP_STEP_BYTES} bytes at least")

    def merge(self, other: MapLimits) -> MapLimits:
        """Return limits that satisfy two users of one map: the larger of each."""
        no_limit = self.most is None or other.most is None
        return MapLimits(
            initial=max(self.initial, other.initial),
            most=None if no_limit else max(self.most or 0, other.most or 0),
        )

    def clamp(self, size: int, *, reserve: bool = False) -> int:
        """Return the size to map for a wish of ``size`` bytes, in whole steps.

        With ``reserve`` it may be one step above the limit.
        """
        size = -(-size // _MAP_STEP_BYTES) * _MAP_STEP_BYTES
        if self.most is None:
            return size
        return min(size, (self.most // _MAP_STEP_BYTES + reserve) * _MAP_STEP_BYTES)


def create_database(directory: Path, tables: Iterable[Table], limits: MapLimits) -> Database:
    """Create the directory of a generation with an empty LMDB environment, and open it.

    Raises:
        HiveError: The place cannot be written.
    """
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
        directory.chmod(DIRECTORY_MODE)
        # LMDB would make its files with a mode that the umask has cut, perhaps down to nothing.
        make_private_file(directory / DATA_FILE)
    except OSError as error:
        raise translate(error, directory.parent) from error
    return Database(directory, tables, limits, read_only=False, fresh=True)


class Database:
    """An open LMDB environment with its tables."""

    def __init__(
        self,
        directory: Path,
        tables: Iterable[Table],
        limits: MapLimits,
        *,
        read_only: bool,
        change_nothing: bool = False,
        fresh: bool = False,
        trusted: bool = False,
    ) -> None:
        """Open the environment in ``directory`` after checking its data file.

        Args:
            directory: The directory of a generation.
            tables: The tables to open. Missing ones are created; opened for reading, they read as
                empty.
            limits: The size of the map.
            read_only: Open LMDB for reading alone. Several processes may then open at once, also
                beside a writer.
            change_nothing: Do not even create LMDB's lock file if it is missing.
            fresh: The data file is empty, so there is nothing to check yet.
            trusted: Its pages were checked before, by whoever opens it again.

        Raises:
            CorruptStoreError: The data file is missing, truncated or damaged.
            UnsupportedFormatError: It has another LMDB format.
            HiveError: It cannot be opened.
        """
        self.directory = directory
        self.limits = limits
        self.read_only = read_only
        self.locked = True
        self._trusted = trusted
        self._seen_transaction = 0
        self._file_bytes = 0
        self._has_no_map = False
        self.databases: dict[str, lmdb._Database | None] = {}
        if not fresh:
            self._require_data_file()
        if change_nothing:
            self.locked = self._can_lock()
        else:
            self._require_writable()
        self.lmdb = self._open_checked(fresh=fresh)
        try:
            self._file = self._open_beside()
            self.clear_stale_readers()
            self.open_tables(tables)
        except BaseException:
            self.lmdb.close()
            raise

    def _open_checked(self, *, fresh: bool) -> lmdb.Environment:
        """Check the data file and open it."""
        wanted = self.limits.initial
        while True:
            used = 0 if fresh else check_data_file(self.directory / DATA_FILE).used_bytes
            try:
                return self._open(max(wanted, used), fresh=fresh)
            except lmdb.MapResizedError:
                continue  # A writer in another process outgrew the map between check and opening.
            except (lmdb.Error, OSError) as error:
                if not fresh and wanted > used and getattr(error, "code", 0) == errno.ENOMEM:
                    # Addresses are limited (ulimit -v). The map grows as needed.
                    wanted //= 4
                    continue
                raise translate(error, self.directory.parent) from error

    def _open_beside(self) -> FlockFile:
        """Open the data file once more, to look at: LMDB does not say which one it has open."""
        path = self.directory / DATA_FILE
        try:
            return FlockFile(path, os.O_RDONLY)
        except OSError as error:
            raise translate(error, path) from error

    def _require_data_file(self) -> None:
        store = self.directory.parent
        if not (self.directory / DATA_FILE).exists():
            present = sorted(p.name for p in store.glob("g*") if p.is_dir())
            raise CorruptStoreError(
                f"the store {store} has no file {self.directory.name}/{DATA_FILE} (directories "
                f"present: {', '.join(present) or 'none'}); restore it from a copy, or "
                "salvage it",
                path=self.directory / DATA_FILE,
            )

    def _open(self, map_bytes: int, *, fresh: bool) -> lmdb.Environment:
        occupy_standard_streams()
        return lmdb.open(
            str(self.directory),
            map_size=self.limits.clamp(map_bytes),
            subdir=True,
            readonly=self.read_only,
            create=fresh,
            mode=FILE_MODE,
            max_dbs=_MAX_TABLES,
            max_readers=MOST_READERS,
            # A cached transaction would keep its reader slot, and a forked child copies it.
            max_spare_txns=0,
            lock=self.locked,
            **_ENGINE,
        )

    def _require_writable(self) -> None:
        path = self.directory / DATA_FILE
        try:
            prepare_lock_file(self.directory / LOCK_FILE)
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, "not writable", str(path))
        except OSError as error:
            raise translate(error, path) from error

    def _can_lock(self) -> bool:
        path = self.directory / LOCK_FILE
        try:
            return is_lock_usable(path)
        except OSError as error:
            raise translate(error, path) from error

    def clear_stale_readers(self) -> None:
        """Free the reader slots of processes that died, which would keep old pages from reuse."""
        if not self.locked:
            return
        try:
            self.lmdb.reader_check()
        except lmdb.Error as error:
            raise translate(error, self.directory.parent) from error

    def readers(self) -> list[Reader]:
        """Return the read transactions of all processes."""
        try:
            return parse_readers(self.lmdb.readers(), self.lmdb.info()["last_txnid"])
        except lmdb.Error as error:
            raise translate(error, self.directory.parent) from error

    def open_tables(self, tables: Iterable[Table]) -> None:
        """Open the ``tables``; no other transaction of this process may be active.

        Raises:
            HiveError: LMDB cannot read or create one.
        """
        tables = list(tables)
        while True:
            try:
                self._open_tables(tables)
            except lmdb.MapFullError:
                self.grow()
            except lmdb.MapResizedError:
                self.adopt_map()
            except lmdb.Error as error:
                raise translate(error, self.directory.parent) from error
            else:
                return

    def _open_tables(self, tables: Sequence[Table]) -> None:
        while not self._check_snapshot(tables):
            pass  # Writers in other processes overtook it.
        names = [table.name for table in tables]
        if self.read_only:
            for name in names:
                self.databases[name] = self._find(name)
            return
        # A table handle survives only a write transaction. One that creates nothing commits
        # without touching the disk.
        with self.lmdb.begin(write=True) as transaction:
            before = transaction.stat()["entries"]
            for name in names:
                self.databases[name] = self.lmdb.open_db(name.encode(), txn=transaction)
            if transaction.stat()["entries"] != before:
                put_stamp(transaction)

    def _check_snapshot(self, tables: Sequence[Table]) -> bool:
        """Check what the last commit left, before LMDB follows any page of it."""
        data_file, page_bytes = self.directory / DATA_FILE, self.lmdb.stat()["psize"]
        ordered = {table.name for table in tables if table.checked}
        with self.lmdb.begin() as transaction:
            number = transaction.id()
            if not (self._trusted or check_pages(data_file, page_bytes, number, ordered=ordered)):
                return False
            check_stamp(transaction, self.directory)
            self._refuse_renamed(transaction, tables)
            self._trusted = True
            self._seen_transaction = number
        return True

    def _refuse_renamed(
        self, transaction: lmdb.Transaction[bytes], tables: Sequence[Table]
    ) -> None:
        """Refuse a store where a table seems to be absent because a bit of its name was flipped.

        It would be created anew, and everything in it would be gone without an error.
        """
        present = set(transaction.cursor().iternext(values=False))
        for name in (table.name.encode() for table in tables):
            for other in present if name not in present else ():
                difference = int.from_bytes(name, "big") ^ int.from_bytes(other, "big")
                if len(name) == len(other) and difference.bit_count() == 1:
                    raise CorruptStoreError(
                        f"the name of table {name.decode()!r} in {self.directory} is damaged; "
                        "restore the store from a copy, or salvage it",
                        path=self.directory / DATA_FILE,
                    )

    def _find(self, name: str) -> lmdb._Database | None:
        try:
            return self.lmdb.open_db(name.encode(), create=False)
        except (lmdb.NotFoundError, lmdb.ReadonlyError):
            return None

    def _refuse_lost_file(self) -> None:
        """Refuse to go on in a data file that was removed, replaced or cut off while it was open.

        A commit would go into a file that nobody finds again. And LMDB ends the process with SIGBUS
        where it reads behind the end.

        Raises:
            NotFoundError: The file has no name any more.
            CorruptStoreError: It is shorter than it was. LMDB never makes it so.
        """
        path, known_bytes = self.directory / DATA_FILE, self._file_bytes
        try:
            status = os.fstat(self._file.fileno())
        except OSError as error:
            raise translate(error, path) from error
        # Some file systems in user space count no names at all.
        if not status.st_nlink and not is_file_at(path, status):
            raise NotFoundError(
                f"{path} was removed or replaced while it was open; close the store, and open what "
                "is there now"
            )
        if status.st_size < known_bytes:
            raise CorruptStoreError(
                f"{path} was cut off while it was open; restore the store from a copy, or salvage "
                "it",
                path=path,
            )
        self._file_bytes = status.st_size

    def is_outdated(self) -> bool:
        """Whether opening again would find more: a table, a lock file, or a map that is missing.

        Raises:
            HiveError: What is open is lost.
        """
        self._refuse_lost_file()
        if self._has_no_map or (not self.locked and self._can_lock()):
            return True
        return (
            None in self.databases.values()
            and self.lmdb.info()["last_txnid"] != self._seen_transaction
        )

    @property
    def map_bytes(self) -> int:
        """The size of the map, in bytes."""
        return self.lmdb.info()["map_size"]

    def grow(self, *, reserve: bool = False) -> None:
        """At least double the map; no transaction of this process may be active.

        Args:
            reserve: Go one step (1 MiB) beyond the limit, for a transaction that frees space: at
                the limit, even a deletion needs room before it frees any.

        Raises:
            StoreFullError: The map has its full size already.
        """
        present = self.map_bytes
        wanted = self.limits.clamp(2 * present, reserve=reserve)
        if wanted <= present:
            raise StoreFullError(
                f"the store {self.directory.parent} has reached its limit of {self.limits.most} "
                "bytes (max_bytes); raise the limit, or forget checkpoints and run gc, then repeat"
            )
        self._set_map(wanted)

    def adopt_map(self) -> None:
        """Take over the map size that another process has set; like ``grow`` otherwise."""
        self._set_map(0)

    def _set_map(self, size: int) -> None:
        try:
            self.lmdb.set_mapsize(size)
        except lmdb.Error as error:
            self._has_no_map = True  # the old one is gone, and LMDB's environment with it
            raise translate(error, self.directory.parent) from error

    def close(self) -> None:
        """Close the environment; no transaction may be active."""
        self.lmdb.close()
        self._file.close()
