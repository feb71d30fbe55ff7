"""The example program does what its lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.strict import STRICT

PROJECT = Path(__file__).parents[3]


def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *STRICT, str(PROJECT / "examples" / "langgraph_agent.py"), "home"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "it asks: Buy for 8?",
        "answered yes: Done: bought",
        "in a branch it asks: Buy for 3?",
        *[line for line in done.stdout.splitlines() if line.startswith("pruned: ")],
        "and still: Done: left it",
    ]
