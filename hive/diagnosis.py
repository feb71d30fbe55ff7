"""Looking whether a home and the machine around it are as they should be. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from cas.ballast import BALLAST_BYTES, BALLAST_FILE
from cas.errors import CorruptionError, HiveError, NotFoundError
from cas.leftovers import find_leftovers
from cas.mounts import file_system_of
from hive.commands import command_line
from hive.home import open_repository
from manifests import Repository, UnreadableRun
from manifests.repository import OBJECTS_FOLDER

__all__ = ["Finding", "diagnose"]

Level = Literal["ok", "note", "warning", "error"]

LEAST_FREE_BYTES: Final = 64_000_000
"""Free space below which saving is likely to fail soon."""
FAR_BEHIND: Final = 1_000
"""Commits after which a reader that is still there is worth a warning."""
JANITOR_BYTES: Final = 50_000_000
"""Size from which Aden Hive's janitor deletes folders that it does not know."""
MOST_NAMED: Final = 5
"""Runs that cannot be read and are named."""
_LIBRARIES: Final = ("lmdb", "blake3", "cbor2", "zstandard", "pyfastcdc", "pydantic", "typer")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``name`` is a stable word, ``level`` how bad it is."""

    name: str
    level: Level
    text: str


_Look = Callable[[Path, str | None], Iterator[Finding]]
"""Looks at a home; commands that it tells to type name the second one, unless it is None."""


def diagnose(
    home: Path, *, default_home: Path | None, named_home: str | None = None
) -> list[Finding]:
    """Look at everything that can be wrong around a store.

    Args:
        home: The home to look at.
        default_home: The home that is used when nobody names one, for the warning about other
            programs that clean up there.
        named_home: The home to name in commands that people are told to type; None if it is the
            one that these choose.

    Returns:
        A finding for each thing looked at, the good ones included.
    """
    looks: list[_Look] = [
        _versions,
        _permissions,
        _file_system,
        _disk,
        _store,
    ]
    found = [finding for look in looks for finding in _guarded(look, home, named_home)]
    if default_home is not None and home == default_home:
        found += _guarded(_janitor, home, named_home)
    return found


def _guarded(look: _Look, home: Path, named: str | None) -> Iterator[Finding]:
    """Turn what stops one look into a finding: the others still tell something."""
    try:
        yield from look(home, named)
    except OSError as error:
        yield Finding(look.__name__.strip("_"), "error", f"{home}: {error.strerror}")


def _versions(_home: Path, _named: str | None) -> Iterator[Finding]:
    import lmdb

    versions = [f"Python {platform.python_version()}"]
    for name in ("hive-checkpoints", *_LIBRARIES):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} (not installed)")
    engine = ".".join(map(str, lmdb.version()))
    yield Finding("versions", "ok", f"{', '.join(versions)}, LMDB engine {engine}")


def _permissions(home: Path, _named: str | None) -> Iterator[Finding]:
    store = home / OBJECTS_FOLDER
    if not store.exists():
        return
    if home.stat().st_mode & stat.S_IWOTH:
        yield Finding(
            "permissions",
            "warning",
            f"everybody may write to {home}, and so replace what is in it; chmod o-w it",
        )
    if store.stat().st_uid != os.geteuid():
        # It may let nobody else look into it: then there is nothing to walk over.
        yield Finding("permissions", "error", f"{store} belongs to another user")
        return
    open_to_others = []
    for folder, folders, files in os.walk(store):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            if status.st_uid != os.geteuid():
                yield Finding("permissions", "error", f"{path} belongs to another user")
                return
            if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o077:
                open_to_others.append(path)
    if open_to_others:
        yield Finding(
            "permissions",
            "warning",
            f"other users may look into {len(open_to_others):,} files of the store, such as "
            f"{open_to_others[0]}; chmod -R go= {store}",
        )
    else:
        yield Finding("permissions", "ok", f"only you can read {store}")


def _file_system(home: Path, _named: str | None) -> Iterator[Finding]:
    kind = file_system_of(_existing(home))
    if kind in ("tmpfs", "ramfs"):
        yield Finding(
            "file-system", "warning", f"{home} is in memory ({kind}) and gone after a restart"
        )
    elif kind is None:
        yield Finding("file-system", "note", "this system does not tell kinds of file systems")
    else:
        yield Finding("file-system", "ok", f"{home} is on {kind}")


def _disk(home: Path, named: str | None) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(home)).free
    size = sum(path.stat().st_size for path in (home / OBJECTS_FOLDER).glob("g*/data.mdb"))
    text = f"{free / 1e9:,.1f} GB free; the store has {size / 1e6:,.1f} MB"
    if free < LEAST_FREE_BYTES:
        yield Finding("disk", "error", f"{text}: forget runs, then {_hint('gc', home=named)}")
    elif free < size + LEAST_FREE_BYTES:
        compact = _hint("compact", home=named)
        yield Finding(
            "disk", "warning", f"{text}: too little for {compact}, which needs room for a copy"
        )
    else:
        yield Finding("disk", "ok", text)


def _store(home: Path, named: str | None) -> Iterator[Finding]:
    store = home / OBJECTS_FOLDER
    try:
        repo = open_repository(home, create=False, read_only=True)
    except NotFoundError:
        run = _hint("run", "FILE.py:GRAPH", home=named)
        text = f"there is no store in {home} yet; {run} makes one"
        yield Finding("store", "note", text)
        return
    except HiveError as error:
        yield Finding("store", "error", f"the store does not open ({error.code}): {error}")
        if isinstance(error, CorruptionError):
            salvage = _hint("salvage", "DIR", home=named)
            text = f"{salvage} takes all that is whole in it into a new store"
            yield Finding("salvage", "note", text)
        return
    with repo:
        try:
            infos, unreadable = repo.readable_runs()
            runs = f"{len(infos) + len(unreadable):,} runs and {repo.objects():,} objects"
            yield Finding("store", "ok", f"opens, with {runs}")
            yield from _unreadable(unreadable, named)
        except HiveError as error:
            yield Finding("store", "error", f"its runs cannot be listed ({error.code}): {error}")
        yield from _readers(repo)
    yield from _ballast(store)
    yield from _leftovers(store)


def _unreadable(unreadable: Sequence[UnreadableRun], named: str | None) -> Iterator[Finding]:
    for run in unreadable[:MOST_NAMED]:
        text = f"run {run.name!r} cannot be read: {run.error}"
        yield Finding("runs", "error", text)
    if len(unreadable) > MOST_NAMED:
        more = f"{len(unreadable) - MOST_NAMED:,} more runs cannot be read"
        yield Finding("runs", "error", f"{more}; {_hint('runs', home=named)} lists them")


def _readers(repo: Repository) -> Iterator[Finding]:
    # Slots of processes that died were freed when the store was opened.
    late = [reader for reader in repo.readers() if reader.behind >= FAR_BEHIND]
    for reader in late:
        yield Finding(
            "readers",
            "warning",
            f"process {reader.pid} has read for {reader.behind:,} commits; until it ends, the file "
            "grows",
        )
    if not late:
        yield Finding("readers", "ok", "no reader holds back old pages")


def _ballast(store: Path) -> Iterator[Finding]:
    path = store / BALLAST_FILE
    if path.is_file() and path.stat().st_size == BALLAST_BYTES:
        yield Finding("ballast", "ok", "the reserve for a full disk is there")
    else:
        yield Finding(
            "ballast",
            "note",
            "the reserve that lets gc work on a full disk is missing; the next commit makes it "
            "again, if there is room",
        )


def _leftovers(store: Path) -> Iterator[Finding]:
    left = find_leftovers(store)
    if left:
        yield Finding(
            "leftovers",
            "note",
            f"an interrupted compact left {', '.join(path.name for path in left)}; the next "
            "command that writes removes it",
        )
    else:
        yield Finding("leftovers", "ok", "nothing was left behind by a compact")


def _janitor(home: Path, named: str | None) -> Iterator[Finding]:
    store = home / OBJECTS_FOLDER
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    advice = (
        f"Aden Hive uses {home} as well, and its `hive janitor run --junk --execute` deletes "
        "unknown folders over 50 MB in it, this store included. If you use it, copy the store "
        f"elsewhere ({_hint('backup', 'DIR', home=named)}) and set HIVE_HOME to that folder"
    )
    if size > JANITOR_BYTES:
        yield Finding("janitor", "warning", f"{advice}; the store has {size / 1e6:,.0f} MB now")
    elif size:
        yield Finding("janitor", "note", advice)


def _hint(name: str, *arguments: str, home: str | None) -> str:
    return f"`{command_line(name, *arguments, home=home)}`"


def _existing(path: Path) -> Path:
    """Return a path that exists: itself, or the closest folder above it."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path.resolve()
