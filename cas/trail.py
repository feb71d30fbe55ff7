"""``Trail``: the small packs that the last commits of one stream left at the end of the store.

A commit writes a pack of its own, a few KB, which is fetched, parsed and decompressed for itself
and compressed without its neighbours. So the commit whose pack would make them too large for one
writes one pack in their place first, in its own transaction. The records keep their numbers, and
nothing that leads to them changes.

A trail holds what this process wrote, and only packs that stand byte for byte as they were written
are replaced: whatever a collection, a repair or damage has changed is left as it is. So nothing has
to be read, decompressed or hashed to merge them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Final

from cas.environment import ReadTransaction, WriteTransaction
from cas.filling import PAGE_ROOM, taken_by
from cas.packs import MAX_PACK_BYTES, MAX_PACK_LINKS, MAX_PACK_RECORDS, NewRecord
from cas.records import OBJECTS, record_key

__all__ = ["Trail", "WrittenPack"]

_MOST_PACKS: Final = 24
"""Packs at which they are merged however small they are."""
_LEAST_PACKS: Final = 4
"""Fewer packs are not worth merging."""
_FULL_BYTES: Final = MAX_PACK_BYTES // 2
"""Payload bytes from which on a pack stays as it is."""
_MOST_BYTES: Final = 4 * MAX_PACK_BYTES
"""What is remembered while a collection is at work, beside which nothing is merged."""

_QUARTER: Final = PAGE_ROOM // 4
"""Of a page: what LMDB lets stand alone."""


class WrittenPack:
    """A pack that this process wrote: its records and rows, and where in pages those went.

    ``room`` is that in the table's last page before the first row, None if unknown; ``began`` says
    of each row whether it began a page.
    """

    __slots__ = ("began", "links", "payload_bytes", "records", "room", "rows")

    def __init__(
        self,
        records: Sequence[NewRecord],
        rows: Sequence[bytes],
        room: int | None,
        began: Sequence[bool],
    ) -> None:
        self.records = records
        self.rows = rows
        self.room = room
        self.began = began
        self.payload_bytes = sum([len(record.payload) for record in records])
        self.links = sum([len(record.links) for record in records])

    def keys(self) -> list[bytes]:
        """Return the keys of its rows."""
        base = self.records[0].number
        return [record_key(base, fragment) for fragment in range(len(self.rows))]


@dataclass(frozen=True, slots=True)
class Trail:
    """Neighbouring packs of one stream, oldest first; behind them the store ends.

    ``stream`` names what is read together, as a run; None if the last pack is to stay alone.
    """

    stream: str | None = None
    packs: tuple[WrittenPack, ...] = ()

    def followed(self, stream: str | None, pack: WrittenPack) -> Trail:
        """Return the trail when ``pack`` was written behind it."""
        if stream is None or pack.payload_bytes >= _FULL_BYTES:
            return Trail()
        packs = (*self.packs, pack) if stream == self.stream else (pack,)
        if len(packs) <= _LEAST_PACKS:
            while not _fit(packs):
                packs = packs[1:]
        while sum([each.payload_bytes for each in packs]) > _MOST_BYTES:
            packs = packs[1:]
        return Trail(stream, packs[-2 * _MOST_PACKS :])

    def is_due(self, stream: str | None, records: Sequence[NewRecord]) -> bool:
        """Whether to merge the packs before these records are written as another one."""
        if len(self.packs) < _LEAST_PACKS:
            return False
        following = WrittenPack(records, (), None, ())
        return (
            stream != self.stream
            or len(self.packs) >= _MOST_PACKS
            or not _fit((*self.packs, following))
        )

    def stands(self, transaction: ReadTransaction) -> bool:
        """Whether the store ends with these packs, each byte as it was written."""
        written = [row for pack in self.packs for row in zip(pack.keys(), pack.rows, strict=True)]
        found = transaction.items(OBJECTS, written[0][0])
        return list(islice(found, len(written) + 1)) == written

    def remove(self, transaction: WriteTransaction) -> tuple[int | None, int]:
        """Remove the rows of the packs, except those that are then to be overwritten.

        LMDB fills a page that is less than a quarter full with rows of the page before it, and an
        empty one too. That is to happen to rows of these packs only: another one would leave a hole
        that nothing fills. So the first row of a page is made larger before it would be too small
        to stay alone. The first row of all stays in its page, which rows of others begin, if
        another one stays in the next: else it would be moved there, and leave a hole as well.

        Returns:
            The room in the table's last page, without the rows that stay; and how many do: none,
            the first, or the first two, the second of which begins a page.
        """
        keys = [key for pack in self.packs for key in pack.keys()]
        sizes = [taken_by(len(row)) for pack in self.packs for row in pack.rows]
        began = [each for pack in self.packs for each in pack.began]
        room = PAGE_ROOM if began[0] else self.packs[0].room
        pages = transaction.pages(OBJECTS) - sum(began[1:])
        starts = list(accumulate([at if new else 0 for at, new in enumerate(began)], max))
        shares = room is not None and room <= PAGE_ROOM // 2
        turn = began.index(True, 1) if shares and any(began[1:]) else 0
        for place in range(len(keys) - 1, turn, -1):
            start = starts[place]
            left = sum(sizes[start:place]) + (0 if start or room is None else PAGE_ROOM - room)
            if start < place and left < _QUARTER:
                transaction.put(OBJECTS, keys[start], bytes(_QUARTER))
                sizes[start] = taken_by(_QUARTER)
            transaction.delete(OBJECTS, keys[place])
        if turn:
            second = record_key(self.packs[0].records[0].number, 1)
            _hold_pages(transaction, keys[: turn + 1], second)
            if transaction.pages(OBJECTS) == pages + 1:
                return room, 2
            transaction.delete(OBJECTS, second)
        if transaction.pages(OBJECTS) == pages:
            return room, 1
        if shares or room is None:
            return PAGE_ROOM, 1
        transaction.delete(OBJECTS, keys[0])
        return room, 0

    def merged(self) -> Iterator[list[NewRecord]]:
        """Yield the records of each pack that is to stand in place of these."""
        group: list[WrittenPack] = []
        for pack in self.packs:
            if group and not _fit((*group, pack)):
                yield [record for each in group for record in each.records]
                group = []
            group.append(pack)
        yield [record for each in group for record in each.records]


def _hold_pages(transaction: WriteTransaction, keys: Sequence[bytes], second: bytes) -> None:
    """Leave of some rows the first in its page, and in the next, where the last is, ``second``."""
    if keys[-1] == second:
        return
    for key in keys[1:-1]:
        transaction.delete(OBJECTS, key)
    transaction.put(OBJECTS, keys[0], b"")
    transaction.put(OBJECTS, second, b"")
    transaction.delete(OBJECTS, keys[-1])  # which moves the row before it into the empty page


def _fit(packs: Sequence[WrittenPack]) -> bool:
    """Whether the records of these packs can stand in one."""
    return (
        sum([pack.payload_bytes for pack in packs]) <= MAX_PACK_BYTES
        and sum([len(pack.records) for pack in packs]) <= MAX_PACK_RECORDS
        and sum([pack.links for pack in packs]) <= MAX_PACK_LINKS
    )
