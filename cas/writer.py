"""Writing records: deduplicate, number, pack, and heal what is known to be damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cas.counters import Counters
from cas.digest import Digest
from cas.environment import WriteTransaction
from cas.errors import InvalidInputError, MissingObjectError
from cas.filling import PAGE_ROOM, PageFiller
from cas.kept import Kept
from cas.objects import Object
from cas.packs import (
    FRAGMENT_BYTES,
    MAX_PACK_BYTES,
    MAX_PACK_LINKS,
    MAX_PACK_RECORDS,
    NewRecord,
    Pack,
)
from cas.records import (
    INDEX,
    NUMBER_BYTES,
    OBJECTS,
    REPAIRS,
    UNREADABLE,
    PackCache,
    RecordReader,
    index_key,
    record_key,
)
from cas.roots import log_roots
from cas.shape import MOST_RECORDS
from cas.trail import Trail, WrittenPack
from cas.upkeep import BriefUpkeep

__all__ = ["RecordWriter"]

_ONE_ROW: Final = 1 << 31
_MOST_FRESH_BYTES: Final = 4 * 1024 * 1024
"""Payloads of one transaction that are kept in memory afterwards."""


class RecordWriter(RecordReader):
    """Stores objects in one write transaction. ``finish`` must be called before it commits."""

    def __init__(
        self,
        transaction: WriteTransaction,
        known: dict[bytes, int],
        damaged: set[int],
        filler: PageFiller,
        counters: Counters,
        trail: Trail,
        upkeep: BriefUpkeep,
    ) -> None:
        super().__init__(transaction, PackCache(), damaged)
        self.writing = transaction
        self.counters = counters
        self.learned: dict[bytes, int] = {}
        self.healed: set[int] = set()
        self.fresh: dict[int, Kept] = {}
        self._fresh_bytes = 0
        self.filler = filler
        self.trail = trail
        self._upkeep = upkeep
        self._saved_bytes = 0
        self._known = known
        self._first_new = self.counters.next_record
        self._pending: list[NewRecord] = []
        self._pending_bytes = 0
        self._pending_links = 0

    def put(self, digest: Digest, item: Object) -> int:
        """Store an object, unless it is stored already, and return its record number.

        Its links must have been stored before (``MissingObjectError``). ``digest`` must be the
        object's address; the caller has just computed it.
        """
        number, unreadable = self._number_of(digest), None
        row: bytes | None = None
        if number is None:
            row = self.writing.get(INDEX, index_key(digest)) or b""
            number, unreadable = self.candidates_in(row, digest)
        if number is not None:
            if not self._is_broken(number):
                self.learned[digest] = number
                return number
            unreadable = number
        links = self._put_links(item.links)
        if unreadable is not None and self._can_heal(unreadable, links):
            return self._heal(unreadable, digest, links, item.payload)
        if row is None:
            row = self.writing.get(INDEX, index_key(digest)) or b""
        return self._append(digest, links, item.payload, row)

    def put_link(self, digest: Digest) -> int:
        """Return the record number of an object that must be stored already.

        One that is known to be damaged counts as absent.
        """
        number = self._number_of(digest)
        if number is None:
            number = self.find(digest)
        if number is None or self._is_broken(number):
            raise MissingObjectError(
                f"object {digest.short} must be stored before its parent", digest=digest
            )
        self.learned[digest] = number
        return number

    def _put_links(self, digests: Sequence[Digest]) -> list[int]:
        """Return what ``put_link`` does of each: at once where all are known and nothing is bad."""
        if not self.damaged:
            numbers = list(map(self._known.get, digests))
            if None in numbers:
                learned = self.learned.get
                numbers = [
                    learned(digest) if number is None else number
                    for digest, number in zip(digests, numbers, strict=True)
                ]
            found = [number for number in numbers if number is not None]
            if len(found) == len(digests):
                return found
        return [self.put_link(digest) for digest in digests]

    def root(self, *numbers: int) -> None:
        """Note that a name leads to these records from now on: one change of the roots.

        Whoever writes such a name calls this in the same transaction; otherwise the collector
        might sweep the records while it is at work.
        """
        counters = self.counters
        counters.root_epoch += 1
        older = [number for number in numbers if number < self._first_new]
        if older:
            log_roots(self.writing, counters.root_epoch, older, added=True)
        else:
            counters.fresh_roots += 1

    def unroot(self, *numbers: int) -> None:
        """Note that a name that led to these records was removed: one change of the roots."""
        self.counters.root_epoch += 1
        log_roots(self.writing, self.counters.root_epoch, numbers, added=False)

    def flush(self, stream: str | None = None) -> None:
        """Write the records collected so far as a pack. Commits call it so that each has its own.

        ``stream`` names what these records are read together with. Small packs of one stream that
        end up next to each other are merged later; without a stream, a pack stays as it is.

        Raises nothing of its own; a full map or disk surfaces as the transaction's error.
        """
        if not self._pending:
            return
        if self.trail.is_due(stream, self._pending):
            self._merge()
        pack = self._append_pack(self._pending)
        self.counters.stored_bytes += sum([len(row) for row in pack.rows])
        self.trail = self.trail.followed(stream, pack)
        self._pending = []
        self._pending_bytes = 0
        self._pending_links = 0

    def _merge(self) -> None:
        """Write one pack in place of the small ones in front of what is pending."""
        trail = self.trail
        if self.has_repairs or self.healed:
            return  # good bytes stand in for records of some pack: that is for the sweep to settle
        if not self._upkeep.take():
            return  # somebody walks over the packs by their numbers: later, if these stay the last
        self.trail = Trail()
        if not trail.stands(self.writing):
            return
        self._saved_bytes += sum([len(row) for pack in trail.packs for row in pack.rows])
        self.filler.room, stays = trail.remove(self.writing)
        for records in trail.merged():
            pack = self._append_pack(records, thorough=True, stays=stays)
            self._saved_bytes -= sum([len(row) for row in pack.rows])
            self.trail = self.trail.followed(trail.stream, pack)
            stays = 0

    def _append_pack(
        self, records: Sequence[NewRecord], *, thorough: bool = False, stays: int = 0
    ) -> WrittenPack:
        """Write a pack behind all others. ``stays`` rows are there, as ``Trail.remove`` says."""
        base, filler = records[0].number, self.filler
        room = filler.room

        def cut(size: int) -> list[int]:
            sizes = filler.cut(size)
            return sizes if len(sizes) >= stays else [size - 1, 1]

        rows = Pack.encode(records, FRAGMENT_BYTES, cut=cut, thorough=thorough)
        filler.room = room
        pages, began = self.writing.pages(OBJECTS), list[bool]()
        for fragment, row in enumerate(rows):
            write = self.writing.put if fragment < stays else self.writing.append
            try:
                write(OBJECTS, record_key(base, fragment), row)
            except InvalidInputError as error:
                raise self.counters.misfit() from error
            before, pages = pages, self.writing.pages(OBJECTS)
            began.append(pages > before or 0 < fragment < stays)
            filler.saw(len(row), began_page=began[-1])
        if stays and room == PAGE_ROOM:
            began[0] = True
        return WrittenPack(records, rows, room, began)

    def finish(self) -> None:
        """Write what is pending and the counters."""
        self.flush()
        # Only now: whoever counts what an object of this transaction added is not to be told less.
        self.counters.stored_bytes -= self._saved_bytes
        self.counters.save(self.writing)

    def digest_of(self, number: int) -> bytes:
        """Return the digest a record claims to have, also of one that is not written yet."""
        pending = self._pending_record(number)
        return super().digest_of(number) if pending is None else pending.digest

    def is_sound(self, number: int) -> bool:
        """Whether a record's bytes hash to its digest."""
        return self._pending_record(number) is not None or super().is_sound(number)

    def _pending_record(self, number: int) -> NewRecord | None:
        at = number - self._pending[0].number if self._pending else -1
        return self._pending[at] if 0 <= at < len(self._pending) else None

    def _number_of(self, digest: Digest) -> int | None:
        number = self.learned.get(digest)
        return self._known.get(digest) if number is None else number

    def _is_broken(self, number: int) -> bool:
        """Whether a record is known to be damaged, or links to one that is.

        Without the second half a new checkpoint could share a good parent of a damaged child
        that was stored again under a new number, and could then not be restored.
        """
        if not self.damaged or number in self.healed:
            return False
        if number not in self.damaged and self._pending_record(number) is None:
            try:
                broken = self.damaged & {*self.links_of(number)} - self.healed
            except UNREADABLE:
                self.damaged.add(number)
            else:
                if broken:
                    self.damaged.add(number)
        return number in self.damaged

    def _can_heal(self, number: int, links: Sequence[int]) -> bool:
        """Whether a record may be written again under its old number.

        It must be one that was given out (a damaged index row names any), and above its children.
        """
        return number < self.counters.next_record and all(link < number for link in links)

    def _append(self, digest: Digest, links: list[int], payload: bytes, others: bytes) -> int:
        """Add a record. ``others`` is the row of the index that its digest has so far."""
        counters = self.counters
        number = counters.next_record
        if number >= MOST_RECORDS:
            raise counters.misfit()
        counters.next_record = number + 1
        counters.objects += 1
        counters.payload_bytes += len(payload)
        if self._pending and (
            len(self._pending) == MAX_PACK_RECORDS
            or self._pending_bytes + len(payload) > MAX_PACK_BYTES
            or self._pending_links + len(links) > MAX_PACK_LINKS
        ):
            self.flush()
        self._pending.append(NewRecord(number, digest, links, payload))
        self._pending_bytes += len(payload)
        self._pending_links += len(links)
        # The same first eight bytes may already lead to another object: keep both numbers. The new
        # one first: an older record of the same object is one that could not be healed.
        key = index_key(digest)
        self.writing.put(INDEX, key, number.to_bytes(NUMBER_BYTES, "big") + others)
        self.learned[digest] = number
        # What was saved is what the next turn restores. A large commit is not kept in memory.
        self._fresh_bytes += len(payload)
        if self._fresh_bytes <= _MOST_FRESH_BYTES:
            self.fresh[number] = Kept(digest, links, payload)
        return number

    def _heal(self, number: int, digest: Digest, links: list[int], payload: bytes) -> int:
        """Put good bytes in the place of a damaged record, so that all its parents are whole.

        The damaged rows stay as they are: they may hold other records.
        """
        (row,) = Pack.encode([NewRecord(number, digest, links, payload)], _ONE_ROW)
        self.writing.put(REPAIRS, record_key(number), row)
        self.counters.stored_bytes += len(row)
        self.healed.add(number)
        self.learned[digest] = number
        return number
