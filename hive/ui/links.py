"""Where pages link to, and the commands they offer.

Names travel in the query of a link and never in its path, so none of them can lead elsewhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import urlencode

from hive.errors import InvalidInputError
from manifests import Checkpoint
from manifests.paths import Step
from manifests.places import parse_path, path_of

__all__ = ["Commands", "link", "shown_path", "step_link"]


def link(page: str, /, **query: str | int | None) -> str:
    """Return a link to a page; what is None or empty is left out of its query."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"/{page}?{urlencode(given)}" if given else f"/{page}"


def shown_path(text: str) -> str:
    """Write a path as people do, ``messages[3].tool``; one that was cut stays as it is."""
    try:
        return path_of(parse_path(text))
    except InvalidInputError:
        return text


def step_link(
    checkpoint: Checkpoint,
    page: str = "step",
    *,
    record: bool = False,
    path: Sequence[Step] = (),
    start: int = 0,
) -> str:
    """Return a link to a checkpoint's page, or to what stands at a path of its state."""
    return link(
        page,
        run=checkpoint.run,
        at=checkpoint.sequence,
        of="execution" if record else None,
        path=path_of(path),
        start=start or None,
    )


class Commands:
    """Commands for a shell, with every name quoted so that it cannot be anything but a name."""

    def __init__(self, home: str | None) -> None:
        """Name this home in every command; None if it is the one that they would choose."""
        self._home = [] if home is None else ["--home", home]

    def resume(self, run: str) -> str:
        """The command that continues a run."""
        return self._command("resume", run)

    def fork(self, checkpoint: Checkpoint) -> str:
        """The command that starts a run at a checkpoint."""
        return self._command("fork", _ref(checkpoint), f"{checkpoint.run}-fork")

    def show(self, checkpoint: Checkpoint, path: Sequence[Step] = ()) -> str:
        """The command that prints a checkpoint, or what stands at a path of its state."""
        return self._command("show", _ref(checkpoint), *([path_of(path)] if path else ()))

    def check(self) -> str:
        """The command that looks for damage."""
        return self._command("check")

    def effects(self, run: str) -> str:
        """The command that lists what a run did outside of its state."""
        return self._command("effects", run)

    def diff(self, before: Checkpoint, after: Checkpoint) -> str:
        """The command that compares two checkpoints."""
        return self._command("diff", _ref(before), _ref(after))

    def _command(self, name: str, *arguments: str) -> str:
        dashed = ["--"] if any(argument.startswith("-") for argument in arguments) else []
        return " ".join(map(_quoted, ["hive", name, *self._home, *dashed, *arguments]))


def _ref(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.run}@{checkpoint.sequence}"


def _quoted(text: str) -> str:
    """Quote for a shell; what is copied is what is seen, so nothing invisible stays in it."""
    if text.isprintable():
        return shlex.quote(text)
    shown = "".join(
        character
        if character.isprintable() and character not in "\\'"
        else "".join(f"\\x{byte:02x}" for byte in character.encode())
        for character in text
    )
    return f"$'{shown}'"
