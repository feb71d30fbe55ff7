"""Where a user's Hive lives: ``$HIVE_HOME``, else ``~/.hive``.

Nothing is ever put into ``/`` or into the current directory because a variable was missing: an
unusable setting is an error that names the variable to set.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.text import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manifests import Repository

__all__ = ["home_directory", "open_repository"]


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


def open_repository(home: str | os.PathLike[str] | None = None, **options: Any) -> Repository:
    """Open the store of checkpoints, creating it on first use. Known as ``hive.open``.

    Args:
        home: The directory that holds the store; ``$HIVE_HOME``, else ``~/.hive``, if None.
        **options: Passed on to ``Repository.open`` (``create``, ``read_only``, ``registry``, ...).

    Returns:
        The repository; close it, or use it in a ``with`` statement.

    Raises:
        InvalidInputError: No usable directory was given or could be chosen.
        HiveError: What ``Repository.open`` raises.
    """
    from manifests import Repository

    if home is not None and not isinstance(home, str | os.PathLike):
        raise errors.InvalidInputError(
            f"home is {kind_of(home)}: pass a directory, or None for the default"
        )
    if home is not None and not os.fspath(home):
        raise errors.InvalidInputError("home is empty: pass a directory, or None for the default")
    return Repository.open(_default_home() if home is None else Path(home), **options)


def _default_home() -> Path:
    # The one place below hive/cli that reads the environment.
    return home_directory(os.environ)  # noqa: TID251
