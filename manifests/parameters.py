"""``TreeParameters``: everything on which the shape of stored trees depends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

from cas.chunker import ChunkParameters
from cas.errors import UnsupportedFormatError

__all__ = ["TreeParameters"]

_ADDED: Final = {"inline_entry": "inline_item", "entry_target": "run_target"}


@dataclass(frozen=True, slots=True)
class TreeParameters:
    """Sizes in bytes and counts of items; all bounds are inclusive. Kept in the store's header.

    Two stores with other parameters restore the same values but give them other addresses.
    """

    inline_item: int = 64
    """Largest encoded item kept inside a list, a set or the root of a state.

    Measured on the recorded runs: an item kept in the last leaf of a growing list is written again
    by every append until that leaf closes, so a limit of 256 costs 1.6 times the bytes of 64.
    """
    whole_dict: int = 4_096
    """Largest dict whose fields all stay inside it; in a larger one, fields over ``inline_entry``
    become objects of their own."""
    inline_entry: int = 96
    """Largest encoded value kept inside such a dict. Most texts of a few words are, and restoring
    them takes half the time: an object of its own is hashed and found alone."""
    short_items: int = 32
    """Most items of a list or dict that is not made a tree."""
    run_least: int = 4
    """Fewest items of a run, the last one excepted: so every level of a tree shrinks."""
    run_target: int = 32
    """In a list, a boundary is expected every so many items."""
    entry_target: int = 8
    """In a dict, every so many entries: a change anywhere writes a run anew on every level, while
    a list mostly grows at its end."""
    run_most: int = 128
    """Most items of a run."""
    run_bytes: int = 8_192
    """A run is closed when its items (of a dict: its keys) reach this size."""
    whole_text: int = 8_192
    """Longest text or byte string kept in one piece; longer ones are chunked."""
    chunk_least: int = 1_024
    chunk_average: int = 2_048
    chunk_most: int = 16_384
    """Chunks of texts and byte strings up to ``long_text``."""
    long_text: int = 1_048_576
    """Longest text or byte string cut with the small chunk sizes."""
    long_chunk_least: int = 8_192
    long_chunk_average: int = 16_384
    long_chunk_most: int = 65_536
    """Chunks of what is longer than ``long_text``."""

    def chunks(self, size: int) -> ChunkParameters:
        """Return the chunk sizes for a string of ``size`` bytes."""
        if size <= self.long_text:
            return ChunkParameters(self.chunk_least, self.chunk_average, self.chunk_most)
        return ChunkParameters(self.long_chunk_least, self.long_chunk_average, self.long_chunk_most)

    def to_header(self) -> dict[str, int]:
        """Return the parameters as they stand in the store's header."""
        return asdict(self)

    @classmethod
    def from_header(cls, header: Mapping[str, int]) -> Self:
        """Read the parameters of a store; unknown or missing ones are ``UnsupportedFormatError``.

        Guessing a parameter would give equal values new addresses and end all sharing silently.
        """
        names = {field.name for field in fields(cls)}
        # Stores made before these two existed have one limit and one target for lists and dicts.
        older = {new: header[old] for new, old in _ADDED.items() if old in header}
        complete = {**older, **header}
        if set(complete) != names:
            raise UnsupportedFormatError(
                "the store's tree parameters are not those of this version: "
                f"{sorted(names ^ set(complete))}; upgrade Hive"
            )
        return cls(**complete)
