"""The examples of the documents run as printed, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.strict import STRICT

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def examples() -> list[object]:
    """Return one case for each document that has examples."""
    return [
        pytest.param(document, id=str(document.relative_to(ROOT)))
        for document in DOCUMENTS
        if EXAMPLE.search(document.read_text())
    ]


@pytest.mark.parametrize("document", examples())
def test_examples_run_as_printed(document: Path, tmp_path: Path) -> None:
    """All examples of a document, one after the other, in one fresh process."""
    script = "\n".join(EXAMPLE.findall(document.read_text()))
    done = subprocess.run(
        [sys.executable, *STRICT, "-c", script],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    """Relative links name files of this repository."""
    missing = [
        target
        for target in LINK.findall(document.read_text())
        if not (document.parent / target).exists()
    ]
    assert not missing
