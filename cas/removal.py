"""Removing dead records from a pack, in the collector's transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import repeat
from typing import Final

from cas.counters import Counters
from cas.digest import Digest
from cas.environment import WriteTransaction
from cas.errors import CorruptObjectError
from cas.markpass import DEAD
from cas.packs import FRAGMENT_BYTES, NewRecord, Pack
from cas.packwalk import packs_up
from cas.records import (
    INDEX,
    OBJECTS,
    REPAIRS,
    UNREADABLE,
    index_key,
    number_row,
    record_key,
    row_numbers,
)
from cas.repairs import sound_repairs

__all__ = ["put_in_index", "sweep_index", "sweep_pack", "sweep_stray_repairs"]

_LEAST_ROWS: Final = 64
"""What is looked at even if time is up, so that every call gets further."""
_MOSTLY_LEFT: Final = 3 / 4
"""How much of a pack is left where its rows stay in their pages."""


def sweep_pack(
    transaction: WriteTransaction,
    base: int,
    marks: bytearray,
    counters: Counters,
    *,
    index_later: bool,
) -> int:
    """Remove the records of a pack that are marked dead; returns how many that were.

    The pack is rewritten without them, or removed. So nothing dead is left that something could
    link to, and nothing whose own links lead nowhere. Good bytes that stand in for damaged records
    move into the new pack. With ``index_later``, ``sweep_index`` will remove them from the index.

    Raises:
        CorruptionError: The pack must be rewritten and cannot be read.
    """
    for found, data in packs_up(transaction, base, base + 1):
        pack = Pack(found, data)
        dead = [place for place, number in enumerate(pack.numbers) if marks[number] == DEAD]
        if dead:
            _rewrite(transaction, pack, data, set(dead), counters)
        for place in dead:
            if not index_later:
                _remove_from_index(transaction, pack.digest(place), pack.numbers[place])
            counters.objects -= 1
            counters.payload_bytes -= pack.size(place)
        return len(dead)
    return 0


def _rewrite(
    transaction: WriteTransaction, pack: Pack, data: bytes, dead: set[int], counters: Counters
) -> None:
    left: list[NewRecord] = []
    any_repairs = transaction.count(REPAIRS) > 0
    for place, number in enumerate(pack.numbers):
        source, at = pack, place
        repair = _take_repair(transaction, number, counters) if any_repairs else None
        if repair is not None:
            source, at = repair, 0
        if place not in dead:
            digest = Digest(source.digest(at))
            left.append(NewRecord(number, digest, source.links(at), source.payload(at)))
    old = {}
    for fragment in range(Pack.fragments(data)):
        key = record_key(pack.base, fragment)
        known = transaction.get(OBJECTS, key)
        if known is None:
            # It was met on the way over all packs, and is not found: it would stay, beside the new.
            raise CorruptObjectError(f"the pack at record {pack.base} has a row with a damaged key")
        old[key] = len(known)
    cut = partial(_cut_like, list(old.values()))
    new = Pack.encode(left, FRAGMENT_BYTES, cut=cut) if left else ()
    rows = {record_key(left[0].number, fragment): row for fragment, row in enumerate(new)}
    for key in old.keys() - rows.keys():
        transaction.delete(OBJECTS, key)
    counters.stored_bytes -= len(data)
    for key, row in rows.items():
        transaction.put(OBJECTS, key, row)
        counters.stored_bytes += len(row)


def _cut_like(rows: Sequence[int], size: int) -> list[int]:
    """Return the sizes of the rows for a pack of ``size`` bytes in the place of other ``rows``.

    What goes over a row of its size stays in that page. Removed and put anew in other sizes, rows
    split full pages: a collection of manifests beside long texts made the tree a quarter larger.
    Where more goes than that, rows of the usual size leave fewer pages.
    """
    if size < _MOSTLY_LEFT * sum(rows):
        rows = ()
    cuts = []
    for room in (*rows, *repeat(FRAGMENT_BYTES, size // FRAGMENT_BYTES + 1)):
        cuts.append(min(room, size))
        size -= cuts[-1]
    return [cut for cut in cuts if cut]


def _take_repair(transaction: WriteTransaction, number: int, counters: Counters) -> Pack | None:
    """Remove what stands in for a record, and return it if it is good."""
    key = record_key(number)
    try:
        row = transaction.get(REPAIRS, key)
        repair = None if row is None else Pack(number, row)
    except UNREADABLE:
        return None
    if row is not None:
        transaction.delete(REPAIRS, key)
        counters.stored_bytes -= len(row)
    return repair


def _remove_from_index(transaction: WriteTransaction, digest: bytes, number: int) -> None:
    key = index_key(digest)
    row = transaction.get(INDEX, key)
    numbers = row_numbers(row) if row is not None else []
    if number not in numbers:
        return  # The record's digest is damaged; no reader takes the row that is left for it.
    numbers.remove(number)
    put_in_index(transaction, key, numbers)


def put_in_index(transaction: WriteTransaction, key: bytes, numbers: list[int]) -> None:
    """Let a row of the index name these records, which may be none."""
    if numbers:
        transaction.put(INDEX, key, number_row(numbers))
    else:
        transaction.delete(INDEX, key)


def sweep_stray_repairs(
    transaction: WriteTransaction, marks: bytearray, counters: Counters
) -> None:
    """Remove what stands in for dead records that no pack holds any more."""
    for key, row, repair in sound_repairs(transaction):
        number = repair.base
        if number < len(marks) and marks[number] == DEAD:
            _remove_from_index(transaction, repair.digest(0), number)
            transaction.delete(REPAIRS, key)
            counters.stored_bytes -= len(row)


def sweep_index(
    transaction: WriteTransaction, start: bytes, marks: bytearray, end: float
) -> bytes | None:
    """Remove dead records from the index, from the key ``start`` on, in the order of keys.

    All dead records must be gone. ``end`` is when to stop (of ``time.perf_counter``). Returns the
    key to go on from, None when done.
    """
    for place, (key, row) in enumerate(transaction.items(INDEX, start)):
        if place >= _LEAST_ROWS and time.perf_counter() > end:
            return key
        numbers = row_numbers(row)
        left = [number for number in numbers if number >= len(marks) or marks[number] != DEAD]
        if len(left) != len(numbers):
            put_in_index(transaction, key, left)
    return None
