"""Reading records: from a number or a digest to verified bytes, inside one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

from cas.digest import Digest
from cas.environment import ReadTransaction, Table
from cas.errors import (
    CorruptionError,
    CorruptObjectError,
    MissingObjectError,
    UnsupportedFormatError,
)
from cas.objects import Object, frame_address
from cas.packs import Pack

__all__ = [
    "INDEX",
    "INDEX_BEHIND",
    "LAST_FRAGMENT",
    "NUMBER_BYTES",
    "OBJECTS",
    "RECORD_KEY_BYTES",
    "REPAIRS",
    "STORE",
    "UNREADABLE",
    "GenerationChangedError",
    "PackCache",
    "Record",
    "RecordReader",
    "index_key",
    "number_row",
    "record_key",
    "record_place",
    "row_numbers",
]

# Rows of these two tables carry no checksum: a record is verified by its own digest, and an index
# row is believed only after the record it names was found to have the digest that was asked for.
OBJECTS: Final = Table("objects", checked=False)
INDEX: Final = Table("index", checked=False)
REPAIRS: Final = Table("repairs")
"""Record number -> a pack of one record that stands in for a damaged one of the same number."""

STORE: Final = Table("store")
INDEX_BEHIND: Final = b"index-behind"
"""Key of a row in ``store``: there while the index may still name records that were swept."""

UNREADABLE: Final = (CorruptionError, UnsupportedFormatError)
"""What looking a record up may raise: a flipped bit can make a pack seem to be of a newer Hive."""

_FRAGMENT_BITS: Final = 16
LAST_FRAGMENT: Final = (1 << _FRAGMENT_BITS) - 1
"""With it, the key of a record is at or behind every row of the pack that holds the record."""
RECORD_KEY_BYTES: Final = 8
_PREFIX_BYTES: Final = 8
NUMBER_BYTES: Final = 6
"""What a record number takes in a row of ``index``, big-endian."""


def record_key(number: int, fragment: int = 0) -> bytes:
    """Return the key of a row of ``objects``: 48 bits of record number, 16 of fragment."""
    return (number << _FRAGMENT_BITS | fragment).to_bytes(RECORD_KEY_BYTES, "big")


def record_place(key: bytes) -> tuple[int, int]:
    """Return (base number of the pack, fragment) of a key of ``objects``; refuse an odd one."""
    if len(key) != RECORD_KEY_BYTES:
        raise CorruptObjectError(f"the key {key.hex()} in the table of records is damaged")
    return divmod(int.from_bytes(key, "big"), 1 << _FRAGMENT_BITS)


def index_key(digest: bytes) -> bytes:
    """Return the key of a digest in ``index``: its first eight bytes.

    Eight bytes of 32 save a third of the index; two digests that share them share a row.
    """
    return digest[:_PREFIX_BYTES]


def row_numbers(row: bytes) -> list[int]:
    """Return the record numbers in a row of ``index``, or of another table that packs them so."""
    places = range(0, len(row), NUMBER_BYTES)
    return [int.from_bytes(row[at : at + NUMBER_BYTES], "big") for at in places]


def number_row(numbers: Iterable[int]) -> bytes:
    """Return the row that holds some record numbers."""
    return b"".join([number.to_bytes(NUMBER_BYTES, "big") for number in numbers])


class GenerationChangedError(Exception):
    """The file was replaced between two transactions: record numbers learned before are void.

    It never reaches a user: whoever holds record numbers over several transactions starts again.
    """


class Record:
    """A verified object as the store knows it: links are record numbers."""

    __slots__ = ("digest", "links", "number", "payload")

    def __init__(self, number: int, digest: bytes, links: Sequence[int], payload: bytes) -> None:
        self.number = number
        self.digest = digest
        self.links = links
        self.payload = payload


class PackCache:
    """Packs already parsed, for one reader of related records (a restore, a mark).

    Valid for one generation of the file only. ``reads`` counts the payloads handed out.
    """

    def __init__(self, most_bytes: int = 32 * 1024 * 1024) -> None:
        self.generation: int | None = None
        self.reads = 0
        self._most_bytes = most_bytes
        self._places: dict[int, tuple[Pack, int]] = {}
        self._bytes = 0

    def enter(self, generation: int) -> None:
        """Bind the cache to a generation; raise if it was bound to another one."""
        if self.generation is None:
            self.generation = generation
        elif self.generation != generation:
            raise GenerationChangedError

    def get(self, number: int) -> tuple[Pack, int] | None:
        """Return the pack that holds a record and the record's place in it, if known."""
        return self._places.get(number)

    def add(self, pack: Pack, repairs: Mapping[int, Pack]) -> None:
        """Remember a pack, and what stands in for damaged records of it.

        All others are forgotten when they are too large together.
        """
        self._bytes += pack.memory_bytes
        if self._bytes > self._most_bytes:
            self._places.clear()
            self._bytes = pack.memory_bytes
        for index, number in enumerate(pack.numbers):
            self._places[number] = (pack, index)
        for number, repair in repairs.items():
            self._places[number] = (repair, 0)


class RecordReader:
    """Looks records up in one transaction. ``damaged`` collects the numbers found to be bad."""

    def __init__(self, transaction: ReadTransaction, cache: PackCache, damaged: set[int]) -> None:
        self.transaction = transaction
        self.cache = cache
        self.damaged = damaged
        cache.enter(transaction.generation)

    @cached_property
    def has_repairs(self) -> bool:
        """Whether good bytes stand in for any damaged record. Most writes never ask."""
        return self.transaction.count(REPAIRS) > 0

    def locate(self, number: int) -> tuple[Pack, int]:
        """Return the pack that holds a record and the record's place in it; nothing is verified."""
        place = self.cache.get(number)
        if place is not None:
            return place
        pack = self._repair(number)
        if pack is None:
            pack = self._load(number)
        self.cache.add(pack, self._repairs_of(pack))
        place = self.cache.get(number)
        if place is None:
            raise MissingObjectError(f"record {number} is not in the store")
        return place

    def pack_of(self, number: int) -> Pack:
        """Return the pack in which a record stands, if it is anywhere, whatever repairs there are.

        Raises:
            MissingObjectError: No pack begins at or below it.
            CorruptObjectError: The pack is damaged.
        """
        place = self.cache.get(number)
        return self._load(number) if place is None else place[0]

    def _repair(self, number: int) -> Pack | None:
        """Return what stands in for a damaged record; of a damaged repair, nothing."""
        if not self.has_repairs:
            return None
        try:
            row = self.transaction.get(REPAIRS, record_key(number))
            return None if row is None else Pack(number, row)
        except UNREADABLE:
            return None

    def _repairs_of(self, pack: Pack) -> dict[int, Pack]:
        """Return all repairs of a pack: once it is cached, none of its records is looked up."""
        if not self.has_repairs:
            return {}
        repairs = ((number, self._repair(number)) for number in pack.numbers)
        return {number: repair for number, repair in repairs if repair is not None}

    def _load(self, number: int) -> Pack:
        transaction = self.transaction
        found = transaction.last_at_or_before(OBJECTS, record_key(number, LAST_FRAGMENT))
        if found is None:
            raise MissingObjectError(f"record {number} is not in the store")
        key, row = found
        base, fragment = record_place(key)
        if fragment:
            # The last row was found; those before it complete the pack.
            row = b"".join(transaction.rows(OBJECTS, record_key(base), fragment + 1))
        if Pack.fragments(row) != fragment + 1:
            raise CorruptObjectError(f"the pack at record {base} lacks rows")
        return Pack(base, row)

    def first_free(self) -> int:
        """Return the number behind that of the last record; 1 if there is none.

        Raises:
            CorruptObjectError: The last pack is damaged.
        """
        found = self.transaction.last_at_or_before(OBJECTS, b"\xff" * RECORD_KEY_BYTES)
        return 1 if found is None else self.pack_of(record_place(found[0])[0]).numbers[-1] + 1

    def digest_of(self, number: int) -> bytes:
        """Return the digest a record claims to have. Proven only by reading the record."""
        pack, index = self.locate(number)
        return pack.digest(index)

    def links_of(self, number: int) -> list[int]:
        """Return the numbers a record links to. Proven only by reading the record."""
        pack, index = self.locate(number)
        return pack.links(index)

    def size_of(self, number: int) -> int:
        """Return the size of a record's payload in bytes. Proven only by reading the record."""
        pack, index = self.locate(number)
        return pack.size(index)

    def read(self, number: int) -> Record:
        """Return a record whose bytes hash to its digest.

        Raises ``CorruptObjectError`` or ``MissingObjectError``; nothing unverified is returned.
        """
        try:
            pack, index = self.locate(number)
            payload, actual = self._hash(pack, index)
        except UNREADABLE:
            self._blame(number)
            raise
        expected = pack.digest(index)
        if actual != expected:
            self._blame(number)
            raise CorruptObjectError(
                f"record {number} hashes to {actual.hex()[:12]}, not to {expected.hex()[:12]}",
                expected=Digest(expected),
                actual=Digest(actual),
            )
        self.cache.reads += 1
        return Record(number, expected, pack.links(index), payload)

    def read_as(self, number: int, digest: Digest) -> Record:
        """Return a verified record that must be the object with this address.

        A damaged key in the table of records would give its number to another sound record.
        """
        record = self.read(number)
        if record.digest != digest:
            self.damaged.add(number)
            raise CorruptObjectError(
                f"record {number} is object {record.digest.hex()[:12]}, not {digest.short}",
                expected=digest,
                actual=Digest(record.digest),
            )
        return record

    def _hash(self, pack: Pack, index: int) -> tuple[bytes, bytes]:
        """Return the payload of a record and the digest that it should have."""
        payload = pack.payload(index)
        links = pack.links(index)
        return payload, frame_address(map(self.digest_of, links), len(links), payload)

    def is_sound(self, number: int) -> bool:
        """Whether a record's bytes hash to its digest."""
        try:
            pack, index = self.locate(number)
            return self._hash(pack, index)[1] == pack.digest(index)
        except UNREADABLE:
            return False

    def _blame(self, number: int) -> None:
        """Note which records are damaged: this one, and of its pack and its links those that are.

        A damaged body hides all records of a pack, and a damaged digest only shows in the records
        that link there; what is not noted is taken for good when the same state is stored again.
        """
        self.damaged.add(number)
        try:
            pack, index = self.locate(number)
            suspects = {*pack.numbers, *pack.links(index)}
        except UNREADABLE:
            return
        self.damaged.update(suspect for suspect in suspects if not self.is_sound(suspect))

    def read_all(self, numbers: Iterable[int]) -> list[Record]:
        """Return several verified records in the order asked for."""
        return [self.read(number) for number in numbers]

    def candidates(self, digest: bytes) -> tuple[int | None, int | None]:
        """Return (the record with this digest, a record that should have it but is unreadable)."""
        return self.candidates_in(self.transaction.get(INDEX, index_key(digest)) or b"", digest)

    def candidates_in(self, row: bytes, digest: bytes) -> tuple[int | None, int | None]:
        """Return what ``candidates`` does, given the digest's row of the index."""
        unreadable = None
        for number in row_numbers(row):
            try:
                if self.digest_of(number) == digest:
                    return number, None
                # Another object whose digest begins alike, or this one with a damaged digest.
                sound = self.is_sound(number)
            except MissingObjectError:
                # Swept, with the index yet to follow; or lost, and then to be healed.
                sound = self.transaction.get(STORE, INDEX_BEHIND) is not None
            except UNREADABLE:
                sound = False
            if not sound:
                unreadable = number
        return None, unreadable

    def find(self, digest: Digest) -> int | None:
        """Return the number of the record with this digest, or None if there is none."""
        return self.candidates(digest)[0]

    def get(self, digest: Digest) -> Object:
        """Return the verified object with this address; ``MissingObjectError`` if absent."""
        number, unreadable = self.candidates(digest)
        if number is None:
            if unreadable is not None:
                self.damaged.add(unreadable)
                raise CorruptObjectError(
                    f"the record of object {digest.short} is damaged", expected=digest
                )
            raise MissingObjectError(f"object {digest.short} is not in the store", digest=digest)
        record = self.read(number)
        return Object(tuple(Digest(self.digest_of(n)) for n in record.links), record.payload)
