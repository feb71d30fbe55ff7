"""Hive keeps the state of agent runs: checkpoints, exact resume, executors.

::

    import hive

    with hive.open() as repo:                 # $HIVE_HOME, else ~/.hive
        for run in repo.runs():
            print(run.name, run.head.sequence)

Names are imported when they are first used, so that ``import hive`` stays fast and a graph that
runs without checkpoints never loads the store.
"""

from __future__ import annotations

from importlib import import_module  # noqa: TID251  only for the table below
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hive.errors import (
        AccessError,
        ConflictError,
        CorruptionError,
        CorruptObjectError,
        CorruptStoreError,
        HiveError,
        InvalidInputError,
        LimitError,
        MissingObjectError,
        NotFoundError,
        ReadOnlyStoreError,
        StoreFullError,
        UnsupportedFormatError,
    )
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.schema import StateSchema
    from hive.home import open_repository as open
    from hive.runner import AgentRunner
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Repository

__all__ = [
    "AccessError",
    "AgentRunner",
    "CheckpointConfig",
    "CheckpointManager",
    "ConflictError",
    "CorruptObjectError",
    "CorruptStoreError",
    "CorruptionError",
    "HiveError",
    "InvalidInputError",
    "LimitError",
    "MissingObjectError",
    "NotFoundError",
    "ReadOnlyStoreError",
    "Repository",
    "StateSchema",
    "StoreFullError",
    "UnsupportedFormatError",
    "open",
]

# Public name -> (module, name there); everything else in __all__ is an error class.
_PLACES: Final = {
    "AgentRunner": ("hive.runner", "AgentRunner"),
    "CheckpointConfig": ("hive.schemas.checkpoint", "CheckpointConfig"),
    "CheckpointManager": ("hive.graph.checkpoint_manager", "CheckpointManager"),
    "Repository": ("manifests", "Repository"),
    "StateSchema": ("hive.graph.schema", "StateSchema"),
    "open": ("hive.home", "open_repository"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES.get(name, ("hive.errors", name))
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
