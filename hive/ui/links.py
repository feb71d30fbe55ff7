"""Where pages link to, and the commands they offer.

Names travel in the query of a link and never in its path, so none of them can lead elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from hive.commands import command_line, free_name, reference
from hive.errors import HiveError, InvalidInputError
from manifests import Checkpoint, Repository
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
    """Commands for a shell that mean what a page shows; see ``hive.commands``."""

    def __init__(
        self,
        home: str | None,
        repository: Repository | None = None,
        options: Callable[[str], Sequence[str]] = lambda _run: (),
    ) -> None:
        """Name this home in every command; None if it is the one that they would choose.

        With the ``repository``, a checkpoint is named by its id where ``run@12`` means another one,
        and a fork gets a name that is free. ``options`` tells those that resuming a run needs.
        """
        self._home = home
        self._repository = repository
        self._options = options

    def resume(self, run: str) -> str:
        """The command that continues a run."""
        try:
            options = self._options(run)
        except HiveError:
            options = ()  # its head is damaged or gone, which hides no page of an older checkpoint
        return command_line("resume", run, options=options, home=self._home)

    def fork(self, checkpoint: Checkpoint) -> str:
        """The command that starts a run at a checkpoint."""
        name = checkpoint.run
        fork = f"{name}-fork" if self._repository is None else free_name(self._repository, name)
        return command_line("fork", self._ref(checkpoint), fork, home=self._home)

    def show(self, checkpoint: Checkpoint, path: Sequence[Step] = ()) -> str:
        """The command that prints a checkpoint, or what stands at a path of its state."""
        place = [path_of(path)] if path else []
        return command_line("show", self._ref(checkpoint), *place, home=self._home)

    def demo(self) -> str:
        """The command that makes a run to look at."""
        return command_line("demo", home=self._home)

    def run(self) -> str:
        """The command that runs a graph of the user's own."""
        return command_line("run", "FILE.py:GRAPH", home=self._home)

    def check(self) -> str:
        """The command that looks for damage."""
        return command_line("check", home=self._home)

    def effects(self, run: str) -> str:
        """The command that lists what a run did outside of its state."""
        return command_line("effects", run, home=self._home)

    def diff(self, before: Checkpoint, after: Checkpoint) -> str:
        """The command that compares two checkpoints."""
        return command_line("diff", self._ref(before), self._ref(after), home=self._home)

    def _ref(self, checkpoint: Checkpoint) -> str:
        if self._repository is None:
            return f"{checkpoint.run}@{checkpoint.sequence}"
        return reference(self._repository, checkpoint)
