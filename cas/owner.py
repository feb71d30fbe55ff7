"""Which process left something behind, and whether it still lives. No clock is asked.

A process id alone names another process after a while: so the boot and the moment the process
started, in the kernel's ticks since that boot, belong to it.
"""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, Self

import cbor2

from cas.shape import Shape, odd_row, shaped

__all__ = ["Owner"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SHAPES: Final[tuple[Shape, ...]] = ((int, str, int),)
_HIGHEST_PID: Final = 0x7FFF_FFFF
_START_FIELD: Final = 19
"""Position of ``starttime`` behind the command name in ``/proc/<pid>/stat``."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: its id, the boot it runs under, and when it started (0 where that is unknown)."""

    pid: int
    boot: str
    started: int

    @classmethod
    def current(cls) -> Self:
        """Return the calling process."""
        pid = os.getpid()
        return cls(pid, _boot(), _started(pid))

    def is_alive(self) -> bool:
        """Whether the process still runs. Where the system tells too little, it counts as alive."""
        boot = _boot()
        if boot and self.boot and boot != self.boot:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it runs under another user
        started = _started(self.pid)
        return not (started and self.started) or started == self.started

    def to_bytes(self) -> bytes:
        """Return the owner as it is stored."""
        return cbor2.dumps(list(astuple(self)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read an owner; the inverse of ``to_bytes``. ``CorruptStoreError`` if it is none."""
        pid, boot, started = shaped(data, _SHAPES)
        # Zero and less would stand for groups of processes.
        if not 0 < pid <= _HIGHEST_PID:
            raise odd_row()
        return cls(pid, boot, started)


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""  # not Linux


def _started(pid: int) -> int:
    try:
        # The command name stands in parentheses and may hold anything, parentheses included.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[_START_FIELD])
    except (OSError, IndexError, ValueError):
        return 0
