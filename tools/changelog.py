"""``python -m tools.changelog VERSION DATE``: move what is in ``changelog.d`` into CHANGELOG.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["KINDS", "fragments", "main", "problems", "release"]

ROOT: Final = Path(__file__).resolve().parent.parent
KINDS: Final = ("format", "security", "added", "changed", "fixed")
"""In the order in which a release lists them."""
LONGEST: Final = 700
_NAME: Final = re.compile(rf"({'|'.join(KINDS)})-[a-z0-9-]+\.md")
_HEADING: Final = "## Unreleased\n"


def main() -> None:
    """Release what there is, and delete the fragments."""
    version, date = sys.argv[1:3]
    page = ROOT / "CHANGELOG.md"
    files = fragments(ROOT / "changelog.d")
    page.write_text(release(page.read_text(), files, version, date), encoding="utf-8")
    for file in files:
        file.unlink()


def fragments(folder: Path) -> list[Path]:
    """Return the fragments, by name."""
    files = [file for file in folder.iterdir() if file.name != "README.md"]
    return sorted(files)


def problems(file: Path) -> list[str]:
    """Return what is wrong with a fragment."""
    if not _NAME.fullmatch(file.name):
        return [f"its name is not KIND-SUBJECT.md with KIND one of {', '.join(KINDS)}"]
    text = file.read_text(encoding="utf-8").strip()
    found = []
    if not text or "\n\n" in text or text.startswith(("#", "-", "*")):
        found.append("it is not one paragraph")
    if len(text) > LONGEST:
        found.append(f"it has more than {LONGEST} characters")
    if any(len(line) > 100 for line in text.splitlines()):
        found.append("it has a line of more than 100 characters")
    return found


def release(page: str, files: list[Path], version: str, date: str) -> str:
    """Return the changelog with the fragments under a version, above the versions before it."""
    before, heading, rest = page.partition(_HEADING)
    note, mark, older = rest.partition("\n## ")
    parts = [f"## {version} ({date})\n"]
    for kind in KINDS:
        chosen = [file for file in files if _kind(file) == kind]
        entries = [file.read_text(encoding="utf-8").strip() for file in chosen]
        if entries:
            parts.append(f"### {kind.capitalize()}\n")
            parts.append("\n".join(map(_item, entries)) + "\n")
    return f"{before}{heading}{note.rstrip()}\n\n" + "\n".join(parts) + mark + older


def _item(text: str) -> str:
    return "- " + "\n  ".join(text.splitlines())


def _kind(file: Path) -> str:
    return file.name.partition("-")[0]


if __name__ == "__main__":
    main()
