"""Exporting: the checkpoints that were asked for, with only the objects they need, as a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from cas.digest import Digest
from cas.errors import InvalidInputError, NotFoundError
from cas.objects import Object
from cas.records import RecordReader
from manifests.bodies import ObjectBody, StoredBody, records_of
from manifests.bundle import (
    BundleEntry,
    BundleHeader,
    EffectNote,
    Note,
    WritesNote,
)
from manifests.bundle_writer import write_bundle
from manifests.catalogue import Catalogue
from manifests.effects import effect_rows
from manifests.pending import anchor_of
from manifests.pending_rows import pending_rows
from manifests.reading import StoreReader
from manifests.refs import Listed, RefLike, Resolver
from manifests.rows import CheckpointRow

__all__ = ["ExportReport", "export"]

_BATCH: Final = 500
"""Records read in one transaction."""
_FRAME_HEAD_BYTES: Final = 5
_LINK_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What a bundle holds: checkpoints, objects, and the size of its file in bytes."""

    checkpoints: int
    objects: int
    file_bytes: int


def export(
    reader: StoreReader,
    refs: Iterable[RefLike],
    path: Path,
    *,
    history: bool,
    have: Iterable[RefLike],
) -> ExportReport:
    """Write a bundle.

    Raises:
        NotFoundError: A reference of ``refs`` names nothing.
        CorruptionError: An object is damaged, or was collected meanwhile.
    """
    listed = _select(reader, refs, history=history)
    held = _held(reader, have)
    known = _closure(reader, [item.row.record for item in held.values()])
    notes, beside = reader.run(partial(_notes, listed=listed))
    roots = [*(item.row.record for item in listed), *beside]
    # A record's number is above those of all it links to, so ascending is children first.
    records = sorted(_closure(reader, roots) - known)
    size = _frame_bytes(reader, records)
    header = BundleHeader(len(listed), len(records), size, tuple(sorted(held)), len(notes))
    entries = [
        BundleEntry(
            item.run,
            item.sequence,
            item.row.id,
            item.row.parent,
            item.row.needs_parent,
            item.row.tip,
            item.row.hidden,
            item.row.key,
        )
        for item in listed
    ]
    size = write_bundle(path, header, entries, notes, _frames(reader, records))
    return ExportReport(len(entries), len(records), size)


def _select(reader: StoreReader, refs: Iterable[RefLike], *, history: bool) -> list[Listed]:
    chosen: dict[tuple[str, int], Listed] = {}
    for ref in refs:
        for item in reader.run(partial(_with_history, ref=ref, history=history)):
            chosen[item.run, item.sequence] = item
    if not chosen:
        raise InvalidInputError("name at least one checkpoint to export")
    return [chosen[place] for place in sorted(chosen)]


def _with_history(reader: RecordReader, ref: RefLike, history: bool) -> list[Listed]:
    """Return a checkpoint with those that its run keeps before it, or just those it needs."""
    listed = Resolver(reader).resolve(ref)
    catalogue = Catalogue(reader.transaction)
    run = catalogue.run(listed.run)
    if run is None:
        return [listed]  # only a tag is left of it
    rows: Iterable[tuple[int, CheckpointRow]] = ()
    if history:
        rows = catalogue.newest(run.number, below=listed.sequence)
    elif listed.row.needs_parent:
        rows = catalogue.chain(run, listed.sequence)[:-1]
    return [listed, *(Listed(run.name, sequence, row) for sequence, row in rows)]


def _notes(reader: RecordReader, listed: list[Listed]) -> tuple[list[Note], list[int]]:
    """Return the pending writes of checkpoints and what their runs had done, and the records.

    Of a run's effects, those that its last checkpoint here could know of, as for a fork.
    """
    catalogue = Catalogue(reader.transaction)
    notes: list[Note] = []
    bodies: list[StoredBody] = []
    for name in dict.fromkeys(item.run for item in listed):
        run = catalogue.run(name)
        if run is None:
            continue  # only a tag is left of it
        places = [item for item in listed if item.run == name]
        for item in places:
            anchor = anchor_of(item.sequence, item.row)
            for _key, row in pending_rows(reader.transaction, run.number, anchor):
                writes = {index: (what, _value(body)) for index, (what, body) in row.writes.items()}
                notes.append(WritesNote(name, item.sequence, row.path, row.task, writes))
                bodies += row.bodies
        last = places[-1]
        end = last.sequence + catalogue.is_open(run, last.sequence, last.row)
        for effect in effect_rows(reader.transaction, run.number):
            if effect.at < end:
                notes.append(EffectNote(name, effect.name, effect.at, _value(effect.body)))
                bodies.append(effect.body)
    return notes, records_of(bodies)


def _value(body: StoredBody) -> bytes:
    return body.id if isinstance(body, ObjectBody) else body


def _held(reader: StoreReader, have: Iterable[RefLike]) -> dict[Digest, Listed]:
    """Return the checkpoints that the receiver holds, of those that this store knows."""

    def look_up(records: RecordReader, ref: RefLike) -> Listed | None:
        try:
            return Resolver(records).resolve(ref)
        except NotFoundError:
            return None

    found = [reader.run(partial(look_up, ref=ref)) for ref in have]
    return {item.row.id: item for item in found if item is not None}


def _closure(reader: StoreReader, roots: Iterable[int]) -> set[int]:
    """Return the records that roots reach, themselves included."""
    seen = set(roots)
    level = list(seen)
    while level:
        below: set[int] = set()
        for at in range(0, len(level), _BATCH):
            below |= reader.run(partial(_links, numbers=level[at : at + _BATCH]))
        level = list(below - seen)
        seen |= below
    return seen


def _links(reader: RecordReader, numbers: list[int]) -> set[int]:
    return {link for number in numbers for link in reader.links_of(number)}


def _frame_bytes(reader: StoreReader, records: list[int]) -> int:
    def measure(found: RecordReader, numbers: list[int]) -> int:
        return sum(
            _FRAME_HEAD_BYTES + _LINK_BYTES * len(found.links_of(number)) + found.size_of(number)
            for number in numbers
        )

    return sum(
        reader.run(partial(measure, numbers=records[at : at + _BATCH]))
        for at in range(0, len(records), _BATCH)
    )


def _frames(reader: StoreReader, records: list[int]) -> Iterator[bytes]:
    """Yield the frames of verified records, read in short transactions."""
    for at in range(0, len(records), _BATCH):
        yield from reader.run(partial(_read, numbers=records[at : at + _BATCH]))


def _read(reader: RecordReader, numbers: list[int]) -> list[bytes]:
    frames = []
    for record in reader.read_all(numbers):
        links = tuple(Digest(reader.digest_of(link)) for link in record.links)
        frames.append(Object(links, record.payload).frame())
    return frames
