"""Packs of a damaged file: taken over whole, or pieced together from rows found one by one.

A pack counts if all its rows are there and fit each other, and if none of its records has the
number of one that is there already. Whether its records are what they should be, their digests
tell whoever reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise, product
from typing import Final

from cas.counters import Counters
from cas.environment import ReadTransaction, WriteTransaction
from cas.errors import CorruptStoreError, MissingObjectError
from cas.packs import Pack
from cas.packwalk import pack_rows
from cas.rawtree import Loss, RawRow
from cas.reclaim import recount
from cas.records import (
    NUMBER_BYTES,
    OBJECTS,
    UNREADABLE,
    PackCache,
    RecordReader,
    index_key,
    record_key,
    record_place,
)
from cas.repack import Draft
from cas.sieve import CURRENT, Sieve, Version

__all__ = ["PackTaker", "complete", "piece_packs"]

_MOST_TRIES: Final = 16
_MOST_BYTES: Final = 64 << 20
"""Most bytes of rows that are looked at for one pack, all versions together."""
_NUMBERS: Final = 1 << 8 * NUMBER_BYTES


class PackTaker:
    """Takes over the packs of a tree that are whole, and puts the rows of others aside.

    Attributes:
        rows: How many rows it was given.
        bases: The base numbers of the packs that are not whole.
        losses: Where their rows are missing. Of one that cannot be read, all packs may come back
            that it was merged of, so that goes on to the next one.
    """

    def __init__(self, draft: Draft, sieve: Sieve) -> None:
        self.rows = 0
        self.bases: set[int] = set()
        self.losses: list[Loss] = []
        self._draft = draft
        self._sieve = sieve
        self._last = -1

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

    def _take(self, base: int, rows: list[tuple[bytes, bytes]], behind: bytes | None) -> None:
        self.rows += len(rows)
        keys = [record_key(base, fragment) for fragment in range(len(rows))]
        pack = _read_pack(base, [row for _key, row in rows])
        if pack is not None and [key for key, _row in rows] == keys:
            if pack.numbers[0] > self._last:
                for key, row in rows:
                    self._draft.append(OBJECTS, key, row)
                self._last = pack.numbers[-1]
                return
        for key, row in rows:
            self._sieve.add(OBJECTS, key, row, CURRENT)
        self.bases.add(base)
        text = f"the pack at record {base} cannot be read"
        self.losses.append(Loss(OBJECTS.name, 0, record_key(base), behind, text, is_leaf=True))


def piece_packs(sieve: Sieve, draft: Draft) -> set[int]:
    """Write the packs that rows in a sieve make up into a draft; returns the others' numbers.

    What the last commit had comes first, then older versions where nothing is.
    """
    left: set[int] = set()
    for only_current in (True, False):
        for base, rows in _groups(sieve):
            if only_current:
                rows = {
                    fragment: [each for each in versions if each.moment == CURRENT]
                    for fragment, versions in rows.items()
                }
            is_current = any(each.moment == CURRENT for each in chain(*rows.values()))
            pack = _pieced(base, rows) if rows.get(0) else None
            if pack is not None:
                left.discard(base)
                _put(draft, base, pack)
            elif is_current:
                left.add(base)
    return left


def _read_pack(base: int, rows: Sequence[bytes]) -> Pack | None:
    """Return the pack that rows make up, None if they do not."""
    try:
        pack = Pack(base, b"".join(rows))
        pack.payloads(())
        pack.distances()
    except UNREADABLE:
        return None
    numbers = pack.numbers
    in_order = base <= numbers[0] and all(one < other for one, other in pairwise(numbers))
    is_whole = in_order and 0 < numbers[-1] < _NUMBERS and Pack.fragments(rows[0]) == len(rows)
    return pack if is_whole else None


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


def _pieced(base: int, rows: dict[int, list[Version]]) -> list[bytes] | None:
    """Return the rows of a pack that fit each other, the newest that do."""
    firsts = sorted(rows[0], key=lambda each: (each.moment, Pack.fragments(each.value)))
    for chosen in islice(_choices(rows, reversed(firsts)), _MOST_TRIES):
        parts = [each.value for each in chosen]
        if _read_pack(base, parts) is not None:
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


def _put(draft: Draft, base: int, rows: list[bytes]) -> None:
    pack = Pack(base, b"".join(rows))

    def work(transaction: WriteTransaction) -> None:
        if not _is_taken(transaction, pack.numbers[0], pack.numbers[-1]):
            for fragment, row in enumerate(rows):
                transaction.put(OBJECTS, record_key(base, fragment), row)

    draft.put(work, size=sum(map(len, rows)))


def _is_taken(transaction: ReadTransaction, first: int, last: int) -> bool:
    """Whether a pack holds, or may hold, records with numbers from ``first`` to ``last``."""
    after = transaction.first_at_or_after(OBJECTS, record_key(first))
    if after is not None and record_place(after[0])[0] <= last:
        return True
    try:
        before = RecordReader(transaction, PackCache(), set()).pack_of(first)
    except MissingObjectError:
        return False
    return before.numbers[-1] >= first


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
