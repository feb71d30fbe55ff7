"""Recorded effects: what a run did outside and must not do again, each under a name; first wins.

A row's key is ``run number (u32) || key of the name``; its value CBOR [name, at, value], with
``at`` the run's last sequence when it was recorded: the effect is of the step behind that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import cbor2

from cas.environment import ReadTransaction, Table, WriteTransaction
from cas.errors import InvalidInputError
from cas.records import RecordReader
from cas.roots import RootTable
from cas.shape import Shape, odd_row, shaped
from cas.writer import RecordWriter
from manifests.bodies import (
    EncodedValues,
    StoredBody,
    body_fields,
    body_of,
    records_of,
    renumbered,
    values_of,
)
from manifests.catalogue import Catalogue, CatalogueWriter
from manifests.kept import KeptValues
from manifests.names import check_name, name_key
from manifests.reading import StoreReader
from manifests.rows import run_of, run_part, run_range

__all__ = [
    "EFFECTS",
    "EFFECT_ROOTS",
    "EffectRow",
    "PreparedEffect",
    "RecordedEffect",
    "copy_effects",
    "count_effects",
    "drop_effects",
    "effect_key",
    "effect_records",
    "effect_row",
    "effect_rows",
    "has_effect",
    "has_row",
    "put_effect",
    "read_effects",
]

EFFECTS: Final = Table("effects")
_SHAPES: Final[tuple[Shape, ...]] = ((str, int, bytes), (str, int, list))


@dataclass(frozen=True, slots=True)
class EffectRow:
    """An effect: its name, the run's last sequence when it was recorded, its value."""

    name: str
    at: int
    body: StoredBody


@dataclass(frozen=True, slots=True)
class RecordedEffect:
    """What a run did outside and must not do again.

    Attributes:
        name: The name it was recorded under.
        after: The run's last sequence at that time; 0 if there was none, or if the run was forked
            from another that had done it.
        value: What was recorded.
    """

    name: str
    after: int
    value: Any


@dataclass(frozen=True, slots=True)
class PreparedEffect:
    """An encoded effect that is not stored yet, for the group committer."""

    run: str
    name: str
    encoded: EncodedValues
    created_us: int

    @property
    def object_bytes(self) -> int:
        """The payload bytes of its objects."""
        return self.encoded.object_bytes

    def apply(self, writer: RecordWriter) -> bool:
        """Store it in the writer's transaction unless there is one; whether it was stored."""
        catalogue = CatalogueWriter(writer.writing)
        run = catalogue.run(self.run)
        if run is not None and _get(writer.transaction, run.number, self.name) is not None:
            return False
        (body,) = self.encoded.store(writer, self.run)
        if run is None:
            # Its first checkpoint may be on its way; until then the run lists nothing.
            run = catalogue.new_run(self.run, self.created_us)
            catalogue.put_run(run)
        put_effect(writer.writing, run.number, EffectRow(self.name, run.last, body))
        writer.root(*records_of([body]))
        return True


def has_effect(reader: StoreReader, run: str, name: str) -> bool:
    """Whether a run recorded an effect of that name."""

    def look_up(records: RecordReader) -> bool:
        found = Catalogue(records.transaction).run(run)
        return found is not None and _get(records.transaction, found.number, name) is not None

    return reader.run(look_up)


def read_effects(
    reader: StoreReader, kept: KeptValues, run: str, name: str | None = None
) -> list[RecordedEffect]:
    """Return the effects of a run, or the one of a name if there is one; the earliest first."""

    def look_up(records: RecordReader) -> list[EffectRow]:
        found = Catalogue(records.transaction).run(run)
        if found is None:
            return []
        if name is None:
            return sorted(effect_rows(records.transaction, found.number), key=_order)
        row = _get(records.transaction, found.number, name)
        return [] if row is None else [row]

    rows = reader.run(look_up)
    values = values_of([row.body for row in rows], reader, kept)
    return [
        RecordedEffect(row.name, row.at, value) for row, value in zip(rows, values, strict=True)
    ]


def count_effects(records: RecordReader, run: str) -> int:
    """Return how many effects a run has; their values are not read."""
    found = Catalogue(records.transaction).run(run)
    return 0 if found is None else sum(1 for _ in effect_rows(records.transaction, found.number))


def _order(row: EffectRow) -> tuple[int, str]:
    return row.at, row.name


def has_row(transaction: ReadTransaction, run: int, name: str) -> bool:
    """Whether a run (by number) has an effect of that name."""
    return _get(transaction, run, name) is not None


def effect_rows(transaction: ReadTransaction, run: int) -> Iterator[EffectRow]:
    """Yield the effects of a run, by its number."""
    for _key, row in transaction.items(EFFECTS, *run_range(run)):
        yield effect_row(row)
    transaction.look_beside(EFFECTS, *run_range(run))


def effect_records(transaction: ReadTransaction, run: int) -> list[int]:
    """Return the records that the effects of a run lead to, by its number."""
    return records_of(row.body for row in effect_rows(transaction, run))


def put_effect(transaction: WriteTransaction, run: int, row: EffectRow) -> None:
    """Write an effect of a run, by its number."""
    transaction.put(EFFECTS, effect_key(run, row.name), _row_bytes(row))


def copy_effects(
    writer: RecordWriter, source: tuple[int, int], target: tuple[int, int], *, is_open: bool
) -> list[int]:
    """Copy what a run had done when it was at a checkpoint; returns the records.

    Args:
        writer: Where to write.
        source: Run number and sequence of the checkpoint.
        target: Run number and sequence of the same checkpoint in another run.
        is_open: No checkpoint was built on it: its step may be under way, so what that step did
            counts. Otherwise the step begins again, and does it again.
    """
    records = []
    for row in list(effect_rows(writer.transaction, source[0])):
        if row.at < source[1]:
            moved = replace(row, at=0)
        elif row.at == source[1] and is_open:
            moved = replace(row, at=target[1])
        else:
            continue
        put_effect(writer.writing, target[0], moved)
        records += records_of([moved.body])
    return records


def drop_effects(transaction: WriteTransaction, run: int) -> list[int]:
    """Remove the effects of a run; returns the records they led to.

    The caller notes that (``writer.unroot``).
    """
    rows = list(effect_rows(transaction, run))
    for row in rows:
        transaction.delete(EFFECTS, effect_key(run, row.name))
    return records_of(row.body for row in rows)


def effect_key(run: int, name: str) -> bytes:
    """Return the key of an effect's row, by run number and name."""
    return run_part(run) + name_key(name, "name of an effect")


def effect_row(row: bytes) -> EffectRow:
    """Read a row of ``effects``. ``CorruptStoreError`` if it is none."""
    name, at, body = shaped(row, _SHAPES)
    try:
        check_name(name, "name of an effect")
    except InvalidInputError as error:
        raise odd_row() from error
    return EffectRow(name, at, body_of(body))


def _get(transaction: ReadTransaction, run: int, name: str) -> EffectRow | None:
    check_name(name, "name of an effect")
    key = effect_key(run, name)
    row = transaction.get(EFFECTS, key)
    if row is None:
        transaction.look_beside(EFFECTS, key, key)  # else it would be done again
        return None
    return effect_row(row)


def _row_bytes(row: EffectRow) -> bytes:
    return cbor2.dumps([row.name, row.at, body_fields(row.body)])


def _numbers(_key: bytes, row: bytes) -> Iterable[int]:
    return records_of([effect_row(row).body])


def _renumbered(_key: bytes, row: bytes, new: Callable[[int], int]) -> bytes:
    found = effect_row(row)
    return _row_bytes(replace(found, body=renumbered(found.body, new)))


EFFECT_ROOTS: Final = RootTable("effects", EFFECTS, _numbers, _renumbered, group=run_of)
