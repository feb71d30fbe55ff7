"""Puts a run of the benchmarks into the documentation: numbers, tables and plot."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.plot import draw
from benchmarks.report import full_report
from benchmarks.results import Results

__all__ = ["DOCUMENT", "PLOT", "PUBLISHED", "document_with", "publish"]

_DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
DOCUMENT: Final = _DOCS / "performance.md"
PUBLISHED: Final = _DOCS / "benchmark.json"
PLOT: Final = _DOCS / "images" / "bytes-and-save-time.png"

_BEGIN: Final = "<!-- begin: written by make bench OPTIONS=--publish -->"
_END: Final = "<!-- end -->"


def publish(results: Results) -> None:
    """Replace the numbers, the tables between the two marks, and the plot."""
    results.save(PUBLISHED)
    DOCUMENT.write_text(document_with(results, DOCUMENT.read_text("utf-8")), encoding="utf-8")
    draw(results, PLOT)


def document_with(results: Results, text: str) -> str:
    """Return a document with the tables of these results between its two marks."""
    before, _, rest = text.partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"the document has no {_BEGIN} followed by {_END}")
    return f"{before}{_BEGIN}\n\n{_about(results)}\n\n{full_report(results)}\n{_END}{after}"


def _about(results: Results) -> str:
    about = results.about
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    return (
        f"{about['cpus']} CPUs, {about['system']}, {about['file_system']}, Python "
        f"{about['python']}; {packages}. {about['rounds']} rounds, "
        f"{about.get('seconds', 0) / 60:.0f} minutes."
    )
