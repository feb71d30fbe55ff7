"""The version of the states of an application's runs, and how older ones become newer ones.

A node that expects ``memory["messages"]`` to be a list of dicts cannot go on with a run that saved
texts there. The application counts such changes: it gives its states a version, and for each
version a function that makes the next one of it. Checkpoints carry the version, restoring and
resuming apply the functions, and the next checkpoint is of the new version.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.arguments import text_keyed
from hive.graph.places import LIKE_STATES, changed_record
from hive.text import kind_of, told

if TYPE_CHECKING:
    from manifests import Checkpoint

__all__ = ["LABEL", "StateMigration", "StateSchema"]

LABEL: Final = "state-schema"
"""The label of a checkpoint that says which version its state has; none means version 1."""

StateMigration = Callable[[Any], Any]


class StateSchema:
    """The version of the states that a program writes, and the migrations to it.

    ::

        schema = StateSchema(2)

        @schema.migration(1)
        def name_the_roles(state):
            if "messages" in state:
                state["messages"] = [{"role": "user", "text": t} for t in state["messages"]]
            return state

        CheckpointManager(storage, schema=schema)
    """

    def __init__(
        self, version: int = 1, migrations: Mapping[int, StateMigration] | None = None
    ) -> None:
        """Start at ``version``, counted from 1.

        Args:
            version: Of the states that this program writes.
            migrations: ``{n: function}``; see ``migration``.

        Raises:
            InvalidInputError: The version is no whole number from 1, or a migration starts at none
                before it.
        """
        if type(version) is not int or version < 1:
            raise errors.InvalidInputError("the version of a state schema is a whole number from 1")
        self.version = version
        self._migrations: dict[int, StateMigration] = {}
        for number, function in (migrations or {}).items():
            self.migration(number)(function)

    def migration(self, version: int) -> Callable[[StateMigration], StateMigration]:
        """Register the function that turns a state of ``version`` into one of ``version + 1``.

        The function gets the state, may change it, and returns the new one. When a run is resumed
        it is called for the memory and then for every other mapping with the same keys that the
        checkpoint holds (the next node's input, what steps of a plan gave): so it must accept that
        keys are absent. It must not have side effects; it runs again if a resume is repeated.
        """
        if self.version == 1:
            raise errors.InvalidInputError(
                "a state schema of version 1 has no migrations: nothing is older; count it up"
            )
        if type(version) is not int or not 1 <= version < self.version:
            raise errors.InvalidInputError(
                f"a migration starts at a version from 1 to {self.version - 1}, not at {version!r}"
            )
        if version in self._migrations:
            raise errors.InvalidInputError(f"there is a migration from version {version} already")

        def register(function: StateMigration) -> StateMigration:
            _check_function(function, version)
            self._migrations[version] = function
            return function

        return register

    def labels(self, labels: Mapping[str, str] | None) -> dict[str, str] | None:
        """Return the labels of a new checkpoint with the version among them."""
        if self.version == 1:
            return None if labels is None else dict(labels)
        return {**(labels or {}), LABEL: str(self.version)}

    def state(self, checkpoint: Checkpoint, state: Any) -> Any:
        """Return the state of a checkpoint in this version.

        Raises:
            UnsupportedFormatError: It is of a newer version.
            InvalidInputError: A migration is missing, or failed.
        """
        return self._migrated(state, self._steps(checkpoint))

    def execution(self, checkpoint: Checkpoint, execution: Mapping[str, Any]) -> dict[str, Any]:
        """Return an execution record in which everything that is like a state has this version.

        Raises:
            UnsupportedFormatError: It is of a newer version.
            InvalidInputError: A migration is missing, or failed.
        """
        steps = self._steps(checkpoint)
        record = dict(execution)
        if not steps:
            return record
        places = LIKE_STATES.get(record.get("executor", ""), ())
        return changed_record(
            record,
            places,
            lambda state: text_keyed("a migrated state", self._migrated(state, steps)),
        )

    def is_current(self, checkpoint: Checkpoint) -> bool:
        """Tell whether the state of a checkpoint has this version."""
        return checkpoint.labels.get(LABEL, "1") == str(self.version)

    def _steps(self, checkpoint: Checkpoint) -> range:
        """Return the versions to migrate from, one after the other."""
        where = f"{checkpoint.run}@{checkpoint.sequence}"
        text = checkpoint.labels.get(LABEL, "1")
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise errors.InvalidInputError(f"the label {LABEL} of {where} is no version: {text!r}")
        if int(text) > self.version:
            raise errors.UnsupportedFormatError(
                f"the state of {where} has version {text}, and this program knows {self.version}: "
                "use the newer program, or fork the run before it was moved on"
            )
        steps = range(int(text), self.version)
        for step in steps:
            if step not in self._migrations:
                raise errors.InvalidInputError(
                    f"the state of {where} has version {text}, this program writes {self.version}, "
                    f"and no migration from {step} is registered: register one with "
                    f"schema.migration({step})"
                )
        return steps

    def _migrated(self, state: Any, steps: range) -> Any:
        for step in steps:
            try:
                migrated = self._migrations[step](state)
            except Exception as error:
                raise errors.InvalidInputError(
                    f"the migration from version {step} of the state failed: {told(error)}"
                ) from error
            # Most often a `return` was forgotten; the run would go on without its state.
            if migrated is None and state is not None:
                raise errors.InvalidInputError(
                    f"the migration from version {step} of the state returned None: it has to "
                    "return the state, also one that it changed in place"
                )
            state = migrated
        return state


def _check_function(function: object, version: int) -> None:
    if not callable(function) or inspect.iscoroutinefunction(function):
        what = "an async function" if callable(function) else kind_of(function)
        raise errors.InvalidInputError(
            f"the migration from version {version} is a plain function, not {what}"
        )
