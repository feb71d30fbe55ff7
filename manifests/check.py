"""Checking a repository: all that ``cas.check`` looks at, and every row of the catalogue.

Each finding names the checkpoints, tags and pins that cannot be restored because of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

import cbor2

from cas.check import Damage, ObjectCheck, check_structure
from cas.digest import Digest
from cas.environment import ReadTransaction, Table
from cas.errors import CorruptionError, HiveError, UnsupportedFormatError
from cas.leases import LEASES
from cas.records import REPAIRS, STORE, UNREADABLE, RecordReader
from cas.roots import ROOT_LOG
from cas.store import ObjectStore
from cas.upkeep import OnProgress
from manifests.bodies import ObjectBody, StoredBody
from manifests.claims import CLAIMS
from manifests.effects import EFFECTS, effect_key, effect_row
from manifests.manifest import ManifestReader
from manifests.names import name_key
from manifests.pending_rows import PENDING, Anchor, PendingRow, pending_place, pending_row
from manifests.reading import StoreReader, stable
from manifests.rows import (
    CHECKPOINTS,
    KEYS,
    NEXT_RUN,
    NUMBERS,
    PINS,
    RUNS,
    TAGS,
    CheckpointRow,
    RunRow,
    checkpoint_key,
    checkpoint_place,
    checkpoint_range,
    checkpoint_row,
    key_place,
    key_row,
    pin_row,
    run_of,
    run_row,
    tag_row,
)

__all__ = [
    "CHECKED",
    "MALFORMED",
    "OPAQUE",
    "CheckReport",
    "Findings",
    "check",
    "examine",
    "parsed",
    "raw_rows",
]

T = TypeVar("T")

CHECKED: Final = (RUNS, CHECKPOINTS, KEYS, TAGS, PINS, PENDING, EFFECTS)
"""Checked tables of which every row is read."""
OPAQUE: Final = (NUMBERS, STORE, REPAIRS, ROOT_LOG, LEASES, CLAIMS)
"""Checked tables of which only the checksums are verified."""
MALFORMED: Final = (
    HiveError,
    cbor2.CBORError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
)
"""What reading a damaged row may raise."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check looked at, and what is wrong.

    Attributes:
        damage: What is wrong; empty if nothing is.
        checkpoints: Listed checkpoints looked at.
        records: How many stored objects it looked at; of damaged packs, as far as it can tell.
        read_data: Whether every object was hashed.
    """

    damage: tuple[Damage, ...]
    checkpoints: int
    records: int
    read_data: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage

    @property
    def hits(self) -> tuple[str, ...]:
        """All that cannot be restored.

        ``run@sequence``, ``tag:name``, ``pin:run@sequence``, ``pending:run@anchor`` (writes of one
        task there), ``effect:run``.
        """
        return tuple(dict.fromkeys(name for item in self.damage for name in item.hits))


@dataclass(slots=True)
class Findings:
    """What an examination found, for repair as well."""

    objects: ObjectCheck
    damage: list[Damage] = field(default_factory=list)
    hits: dict[int, list[str]] = field(default_factory=dict)
    lost: list[tuple[RunRow, int, CheckpointRow]] = field(default_factory=list)
    checkpoints: int = 0

    def report(self) -> CheckReport:
        """Return the findings with the names they hit."""
        hit = [
            replace(item, hits=tuple(self.hits.get(item.record, ())))
            if item.record is not None and item.kind != "index"
            else item
            for item in [*self.objects.damage, *self.damage]
        ]
        return CheckReport(
            tuple(hit), self.checkpoints, self.objects.records, self.objects.read_data
        )


def check(store: ObjectStore, *, read_data: bool, progress: OnProgress) -> CheckReport:
    """Check everything that is stored."""
    return stable(
        store, lambda reader: examine(store, reader, read_data=read_data, progress=progress)
    ).report()


def examine(
    store: ObjectStore, reader: StoreReader, *, read_data: bool, progress: OnProgress
) -> Findings:
    """Check everything, in short transactions.

    If LMDB's own structure is damaged, nothing is read through it any more.

    Raises:
        GenerationChangedError: The file was replaced meanwhile: begin again.
    """
    objects = ObjectCheck(store, read_data, progress)
    findings = Findings(objects)
    findings.damage += check_structure(store.environment)
    if findings.damage:
        # LMDB follows what its pages say: a damaged one can lead behind the end of the file.
        return findings
    objects.run()
    _Catalogue(reader, findings).check()
    return findings


def raw_rows(transaction: ReadTransaction, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a checked table with their checksums, sound or not."""
    yield from transaction.items(table.sealed)


def parsed(work: Callable[[], T]) -> T | None:
    """Return what a row says, None if it is damaged."""
    try:
        return work()
    except MALFORMED:
        return None


class _Catalogue:
    def __init__(self, reader: StoreReader, findings: Findings) -> None:
        self._reader = reader
        self._findings = findings
        self._manifests = ManifestReader(reader.load)
        self._broken = findings.objects.broken

    def check(self) -> None:
        runs = self._reader.run(self._runs)
        for run in runs:
            self._reader.run(partial(self._run, name=run.name))
        known = {run.number for run in runs}
        self._reader.run(partial(self._orphans, known=known, newest=max(known, default=0)))
        names = {run.number: run.name for run in runs}
        self._reader.run(partial(self._keys, names=names))
        self._reader.run(self._tags)
        self._reader.run(self._pins)
        self._reader.run(partial(self._pending, names=names))
        self._reader.run(partial(self._effects, names=names))
        for table in OPAQUE:
            self._reader.run(partial(self._opaque, table=table))

    def _runs(self, reader: RecordReader) -> list[RunRow]:
        runs: dict[int, RunRow] = {}
        for key, sealed in raw_rows(reader.transaction, RUNS):
            run = self._parsed(RUNS, key, sealed, run_row)
            if run is None:
                continue
            if name_key(run.name, "run name") != key or run.number in runs:
                self._row(RUNS, key, f"run {run.name!r} has the place or number of another one")
                continue
            runs[run.number] = run
        if runs and reader.transaction.get(NUMBERS.sealed, NEXT_RUN) is None:
            self._row(NUMBERS, NEXT_RUN, "the number of the next run is missing")
        return list(runs.values())

    def _run(self, reader: RecordReader, name: str) -> None:
        """Check a run and what it lists, as of one moment."""
        row = reader.transaction.get(RUNS, name_key(name, "run name"))
        if row is None:
            return  # deleted meanwhile
        run = run_row(row)
        sequences, hidden = set[int](), 0
        rows = reader.transaction.items(CHECKPOINTS.sealed, *checkpoint_range(run.number))
        for key, sealed in rows:
            sequence = checkpoint_place(key)[1]
            sequences.add(sequence)
            self._findings.checkpoints += 1
            place = f"{name}@{sequence}"
            parsed = self._parsed(
                CHECKPOINTS, key, sealed, partial(checkpoint_row, sequence=sequence), place
            )
            if parsed is None:
                continue
            hidden += parsed.hidden
            if parsed.key is not None and self._sequence_of(reader, run, parsed.key) != sequence:
                text = f"{place} is not found by its key"
                self._row(KEYS, key_place(run.number, parsed.key), text)
            if parsed.needs_parent and parsed.parent not in sequences:
                # The rows come in ascending order.
                text = f"{place} cannot be used without its parent, which is not there"
                self._row(CHECKPOINTS, key, text, place)
            if not self._leads(reader, CHECKPOINTS, key, parsed.record, parsed.id, place):
                self._findings.lost.append((run, sequence, parsed))
        problems = []
        if run.head not in sequences and (run.last or sequences):
            problems.append(f"its head {run.head} is not listed")
        if sequences and run.last < max(sequences):
            problems.append(f"it lists {max(sequences)}, above its last {run.last}")
        if run.kept != len(sequences) - hidden:
            count = len(sequences) - hidden
            problems.append(f"it counts {run.kept} checkpoints and lists {count}")
        for problem in problems:
            key = name_key(name, "run name")
            self._add("run", f"run {name!r}: {problem}", RUNS, key)

    def _sequence_of(self, reader: RecordReader, run: RunRow, key: str) -> int | None:
        place = key_place(run.number, key)
        row = reader.transaction.get(KEYS.sealed, place)
        try:
            return None if row is None else key_row(KEYS.unseal(place, row))
        except MALFORMED:
            return None

    def _leads(
        self,
        reader: RecordReader,
        table: Table,
        key: bytes,
        record: int,
        digest: Digest,
        name: str,
    ) -> bool:
        """Whether a name leads to a checkpoint that can be restored; note what it hits if not."""
        causes = self._broken.causes(record)
        if causes:
            for cause in causes:
                self._findings.hits.setdefault(cause, []).append(name)
            return False
        try:
            if reader.digest_of(record) != digest:
                raise CorruptionError(f"record {record} is another object")
        except UNREADABLE as error:
            self._row(table, key, f"{name} leads nowhere: {error}", name)
            return False
        if not self._findings.objects.read_data or table in (PENDING, EFFECTS):
            return True
        try:
            self._manifests.read(reader.read_as(record, digest))
        except UnsupportedFormatError as error:
            self._add("newer", f"{name} cannot be read: {error}", table, key, name)
            return False
        except HiveError as error:
            self._add("manifest", f"{name} is no checkpoint: {error}", table, key, name)
            return False
        return True

    def _orphans(self, reader: RecordReader, known: set[int], newest: int) -> None:
        numbers = set()
        for key, _row in raw_rows(reader.transaction, CHECKPOINTS):
            number, _sequence = checkpoint_place(key)
            if number not in known and number not in numbers:
                numbers.add(number)
                if number > newest:
                    continue  # of a run that began meanwhile
                text = f"the run with number {number} is missing, its checkpoints are listed"
                self._add("run", text, CHECKPOINTS, key)

    def _tags(self, reader: RecordReader) -> None:
        for key, sealed in raw_rows(reader.transaction, TAGS):
            tag = self._parsed(TAGS, key, sealed, tag_row)
            if tag is not None:
                self._leads(reader, TAGS, key, tag.record, tag.id, f"tag:{tag.name}")

    def _pins(self, reader: RecordReader) -> None:
        for key, sealed in raw_rows(reader.transaction, PINS):
            pin = self._parsed(PINS, key, sealed, pin_row)
            if pin is not None:
                name = f"pin:{pin.run}@{pin.sequence}"
                self._leads(reader, PINS, key, pin.record, pin.id, name)

    def _keys(self, reader: RecordReader, names: dict[int, str]) -> None:
        """Check that every key leads to a checkpoint that has it."""
        for key, sealed in raw_rows(reader.transaction, KEYS):
            sequence = self._parsed(KEYS, key, sealed, key_row)
            number = run_of(key)
            if sequence is None or number not in names:
                continue
            place = checkpoint_key(number, sequence)
            row = reader.transaction.get(CHECKPOINTS.sealed, place)
            try:
                found = (
                    None
                    if row is None
                    else checkpoint_row(CHECKPOINTS.unseal(place, row), sequence)
                )
            except MALFORMED:
                continue  # reported with its run
            if found is None or found.key is None or key_place(number, found.key) != key:
                self._row(KEYS, key, f"a key of run {names[number]!r} leads to no checkpoint of it")

    def _pending(self, reader: RecordReader, names: dict[int, str]) -> None:
        for key, sealed in raw_rows(reader.transaction, PENDING):
            found = self._parsed(PENDING, key, sealed, partial(_pending_at, key=key))
            if found is None:
                continue
            number, anchor, row = found
            if number in names:
                name = f"pending:{names[number]}@{anchor}"
                self._bodies(reader, PENDING, key, row.bodies, name)
            elif number <= max(names, default=0):
                self._row(PENDING, key, f"there are pending writes of no run (number {number})")

    def _effects(self, reader: RecordReader, names: dict[int, str]) -> None:
        for key, sealed in raw_rows(reader.transaction, EFFECTS):
            row = self._parsed(EFFECTS, key, sealed, effect_row)
            number = run_of(key)
            if row is None:
                continue
            if number in names:
                self._bodies(reader, EFFECTS, key, [row.body], f"effect:{names[number]}")
                if effect_key(number, row.name) != key:
                    text = f"an effect of {names[number]!r} has the place of another"
                    self._row(EFFECTS, key, text)
            elif number <= max(names, default=0):
                self._row(EFFECTS, key, f"there is an effect of no run (number {number})")

    def _bodies(
        self,
        reader: RecordReader,
        table: Table,
        key: bytes,
        bodies: list[StoredBody],
        name: str,
    ) -> None:
        for body in bodies:
            if isinstance(body, ObjectBody):
                self._leads(reader, table, key, body.record, body.id, name)

    def _opaque(self, reader: RecordReader, table: Table) -> None:
        for key, sealed in raw_rows(reader.transaction, table):
            self._parsed(table, key, sealed, bytes)

    def _parsed(
        self,
        table: Table,
        key: bytes,
        sealed: bytes,
        parse: Callable[[bytes], T],
        *hits: str,
    ) -> T | None:
        try:
            return parse(table.unseal(key, sealed))
        except MALFORMED as error:
            self._row(table, key, f"a row of table {table.name!r} is damaged: {error}", *hits)
            return None

    def _row(self, table: Table, key: bytes, text: str, *hits: str) -> None:
        self._add("row", text, table, key, *hits)

    def _add(self, kind: str, text: str, table: Table, key: bytes, *hits: str) -> None:
        self._findings.damage.append(Damage(kind, text, None, None, table.name, key, hits))


def _pending_at(row: bytes, key: bytes) -> tuple[int, Anchor, PendingRow]:
    return *pending_place(key), pending_row(row)
