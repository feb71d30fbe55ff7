"""``ObjectStore``: content-addressed objects with links in one LMDB environment.

The header, written once at creation, holds the format number and every parameter on which stored
bytes depend. Objects are written and read through functions that receive a writer or a reader for
the length of one transaction, so that an upper layer can put its names into the same one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import cbor2

from cas.closing import Closing
from cas.counters import Counters
from cas.digest import Digest
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError, UnsupportedFormatError
from cas.filling import PageFiller
from cas.kept import KEPT_BYTES, KeptRecords
from cas.mutex import Mutex
from cas.objects import Object
from cas.records import STORE, PackCache, RecordReader
from cas.roots import OWN_TABLES
from cas.shape import loads, odd_row
from cas.trail import Trail
from cas.upkeep import BriefUpkeep
from cas.writer import RecordWriter

__all__ = ["HEADER_KEY", "STORE_FORMAT", "ObjectStore", "new_header"]

T = TypeVar("T")

STORE_FORMAT: Final = 1
ENGINE: Final = "lmdb-0.9"
HEADER_KEY: Final = b"header"
_MOST_KNOWN: Final = 100_000


class ObjectStore(Closing):
    """Objects by address. Share one per process and store; it is safe to use from threads."""

    def __init__(self, environment: Environment, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.environment = environment
        self.kept = KeptRecords(kept_bytes)
        self.parameters: Mapping[str, int] = environment.read(_read_header)
        self._lock = Mutex()
        # What is known to be stored, valid for one generation and sweep count only: a sweep may
        # have removed it since, and then a commit that skipped it would lose data.
        self._known: dict[bytes, int] = {}
        self._known_at = (-1, -1)
        # Numbers of records found to be bad, of one generation: what is stored again heals them.
        self._damaged: set[int] = set()
        self._damaged_at = -1
        # The room in the last page of records, as of the writer that committed last in this store.
        self._room: int | None = None
        self._room_at: tuple[int, Counters] | None = None
        # The small packs in front of a record number of a generation that this store wrote.
        self._trail = Trail()
        self._trail_at = (-1, -1)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        tables: Sequence[Table] = (),
        parameters: Mapping[str, int] | None = None,
        create: bool = True,
        read_only: bool = False,
        force_network: bool = False,
        map_size: int | None = None,
        max_bytes: int | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> Self:
        """Open the store in the directory ``path``, creating it first if asked to.

        ``tables`` are those of the upper layer. ``parameters`` go into the header of a new store;
        of an existing one, the stored parameters count. ``kept_bytes`` bounds the verified objects
        that stay in memory for the next reader. Raises ``NotFoundError``,
        ``UnsupportedFormatError``, ``CorruptStoreError`` or ``AccessError``.
        """
        sizes = {} if map_size is None else {"map_size": map_size}
        environment = Environment.open(
            path,
            [*OWN_TABLES, *tables],
            create=create,
            read_only=read_only,
            prepare=partial(_prepare, parameters or {}),
            max_bytes=max_bytes,
            force_network=force_network,
            **sizes,
        )
        try:
            return cls(environment, kept_bytes=kept_bytes)
        except BaseException:
            environment.close()
            raise

    @classmethod
    def make(
        cls,
        path: Path,
        begin: Callable[[Self], None],
        *,
        tables: Sequence[Table] = (),
        parameters: Mapping[str, int],
    ) -> bool:
        """Make a new store, which appears when ``begin`` has put into it what it shall have.

        Returns whether it was made: False where there is one. Where ``begin`` raises nothing is
        left behind. ``tables`` and ``parameters`` are as in ``open``, and so is what it raises.
        """

        def begun(place: Path) -> None:
            with cls.open(place, tables=tables, create=False) as store:
                begin(store)

        return Environment.make(
            path,
            [*OWN_TABLES, *tables],
            prepare=partial(_prepare, parameters),
            begin=begun,
        )

    def close(self) -> None:
        """Release the environment. Closing twice is harmless."""
        self.environment.close()

    def read(self, work: Callable[[RecordReader], T], *, cache: PackCache | None = None) -> T:
        """Run ``work`` with a reader in one read transaction and return its result.

        A ``cache`` kept over several calls saves parsing packs again; if the file was replaced in
        between, ``GenerationChangedError`` says that the numbers it learned are void.
        """

        def attempt(transaction: ReadTransaction) -> T:
            damaged = self._damaged_in(transaction.generation)
            return work(RecordReader(transaction, cache or PackCache(), damaged))

        return self.environment.read(attempt)

    def write(self, work: Callable[[RecordWriter], T], *, frees_space: bool = False) -> T:
        """Run ``work`` with a writer in one durable transaction and return its result.

        ``work`` may run more than once (the file may have to grow first), so its effects outside
        the transaction must be repeatable. ``frees_space`` is as in ``Environment.write``.
        """
        writer: RecordWriter | None = None

        def attempt(transaction: WriteTransaction) -> T:
            nonlocal writer
            counters = Counters.load(transaction)
            known = self._known_since(transaction.generation, counters.sweeps)
            damaged = self._damaged_in(transaction.generation)
            filler = PageFiller(self._room_since(transaction.generation, counters))
            trail = self._trail_before(transaction.generation, counters.next_record)
            writer = RecordWriter(transaction, known, damaged, filler, counters, trail, upkeep)
            result = work(writer)
            writer.finish()
            return result

        with BriefUpkeep(self.environment.path) as upkeep:
            result = self.environment.write(attempt, frees_space=frees_space)
        if writer is not None:
            self._remember(writer)
        return result

    def put(self, item: Object) -> Digest:
        """Store one object in a transaction of its own and return its address."""
        digest = item.address()
        self.write(lambda writer: writer.put(digest, item))
        return digest

    def get(self, digest: Digest) -> Object:
        """Return the verified object; ``MissingObjectError`` or ``CorruptObjectError`` if not."""
        return self.read(lambda reader: reader.get(digest))

    def has(self, digest: Digest) -> bool:
        """Whether an object is stored. Its bytes are not verified."""
        return self.read(lambda reader: reader.find(digest)) is not None

    def links(self, digest: Digest) -> tuple[Digest, ...]:
        """Return the links of an object, verified."""
        return self.get(digest).links

    def counters(self) -> Counters:
        """Return the counters as of now."""
        return self.environment.read(Counters.load)

    def _known_since(self, generation: int, sweeps: int) -> dict[bytes, int]:
        with self._lock:
            if self._known_at != (generation, sweeps) or len(self._known) > _MOST_KNOWN:
                self._known = {}
                self._known_at = (generation, sweeps)
            return self._known

    def _damaged_in(self, generation: int) -> set[int]:
        """Return the set that collects damage; readers of an older generation keep theirs."""
        with self._lock:
            if self._damaged_at != generation:
                self._damaged = set()
                self._damaged_at = generation
            return self._damaged

    def _room_since(self, generation: int, counters: Counters) -> int | None:
        """Return the room in the last page of records; None if another process wrote since."""
        with self._lock:
            return self._room if self._room_at == (generation, counters) else None

    def _trail_before(self, generation: int, next_record: int) -> Trail:
        """Return the packs to merge; none if somebody else wrote records since."""
        with self._lock:
            return self._trail if self._trail_at == (generation, next_record) else Trail()

    def _remember(self, writer: RecordWriter) -> None:
        """Keep what a *committed* transaction learned; of an aborted one nothing is kept."""
        place = (writer.transaction.generation, writer.counters.sweeps)
        with self._lock:
            writer.damaged -= writer.healed
            self._room = writer.filler.room
            self._room_at = (writer.transaction.generation, writer.counters)
            self._trail = writer.trail
            self._trail_at = (writer.transaction.generation, writer.counters.next_record)
            if self._known_at == place:
                self._known.update(writer.learned)
        if writer.fresh:
            self.kept.keep(writer.transaction.generation, writer.fresh)


def new_header(parameters: Mapping[str, int]) -> bytes:
    """Return the header of a new store."""
    header = {
        "format": STORE_FORMAT,
        "engine": ENGINE,
        "id": os.urandom(16),
        "parameters": dict(parameters),
    }
    return cbor2.dumps(header)


def _prepare(parameters: Mapping[str, int], transaction: WriteTransaction) -> None:
    transaction.put(STORE, HEADER_KEY, new_header(parameters))
    Counters().save(transaction)


def _read_header(transaction: ReadTransaction) -> Mapping[str, int]:
    row = transaction.get(STORE, HEADER_KEY)
    if row is None:
        raise CorruptStoreError("the store has no header; restore a copy, or salvage it")
    header = loads(row)
    if type(header) is not dict:
        raise odd_row()
    # A newer format may have laid its header out anew, so nothing but these two is expected of it.
    known = header.get("format"), header.get("engine")
    if known != (STORE_FORMAT, ENGINE):
        raise UnsupportedFormatError(
            f"the store has format {known[0]} on engine {known[1]}, this version knows format "
            f"{STORE_FORMAT} on {ENGINE}; upgrade Hive"
        )
    parameters = header.get("parameters")
    if type(parameters) is not dict or not {*map(type, parameters.values())} <= {int}:
        raise odd_row()
    return parameters
