"""Events: what a repository did. They carry names and numbers, and no values of states.

Every kind is a frozen dataclass that extends ``Event``; layers above add kinds of their own.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Final

from manifests.manifest import Checkpoint

if TYPE_CHECKING:
    from manifests.collection import CompactReport, GcReport

__all__ = [
    "Compacted",
    "Event",
    "Failed",
    "Forgot",
    "Forked",
    "GarbageCollected",
    "Restored",
    "RunDeleted",
    "Saved",
]

_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was done. ``seconds`` is how long the call took that did it.

    Tracing and metrics know it by ``name``, which is made from the class's unless that sets one. It
    is logged at ``level`` by ``logger``: that of the package which the class belongs to.
    """

    name: ClassVar[str] = "event"
    logger: ClassVar[str] = "hive.checkpoints"
    level: ClassVar[int] = logging.DEBUG
    seconds: float

    def __init_subclass__(cls) -> None:
        if cls.__module__.startswith("hive."):
            cls.logger = ".".join(cls.__module__.split(".")[:2])
        if "name" not in vars(cls):
            cls.name = _CAPITAL.sub("_", cls.__name__).lower()

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the names and numbers that belong to it; never a value of a state."""
        names = [field.name for field in fields(self) if field.name != "seconds"]
        told = {name: getattr(self, name) for name in names}
        return {name: each for name, each in told.items() if type(each) in (str, int, bool)}

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Event):
    """A checkpoint is durable. Of a queued one, ``seconds`` are those since it was queued."""

    name: ClassVar[str] = "save"
    checkpoint: Checkpoint

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the names and numbers that belong to it."""
        return {
            **_names(self.checkpoint),
            "new_bytes": self.checkpoint.new_bytes,
            "new_objects": self.checkpoint.new_objects,
            "logical_bytes": self.checkpoint.logical_bytes,
        }

    def __str__(self) -> str:
        found = self.checkpoint
        return (
            f"saved {_place(found)} ({found.kind}): {found.new_bytes} new bytes in "
            f"{found.new_objects} objects, of {found.logical_bytes}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored(Event):
    """A state was read; ``partial`` if only some of its keys."""

    name: ClassVar[str] = "restore"
    checkpoint: Checkpoint
    partial: bool

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the names and numbers that belong to it."""
        logical = self.checkpoint.logical_bytes
        return {**_names(self.checkpoint), "logical_bytes": logical, "partial": self.partial}

    def __str__(self) -> str:
        return f"restored {'keys of ' if self.partial else ''}{_place(self.checkpoint)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked(Event):
    """A run was started at a checkpoint of another one. ``checkpoint`` is its head."""

    name: ClassVar[str] = "fork"
    checkpoint: Checkpoint

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the names and numbers that belong to it."""
        return _names(self.checkpoint)

    def __str__(self) -> str:
        return f"forked {_place(self.checkpoint)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgot(Event):
    """Checkpoints were taken off their runs' lists."""

    name: ClassVar[str] = "forget"
    level: ClassVar[int] = logging.INFO
    dropped: int
    kept: int

    def __str__(self) -> str:
        return f"forgot {self.dropped} checkpoints, kept {self.kept}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDeleted(Event):
    """A run was removed with all it listed."""

    name: ClassVar[str] = "delete_run"
    level: ClassVar[int] = logging.INFO
    run: str
    checkpoints: int

    def __str__(self) -> str:
        return f"deleted run {self.run!r} with {self.checkpoints} checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageCollected(Event):
    """A garbage collection ended, completely or when its time was over."""

    name: ClassVar[str] = "gc"
    level: ClassVar[int] = logging.INFO
    report: GcReport

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the names and numbers that belong to it."""
        return {
            "complete": self.report.complete,
            "scope": self.report.scope,
            "objects_removed": self.report.objects_removed,
            "objects_kept": self.report.objects_kept,
            "bytes_removed": self.report.payload_bytes_removed,
        }

    def __str__(self) -> str:
        report = self.report
        return (
            f"gc removed {report.objects_removed} objects of {report.payload_bytes_removed} bytes, "
            f"{'complete' if report.complete else 'stopped early'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Event):
    """The store's file was replaced by a dense one."""

    name: ClassVar[str] = "compact"
    level: ClassVar[int] = logging.INFO
    report: CompactReport

    def attributes(self) -> dict[str, str | int | bool]:
        """Return the names and numbers that belong to it."""
        return {
            "bytes_before": self.report.bytes_before,
            "bytes_after": self.report.bytes_after,
        }

    def __str__(self) -> str:
        return f"compacted {self.report.bytes_before} bytes to {self.report.bytes_after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """An operation raised. ``error`` is the class's name, ``code`` that of a ``HiveError``.

    Never the text: it may come from a value's own class.
    """

    name: ClassVar[str] = "failure"
    operation: str
    error: str
    code: str | None

    def __str__(self) -> str:
        return f"{self.operation} failed: {self.error}"


def _names(found: Checkpoint) -> dict[str, str | int | bool]:
    return {
        "run": found.run,
        "sequence": found.sequence,
        "kind": found.kind,
        "node": found.node or "",
    }


def _place(found: Checkpoint) -> str:
    return f"{found.run!r}@{found.sequence}"
