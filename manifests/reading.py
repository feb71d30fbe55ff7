"""Reading across transactions: objects do not change, so a restore needs no single long one.

A read transaction held while values are built would run user code (a registered class, a
migration) and keep LMDB from reusing pages, so the file would grow for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from cas.closure import Closure, read_closure
from cas.digest import Digest
from cas.errors import ConflictError, MissingObjectError
from cas.kept import Kept, KeptByNumber, KeptRecords
from cas.records import GenerationChangedError, PackCache, Record, RecordReader
from cas.store import ObjectStore
from manifests.together import StoredObject

__all__ = ["StoreReader", "stable"]

T = TypeVar("T")

_MOST_TRIES: Final = 8
_GATHERED_BYTES: Final = 8 * 1024 * 1024
"""Payload bytes read and decoded at once: bounds the memory of a restore beside the value."""
_CACHED_BYTES: Final = 8 * 1024 * 1024
"""Packs in memory while reading goes from one to the next. With 32 MB a restore of large values
takes 100 MB more of it, and none that was measured is quicker."""


class StoreReader:
    """Reads records of one generation of the file, each call in a transaction of its own."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._cache = PackCache(_CACHED_BYTES)
        self._confirmed: set[int] = set()

    @property
    def kept(self) -> KeptRecords:
        """The verified records that are in memory."""
        return self._store.kept

    def run(self, work: Callable[[RecordReader], T]) -> T:
        """Run ``work`` in one read transaction."""
        return self._store.read(work, cache=self._cache)

    def load(self, numbers: Sequence[int]) -> Sequence[Record]:
        """Return verified records, in order. This is the loader of decoders and forms."""
        return self.run(lambda reader: reader.read_all(numbers))

    def known(self, records: RecordReader, number: int, id: Digest) -> StoredObject:
        """Return the verified record that a row names, from memory if it is there.

        Then what it links to is looked for in memory as well, without asking the file which objects
        those are: that took a third of restoring a small state.

        Raises:
            CorruptObjectError: It is damaged, or another object.
            MissingObjectError: It is not there.
        """
        generation = records.transaction.generation
        known = self.kept.of(generation, (number,)).get(number)
        if known is not None and known.digest == id:
            self._confirmed.update(known.links)
            return known
        record = records.read_as(number, id)
        self.kept.keep(generation, {number: Kept(record.digest, record.links, record.payload)})
        return record

    def gather(
        self,
        numbers: Sequence[int],
        ids: Mapping[int, Digest] | None = None,
        made: KeptByNumber[Any] | None = None,
    ) -> Closure | None:
        """Return everything below some records, verified: the gatherer of decoders and forms.

        ``ids`` are the addresses that some of them must have; ``made`` is taken where it is there.
        """
        return self.run(
            lambda reader: read_closure(
                reader, self.kept, numbers, _GATHERED_BYTES, ids, made, self._confirmed
            )
        )

    @property
    def reads(self) -> int:
        """How many payloads were read so far."""
        return self._cache.reads


def stable(store: ObjectStore, work: Callable[[StoreReader], T]) -> T:
    """Run ``work`` with a reader, again from the start if the file is replaced meanwhile.

    Also once more if an object is missing: a reading takes several transactions, between which the
    checkpoint may be forgotten and swept. Looked up again it is not found, which is the answer;
    what is missing the second time is damage.
    """
    missed = False
    for _ in range(_MOST_TRIES):
        try:
            return work(StoreReader(store))
        except GenerationChangedError:
            continue
        except MissingObjectError:
            if missed:
                raise
            missed = True
    raise ConflictError("the store was compacted again and again while it was read; try later")
