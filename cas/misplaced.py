"""Packs of a damaged file whose keys were damaged: a bit is turned back, and they fit again.

A pack says nothing of its own number, so a flipped bit in a key gives its records other ones: too
high, or those of its neighbours. It belongs where nothing else is and where its records, which link
to others by distance, hash to what they should be; or where it fills a gap exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Protocol

from cas.environment import ReadTransaction, WriteTransaction
from cas.errors import MissingObjectError
from cas.packs import Pack
from cas.records import (
    OBJECTS,
    RECORD_KEY_BYTES,
    UNREADABLE,
    PackCache,
    RecordReader,
    record_key,
    record_place,
)
from cas.shape import MOST_RECORDS

__all__ = ["InPlace", "Misplaced", "is_taken", "linked_outwards", "read_pack"]

Rows = dict[int, bytes]
"""Rows of a pack by fragment."""

Proof = Callable[[Pack, int], bool]
"""Whether a pack belongs where so many of its records that link to others are sound."""


class Target(Protocol):
    """Where packs are put: a draft, or a store itself."""

    def view(self) -> AbstractContextManager[ReadTransaction]:
        """Look at what is there."""

    def put(self, work: Callable[[WriteTransaction], None], *, size: int = 0) -> None:
        """Run ``work``, which writes about ``size`` bytes."""


class InPlace:
    """Puts packs into a store, in one of its transactions."""

    def __init__(self, transaction: WriteTransaction) -> None:
        """Read and write in this transaction."""
        self._transaction = transaction

    def view(self) -> AbstractContextManager[ReadTransaction]:
        """Look at what is there."""
        return nullcontext(self._transaction)

    def put(self, work: Callable[[WriteTransaction], None], *, size: int = 0) -> None:
        """Run ``work``."""
        work(self._transaction)


class Misplaced:
    """Current rows of packs that fit nowhere as they stand. ``add`` them all, then ``settle``."""

    def __init__(self, target: Target, below: int) -> None:
        """Prepare to put packs in place; no record has the number ``below`` or a higher one."""
        self._target = target
        self._below = below
        self._rows: dict[int, Rows] = {}

    def add(self, base: int, rows: Mapping[int, bytes]) -> None:
        """Take rows that stand at the base number of a pack."""
        if rows:
            self._rows.setdefault(base, {}).update(rows)

    def settle(self, proves: Proof | None = None) -> set[int]:
        """Put packs where they belong; returns the base numbers at which all rows were used.

        With ``proves``, only where that says so: that one fills a gap is not enough.
        """
        before = set(self._rows)
        # Two rows apart may make a pack at the place of either: first where the links say so.
        for accepts in (_links_prove, None) if proves is None else (proves,):
            for base in sorted(self._rows):
                for fragment in sorted(self._rows.get(base, ())):
                    self._settle(base, fragment, accepts)
        return before - self._rows.keys()

    def _settle(self, base: int, fragment: int, proves: Proof | None) -> None:
        """Look for the place of one row, and put the pack there that it completes."""
        ranked = []
        with self._target.view() as view:
            for parts, pack in self._candidates(base, fragment):
                if is_taken(view, pack.numbers[0], pack.numbers[-1]):
                    continue
                sound, fills = self._proofs(view, pack)
                rank = len(parts) > 1, sound, fills
                if any(rank) if proves is None else proves(pack, sound):
                    ranked.append((rank, parts, pack))
        ranked.sort(key=lambda each: each[0], reverse=True)
        if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
            return
        _rank, parts, pack = ranked[0]

        def write(writing: WriteTransaction) -> None:
            for at, row in enumerate(parts):
                writing.put(OBJECTS, record_key(pack.base, at), row)

        self._target.put(write, size=sum(map(len, parts)))
        self._use(base, [fragment])
        self._use(pack.base, range(len(parts)))

    def _candidates(self, base: int, fragment: int) -> Iterator[tuple[list[bytes], Pack]]:
        """Yield (rows, pack) of what a row may belong to if one bit of its key was flipped."""
        key = int.from_bytes(record_key(base, fragment), "big")
        for bit in range(8 * RECORD_KEY_BYTES):
            place = record_place((key ^ 1 << bit).to_bytes(RECORD_KEY_BYTES, "big"))
            rows = self._with(base, fragment, place)
            if not place[0] or 0 not in rows:
                continue
            parts = [rows.get(at, b"") for at in range(Pack.fragments(rows[0]))]
            pack = read_pack(place[0], parts) if place[1] < len(parts) else None
            if pack is not None and pack.numbers[-1] < self._below:
                yield parts, pack

    def _with(self, base: int, fragment: int, place: tuple[int, int]) -> Rows:
        """Return the rows at a base number, with one more from elsewhere."""
        rows = dict(self._rows.get(place[0], {}))
        if place[0] == base:
            del rows[fragment]
        rows[place[1]] = self._rows[base][fragment]
        return rows

    def _proofs(self, view: ReadTransaction, pack: Pack) -> tuple[int, bool]:
        """Return how many records prove that a pack belongs there, and whether it fills a gap."""
        cache = PackCache()
        reader = RecordReader(view, cache, set())
        cache.add(pack, {})
        first, last = pack.numbers[0], pack.numbers[-1]
        after = view.first_at_or_after(OBJECTS, record_key(last))
        stop = self._below if after is None else record_place(after[0])[0]
        fills = stop == last + 1 and _ends_at(view, first)
        return sum(map(reader.is_sound, linked_outwards(pack))), fills

    def _use(self, base: int, fragments: Iterable[int]) -> None:
        rows = self._rows.get(base, {})
        for fragment in fragments:
            rows.pop(fragment, None)
        if not rows:
            self._rows.pop(base, None)


def _links_prove(_pack: Pack, sound: int) -> bool:
    return sound > 0


def linked_outwards(pack: Pack) -> list[int]:
    """Return the records of a pack that link to some before it: these prove where it belongs."""
    found = []
    for place, number in enumerate(pack.numbers):
        try:
            outwards = any(link < pack.base for link in pack.links(place))
        except UNREADABLE:
            outwards = True  # at this place, it leads to a number that is none
        if outwards:
            found.append(number)
    return found


def read_pack(base: int, rows: Sequence[bytes]) -> Pack | None:
    """Return the pack that rows make up, None if they do not."""
    try:
        pack = Pack(base, b"".join(rows))
        pack.payloads(())
        pack.distances()
    except UNREADABLE:
        return None
    numbers = pack.numbers
    in_order = base <= numbers[0] and all(one < other for one, other in pairwise(numbers))
    is_whole = in_order and 0 < numbers[-1] < MOST_RECORDS and Pack.fragments(rows[0]) == len(rows)
    return pack if is_whole else None


def is_taken(transaction: ReadTransaction, first: int, last: int) -> bool:
    """Whether a pack holds, or may hold, records with numbers from ``first`` to ``last``."""
    after = transaction.first_at_or_after(OBJECTS, record_key(first))
    if after is not None and record_place(after[0])[0] <= last:
        return True
    return _last_before(transaction, first) >= first


def _ends_at(transaction: ReadTransaction, number: int) -> bool:
    """Whether a pack ends right before a number."""
    return _last_before(transaction, number) == number - 1


def _last_before(transaction: ReadTransaction, number: int) -> int:
    """Return the number of the last record of the pack that begins at or before one; 0: none."""
    try:
        return RecordReader(transaction, PackCache(), set()).pack_of(number).numbers[-1]
    except MissingObjectError:
        return 0
