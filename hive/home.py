"""Where a user's Hive lives: ``$HIVE_HOME``, else ``~/.hive``.

Nothing is ever put into ``/`` or into the current directory because a variable was missing: an
unusable setting is an error that names the variable to set. Nor is a folder made of what people
type out of habit, ``:memory:``, ``sqlite:///x.db`` or ``~/x``: what was saved there would be looked
for elsewhere.
"""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hive import errors
from hive.text import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests import Repository

__all__ = ["check_home", "folder_problem", "home_directory", "open_repository"]

_SCHEME: Final = re.compile("([A-Za-z][A-Za-z0-9+.-]+):")
_IN_MEMORY: Final = ":memory:"
_IN_URI: Final = "file:"
_IMPORTED: Final = ("sqlite", "postgres")
"""How the schemes begin of the databases that ``hive import-langgraph`` reads."""
_SQLITE: Final = b"SQLite format 3\0"


def home_directory(environment: Mapping[str, str]) -> Path:
    """Choose the directory of this user's Hive from environment variables.

    Args:
        environment: The variables to look at, usually ``os.environ``.

    Returns:
        An absolute path. It need not exist.

    Raises:
        InvalidInputError: ``HIVE_HOME`` is relative, or it is not set and ``HOME`` is unset, empty,
            relative, or the root of the file system.
    """
    chosen = environment.get("HIVE_HOME", "")
    if chosen:
        if not os.path.isabs(chosen):
            raise errors.InvalidInputError(
                f"HIVE_HOME is {chosen!r}, which is not absolute: set HIVE_HOME to an absolute path"
            )
        return Path(chosen)
    user = environment.get("HOME", "")
    # A service account without a home often has HOME=/: a store there would be everybody's.
    if not user or not os.path.isabs(user) or Path(user) == Path(user).parent:
        state = "not set" if not user else f"{user!r}, which is no home directory"
        raise errors.InvalidInputError(
            f"HOME is {state}: set HIVE_HOME to an absolute path, or pass the directory"
        )
    return Path(user) / ".hive"


def folder_problem(folder: Path) -> str:
    """Say why the path of a folder for a store is surely not what was meant; empty if it may be.

    A folder that is there is used, whatever its name is.
    """
    if "\0" in str(folder):
        return "has a null character, which no path can have"
    if folder.parts[:1] == ("~",) and not os.path.lexists("~"):
        return "begins with ~, which only a shell replaces: write the whole path"
    for place in (folder, *folder.parents):
        # Of "sqlite:///x.db" a path keeps "sqlite:" and "x.db". What follows may hold a password.
        scheme = _SCHEME.fullmatch(place.name)
        is_in_memory = place.name == _IN_MEMORY or place.name.startswith(_IN_URI)
        if not (scheme or is_in_memory) or os.path.lexists(place):
            continue
        if scheme is None:
            return (
                f"is {place.name}, as SQLite has it, and a store is a folder: name one, a "
                "temporary one for what need not be kept"
            )
        advice = "name its path"
        if scheme[1].lower().startswith(_IMPORTED):
            advice += "; `hive import-langgraph URL` takes over what a LangGraph database holds"
        return (
            f"reads as a URL, {scheme[1]}:..., and a store is a folder of this machine: {advice}; "
            "a folder that has such a name is used once it is there"
        )
    return ""


def check_home(home: Path) -> None:
    """Refuse a path where no home can be, or that is surely not what was meant.

    Raises:
        InvalidInputError: See ``folder_problem``; or there is a file, or one in place of a parent.
    """
    problem = folder_problem(home) or _file_problem(home)
    if problem:
        raise errors.InvalidInputError(f"home {problem}")


def open_repository(home: str | os.PathLike[str] | None = None, **options: Any) -> Repository:
    """Open the store of checkpoints, creating it on first use. Known as ``hive.open``.

    Args:
        home: The directory that holds the store; ``$HIVE_HOME``, else ``~/.hive``, if None.
        **options: Passed on to ``Repository.open`` (``create``, ``read_only``, ``registry``, ...).

    Returns:
        The repository; close it, or use it in a ``with`` statement.

    Raises:
        InvalidInputError: No usable directory was given or could be chosen: a file is there, or it
            is not there and its name is one that only databases have (``:memory:``, a URL).
        HiveError: What ``Repository.open`` raises.
    """
    from manifests import Repository

    if home is not None and not isinstance(home, str | os.PathLike):
        raise errors.InvalidInputError(
            f"home is {kind_of(home)}: pass a directory, or None for the default"
        )
    if home is not None and not os.fspath(home):
        raise errors.InvalidInputError("home is empty: pass a directory, or None for the default")
    chosen = _default_home() if home is None else Path(home)
    check_home(chosen)
    return Repository.open(chosen, **options)


def _file_problem(folder: Path) -> str:
    """Say what to do where a file stands in the place of a folder, or of one above it."""
    place = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if os.path.isdir(place) or not os.path.exists(place):
        return ""
    if _is_sqlite(place):
        url = f"sqlite:///{quote(str(place.absolute()))}"
        return (
            f"is {place}, an SQLite database, and a store is a folder: name another place; `hive "
            f"import-langgraph {shlex.quote(url)}` takes over what LangGraph's saver kept there"
        )
    return f"is {place}, a file, and a store is a folder: name another place"


def _is_sqlite(place: Path) -> bool:
    if os.path.isfile(place):
        with suppress(OSError), place.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    return False


def _default_home() -> Path:
    # The one place below hive/cli that reads the environment.
    return home_directory(os.environ)  # noqa: TID251
