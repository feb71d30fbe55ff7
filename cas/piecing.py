"""Packs of a damaged file: taken over whole, or pieced together from rows found one by one.

A pack counts if all its rows are there and fit each other, and if none of its records has the
number of one that is there already. Whether its records are what they should be, their digests
tell whoever reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

from cas.counters import Counters
from cas.environment import WriteTransaction
from cas.errors import CorruptStoreError
from cas.misplaced import Misplaced, is_taken, read_pack
from cas.packs import Pack
from cas.packwalk import pack_rows
from cas.rawtree import Loss, RawRow
from cas.reclaim import recount
from cas.records import (
    NUMBER_BYTES,
    OBJECTS,
    index_key,
    record_key,
    record_place,
)
from cas.repack import Draft
from cas.shape import MOST_RECORDS
from cas.sieve import CURRENT, Sieve, Version

__all__ = ["PackTaker", "complete", "piece_packs"]

_MOST_TRIES: Final = 16
_MOST_BYTES: Final = 64 << 20
"""Most bytes of rows that are looked at for one pack, all versions together."""


class PackTaker:
    """Takes over the packs of a tree that are whole, and puts the rows of others aside.

    Attributes:
        rows: How many rows it was given.
        bases: The base numbers of the packs that are not whole, or not where they belong.
        losses: Where their rows are missing. Of one that cannot be read, all packs may come back
            that it was merged of, so that goes on to the next one.
        below: No record has this number or a higher one.
    """

    def __init__(self, draft: Draft, sieve: Sieve) -> None:
        self.rows = 0
        self.bases: set[int] = set()
        self.losses: list[Loss] = []
        self.below = MOST_RECORDS
        self._draft = draft
        self._sieve = sieve
        self._last = 0
        self._held: _Held | None = None

    def take(self, leaves: Iterable[list[RawRow]]) -> None:
        """Take the rows of the table of packs, in the order of their keys."""
        base = -1
        rows: list[tuple[bytes, bytes]] = []
        for leaf in leaves:
            for row in leaf:
                place, fragment = record_place(row.key)
                if rows and (place != base or fragment == 0):
                    self._take(base, rows, row.key)
                    rows = []
                base = place
                rows.append((row.key, row.value or b""))
        if rows:
            self._take(base, rows, None)
        self._write_held()

    def _take(self, base: int, rows: list[tuple[bytes, bytes]], behind: bytes | None) -> None:
        self.rows += len(rows)
        keys = [record_key(base, fragment) for fragment in range(len(rows))]
        pack = read_pack(base, [row for _key, row in rows])
        if pack is None or [key for key, _row in rows] != keys or pack.numbers[-1] >= self.below:
            self._put_aside(base, rows, behind)
            return
        found = _Held(pack.numbers[0], pack.numbers[-1], base, rows, behind)
        held = self._held
        if held is not None and found.first <= held.last:
            if not held.may_be_moved(self._last + 1, found):
                self._put_aside(base, rows, behind)
                return
            self._held = None
            self._put_aside(held.base, held.rows, held.behind)
        self._write_held()
        self._held = found

    def _write_held(self) -> None:
        """Write the pack that the next one might have shown to be at the wrong place."""
        held, self._held = self._held, None
        if held is not None:
            for key, row in held.rows:
                self._draft.append(OBJECTS, key, row)
            self._last = held.last

    def _put_aside(self, base: int, rows: list[tuple[bytes, bytes]], behind: bytes | None) -> None:
        for key, row in rows:
            self._sieve.add(OBJECTS, key, row, CURRENT)
        self.bases.add(base)
        text = f"the pack at record {base} cannot be read"
        self.losses.append(Loss(OBJECTS.name, 0, record_key(base), behind, text, is_leaf=True))


@dataclass(frozen=True, slots=True)
class _Held:
    """A pack that is whole: its first and last record, its base, its rows, the key behind them."""

    first: int
    last: int
    base: int
    rows: list[tuple[bytes, bytes]]
    behind: bytes | None

    def may_be_moved(self, start: int, other: _Held) -> bool:
        """Whether one flipped bit brought it here, from between the packs before and behind it.

        Only what has a single row can be moved so and still be whole.
        """
        if len(self.rows) > 1 or len(other.rows) > 1:
            return len(self.rows) == 1
        most = other.first - 1 - (self.last - self.base)
        return any(start <= self.base ^ 1 << bit <= most for bit in range(8 * NUMBER_BYTES))


def piece_packs(sieve: Sieve, draft: Draft, below: int) -> set[int]:
    """Write the packs that rows in a sieve make up into a draft; returns the others' numbers.

    What the last commit had comes first, also where a damaged key has put it elsewhere; then older
    versions where nothing is. No record has the number ``below`` or a higher one.
    """
    left: set[int] = set()
    misplaced = Misplaced(draft, below)
    for base, rows in _groups(sieve):
        current = {
            fragment: now
            for fragment, versions in rows.items()
            if (now := [each for each in versions if each.moment == CURRENT])
        }
        pack = _pieced(base, current, below)
        if pack is None or not _put(draft, base, pack):
            pack = []
            if current:
                left.add(base)
        others = {at: now[0].value for at, now in current.items() if at >= len(pack)}
        misplaced.add(base, others)
    left -= misplaced.settle()
    for base, rows in _groups(sieve):
        pack = _pieced(base, rows, below)
        if pack is not None and _put(draft, base, pack):
            left.discard(base)
    return left


def _groups(sieve: Sieve) -> Iterator[tuple[int, dict[int, list[Version]]]]:
    """Yield (base number, versions by fragment) of each pack of which a row was found."""
    last, rows, size = -1, dict[int, list[Version]](), 0
    for key, versions in sieve.rows(OBJECTS):
        base, fragment = record_place(key)
        if base != last and rows:
            yield last, rows
            rows, size = {}, 0
        last = base
        size += sum(len(each.value) for each in versions)
        if size <= _MOST_BYTES:
            rows[fragment] = versions
    if rows:
        yield last, rows


def _pieced(base: int, rows: dict[int, list[Version]], below: int) -> list[bytes] | None:
    """Return the rows of a pack that fit each other, the newest that do."""
    firsts = sorted(rows.get(0, ()), key=lambda each: (each.moment, Pack.fragments(each.value)))
    for chosen in islice(_choices(rows, reversed(firsts)), _MOST_TRIES):
        parts = [each.value for each in chosen]
        pack = read_pack(base, parts)
        if pack is not None and pack.numbers[-1] < below:
            return parts
    return None


def _choices(
    rows: dict[int, list[Version]], firsts: Iterable[Version]
) -> Iterator[tuple[Version, ...]]:
    for first in firsts:
        count = Pack.fragments(first.value)
        if 0 < count <= len(rows):
            others = [rows.get(fragment, []) for fragment in range(1, count)]
            yield from product([first], *others)


def _put(draft: Draft, base: int, rows: list[bytes]) -> bool:
    """Write a pack, unless others have its numbers; whether it was written."""
    pack = Pack(base, b"".join(rows))
    is_free: list[bool] = []

    def work(transaction: WriteTransaction) -> None:
        is_free[:] = [not is_taken(transaction, pack.numbers[0], pack.numbers[-1])]
        if is_free[0]:
            for fragment, row in enumerate(rows):
                transaction.put(OBJECTS, record_key(base, fragment), row)

    draft.put(work, size=sum(map(len, rows)))
    return is_free[0]


def complete(draft: Draft) -> None:
    """Write the index of all records in a draft, and its counters."""
    entries: list[bytes] = []
    next_record = 1
    with draft.view() as view:
        for base, rows, _after in pack_rows(view, b""):
            pack = Pack(base, b"".join([row for _key, row in rows]))
            for place, number in enumerate(pack.numbers):
                key = index_key(pack.digest(place))
                entries.append(key + number.to_bytes(NUMBER_BYTES, "big"))
            next_record = pack.numbers[-1] + 1
    draft.append_index(entries)
    draft.put(lambda writing: _count(writing, next_record))
    draft.save()


def _count(writing: WriteTransaction, next_record: int) -> None:
    try:
        counters = Counters.load(writing)
    except CorruptStoreError:
        counters = Counters()
    counters.next_record = max(counters.next_record, next_record)
    recount(writing, counters)
    # Nothing that was known of the old store is true of this one.
    counters.root_epoch += 1
    counters.sweeps += 1
    counters.save(writing)
