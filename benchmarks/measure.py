"""What is measured: time, allocated bytes, anonymous memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = [
    "MemoryPeak",
    "allocated_bytes",
    "anonymous_bytes",
    "give_back_memory",
    "percentile",
]

BALLAST: Final = "ballast"
"""Hive's reserve for a full disk: 1 MiB of every store, whatever is in it, and reported apart."""

_SECONDS_BETWEEN_SAMPLES: Final = 0.005


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value at or below which ``share`` (above 0, up to 1) of the values lie.

    NaN of no values.
    """
    if not values:
        return float("nan")
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def allocated_bytes(folder: Path, *, leave_out: Collection[str] = (BALLAST,)) -> int:
    """Return what the file system has allocated for all files and folders below ``folder``."""
    total = 0
    for path, _, files in os.walk(folder):
        total += 512 * os.stat(path).st_blocks
        for name in files:
            if name not in leave_out:
                try:
                    total += 512 * os.lstat(os.path.join(path, name)).st_blocks
                except FileNotFoundError:
                    continue  # a temporary file of a peer that is at work
    return total


def anonymous_bytes(process: int | None = None) -> int:
    """Return the anonymous memory (RssAnon) of a process, by default this one.

    0 where the system does not tell (outside Linux).
    """
    try:
        with open(f"/proc/{process or 'self'}/statm", "rb") as file:
            fields = file.read().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def give_back_memory() -> None:
    """Return freed memory to the system, so that the next measurement starts low."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_SAMPLER: Final = f"""
import os, select, sys
page = os.sysconf("SC_PAGE_SIZE")
peak = 0
print("ready", flush=True)
while True:
    fields = open(f"/proc/{{sys.argv[1]}}/statm").read().split()
    peak = max(peak, (int(fields[1]) - int(fields[2])) * page)
    if select.select([sys.stdin], [], [], {_SECONDS_BETWEEN_SAMPLES})[0]:
        break
print(peak)
"""


class MemoryPeak:
    """The highest anonymous memory of this process while a ``with`` block runs.

    Another process looks every 5 ms: a thread in this one would disturb what is measured, and the
    kernel keeps a peak only of all resident memory, mapped files included.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.bytes = 0
        self._enabled = enabled and sys.platform == "linux"
        self._sampler: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.bytes = anonymous_bytes()
        if self._enabled:
            command = [sys.executable, "-I", "-S", "-c", _SAMPLER, str(os.getpid())]
            self._sampler = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            if self._sampler.stdout is not None:
                self._sampler.stdout.readline()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bytes = max(self.bytes, anonymous_bytes())
        if self._sampler is not None:
            output, _ = self._sampler.communicate(b"\n")
            self.bytes = max(self.bytes, int(output or 0))
