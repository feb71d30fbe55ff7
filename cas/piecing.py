"""Piecing packs together from rows that were found one by one.

A pack counts if all its rows are there and fit each other, and if none of its records has the
number of one that is there already. Whether its records are what they should be, their digests
tell whoever reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise, product
from typing import Final

from cas.environment import ReadTransaction, WriteTransaction
from cas.errors import MissingObjectError
from cas.packs import Pack
from cas.records import (
    OBJECTS,
    UNREADABLE,
    PackCache,
    RecordReader,
    record_key,
    record_place,
)
from cas.repack import Draft
from cas.sieve import CURRENT, Sieve, Version

__all__ = ["piece_packs", "read_pack"]

_MOST_TRIES: Final = 16
_MOST_BYTES: Final = 64 << 20
"""Most bytes of rows that are looked at for one pack, all versions together."""
_NUMBERS: Final = 1 << 48


def piece_packs(sieve: Sieve, draft: Draft) -> list[int]:
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
    return sorted(left)


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
    for first in reversed(firsts):
        count = Pack.fragments(first.value)
        others = [rows.get(fragment, []) for fragment in range(1, count)]
        choices = product([first], *others) if 0 < count <= len(rows) else iter(())
        for chosen in islice(choices, _MOST_TRIES):
            parts = [each.value for each in chosen]
            if read_pack(base, parts) is not None:
                return parts
    return None


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
