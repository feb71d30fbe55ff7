"""Rows that were found outside of any tree, sorted: in a scratch environment, not in memory.

A row may turn up in several pages: free pages hold what it was before. The versions of one row
stand next to each other here, the newest first, and equal ones count once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from cas.closing import Closing
from cas.failures import MAX_KEY_BYTES
from cas.repack import Draft
from cas.table import Table

__all__ = ["CURRENT", "UNKNOWN", "Sieve", "Version"]

CURRENT: Final = (1 << 64) - 1
"""The moment of a row of the last commit."""
UNKNOWN: Final = 0
"""The moment of a row of which cannot be told whether it is one."""
_MOMENT_BYTES: Final = 8
_HASH_BYTES: Final = 8
_MOST_KEY_BYTES: Final = MAX_KEY_BYTES - _MOMENT_BYTES - _HASH_BYTES
_MOST_VERSIONS: Final = 64


class Version(NamedTuple):
    """One version of a row. The higher its ``moment``, the longer it was in use."""

    moment: int
    value: bytes


class Sieve(Closing):
    """Collects rows by table and key. It is deleted at the end of its ``with`` block."""

    def __init__(self, directory: Path, tables: Iterable[Table], *, map_bytes: int) -> None:
        """Create the scratch environment in ``directory``, which must not exist."""
        self._directory = directory
        self._twins = {table.name: table.sealed for table in tables}
        self._draft = Draft(directory, self._twins.values(), map_bytes=map_bytes)

    def close(self) -> None:
        """Delete what was collected."""
        self._draft.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def add(self, table: Table, key: bytes, value: bytes, moment: int) -> None:
        """Add a version of a row; one with a key that no row has is left out."""
        if not 0 < len(key) <= _MOST_KEY_BYTES:
            return
        rank = (CURRENT - moment).to_bytes(_MOMENT_BYTES, "big")
        mark = blake3(value).digest(length=_HASH_BYTES)
        twin = self._twins[table.name]
        self._draft.put(
            lambda writing: writing.put(twin, key + rank + mark, value), size=len(key) + len(value)
        )

    def rows(self, table: Table) -> Iterator[tuple[bytes, list[Version]]]:
        """Yield (key, versions, the newest first) of each row, in the order of the keys.

        Versions of a key may stand on both sides of a longer one; then it comes again, without the
        newest.
        """
        tail = _MOMENT_BYTES + _HASH_BYTES
        last, versions = b"", list[Version]()
        with self._draft.view() as view:
            for found, value in view.items(self._twins[table.name]):
                key = found[:-tail]
                if key != last and versions:
                    yield last, versions
                    versions = []
                last = key
                moment = CURRENT - int.from_bytes(found[-tail:-_HASH_BYTES], "big")
                known = any(version.value == value for version in versions)
                if not known and len(versions) < _MOST_VERSIONS:
                    versions.append(Version(moment, value))
        if versions:
            yield last, versions
