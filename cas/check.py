"""Checking what is stored: every record hashed, every link followed, the index and LMDB's pages.

Records are looked at in ascending order, so that whatever one links to has been judged before it,
and what damage reaches upwards is known at once. Everything happens in short transactions beside
whoever works with the store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lmdb.verify import VerifyError, verify

from cas.broken import BrokenRecords
from cas.counters import Counters
from cas.database import DATA_FILE
from cas.datafile import check_data_file
from cas.digest import Digest
from cas.environment import Environment, ReadTransaction
from cas.errors import MissingObjectError, StoreFullError, UnsupportedFormatError
from cas.failures import translate
from cas.objects import frame_address
from cas.onebit import right_codec
from cas.packs import Pack
from cas.packwalk import pack_base, pack_rows, pack_start, whole_pack
from cas.records import (
    INDEX,
    INDEX_BEHIND,
    NUMBER_BYTES,
    OBJECTS,
    REPAIRS,
    STORE,
    UNREADABLE,
    PackCache,
    RecordReader,
    index_key,
    record_key,
    row_numbers,
)
from cas.scratch import private_directory
from cas.store import ObjectStore
from cas.table import CHECKSUM_BYTES
from cas.upkeep import SLICE_SECONDS, OnProgress, Progress

__all__ = [
    "Damage",
    "ObjectCheck",
    "StoredCount",
    "check_structure",
    "count_records",
]

_SEALED_REPAIRS: Final = REPAIRS.sealed
_TABLES: Final = {"index": INDEX.name, "pack": OBJECTS.name, "newer": OBJECTS.name}
"""Where the key of a finding is one of."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it should be.

    Attributes:
        kind: ``record`` (its bytes are not the object), ``missing`` (linked to, and not there),
            ``pack`` (not even its records can be told), ``index``, ``counters``, ``row`` (of the
            catalogue or the store's own tables), ``manifest``, ``run``, ``structure`` (LMDB's), or
            ``newer`` (no damage: a later version of Hive wrote it).
        text: What is wrong, for people.
        record: The record's number, where there is one.
        digest: The address the object should have, where it is known.
        table: The table, where there is one.
        key: The row's key in it.
        hits: What cannot be restored because of it: ``run@sequence``, ``tag:name``, ``pin:...``.
    """

    kind: str
    text: str
    record: int | None = None
    digest: Digest | None = None
    table: str | None = None
    key: bytes | None = None
    hits: tuple[str, ...] = ()


@dataclass(slots=True)
class StoredCount:
    """What is stored: objects, bytes of their payloads, and bytes of the rows that hold them."""

    objects: int = 0
    payload_bytes: int = 0
    stored_bytes: int = 0


@dataclass(slots=True)
class ObjectCheck:
    """One check of all records and of the index. Valid for one generation of the file.

    What is found stands in ``damage``, and which records cannot be restored for it in ``broken``.
    """

    store: ObjectStore
    read_data: bool
    progress: OnProgress
    damage: list[Damage] = field(default_factory=list)
    broken: BrokenRecords = field(default_factory=BrokenRecords)
    limit: int = 0
    _checked_to: int = 0
    _cache: PackCache = field(default_factory=PackCache)
    _counted: StoredCount = field(default_factory=StoredCount)

    @property
    def records(self) -> int:
        """How many records were looked at; of damaged packs, as far as they can be told."""
        return self._counted.objects

    def run(self) -> None:
        """Check everything; what is found stands in ``damage`` and ``broken``.

        Raises:
            GenerationChangedError: The file was replaced meanwhile: begin again.
            CorruptStoreError: The store has no usable counters.
        """
        before = self.store.counters()
        self.limit = before.next_record
        key: bytes | None = b""
        while key is not None:
            key = self.store.read(_Slice(self._packs, key), cache=self._cache)
            if key is not None:
                self.progress(Progress("check", min(self._checked_to, self.limit), self.limit))
        key = b""
        while key is not None:
            key = self.store.read(_Slice(self._index, key), cache=self._cache)
        self.progress(Progress("check", self.limit, self.limit))
        if not self.damage:
            self.store.read(lambda reader: self._compare(reader, before))

    # -- records ---------------------------------------------------------------------------

    def _packs(self, reader: RecordReader, key: bytes, end: float) -> bytes | None:
        """Check packs from a key on for a while; return the key to go on from."""
        repairs = reader.transaction.count(REPAIRS) > 0
        for base, rows, after in pack_rows(reader.transaction, pack_start(reader.transaction, key)):
            self._pack(reader, base, rows, after, repairs=repairs)
            if after is not None and time.perf_counter() > end:
                return after
        return None

    def _pack(
        self,
        reader: RecordReader,
        base: int,
        rows: list[tuple[bytes, bytes]],
        after: bytes | None,
        *,
        repairs: bool,
    ) -> None:
        key, behind = rows[0][0], None if after is None else pack_base(after)
        try:
            pack = whole_pack(base, rows)
        except UNREADABLE as error:
            self.broken.add_pack(base, self.limit if behind is None else behind)
            text = f"the pack at record {base} cannot be read: {error}"
            newer = isinstance(error, UnsupportedFormatError)
            if newer and right_codec(reader.transaction, base, rows) is not None:
                newer = False  # one bit of its codec was turned over
            self._report("newer" if newer else "pack", text, record=base, key=key)
            return
        if behind is not None and pack.numbers[-1] >= behind:
            text = f"the pack at record {base} runs into the next pack"
            self._report("pack", text, record=base, key=key)
        self._counted.stored_bytes += sum(len(row) for _key, row in rows)
        self._counted.objects += len(pack.numbers)
        checked_to, self._checked_to = self._checked_to, pack.numbers[-1] + 1
        for index, number in enumerate(pack.numbers):
            self._counted.payload_bytes += pack.size(index)
            if number < checked_to or (behind is not None and number >= behind):
                continue  # in another pack: one merged into this one since, or the one behind
            stand_in = repairs and reader.transaction.get(_SEALED_REPAIRS, record_key(number))
            if stand_in:
                self._counted.stored_bytes += len(stand_in) - CHECKSUM_BYTES
                self._repaired(reader, number)
            else:
                self._record(reader, pack, index, number)

    def _record(self, reader: RecordReader, pack: Pack, index: int, number: int) -> None:
        digest = pack.digest(index)
        try:
            links = pack.links(index)
        except UNREADABLE as error:
            self._bad(reader, number, digest, str(error))
            return
        digests = self._link_digests(reader, number, links)
        if digests is None:
            return
        try:
            payload = pack.payload(index) if self.read_data else b""
        except UNREADABLE as error:
            self._bad(reader, number, digest, str(error))
            return
        causes = self.broken.below(links)
        if self.read_data:
            actual = frame_address(digests, len(links), payload)
            if actual != digest:
                if causes:
                    # Perhaps it is sound, and the digest of the damaged record below is what
                    # is wrong; so it is not reported, but has to be looked at by a repair.
                    self.broken.add(number, causes | {number})
                    reader.damaged.add(number)
                else:
                    self._bad(reader, number, digest, f"it hashes to {actual.hex()[:12]}")
                return
        if causes:
            self.broken.add(number, causes)
        self._indexed(reader, number, digest)

    def _repaired(self, reader: RecordReader, number: int) -> None:
        """Check a record that a row of ``repairs`` stands in for."""
        try:
            digest, links = reader.digest_of(number), reader.links_of(number)
            sound = reader.is_sound(number)
        except UNREADABLE as error:
            self._bad(reader, number, None, str(error))
            return
        causes = self.broken.below(links)
        if not sound and not causes:
            self._bad(reader, number, digest, "what stands in for it is damaged too")
            return
        if causes:
            self.broken.add(number, causes)
        self._indexed(reader, number, digest)

    def _link_digests(
        self, reader: RecordReader, number: int, links: list[int]
    ) -> list[bytes] | None:
        digests = []
        for link in links:
            try:
                digests.append(reader.digest_of(link))
            except UNREADABLE as error:
                reader.damaged.add(link)
                if link not in self.broken:
                    self.broken.add(link)
                    text = f"record {number} links to record {link}, which is not there: {error}"
                    self._report("missing", text, record=link)
        if len(digests) == len(links):
            return digests
        self.broken.add(number, self.broken.below(links))
        return None

    def _bad(self, reader: RecordReader, number: int, digest: bytes | None, text: str) -> None:
        self.broken.add(number)
        reader.damaged.add(number)
        known = None if digest is None else Digest(digest)
        self._report("record", f"record {number} is damaged: {text}", record=number, digest=known)

    # -- index and counters ----------------------------------------------------------------

    def _indexed(self, reader: RecordReader, number: int, digest: bytes) -> None:
        row = reader.transaction.get(INDEX, index_key(digest)) or b""
        if number not in row_numbers(row):
            text = f"object {digest.hex()[:12]} (record {number}) is missing in the index"
            self._report("index", text, record=number, digest=Digest(digest), key=index_key(digest))

    def _index(self, reader: RecordReader, key: bytes, end: float) -> bytes | None:
        # A collection in progress removes records first, and what leads to them afterwards.
        behind = reader.transaction.get(STORE, INDEX_BEHIND) is not None
        for found, row in reader.transaction.items(INDEX, key):
            if time.perf_counter() > end and found != key:
                return found
            if not row or len(row) % NUMBER_BYTES or len(found) != len(index_key(bytes(32))):
                self._report("index", f"the index row {found.hex()} is damaged", key=found)
                continue
            for number in row_numbers(row):
                if number in self.broken:
                    continue
                try:
                    right = index_key(reader.digest_of(number)) == found
                except MissingObjectError:
                    right = behind
                except UNREADABLE:
                    right = False
                if not right:
                    text = f"the index row {found.hex()} leads to record {number}, another object"
                    self._report("index", text, record=number, key=found)
        return None

    def _compare(self, reader: RecordReader, before: Counters) -> None:
        now = Counters.load(reader.transaction)
        if now != before:
            # Somebody wrote meanwhile: count again, in one moment and without reading payloads.
            self._counted = count_records(reader.transaction)
        for name in ("objects", "payload_bytes", "stored_bytes"):
            stored, counted = getattr(now, name), getattr(self._counted, name)
            if stored != counted:
                self._report("counters", f"the store counts {stored} {name}, and has {counted}")
        with suppress(*UNREADABLE):  # of a damaged pack, told before
            first_free = reader.first_free()
            if not now.fit(first_free):
                text = f"the next record would have number {now.next_record}, not {first_free}"
                self._report("counters", text)

    def _report(
        self,
        kind: str,
        text: str,
        *,
        record: int | None = None,
        digest: Digest | None = None,
        key: bytes | None = None,
    ) -> None:
        self.damage.append(Damage(kind, text, record, digest, _TABLES.get(kind), key))


_Part = Callable[[RecordReader, bytes, float], bytes | None]


class _Slice:
    """Runs part of a check in one transaction, for as long as one may take."""

    def __init__(self, part: _Part, key: bytes) -> None:
        self._part = part
        self._key = key

    def __call__(self, reader: RecordReader) -> bytes | None:
        return self._part(reader, self._key, time.perf_counter() + SLICE_SECONDS)


def count_records(transaction: ReadTransaction) -> StoredCount:
    """Count what is stored; ``CorruptionError`` if a pack cannot be read."""
    counted = StoredCount()
    for base, rows, _after in pack_rows(transaction, b""):
        pack = whole_pack(base, rows)
        counted.objects += len(pack.numbers)
        counted.payload_bytes += sum(pack.size(index) for index in range(len(pack.numbers)))
        counted.stored_bytes += sum(len(row) for _key, row in rows)
    counted.stored_bytes += sum(len(row) for _key, row in transaction.items(REPAIRS))
    return counted


def check_structure(environment: Environment) -> list[Damage]:
    """Check LMDB's own pages: reachable once, in order, counted, and free or in use.

    It is done on a private copy, by a walker that never lets LMDB see the bytes, so the damage it
    is looking for can harm nobody.
    """
    with private_directory(environment.path) as directory:
        copy = directory / DATA_FILE
        try:
            environment.copy(copy, compact=False)
        except StoreFullError as error:
            raise StoreFullError(
                f"a check looks at a copy of the store's file, and there is no room for it in "
                f"{directory.parent}; free some, or name another folder in the environment "
                "variable TMPDIR, and repeat"
            ) from error
        try:
            problems = _problems(copy)
        except OSError as error:
            raise translate(error, copy) from error
    return [Damage("structure", f"LMDB's file is damaged: {problem}") for problem in problems]


def _problems(data_file: Path) -> list[str]:
    """Return what is wrong with a data file that nobody else has."""
    # A sound file may end early, behind pages that were never written because they are free.
    size = max(data_file.stat().st_size, check_data_file(data_file).used_bytes)
    os.truncate(data_file, size)
    try:
        return list(verify(str(data_file.parent)))  # type: ignore[no-untyped-call]  # lmdb's
    except VerifyError as error:
        return [str(error)]
