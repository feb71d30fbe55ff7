r"""The bundle file: checkpoints with the objects they need, independent of any store's engine.

::

    magic      16 bytes  89 "hive bundle" 0d 0a 1a 0a
    version    2 bytes   1, or 2 if there are keys or notes
    stream     one zstd frame, window at most 8 MiB
    digest     32 bytes  BLAKE3 of everything before

Every item of the stream has its length (u32) in front: first the header, CBOR [checkpoints,
objects, bytes of all frames, [id of a checkpoint that the receiver must have, ...]], in version 2
with the number of notes behind; then that many checkpoints, CBOR [run, sequence, id, sequences back
to the parent, flags], with the key behind if there is one; then the notes: pending writes of a
task, CBOR [0, run, sequence, path, task, [index, name, value, ...]], and effects, CBOR [1, run,
name, at, value]; then the objects, as frames (``cas.objects``), children before parents, none
twice.

A bundle comes from anywhere. Nothing of it is believed: lengths and counts are bounded before
memory is taken, and an object's address is computed, never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cas.digest import Digest

__all__ = [
    "BUNDLE_VERSION",
    "EFFECT",
    "FIRST_VERSION",
    "LENGTH_BYTES",
    "MAGIC",
    "VERSION_BYTES",
    "WINDOW_LOG",
    "WRITES",
    "BundleEntry",
    "BundleHeader",
    "EffectNote",
    "Note",
    "WritesNote",
]

BUNDLE_VERSION: Final = 2
FIRST_VERSION: Final = 1
MAGIC: Final = b"\x89hive bundle\r\n\x1a\n"
VERSION_BYTES: Final = 2
LENGTH_BYTES: Final = 4
WINDOW_LOG: Final = 23
"""Of the zstd frame: a reader needs no more memory than 8 MiB for it."""
WRITES: Final = 0
"""The kind of note that pending writes are."""
EFFECT: Final = 1
"""The kind of note that an effect is."""


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """How much follows, and what the receiver must have already."""

    checkpoints: int
    objects: int
    frame_bytes: int
    have: tuple[Digest, ...]
    notes: int = 0


@dataclass(frozen=True, slots=True)
class WritesNote:
    """What one task wrote at a checkpoint of the bundle: (name, value) by index.

    A value is an object's digest, or the payload of a small one.
    """

    run: str
    sequence: int
    path: str
    task: str
    writes: dict[int, tuple[str, bytes]]

    @property
    def values(self) -> list[bytes]:
        """The values."""
        return [value for _name, value in self.writes.values()]


@dataclass(frozen=True, slots=True)
class EffectNote:
    """An effect that a run of the bundle recorded when its last sequence was ``at``."""

    run: str
    name: str
    at: int
    value: bytes

    @property
    def values(self) -> list[bytes]:
        """The value."""
        return [self.value]


Note = WritesNote | EffectNote
"""What a run has beside its states."""


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """A checkpoint in its run. ``parent`` is a sequence of the run, 0 if it is elsewhere."""

    run: str
    sequence: int
    id: Digest
    parent: int
    needs_parent: bool
    tip: bool
    hidden: bool = False
    key: str | None = None
