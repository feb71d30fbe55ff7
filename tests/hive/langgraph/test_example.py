"""The example programs do what their lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.strict import STRICT

PROJECT = Path(__file__).parents[3]


def run(example: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, *STRICT, str(PROJECT / "examples" / example), "home"],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_example_runs(tmp_path: Path) -> None:
    lines = run("langgraph_agent.py", tmp_path)
    assert lines == [
        "it asks: Buy for 8?",
        "answered yes: Done: bought",
        "in a branch it asks: Buy for 3?",
        *[line for line in lines if line.startswith("pruned: ")],
        "and still: Done: left it",
    ]


def test_the_killed_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    assert run("killed_agent.py", tmp_path) == [
        "the model is asked for step 1",
        "the model is asked for step 2",
        "surveys the north field",
        "the model is asked for step 3",
        "surveys the south field",
        "-- killed",
        "surveys the south field",
        "the model is asked for step 4",
        "it asks: publish 'two fields, nine hives'?",
        "-- ended: 0",
        "the model is asked for step 5",
        "approved. Done: published 'two fields, nine hives'",
        "on its list: survey both fields",
    ]
