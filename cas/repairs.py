"""Good bytes that stand in for damaged records, seen all together."""

from __future__ import annotations

from collections.abc import Iterator

from cas.environment import ReadTransaction
from cas.packs import Pack
from cas.records import REPAIRS, UNREADABLE, record_place

__all__ = ["repair_links", "sound_repairs"]


def sound_repairs(transaction: ReadTransaction) -> Iterator[tuple[bytes, bytes, Pack]]:
    """Yield (key, row, pack of one record). One that is damaged itself stands for nothing."""
    for key, sealed in transaction.items(REPAIRS.sealed):  # so that a damaged row ends nothing
        try:
            row = REPAIRS.unseal(key, sealed)
            repair = Pack(record_place(key)[0], row)
            repair.links(0)
        except UNREADABLE:
            continue
        yield key, row, repair


def repair_links(transaction: ReadTransaction) -> dict[int, list[int]]:
    """Return what the stand-ins of damaged records link to, by record number."""
    return {repair.base: repair.links(0) for _key, _row, repair in sound_repairs(transaction)}
