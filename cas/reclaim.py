"""Removing damaged records for good, and making index and counters right again, for repair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cas.check import count_records
from cas.counters import Counters
from cas.digest import Digest
from cas.environment import WriteTransaction
from cas.packs import FRAGMENT_BYTES, NewRecord, Pack
from cas.packwalk import pack_rows
from cas.records import (
    INDEX,
    LAST_FRAGMENT,
    NUMBER_BYTES,
    OBJECTS,
    REPAIRS,
    UNREADABLE,
    PackCache,
    RecordReader,
    index_key,
    record_key,
    row_numbers,
)
from cas.removal import put_in_index
from cas.repairs import sound_repairs

__all__ = ["rebuild_index", "recount", "rewrite_packs"]


def rewrite_packs(
    transaction: WriteTransaction, gone: set[int], damaged_keys: Iterable[bytes]
) -> None:
    """Write the packs of damaged records again, without those that are ``gone``.

    Args:
        transaction: Sees the store as ``gone`` was found in it.
        gone: Numbers of records that nothing needs.
        damaged_keys: Keys of the first rows of packs of which not even the records can be told.
            What stands in for records of theirs stays.
    """
    repairs = {repair.base: repair for _key, _row, repair in sound_repairs(transaction)}
    hopeless = set(damaged_keys)
    keys = set(hopeless)
    for number in gone | repairs.keys():
        found = transaction.last_at_or_before(OBJECTS, record_key(number, LAST_FRAGMENT))
        # The first row that is there, whatever its damaged key says: where none is, a walk begins
        # at the next pack, which would be written again or removed in place of this one.
        first = found and transaction.first_at_or_after(OBJECTS, found[0][:NUMBER_BYTES])
        if first:
            keys.add(first[0])
    for key in sorted(keys):
        _rewrite(transaction, key, gone, repairs, hopeless=key in hopeless)
    for number, repair in repairs.items():
        if number not in gone:
            _put(transaction, [_taken(repair, 0)])  # its pack could not be read, or is no more
    for key, _row in list(transaction.items(REPAIRS.sealed)):
        transaction.delete(REPAIRS, key)


def _rewrite(
    transaction: WriteTransaction,
    key: bytes,
    gone: set[int],
    repairs: dict[int, Pack],
    *,
    hopeless: bool,
) -> None:
    """Write one pack again; what stands in for its records moves into it, out of ``repairs``."""
    group = next(pack_rows(transaction, key), None)
    if group is None:
        return
    base, rows, _after = group
    left = []
    if not hopeless:
        pack = Pack(base, b"".join([row for _key, row in rows]))
        for place, number in enumerate(pack.numbers):
            repair = repairs.pop(number, None)
            if number not in gone:
                left.append(_taken(pack, place) if repair is None else _taken(repair, 0))
    for found, _row in rows:
        transaction.delete(OBJECTS, found)
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
        pack = Pack(base, b"".join([row for _key, row in rows]))
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
