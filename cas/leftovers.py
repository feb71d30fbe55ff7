"""What a compaction that was killed leaves behind in a store, and removing it.

That is a draft (``.compacting.*``) or a complete generation that is not the current one. Both are
harmless, but may be as large as the store.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from cas.errors import HiveError
from cas.generation import GENERATION_FILE, parse_generation_line
from cas.upkeep import upkeep_lock

__all__ = ["DRAFT_PREFIX", "clear_leftovers", "find_leftovers", "remove_leftovers"]

DRAFT_PREFIX: Final = ".compacting."


def remove_leftovers(store: Path) -> None:
    """Remove what is left behind, unless somebody collects or compacts right now.

    A failure is none: the next compaction tries again. A full disk may be full because of them,
    and is opened all the same.
    """
    with suppress(OSError, HiveError):
        if find_leftovers(store):
            with upkeep_lock(store, deadline=0.0):
                clear_leftovers(store)


def clear_leftovers(store: Path) -> None:
    """Remove what is left behind. The caller holds the upkeep lock, so nobody is compacting.

    Raises:
        OSError: The store cannot be listed.
    """
    for path in find_leftovers(store):
        shutil.rmtree(path, ignore_errors=True)


def find_leftovers(store: Path) -> list[Path]:
    """Return what is left behind in a store, without changing anything."""
    found = [
        name
        for name in os.listdir(store)
        if name.startswith(DRAFT_PREFIX) or (name[:1] == "g" and name[1:].isdecimal())
    ]
    if len(found) < 2:
        return []
    current = parse_generation_line((store / GENERATION_FILE).read_bytes(), store)
    return [store / name for name in found if name != f"g{current}"]
