"""Creating a store: completely, in a private place beside the target, then renamed into it.

Without that, a power failure during creation was seen to leave a file that is no LMDB file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cas.ballast import make_ballast
from cas.errors import InvalidInputError
from cas.failures import translate
from cas.filesystem import (
    DIRECTORY_MODE,
    make_private_directories,
    make_private_file,
    sync_directory,
)
from cas.flock import FlockFile
from cas.generation import (
    FIRST_GENERATION,
    GENERATION_FILE,
    TURNSTILE_FILE,
    generation_directory,
    generation_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["create_new_store", "create_store", "refuse_inside_store", "remove_dead_creations"]

_MARK: Final = ".creating."
_TAKEN_ERRNOS: Final = {errno.ENOTEMPTY, errno.EEXIST}


def create_store(path: Path, fill: Callable[[Path], None]) -> bool:
    """Create the store ``path``, unless another process does so first.

    Args:
        path: Where the store shall be: absent, or an empty directory.
        fill: Creates the LMDB environment in the directory it is given, with its first
            transaction, and closes it again.

    Returns:
        Whether this call created the store.

    Raises:
        HiveError: The place cannot be written, or ``fill`` failed; nothing is left behind.
    """
    try:
        make_private_directories(path.parent)
        remove_dead_creations(path)
        return _create(path, fill)
    except OSError as error:
        raise translate(error, path) from error


def create_new_store(path: Path, fill: Callable[[Path], None]) -> bool:
    """Create a store as ``create_store`` does, where nobody else is about to have one.

    If it fails, the directories that were made for it go too.

    Raises:
        InvalidInputError: The place is inside another store.
    """
    refuse_inside_store(path)
    made = [each for each in path.parents if not os.path.lexists(each)]
    try:
        return create_store(path, fill)
    except BaseException:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise


def refuse_inside_store(path: Path) -> None:
    """Refuse a place for a store that is inside another one's directory.

    What tidies that one up does not know it, and a copy there is lost together with it.

    Raises:
        InvalidInputError: It is inside.
    """
    for parent in Path(os.path.realpath(path)).parents:
        if all(os.path.exists(parent / name) for name in (GENERATION_FILE, TURNSTILE_FILE)):
            raise InvalidInputError(
                f"{path} is inside the store {parent}: choose a folder outside of it"
            )


def _create(path: Path, fill: Callable[[Path], None]) -> bool:
    draft = path.with_name(f".{path.name}{_MARK}{os.getpid()}.{secrets.token_hex(4)}")
    draft.mkdir(mode=DIRECTORY_MODE)
    try:
        draft.chmod(DIRECTORY_MODE)
        make_private_file(draft / GENERATION_FILE, generation_line(FIRST_GENERATION))
        with closing(FlockFile(draft / GENERATION_FILE, os.O_RDONLY)) as alive:
            # Held until the rename: it shows to others that this creation is not abandoned, also
            # where process numbers say nothing (a container that shares the directory).
            fcntl.flock(alive, fcntl.LOCK_SH)
            make_private_file(draft / TURNSTILE_FILE)
            fill(generation_directory(draft, FIRST_GENERATION))
            make_ballast(draft)
            sync_directory(generation_directory(draft, FIRST_GENERATION))
            sync_directory(draft)
            won = _rename(draft, path)
        if won:
            sync_directory(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return won


def _rename(draft: Path, path: Path) -> bool:
    """Move ``draft`` to ``path``; ``False`` if a store is there already."""
    try:
        os.rename(draft, path)
    except OSError as error:
        if error.errno in _TAKEN_ERRNOS:
            return False
        raise
    return True


def remove_dead_creations(path: Path) -> None:
    """Remove what killed creations of the store ``path`` left beside it.

    Harmless leftovers they are, so a failure here is none: the next creation tries again.
    """
    with suppress(OSError):
        for draft in path.parent.glob(f".{path.name}{_MARK}*"):
            if _is_abandoned(draft):
                shutil.rmtree(draft, ignore_errors=True)


def _is_abandoned(draft: Path) -> bool:
    """Whether the process that was creating ``draft`` is certainly dead."""
    pid = draft.name.split(_MARK)[1].split(".")[0]
    if not pid.isdecimal() or _is_alive(int(pid)):
        return False
    try:
        with closing(FlockFile(draft / GENERATION_FILE, os.O_RDONLY)) as alive:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
