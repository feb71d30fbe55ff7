"""The catalogue: which checkpoints a run lists, its head, and tags. No clock orders them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Final

import cbor2

from cas.digest import Digest
from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptionError, CorruptStoreError, LimitError, NotFoundError
from cas.shape import odd_row
from manifests.names import name_key
from manifests.rows import (
    CHECKPOINT_KEY,
    CHECKPOINTS,
    HIGHEST_NUMBER,
    KEYS,
    NEXT_RUN,
    NUMBERS,
    PINS,
    RUNS,
    TAGS,
    CheckpointRow,
    PinRow,
    RunRow,
    TagRow,
    checkpoint_range,
    checkpoint_row,
    checkpoint_sequence,
    checkpoint_value,
    key_place,
    key_row,
    key_value,
    next_run_value,
    pin_row,
    run_range,
    run_row,
    run_value,
    tag_row,
)

__all__ = ["Catalogue", "CatalogueWriter"]

_OF_RUN: Final = re.compile(r"(.+?)[@~]\d+", re.DOTALL)
"""A reference to a checkpoint of a run."""
_PREFIX_BYTES: Final = 448
"""How much of a name stands in its key as it is."""
_BEHIND_ALL: Final = b"\xff" * 33
"""Above all that follows there: a byte of ones and part of a digest, which may begin with ones."""

# The rows on the way back from a head are read again at every turn, and the head's at every write.
_remembered_row = lru_cache(maxsize=4_096)(checkpoint_row)


def _run_at(key: bytes, row: bytes) -> RunRow:
    run = run_row(row)
    if name_key(run.name, "run name") != key:
        raise odd_row()
    return run


class Catalogue:
    """The catalogue in one transaction."""

    def __init__(self, transaction: ReadTransaction) -> None:
        self.transaction = transaction

    def _get(self, table: Table, key: bytes) -> bytes | None:
        """Return a row; None if there certainly is none.

        Else a run whose key was damaged would begin again at its first checkpoint.
        """
        row = self.transaction.get(table, key)
        if row is None:
            self.transaction.look_beside(table, key, key)
        return row

    def run(self, name: str) -> RunRow | None:
        """Return a run by its exact name. ``CorruptStoreError`` if another has its place."""
        row = self._get(RUNS, name_key(name, "run name"))
        if row is None:
            return None
        run = run_row(row)
        if run.name != name:
            raise odd_row()
        return run

    def need_run(self, name: str) -> RunRow:
        """Return a run by its exact name or raise ``NotFoundError``."""
        row = self.run(name)
        if row is None:
            base = _OF_RUN.fullmatch(name)
            if base is not None and self.run(base[1]) is not None:
                raise NotFoundError(
                    f"there is no run {name!r}, but a run {base[1]!r}: this takes a run, not one "
                    f"of its checkpoints; leave out {name[len(base[1]) :]!r}"
                )
            raise NotFoundError(f"there is no run {name!r}; list the runs to see their names")
        return row

    def runs(self) -> Iterator[RunRow]:
        """Yield all runs, by name."""
        for key, row in self.transaction.items(RUNS):
            yield _run_at(key, row)

    def runs_or_damage(self) -> Iterator[tuple[bytes, RunRow | CorruptionError]]:
        """Yield the keys of all runs, by name, each with its row or what is wrong with that."""
        for key, sealed in self.transaction.items(RUNS.sealed):
            try:
                yield key, _run_at(key, RUNS.unseal(key, sealed))
            except CorruptionError as error:
                yield key, error

    def runs_named(self, prefix: str) -> Iterator[RunRow]:
        """Yield the runs whose names begin with a text, by name."""
        start = prefix.encode()[:_PREFIX_BYTES]
        for key, row in self.transaction.items(RUNS, start, start + _BEHIND_ALL):
            run = _run_at(key, row)
            if run.name.startswith(prefix):
                yield run

    def checkpoint(self, run: int, sequence: int) -> CheckpointRow | None:
        """Return a checkpoint by run number and sequence."""
        if not 0 < sequence <= HIGHEST_NUMBER:
            return None
        row = self._get(CHECKPOINTS, CHECKPOINT_KEY.pack(run, sequence))
        return None if row is None else _remembered_row(row, sequence)

    def newest(self, run: int, *, below: int | None = None) -> Iterator[tuple[int, CheckpointRow]]:
        """Yield (sequence, row) of a run's checkpoints, newest first.

        ``below`` is the sequence to start under (exclusive).
        """
        start, stop = checkpoint_range(run)
        if below is not None:
            stop = CHECKPOINT_KEY.pack(run, below)
        for key, row in self.transaction.items(CHECKPOINTS, start, stop, reverse=True):
            sequence = checkpoint_sequence(key)
            yield sequence, checkpoint_row(row, sequence)

    def oldest(self, run: int) -> Iterator[tuple[int, CheckpointRow]]:
        """Yield (sequence, row) of a run's checkpoints, oldest first."""
        for key, row in self.transaction.items(CHECKPOINTS, *checkpoint_range(run)):
            sequence = checkpoint_sequence(key)
            yield sequence, checkpoint_row(row, sequence)

    def first(self, run: int) -> CheckpointRow | None:
        """Return the row of the oldest checkpoint that a run lists; None if it lists none.

        As ``oldest``, without an iteration: going over the first ones of many runs takes half.
        """
        start, stop = checkpoint_range(run)
        found = self.transaction.first_at_or_after(CHECKPOINTS, start)
        if found is None or found[0] >= stop:
            return None
        return checkpoint_row(found[1], checkpoint_sequence(found[0]))

    def sequence_of(self, run: int, key: str) -> int | None:
        """Return the sequence of the checkpoint that has a key in a run."""
        row = self._get(KEYS, key_place(run, key))
        return None if row is None else key_row(row)

    def newest_by_key(
        self, run: int, *, below: str | None = None
    ) -> Iterator[tuple[int, CheckpointRow]]:
        """Yield (sequence, row) of a run's checkpoints that have keys, greatest key first.

        ``below`` is the key to start under (exclusive); it need not be there.
        """
        start, stop = run_range(run)
        if below is not None:
            stop = key_place(run, below)
        for _key, row in self.transaction.items(KEYS, start, stop, reverse=True):
            sequence = key_row(row)
            found = self.checkpoint(run, sequence)
            if found is not None:
                yield sequence, found

    def head(self, run: RunRow) -> CheckpointRow | None:
        """Return the row of a run's head; None if the run lists nothing yet."""
        return self.checkpoint(run.number, run.head)

    def listed_head(self, run: RunRow) -> CheckpointRow | None:
        """Do what ``head`` does; ``CorruptStoreError`` if the run has lost its head.

        Else it would be taken for one that keeps nothing.
        """
        row = self.head(run)
        if run.last and (row is None or row.hidden):
            raise CorruptStoreError(
                f"run {run.name!r} has lost the row of its head, checkpoint {run.head}; put it "
                "right with hive check --repair, which lists its newest one left"
            )
        return row

    def chain(self, run: RunRow, sequence: int) -> list[tuple[int, CheckpointRow]]:
        """Return a checkpoint, as (sequence, row), behind the ancestors it cannot be used without.

        Raises:
            NotFoundError: It, or one of them, was forgotten.
        """
        chain: list[tuple[int, CheckpointRow]] = []
        needed = sequence
        while needed:
            row = self.checkpoint(run.number, needed)
            if row is None:
                raise NotFoundError(f"what {run.name}@{sequence} needs was forgotten")
            chain.append((needed, row))
            needed = row.parent if row.needs_parent else 0
        return chain[::-1]

    def is_open(self, run: RunRow, sequence: int, row: CheckpointRow) -> bool:
        """Whether no checkpoint of the run was built on this one: its step may be under way."""
        return row.tip or run.head == sequence

    def tag(self, name: str) -> TagRow | None:
        """Return a tag by its exact name."""
        row = self._get(TAGS, name_key(name, "tag"))
        return None if row is None else tag_row(row)

    def tags(self) -> Iterator[TagRow]:
        """Yield all tags, by name."""
        for _key, row in self.transaction.items(TAGS):
            yield tag_row(row)

    def pins(self) -> Iterator[PinRow]:
        """Yield all pins, by id."""
        for _key, row in self.transaction.items(PINS):
            yield pin_row(row)


class CatalogueWriter(Catalogue):
    """The catalogue in a write transaction. Whoever changes roots also bumps the root epoch."""

    def __init__(self, transaction: WriteTransaction) -> None:
        super().__init__(transaction)
        self._writing = transaction

    def new_run(self, name: str, created_us: int) -> RunRow:
        """Return an empty run (to be written by ``put_run``) with a number no run has had.

        Raises:
            LimitError: Runs of this store, deleted ones included, have had all numbers.
            CorruptStoreError: Which numbers there were is lost.
        """
        name_key(name, "run name")
        number = self._next_run()
        # The highest one is left over: a row holds no higher next number.
        if number >= HIGHEST_NUMBER:
            raise LimitError(
                f"a store makes at most {HIGHEST_NUMBER - 1:,} runs, deleted ones included; "
                "go on in another store, and export what is needed there"
            )
        self.put_next_run(number + 1)
        return RunRow(number, name, head=0, last=0, kept=0, created_us=created_us)

    def _next_run(self) -> int:
        row = self._get(NUMBERS, NEXT_RUN)
        if row is not None:
            return int.from_bytes(row, "big")
        # A run with the number of another one would write over its checkpoints.
        if any(self.transaction.count(table) for table in (RUNS, CHECKPOINTS)):
            raise CorruptStoreError(
                "the store has lost the number of its next run; put it right with "
                "hive check --repair"
            )
        return 1

    def put_next_run(self, number: int) -> None:
        """Write the number that the next new run gets."""
        self._writing.put(NUMBERS, NEXT_RUN, next_run_value(number))

    def put_run(self, run: RunRow) -> None:
        """Write a run."""
        self._writing.put(RUNS, name_key(run.name, "run name"), run_value(run))

    def append(self, run: RunRow, row: CheckpointRow) -> RunRow:
        """List a checkpoint as the run's next one. Returns the run as written.

        It becomes the head, unless the head has a greater key or it is hidden.
        """
        sequence = run.last + 1
        if sequence > HIGHEST_NUMBER:
            raise LimitError(f"a run has at most {HIGHEST_NUMBER} checkpoints; fork it")
        head = sequence if not row.hidden and self.is_newest(run, row.key) else run.head
        self.put_checkpoint(run.number, sequence, row)
        kept = run.kept + (not row.hidden)
        run = RunRow(run.number, run.name, head, sequence, kept, run.created_us)
        self.put_run(run)
        return run

    def is_newest(self, run: RunRow, key: str | None) -> bool:
        """Whether a checkpoint with that key would be the run's head."""
        head = None if key is None else self.head(run)
        return key is None or head is None or head.key is None or key > head.key

    def put_checkpoint(self, run: int, sequence: int, row: CheckpointRow) -> None:
        """Write a checkpoint's row, replacing one in its place. The run's row stays as it is."""
        if row.key is not None:
            self.put_key(run, row.key, sequence)
        self._writing.put(
            CHECKPOINTS, CHECKPOINT_KEY.pack(run, sequence), checkpoint_value(row, sequence)
        )

    def put_key(self, run: int, key: str, sequence: int) -> None:
        """Let a key lead to a sequence."""
        self._writing.put(KEYS, key_place(run, key), key_value(sequence))

    def mark_tip(self, run: int, sequence: int, *, tip: bool) -> None:
        """Note whether a checkpoint, if it is listed, ends a branch that its run left.

        The rows alone cannot tell once checkpoints between it and the head are forgotten.
        """
        row = self.checkpoint(run, sequence)
        if row is not None and row.tip != tip:
            self.put_checkpoint(run, sequence, replace(row, tip=tip))

    def drop_run(self, run: RunRow) -> None:
        """Remove a run from the list, with what it lists."""
        for sequence in [sequence for sequence, _row in self.newest(run.number)]:
            self._remove(run.number, sequence)
        self._writing.delete(RUNS, name_key(run.name, "run name"))

    def drop(self, run: RunRow, sequences: Iterable[int]) -> RunRow:
        """Take checkpoints off a run's list. Returns the run as written."""
        dropped = sum(self._remove(run.number, sequence) for sequence in sequences)
        run = replace(run, kept=run.kept - dropped)
        self.put_run(run)
        return run

    def _remove(self, run: int, sequence: int) -> bool:
        """Remove a row; whether it was one that the run listed."""
        row = self.checkpoint(run, sequence)
        if row is None:
            return False
        if row.key is not None:
            self._writing.delete(KEYS, key_place(run, row.key))
        self._writing.delete(CHECKPOINTS, CHECKPOINT_KEY.pack(run, sequence))
        return not row.hidden

    def put_tag(self, tag: TagRow) -> None:
        """Write a tag, replacing one of the same name."""
        fields = [tag.name, tag.record, bytes(tag.id), tag.run, tag.sequence]
        self._writing.put(TAGS, name_key(tag.name, "tag"), cbor2.dumps(fields))

    def drop_tag(self, name: str) -> bool:
        """Remove a tag; whether there was one."""
        return self._writing.delete(TAGS, name_key(name, "tag"))

    def put_pin(self, pin: PinRow) -> None:
        """Write a pin, replacing one of the same checkpoint."""
        fields = [pin.record, bytes(pin.id), pin.run, pin.sequence, pin.reason]
        self._writing.put(PINS, bytes(pin.id), cbor2.dumps(fields))

    def move_pin(self, run: str, sequence: int, before: Digest, row: CheckpointRow) -> None:
        """Let the pin of a checkpoint go over to what replaced it in its place."""
        found = self._get(PINS, bytes(before))
        pin = None if found is None else pin_row(found)
        if pin is not None and (pin.run, pin.sequence) == (run, sequence):
            self.drop_pin(before)
            self.put_pin(replace(pin, record=row.record, id=row.id))

    def drop_pin(self, digest: Digest) -> bool:
        """Remove the pin of a checkpoint; whether there was one."""
        return self._writing.delete(PINS, bytes(digest))
