"""Commands that people are told to type: they do what they say when they are pasted into a shell.

Names of runs may be anything. One may begin with a dash, hold what a shell takes apart or what is
not seen, or read like a reference to something else (``tag:x``, ``run@3``).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hive import errors

if TYPE_CHECKING:
    from manifests import Checkpoint, Repository

__all__ = ["command_line", "free_name", "quoted", "reference"]

_MOST_NAME_BYTES: Final = 1_024
_MOST_UNREADABLE: Final = 4


def command_line(
    name: str, *arguments: str, options: Sequence[str] = (), home: str | None = None
) -> str:
    """Return a command of Hive for a shell, with every argument as nothing but an argument.

    ``home`` is named in it, unless it is None: the one that the command would choose.
    """
    place = [] if home is None else ["--home", home]
    if any(argument.startswith("-") for argument in arguments):
        words = [*place, *options, "--", *arguments]
    else:
        words = [*place, *arguments, *options]
    return " ".join(map(quoted, ["hive", name, *words]))


def quoted(text: str) -> str:
    """Quote for a shell; what is copied is what is seen, so nothing invisible stays in it."""
    if text.isprintable():
        return shlex.quote(text)
    shown = "".join(
        character
        if character.isprintable() and character not in "\\'"
        else "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
        for character in text
    )
    return f"$'{shown}'"


def reference(repository: Repository, checkpoint: Checkpoint) -> str:
    """Return a text that names a checkpoint: ``run@12``, or its id where that names another one."""
    text = f"{checkpoint.run}@{checkpoint.sequence}"
    try:
        found = repository.resolve(text)
    except errors.HiveError:
        return str(checkpoint.id)
    return text if found.id == checkpoint.id else str(checkpoint.id)


def free_name(repository: Repository, name: str) -> str:
    """Return a name for a fork of a run that no run has, as far as a damaged store tells."""
    number = unreadable = 0
    while True:
        number += 1
        end = "-fork" if number == 1 else f"-fork-{number}"
        fork = name.encode()[: _MOST_NAME_BYTES - len(end)].decode(errors="ignore") + end
        try:
            repository.log(fork, limit=1)
        except errors.NotFoundError:
            return fork
        except (errors.CorruptionError, errors.UnsupportedFormatError):
            # It is there. Or the damage is elsewhere, so that of no name it can be told whether a
            # run has it: then this would never end.
            unreadable += 1
            if unreadable == _MOST_UNREADABLE:
                return fork
