"""Reading everything below some records at once, in one transaction and one pass.

A restore that asks for the children of one object after the other pays for a transaction, and for
Python's bookkeeping, at each of them: more than for decompressing, hashing and decoding together.
So this walks from pack to pack instead of from record to record, and makes no object a record.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from cas.digest import Digest
from cas.kept import Kept, KeptByNumber, KeptRecords
from cas.objects import frame_address, leaf_addresses
from cas.packs import Pack
from cas.records import UNREADABLE, RecordReader

__all__ = ["Closure", "Made", "read_closure", "read_known"]


class Made(Protocol):
    """What was made of a verified record and of everything below it."""

    @property
    def digest(self) -> bytes:
        """The record's digest."""
        ...


M = TypeVar("M", bound=Made)


@dataclass(slots=True)
class Closure:
    """The verified records below some others, by number.

    Attributes:
        generation: Of the file they are in.
        records: All of them but those made something of.
        leaves: The payloads of those without links.
        parents: Links and payload of the others, children before parents.
        made: What was made of records before. What is only below those is not read.
    """

    generation: int = 0
    records: Mapping[int, Kept] = field(default_factory=dict)
    leaves: dict[int, bytes] = field(default_factory=dict)
    parents: dict[int, tuple[Sequence[int], bytes]] = field(default_factory=dict)
    made: Mapping[int, Any] = field(default_factory=dict)


def read_known(
    reader: RecordReader, kept: KeptRecords, ids: Mapping[int, Digest]
) -> dict[int, Kept]:
    """Return verified records by number, each of which must be the object with this address.

    What is in memory is not read again.

    Raises:
        CorruptObjectError: One is damaged, or another object.
        MissingObjectError: One is not there.
    """
    generation = reader.transaction.generation
    found = kept.of(generation, ids)
    fresh: dict[int, Kept] = {}
    for number, digest in ids.items():
        known = found.get(number)
        if known is None or known.digest != digest:
            record = reader.read_as(number, digest)
            fresh[number] = Kept(record.digest, record.links, record.payload)
    if fresh:
        kept.keep(generation, fresh)
    return {**found, **fresh}


def read_closure(
    reader: RecordReader,
    kept: KeptRecords,
    numbers: Iterable[int],
    most_bytes: int,
    ids: Mapping[int, Digest] | None = None,
    made: KeptByNumber[Any] | None = None,
    confirmed: Collection[int] = (),
) -> Closure | None:
    """Return the verified records that these lead to, themselves included.

    Args:
        reader: Looks records up in one transaction.
        kept: What is in memory already, and afterwards also what was read.
        numbers: Where to begin.
        most_bytes: How many bytes the payloads may have together, inclusive.
        ids: The addresses that some of ``numbers`` must have, from a row with a checksum. The packs
            of those that are in memory need not be looked at.
        made: Something (``Made``) that the caller made of some records, to be taken instead.
        confirmed: Those of ``numbers`` that a record in memory links to.

    Returns:
        The records; None if they are larger together, or if one cannot be read as it stands in its
        pack, or is another object. Reading it alone says what is wrong with it.
    """
    if reader.has_repairs:
        return None
    ids = ids or {}
    search = _Search(reader, kept, made)
    try:
        if not search.find(set(numbers), most_bytes, ids, confirmed):
            return None
        packs = [*search.packs.values(), *search.earlier]
        fresh = _verified(packs, search.digests) if packs else {}
    except UNREADABLE:
        return None
    if fresh is None:
        return None
    for number in ids.keys() & fresh.keys():
        if fresh[number].digest != ids[number]:
            return None
    reader.cache.reads += len(fresh)
    kept.keep(reader.transaction.generation, fresh)
    records = {**search.known, **fresh}
    closure = Closure(reader.transaction.generation, records, made=search.made)
    for number in sorted(records):
        _digest, links, payload = records[number]
        if links:
            closure.parents[number] = (links, payload)
        else:
            closure.leaves[number] = payload
    return closure


class _Search:
    """Finds out which packs hold the records that are not in memory."""

    def __init__(
        self, reader: RecordReader, kept: KeptRecords, made: KeptByNumber[Any] | None
    ) -> None:
        self._reader = reader
        self._kept = kept
        self._made = made
        self._size = 0
        self._bases: list[int] = []
        self.known: dict[int, Kept] = {}
        self.made: dict[int, Made] = {}
        self.packs: dict[int, _Wanted] = {}
        self.earlier: list[_Wanted] = []

    @property
    def digests(self) -> dict[int, bytes]:
        """The digests of the records that are in memory, or of which something was made."""
        known, made = self.known, self.made
        digests = {number: kept.digest for number, kept in known.items()}
        return {**digests, **{number: item.digest for number, item in made.items()}}

    def find(
        self,
        wanted: set[int],
        most_bytes: int,
        ids: Mapping[int, Digest],
        confirmed: Collection[int],
    ) -> bool:
        """Look for everything below some records; whether they have ``most_bytes`` at most."""
        generation = self._reader.transaction.generation
        found: set[int] = set()
        while wanted:
            made = {} if self._made is None else self._made.of(generation, wanted)
            known = self._kept.of(generation, wanted.difference(made) if made else wanted)
            if not found:
                made = self._confirmed(made, ids, confirmed)
                known = self._confirmed(known, ids, confirmed)
            found |= wanted
            self.made.update(made)
            self.known.update(known)
            self._size += sum([len(kept.payload) for kept in known.values()])
            below = set(chain.from_iterable([kept.links for kept in known.values()]))
            below |= self._locate(sorted(wanted.difference(made, known)), most_bytes)
            if self._size > most_bytes:
                return False
            wanted = below - found
        return True

    def _confirmed(
        self, items: dict[int, M], ids: Mapping[int, Digest], confirmed: Collection[int]
    ) -> dict[int, M]:
        """Return the items of which this file says that they have these digests.

        Whoever asks has verified what it says. So what is in memory of another file, which somebody
        put in the place of this one, is met here or in a frame above it.
        """
        digest_of = self._reader.digest_of
        return {
            number: item
            for number, item in items.items()
            if number in confirmed or item.digest == (ids.get(number) or digest_of(number))
        }

    def _locate(self, numbers: list[int], most_bytes: int) -> set[int]:
        """Note in which packs some records stand; returns what they link to.

        It ends early once there are more than ``most_bytes``: each pack is read as a whole.
        """
        below: set[int] = set()
        while numbers and self._size <= most_bytes:
            # Neighbours stand in the same pack, so it is looked up for the highest of them only.
            of_pack = self._pack_of(numbers[-1])
            first = bisect_left(numbers, of_pack.pack.base)
            self._size += of_pack.note(numbers[first:], below)
            del numbers[first:]
        return below

    def _pack_of(self, number: int) -> _Wanted:
        """Return the pack that holds a record, if any does.

        All packs stay here until the end: the reader's cache may have dropped one meanwhile.
        """
        at = bisect_right(self._bases, number)
        if at:
            found = self.packs[self._bases[at - 1]]
            if number <= found.last:
                return found
        pack = self._reader.pack_of(number)
        known = self.packs.get(pack.base)
        if known is None:
            insort(self._bases, pack.base)
        elif known.last >= number:
            return known  # the record is missing from it
        else:
            # The one that is known is of an earlier transaction, and was merged into this one.
            self.earlier.append(known)
        wanted = self.packs[pack.base] = _Wanted(pack)
        return wanted


class _Wanted:
    """A pack and what of it is wanted: places of records without links, and of others with them."""

    __slots__ = ("last", "leaves", "pack", "parents")

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.last = pack.numbers[-1]
        self.leaves: list[int] = []
        self.parents: list[tuple[int, Sequence[int]]] = []

    def note(self, numbers: Iterable[int], below: set[int]) -> int:
        """Note that these records of the pack are wanted; returns the size of their payloads.

        What they link to is added to ``below``.
        """
        pack, size = self.pack, 0
        for number in numbers:
            place = pack.place_of(number)
            size += pack.sizes[place]
            links = pack.links(place)
            if links:
                self.parents.append((place, links))
                below.update(links)
            else:
                self.leaves.append(place)
        return size


def _verified(packs: Iterable[_Wanted], digests: dict[int, bytes]) -> dict[int, Kept] | None:
    """Return the records that are wanted; None if one does not hash to its digest.

    ``digests`` are those of verified records, to which the new ones are added.
    """
    records: dict[int, Kept] = {}
    parents: list[tuple[int, Pack, int, Sequence[int]]] = []
    for wanted in packs:
        pack = wanted.pack
        places = sorted(wanted.leaves)
        payloads = pack.payloads(places)
        actual = leaf_addresses(payloads)
        if actual != pack.digests(places):
            return None
        numbers = [pack.numbers[place] for place in places]
        records.update(zip(numbers, map(Kept, actual, repeat(()), payloads), strict=True))
        digests.update(zip(numbers, actual, strict=True))
        parents += [(pack.numbers[place], pack, place, links) for place, links in wanted.parents]
    parents.sort(key=itemgetter(0))  # children before parents
    for number, pack, place, links in parents:
        payload, digest = pack.payload(place), pack.digest(place)
        if frame_address([digests[link] for link in links], len(links), payload) != digest:
            return None
        records[number] = Kept(digest, links, payload)
        digests[number] = digest
    return records
