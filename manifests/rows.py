"""The rows of the catalogue: what each table holds, and its bytes.

Rows are CBOR arrays in checksummed tables. Composite keys have parts of fixed width; names are
keys of their own tables only. What belongs to a run has the run's number in front of its key.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import cbor2

from cas.digest import DIGEST_BYTES, Digest
from cas.environment import Table
from cas.errors import InvalidInputError
from cas.shape import Shape, odd_row, record_number, shaped
from manifests.names import check_key, check_name
from manifests.packed import packed, unpacked

__all__ = [
    "CHECKPOINTS",
    "CHECKPOINT_KEY",
    "CHECKPOINT_SHAPES",
    "HIGHEST_NUMBER",
    "KEYS",
    "NEXT_RUN",
    "NUMBERS",
    "PINS",
    "PIN_SHAPES",
    "RUNS",
    "TABLES",
    "TAGS",
    "TAG_SHAPES",
    "CheckpointRow",
    "PinRow",
    "RunRow",
    "TagRow",
    "behind_run",
    "checkpoint_key",
    "checkpoint_place",
    "checkpoint_range",
    "checkpoint_row",
    "checkpoint_sequence",
    "checkpoint_value",
    "key_place",
    "key_row",
    "key_value",
    "next_run_value",
    "pin_row",
    "run_of",
    "run_part",
    "run_range",
    "run_row",
    "run_value",
    "tag_row",
]

RUNS: Final = Table("runs")
CHECKPOINTS: Final = Table("checkpoints")
TAGS: Final = Table("tags")
PINS: Final = Table("pins")
NUMBERS: Final = Table("numbers")
KEYS: Final = Table("keys")
TABLES: Final = (RUNS, CHECKPOINTS, TAGS, PINS, NUMBERS, KEYS)

CHECKPOINT_KEY: Final = struct.Struct(">II")
"""A key of ``checkpoints``: run number, sequence."""
HIGHEST_NUMBER: Final = 0xFFFF_FFFF
"""Highest run number, and highest sequence (inclusive)."""
NEXT_RUN: Final = b"next-run"
"""Key in ``numbers`` of the number that the next new run gets."""
_NUMBER_BYTES: Final = 4
_NUMBER: Final = struct.Struct(">I")
_AFTER: Final = b"\xff"
"""Behind a run number: above every key of a run whose next byte begins a text or tells a kind."""

_EARLIEST_US: Final = -62_135_596_800_000_000
_LATEST_US: Final = 253_402_300_799_999_999
"""What ``datetime`` can say of a moment: the years 1 to 9999."""

_RUN_SHAPES: Final[frozenset[Shape]] = frozenset({(int, str, int, int, int, int)})
CHECKPOINT_SHAPES: Final[frozenset[Shape]] = frozenset(
    (int, bytes, int, int, int, *more) for more in ((), (int,), (int, bytes), (int, str))
)
TAG_SHAPES: Final[frozenset[Shape]] = frozenset({(str, int, bytes, str, int)})
PIN_SHAPES: Final[frozenset[Shape]] = frozenset({(int, bytes, str, int, str)})
"""What the fields of rows are; see ``cas.shape``."""

_NEEDS_PARENT: Final = 1
_TIP: Final = 2
_HIDDEN: Final = 4


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: its number (never reused), its name, its head, and the highest sequence given out."""

    number: int
    name: str
    head: int
    last: int
    kept: int
    created_us: int


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A checkpoint in its run: the manifest's record and digest, and what depends on the place.

    ``parent`` is the parent's sequence in the same run, 0 if it is elsewhere or there is none.
    ``needs_parent`` says that the checkpoint cannot be used without its parent: retention then
    keeps the chain. ``tip`` says that it ends a branch which the run left. ``hidden`` ones were
    taken off the list and stay only as long as another needs them. ``key`` is the sortable id that
    the framework which owns the run gave it.
    """

    record: int
    id: Digest
    parent: int
    new_objects: int
    new_bytes: int
    needs_parent: bool = False
    tip: bool = False
    hidden: bool = False
    key: str | None = None


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag: a name for a checkpoint that also keeps it, wherever it is or was listed."""

    name: str
    record: int
    id: Digest
    run: str
    sequence: int


@dataclass(frozen=True, slots=True)
class PinRow:
    """A pin: keeps a checkpoint without naming it, perhaps with a reason."""

    record: int
    id: Digest
    run: str
    sequence: int
    reason: str


def run_part(run: int) -> bytes:
    """Return what the keys of everything that belongs to a run begin with, by its number."""
    return _NUMBER.pack(run)


def run_range(run: int) -> tuple[bytes, bytes]:
    """Return where a run's keys begin and end (exclusive), in any such table but ``checkpoints``.

    There the sequence follows, which may begin with any byte.
    """
    start = _NUMBER.pack(run)
    return start, start + _AFTER


def run_of(key: bytes) -> int:
    """Return the run number that a key begins with; any number for a damaged key."""
    return int.from_bytes(key[:_NUMBER_BYTES], "big")


def behind_run(key: bytes) -> bytes:
    """Return what stands behind the run number of a key."""
    return key[_NUMBER_BYTES:]


def checkpoint_range(run: int) -> tuple[bytes, bytes]:
    """Return where the keys of a run's checkpoints begin and end (exclusive), by its number."""
    return checkpoint_key(run, 0), checkpoint_key(run, HIGHEST_NUMBER) + b"\0"


def checkpoint_key(run: int, sequence: int) -> bytes:
    """Return the key of a checkpoint's row, by run number and sequence."""
    return CHECKPOINT_KEY.pack(run, sequence)


def checkpoint_place(key: bytes) -> tuple[int, int]:
    """Return (run number, sequence) of a key of ``checkpoints``; zeros for a damaged key."""
    if len(key) != CHECKPOINT_KEY.size:
        return 0, 0
    run, sequence = CHECKPOINT_KEY.unpack(key)
    return run, sequence


def checkpoint_sequence(key: bytes) -> int:
    """Return the sequence in a key of ``checkpoints``; ``CorruptStoreError`` if it is none."""
    if len(key) != CHECKPOINT_KEY.size:
        raise odd_row()
    return int.from_bytes(key[_NUMBER_BYTES:], "big")


def key_place(run: int, key: str) -> bytes:
    """Return the key of a row of ``keys``, by run number and checkpoint's key."""
    return _NUMBER.pack(run) + key.encode()


def key_value(sequence: int) -> bytes:
    """Return the row of ``keys`` that leads to a sequence."""
    return _NUMBER.pack(sequence)


def key_row(row: bytes) -> int:
    """Read a row of ``keys``: a sequence. ``CorruptStoreError`` if it is none."""
    if len(row) != _NUMBER_BYTES:
        raise odd_row()
    return int.from_bytes(row, "big")


def next_run_value(number: int) -> bytes:
    """Return what ``numbers`` holds when the next new run gets a number."""
    return number.to_bytes(_NUMBER_BYTES, "big")


def run_value(run: RunRow) -> bytes:
    """Return the row of ``runs`` that says this of a run."""
    return cbor2.dumps([run.number, run.name, run.head, run.last, run.kept, run.created_us])


def run_row(row: bytes) -> RunRow:
    """Read a row of ``runs``. ``CorruptStoreError`` if it is none."""
    number, name, head, last, kept, created_us = shaped(row, _RUN_SHAPES)
    numbers = (head, last, kept)
    if not (
        0 < number <= HIGHEST_NUMBER
        and 0 <= min(numbers)
        and max(numbers) <= HIGHEST_NUMBER
        and _EARLIEST_US <= created_us <= _LATEST_US
    ):
        raise odd_row()
    return RunRow(number, _name(name, "run name"), head, last, kept, created_us)


def checkpoint_value(row: CheckpointRow, sequence: int) -> bytes:
    """Return the row of ``checkpoints`` that says this of a checkpoint."""
    flags = _NEEDS_PARENT * row.needs_parent | _TIP * row.tip | _HIDDEN * row.hidden
    more: list[object] = []
    if row.key is not None:
        more = [flags, packed(row.key)]
    elif flags:
        more = [flags]
    back = sequence - row.parent if row.parent else 0
    fields = [row.record, bytes(row.id), back, row.new_objects, row.new_bytes, *more]
    return cbor2.dumps(fields)


def checkpoint_row(row: bytes, sequence: int, *, damaged: bool = False) -> CheckpointRow:
    """Read a row of ``checkpoints``. In a ``damaged`` one an impossible parent counts as none.

    Raises:
        CorruptStoreError: It is none of that sequence: a parent stands before its checkpoint, or
            the way back might never end.
    """
    record, digest, back, new_objects, new_bytes, *rest = shaped(row, CHECKPOINT_SHAPES)
    if not 0 <= back < sequence:
        if not damaged:
            raise odd_row()
        back = 0
    flags = rest[0] if rest else 0
    key = _key(rest[1]) if len(rest) > 1 else None
    return CheckpointRow(
        record_number(record),
        _digest(digest),
        sequence - back if back else 0,
        new_objects,
        new_bytes,
        bool(flags & _NEEDS_PARENT),
        bool(flags & _TIP),
        bool(flags & _HIDDEN),
        key,
    )


def _key(stored: str | bytes) -> str:
    try:
        key = unpacked(stored)
        if key is stored:  # no UUID
            check_key(key)
    except InvalidInputError as error:
        raise odd_row() from error
    return key


def tag_row(row: bytes) -> TagRow:
    """Read a row of ``tags``. ``CorruptStoreError`` if it is none."""
    name, record, digest, run, sequence = shaped(row, TAG_SHAPES)
    where = _name(run, "run name"), sequence
    return TagRow(_name(name, "tag"), record_number(record), _digest(digest), *where)


def pin_row(row: bytes) -> PinRow:
    """Read a row of ``pins``. ``CorruptStoreError`` if it is none."""
    record, digest, run, sequence, reason = shaped(row, PIN_SHAPES)
    where = _name(run, "run name"), sequence
    return PinRow(record_number(record), _digest(digest), *where, reason)


def _name(name: str, what: str) -> str:
    try:
        check_name(name, what)
    except InvalidInputError as error:
        raise odd_row() from error
    return name


def _digest(data: bytes) -> Digest:
    if len(data) != DIGEST_BYTES:
        raise odd_row()
    return Digest(data)
