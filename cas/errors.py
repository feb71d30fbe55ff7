"""The errors of Hive, grouped by what the caller would do about them.

::

    HiveError                    root; every error of this project is one
    |- NotFoundError             the named run, checkpoint, tag or object is not there
    |- InvalidInputError         the caller passed something that cannot be used; correct it
    |- ConflictError             somebody else moved first; read again, then decide
    |- CorruptionError           stored bytes are damaged; run a check, restore from a copy
    |  |- CorruptObjectError     an object's bytes do not hash to its address
    |  |- MissingObjectError     an object that another one links to is absent
    |  `- CorruptStoreError      the file itself is truncated, torn or not a store
    |- UnsupportedFormatError    written by a newer Hive; upgrade
    |- LimitError                a documented limit was passed; make the value smaller
    |- StoreFullError            no space left; free some, then repeat
    |- ReadOnlyStoreError        the store was opened for reading only
    `- AccessError               the file system refused: permissions, owner, kind of file system

Each class has a stable ``code`` (append-only; programs may match on it) and keeps the offending
digest, run or path as an attribute where there is one. Exceptions of lmdb, cbor2 and the
operating system never leave the ``cas`` package unwrapped; they are chained as ``__cause__``.
Messages never contain state values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

    from cas.digest import Digest

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


class HiveError(Exception):
    """Root of every error that Hive raises on purpose."""

    code: ClassVar[str] = "hive"


class NotFoundError(HiveError):
    """The run, checkpoint, tag, key or object that was asked for does not exist."""

    code = "not-found"


class InvalidInputError(HiveError):
    """The caller passed a value, a name or an argument that cannot be used.

    ``path`` is the place inside a state, such as ``state['messages'][3].tool``, where there is one.
    """

    code = "invalid-input"

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message if path is None else f"{path}: {message}")
        self.path = path


class ConflictError(HiveError):
    """Another writer changed what this call expected to find unchanged."""

    code = "conflict"

    def __init__(self, message: str, *, run: str | None = None) -> None:
        super().__init__(message)
        self.run = run


class CorruptionError(HiveError):
    """Stored bytes are damaged. Nothing damaged is ever returned as if it were good."""

    code = "corruption"


class CorruptObjectError(CorruptionError):
    """An object's bytes do not hash to the address under which they are stored."""

    code = "corrupt-object"

    def __init__(
        self, message: str, *, expected: Digest | None = None, actual: Digest | None = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class MissingObjectError(CorruptionError):
    """An object that something stored refers to is not in the store."""

    code = "missing-object"

    def __init__(self, message: str, *, digest: Digest | None = None) -> None:
        super().__init__(message)
        self.digest = digest


class CorruptStoreError(CorruptionError):
    """The store's file is truncated, torn, or not a Hive store at all."""

    code = "corrupt-store"

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class UnsupportedFormatError(HiveError):
    """The store, object or bundle was written in a format that this version does not know."""

    code = "unsupported-format"


class LimitError(HiveError):
    """A documented limit was exceeded. ``path`` is the place inside a state, where there is one."""

    code = "limit"

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message if path is None else f"{path}: {message}")
        self.path = path


class StoreFullError(HiveError):
    """The disk, a quota or the configured maximum size leaves no room for this write.

    Nothing acknowledged is lost; the failed write is not visible. Free space and repeat.
    """

    code = "store-full"


class ReadOnlyStoreError(HiveError):
    """A write was asked of a store that is open for reading only."""

    code = "read-only"


class AccessError(HiveError):
    """The operating system refused access to the store: permissions, owner or file system kind."""

    code = "access"

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path
