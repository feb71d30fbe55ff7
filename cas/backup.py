"""A hot backup: the whole store as of one moment, as a store of its own."""

from __future__ import annotations

from pathlib import Path

from cas.creation import create_new_store
from cas.database import DATA_FILE
from cas.environment import Environment
from cas.errors import ConflictError
from cas.filesystem import DIRECTORY_MODE

__all__ = ["back_up"]


def back_up(environment: Environment, place: Path, *, compact: bool = True) -> None:
    """Copy the store to the new directory ``place`` while others go on working with it.

    It is complete and synced before it appears there. Free pages are left out, and with them what
    was deleted; unless ``compact`` is false, for a store that may be damaged.

    Raises:
        ConflictError: There is something at ``place`` already.
        InvalidInputError: It is inside a store.
        HiveError: It cannot be written; nothing is left behind.
    """

    def fill(directory: Path) -> None:
        directory.mkdir(mode=DIRECTORY_MODE)
        directory.chmod(DIRECTORY_MODE)
        environment.copy(directory / DATA_FILE, compact=compact)

    if not create_new_store(place, fill):
        raise ConflictError(f"{place} is there already; back up to a new place")
