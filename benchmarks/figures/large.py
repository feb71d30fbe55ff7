"""A state far larger than a transaction should be: memory and time of saving and restoring it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures.children import report_of
from benchmarks.results import Figure

__all__ = ["measure_large"]

_PROGRAM = "benchmarks.figures.large_program"


def measure_large(folder: Path, *, texts: int = 16, size: int = 2**26) -> list[Figure]:
    """Save and restore so many texts of ``size`` bytes, in a process of its own each."""
    arguments = [str(folder), str(texts), str(size)]
    saved = report_of(_PROGRAM, ["save", *arguments])
    restored = report_of(_PROGRAM, ["restore", *arguments])
    if saved["digests"] != restored["digests"]:
        raise AssertionError("the texts came back changed")
    state = texts * size
    title = f"{texts} texts of {size / 2**20:g} MiB"
    return [
        Figure("large-save", f"saving {title}", saved["first_seconds"], "s"),
        Figure(
            "large-save-memory",
            f"anonymous memory while saving {title}, the state included",
            saved["peak_bytes"] / state,
            "x state",
        ),
        Figure("large-restore", f"restoring {title}", restored["seconds"], "s"),
        Figure(
            "large-restore-memory",
            f"anonymous memory while restoring {title}, the state included",
            restored["peak_bytes"] / state,
            "x state",
        ),
        Figure(
            "large-replaced",
            "saving again with one text replaced",
            saved["second_seconds"] / saved["first_seconds"],
            "x first save",
        ),
    ]
