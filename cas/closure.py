"""Reading everything below some records at once, in one transaction and one pass.

A restore that asks for the children of one object after the other pays for a transaction, and for
Python's bookkeeping, at each of them: more than for decompressing, hashing and decoding together.
So this walks from pack to pack instead of from record to record, and makes no object a record.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cas.objects import frame_address, leaf_addresses
from cas.packs import Pack
from cas.records import UNREADABLE, RecordReader

__all__ = ["Closure", "read_closure"]


@dataclass(slots=True)
class Closure:
    """The verified records below some others, by number.

    Attributes:
        leaves: The payloads of those without links.
        parents: Links and payload of the others, children before parents.
    """

    leaves: dict[int, bytes] = field(default_factory=dict)
    parents: dict[int, tuple[Sequence[int], bytes]] = field(default_factory=dict)

    def __contains__(self, number: object) -> bool:
        """Whether a record is among them."""
        return number in self.leaves or number in self.parents


def read_closure(reader: RecordReader, numbers: Iterable[int], most_bytes: int) -> Closure | None:
    """Return the verified records that these lead to, themselves included.

    Args:
        reader: Looks records up in one transaction.
        numbers: Where to begin.
        most_bytes: How many bytes the payloads may have together, inclusive.

    Returns:
        The records; None if they are larger together, or if one cannot be read as it stands in its
        pack. Reading it alone says what is wrong with it.
    """
    if reader.has_repairs:
        return None
    try:
        packs = _packs(reader, numbers, most_bytes)
        closure = None if packs is None else _verified(packs)
    except UNREADABLE:
        return None
    if closure is not None:
        reader.cache.reads += len(closure.leaves) + len(closure.parents)
    return closure


class _Wanted:
    """A pack and what of it is wanted: places of records without links, and of others with them."""

    __slots__ = ("leaves", "pack", "parents")

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
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


def _packs(reader: RecordReader, numbers: Iterable[int], most_bytes: int) -> list[_Wanted] | None:
    """Return the packs that hold the records, lowest first; None if those are larger together."""
    packs: dict[int, _Wanted] = {}
    found: set[int] = set()
    size = 0
    wanted = set(numbers)
    while wanted:
        found |= wanted
        below: set[int] = set()
        numbers = sorted(wanted)
        while numbers:
            # Neighbours stand in the same pack, so it is looked up for the highest of them only.
            pack = reader.locate(numbers[-1])[0]
            of_pack = packs.get(pack.base)
            if of_pack is None:
                of_pack = packs[pack.base] = _Wanted(pack)
            first = bisect_left(numbers, pack.base)
            size += of_pack.note(numbers[first:], below)
            del numbers[first:]
        if size > most_bytes:
            return None
        wanted = below - found
    return [packs[base] for base in sorted(packs)]


def _verified(packs: Iterable[_Wanted]) -> Closure | None:
    """Return the records that are wanted; None if one does not hash to its digest.

    ``packs`` stand in ascending order: a record's number is above those of its links.
    """
    closure = Closure()
    leaves, parents = closure.leaves, closure.parents
    digests: dict[int, bytes] = {}
    for wanted in packs:
        pack = wanted.pack
        places = sorted(wanted.leaves)
        payloads = pack.payloads(places)
        actual = leaf_addresses(payloads)
        if actual != pack.digests(places):
            return None
        numbers = [pack.numbers[place] for place in places]
        leaves.update(zip(numbers, payloads, strict=True))
        digests.update(zip(numbers, actual, strict=True))
        for place, links in sorted(wanted.parents):
            payload, digest = pack.payload(place), pack.digest(place)
            number = pack.numbers[place]
            if frame_address([digests[link] for link in links], len(links), payload) != digest:
                return None
            parents[number] = (links, payload)
            digests[number] = digest
    return closure
