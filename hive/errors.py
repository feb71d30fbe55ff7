"""The error classes of Hive, by their names, without importing the store before one is needed.

The classes live in :mod:`cas.errors`. A graph that runs without a checkpoint manager must not pay
for the store's imports, so the names here are looked up on first use. Write
``raise errors.InvalidInputError(...)`` and ``except errors.ConflictError``, not
``from hive.errors import ...`` at the top of a module that has to stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas.errors import (
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

__all__ = [
    "AccessError",
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
    "StoreFullError",
    "UnsupportedFormatError",
]


def __getattr__(name: str) -> object:
    """Import :mod:`cas.errors` when the first error class is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cas import errors

    value: object = getattr(errors, name)
    globals()[name] = value
    return value
