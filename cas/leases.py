"""Staging leases: what a process has stored ahead of the name that will keep it.

A very large commit or import stores its objects in transactions of their own, before the one that
gives them a name; until then nothing else reaches them. A lease is the garbage collector's root
for them while its process lives. It names the records, those found stored already included: an
old record that nothing reached any more must not be swept between the two transactions either.

Rows of ``leases``: ``id (8 random bytes)`` holds the owner; ``id, u32 part`` the numbers of the
records that one transaction staged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

import cbor2

from cas.digest import Digest
from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.objects import Object
from cas.owner import Owner
from cas.store import ObjectStore
from cas.writer import RecordWriter

__all__ = ["LEASES", "STAGE_BYTES", "Lease", "drop_dead_leases", "is_part"]

LEASES: Final = Table("leases")
STAGE_BYTES: Final = 32 * 1024 * 1024
"""Payload bytes of one staging transaction, about: it holds all its pages in memory."""

_ID_BYTES: Final = 8
_PART_BYTES: Final = 4


class Lease:
    """The staged objects of one commit or import. Release it in the transaction that names them.

    ``objects`` and ``stored_bytes`` count what staging added to the store.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._parts = 0
        self.objects = 0
        self.stored_bytes = 0

    @cached_property
    def _id(self) -> bytes:
        return os.urandom(_ID_BYTES)

    @property
    def is_used(self) -> bool:
        """Whether anything was staged. A lease that was not used needs no release."""
        return self._parts > 0

    def stage(self, objects: Mapping[Digest, Object]) -> None:
        """Store objects, children before parents, in one durable transaction under the lease."""

        def work(writer: RecordWriter) -> tuple[int, int]:
            before = writer.counters.objects, writer.counters.stored_bytes
            numbers = sorted({writer.put(digest, item) for digest, item in objects.items()})
            writer.flush()
            writer.writing.put(LEASES, self._id, Owner.current().to_bytes())
            writer.writing.put(LEASES, self._key(self._parts), cbor2.dumps(numbers))
            writer.root(*numbers)
            return writer.counters.objects - before[0], writer.counters.stored_bytes - before[1]

        new_objects, new_bytes = self._store.write(work)
        self._parts += 1
        self.objects += new_objects
        self.stored_bytes += new_bytes

    def is_held(self, transaction: ReadTransaction) -> bool:
        """Whether all that was staged is still under the lease.

        A collector that cannot see this process (from another container, say) takes the lease for
        a dead one and removes it. Ask in the transaction that writes the name.
        """
        return all(
            transaction.get(LEASES, self._key(part)) is not None for part in range(self._parts)
        )

    def release(self, transaction: WriteTransaction) -> None:
        """Remove the lease, which changes the roots: the caller notes that (``writer.root``)."""
        _remove(transaction, self._id)

    def abandon(self) -> None:
        """Remove the lease in a transaction of its own; what was staged becomes garbage."""

        def work(writer: RecordWriter) -> None:
            self.release(writer.writing)
            writer.unroot()

        self._store.write(work)

    def _key(self, part: int) -> bytes:
        return self._id + part.to_bytes(_PART_BYTES, "big")


def is_part(key: bytes) -> bool:
    """Whether a row of ``leases`` holds record numbers, not the owner."""
    return len(key) > _ID_BYTES


def drop_dead_leases(transaction: WriteTransaction) -> int:
    """Remove the leases of processes that are gone; returns how many. Bump the root epoch."""
    dead = [
        key
        for key, row in transaction.items(LEASES)
        if len(key) == _ID_BYTES and not Owner.from_bytes(row).is_alive()
    ]
    for lease in dead:
        _remove(transaction, lease)
    return len(dead)


def _remove(transaction: WriteTransaction, lease: bytes) -> None:
    end = lease + b"\xff" * (_PART_BYTES + 1)
    keys: Iterable[bytes] = [key for key, _row in transaction.items(LEASES, lease, end)]
    for key in keys:
        transaction.delete(LEASES, key)
