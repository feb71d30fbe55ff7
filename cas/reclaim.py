"""Removing damaged records for good, and making index and counters right again, for repair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import replace

from cas.check import count_records
from cas.counters import Counters
from cas.digest import Digest
from cas.environment import WriteTransaction
from cas.misplaced import InPlace, Misplaced, linked_outwards
from cas.packs import FRAGMENT_BYTES, NewRecord, Pack
from cas.packwalk import pack_base, pack_rows, whole_pack
from cas.records import (
    INDEX,
    LAST_FRAGMENT,
    NUMBER_BYTES,
    OBJECTS,
    RECORD_KEY_BYTES,
    REPAIRS,
    UNREADABLE,
    PackCache,
    RecordReader,
    index_key,
    record_key,
    record_place,
    row_numbers,
)
from cas.removal import put_in_index
from cas.repairs import sound_repairs

__all__ = ["move_packs", "rebuild_index", "recount", "replace_packs", "rewrite_packs"]

_Group = tuple[int, list[tuple[bytes, bytes]], bytes | None]
"""A pack as its rows: base number, (key, row) pairs, and the first key behind them."""


def replace_packs(transaction: WriteTransaction, damaged_keys: Iterable[bytes], below: int) -> int:
    """Remove packs that cannot be read, or are in the place of others; put back those that fit.

    A damaged key puts a pack where it hides sound records of another: which of two that claim the
    same numbers has them, the index says. If it says nothing, both stay.

    Args:
        transaction: Nothing was read in it yet.
        damaged_keys: Keys of the first rows of packs that cannot be read or run into the next.
        below: No record has this number or a higher one.

    Returns:
        At how many places all rows were put back, each under its right key.
    """
    misplaced = Misplaced(InPlace(transaction), below)
    for base, rows, _after in _removed(transaction, damaged_keys):
        for key, row in rows:
            if len(key) == RECORD_KEY_BYTES:
                misplaced.add(base, {record_place(key)[1]: row})
    return len(misplaced.settle())


def move_packs(
    transaction: WriteTransaction, suspects: Iterable[int], wanted: Set[int], below: int
) -> int:
    """Put packs back that a damaged key moved to where nothing else is; returns how many.

    Such a pack is whole, but its records are others now: those that link to some before them hash
    to something else. Where none does, the index knows the pack elsewhere, and something leads
    there.

    Args:
        transaction: Nothing was read in it yet.
        suspects: Numbers of records that are not what they should be, or that the index lacks.
        wanted: Numbers of records that something leads to in vain.
        below: No record has this number or a higher one.
    """

    def proves(pack: Pack, sound: int) -> bool:
        if linked_outwards(pack):
            return sound > 0
        return _is_known(transaction, pack) and not wanted.isdisjoint(pack.numbers)

    moved = 0
    for base, rows, after in _suspected(transaction, suspects):
        _remove(transaction, (base, rows, after))
        misplaced = Misplaced(InPlace(transaction), below)
        misplaced.add(base, {record_place(key)[1]: row for key, row in rows})
        if misplaced.settle(proves):
            moved += 1
            continue
        for key, row in rows:
            transaction.put(OBJECTS, key, row)
    return moved


def _suspected(transaction: WriteTransaction, suspects: Iterable[int]) -> Iterator[_Group]:
    """Yield whole packs of one row, in which nothing proves that they are where they belong."""
    checked_to = 0
    for number in sorted(suspects):
        found = transaction.last_at_or_before(OBJECTS, record_key(number, LAST_FRAGMENT))
        if number < checked_to or found is None:
            continue
        group = next(pack_rows(transaction, found[0]), None)
        if group is None or len(group[1]) > 1 or not _is_whole(group):
            continue
        pack = whole_pack(*group[:2])
        checked_to = pack.numbers[-1] + 1
        reader = RecordReader(transaction, PackCache(), set())
        outwards = linked_outwards(pack)
        if any(map(reader.is_sound, outwards)) or (not outwards and _is_known(transaction, pack)):
            continue
        yield group


def _removed(transaction: WriteTransaction, damaged_keys: Iterable[bytes]) -> Iterator[_Group]:
    """Remove packs that cannot be read, or are in the place of others, and yield them."""
    for key in sorted(damaged_keys):
        here = next(pack_rows(transaction, key), None)
        if here is None or here[1][0][0] != key:
            continue  # it was removed as the one behind
        if not _is_whole(here):
            _remove(transaction, here)
            yield here
            continue
        there = here[2] and next(pack_rows(transaction, here[2]), None)
        if not there or not _is_whole(there):
            continue
        known = [_is_known(transaction, whole_pack(*group[:2])) for group in (here, there)]
        if any(known) and not all(known):
            wrong = there if known[0] else here
            _remove(transaction, wrong)
            yield wrong


def _is_whole(group: _Group) -> bool:
    try:
        whole_pack(*group[:2])
    except UNREADABLE:
        return False
    return True


def _is_known(transaction: WriteTransaction, pack: Pack) -> bool:
    """Whether the index leads to any record of a pack."""
    return any(
        number in row_numbers(transaction.get(INDEX, index_key(pack.digest(place))) or b"")
        for place, number in enumerate(pack.numbers)
    )


def _remove(transaction: WriteTransaction, group: _Group) -> None:
    for key, _row in group[1]:
        transaction.delete(OBJECTS, key)


def rewrite_packs(
    transaction: WriteTransaction, gone: set[int], damaged_keys: Iterable[bytes]
) -> None:
    """Write the packs of damaged records again, without those that are ``gone``.

    Args:
        transaction: Sees the store as ``gone`` was found in it.
        gone: Numbers of records that nothing needs.
        damaged_keys: Keys in packs that could not be read, before ``replace_packs``, or run into
            the next. What stands in for records of theirs stays.
    """
    repairs = {repair.base: repair for _key, _row, repair in sound_repairs(transaction)}
    keys = set()
    numbers = [record_key(number, LAST_FRAGMENT) for number in gone | repairs.keys()]
    for place in (*numbers, *damaged_keys):
        found = transaction.last_at_or_before(OBJECTS, place)
        # The first row that is there, whatever its damaged key says: where none is, a walk begins
        # at the next pack, which would be written again or removed in place of this one.
        first = found and transaction.first_at_or_after(OBJECTS, found[0][:NUMBER_BYTES])
        if first:
            keys.add(first[0])
    for key in sorted(keys):
        _rewrite(transaction, key, gone, repairs)
    for number, repair in repairs.items():
        if number not in gone:
            _put(transaction, [_taken(repair, 0)])  # its pack could not be read, or is no more
    for key, _row in list(transaction.items(REPAIRS.sealed)):
        transaction.delete(REPAIRS, key)


def _rewrite(
    transaction: WriteTransaction, key: bytes, gone: set[int], repairs: dict[int, Pack]
) -> None:
    """Write one pack again; what stands in for its records moves into it, out of ``repairs``.

    One that runs into the next is cut: readers find the rest of its numbers there.

    Raises:
        CorruptionError: It cannot be read.
    """
    group = next(pack_rows(transaction, key), None)
    if group is None:
        return
    base, rows, after = group
    left = []
    pack = whole_pack(base, rows)
    for place, number in enumerate(pack.numbers):
        if after is not None and number >= pack_base(after):
            break
        repair = repairs.pop(number, None)
        if number not in gone:
            left.append(_taken(pack, place) if repair is None else _taken(repair, 0))
    _remove(transaction, group)
    if left:
        _put(transaction, left)


def _taken(pack: Pack, place: int) -> NewRecord:
    return NewRecord(
        pack.numbers[place], Digest(pack.digest(place)), pack.links(place), pack.payload(place)
    )


def _put(transaction: WriteTransaction, records: list[NewRecord]) -> None:
    for fragment, row in enumerate(Pack.encode(records, FRAGMENT_BYTES)):
        transaction.put(OBJECTS, record_key(records[0].number, fragment), row)


def rebuild_index(transaction: WriteTransaction) -> int:
    """Let the index name every record and nothing else; returns how many rows that changed.

    Raises:
        CorruptionError: A pack cannot be read.
    """
    reader = RecordReader(transaction, PackCache(), set())
    changed: dict[bytes, list[int]] = {}
    for key, row in transaction.items(INDEX):
        numbers = [number for number in row_numbers(row) if _is_indexed(reader, key, number)]
        if numbers != row_numbers(row) or len(row) % NUMBER_BYTES:
            changed[key] = numbers
    for base, rows, _after in pack_rows(transaction, b""):
        pack = whole_pack(base, rows)
        for place, number in enumerate(pack.numbers):
            key = index_key(pack.digest(place))
            known = changed.get(key)
            if known is None:
                known = row_numbers(transaction.get(INDEX, key) or b"")
            if number not in known:
                changed[key] = [number, *known]
    for key, numbers in changed.items():
        put_in_index(transaction, key, numbers)
    return len(changed)


def _is_indexed(reader: RecordReader, key: bytes, number: int) -> bool:
    try:
        return index_key(reader.digest_of(number)) == key
    except UNREADABLE:
        return False


def recount(transaction: WriteTransaction, counters: Counters) -> bool:
    """Set the counters to what is stored; returns whether they were wrong.

    Raises:
        CorruptionError: A pack cannot be read.
    """
    before = replace(counters)
    counted = count_records(transaction)
    counters.objects = counted.objects
    counters.payload_bytes = counted.payload_bytes
    counters.stored_bytes = counted.stored_bytes
    first_free = RecordReader(transaction, PackCache(), set()).first_free()
    if not counters.fit(first_free):
        counters.next_record = first_free
    return before != counters
