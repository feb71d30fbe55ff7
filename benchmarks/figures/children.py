"""Programs in processes of their own, which report what they did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["report_of", "reports_of"]

_PROJECT = Path(__file__).resolve().parent.parent.parent


def report_of(program: str, arguments: Sequence[str]) -> Any:
    """Run the module ``program`` and return the JSON that it prints."""
    command = [sys.executable, "-m", program, *arguments]
    return json.loads(
        subprocess.run(command, cwd=_PROJECT, stdout=subprocess.PIPE, check=True).stdout
    )


def reports_of(
    program: str, arguments: Sequence[Sequence[str]], *, go: Callable[[], str] = lambda: "go"
) -> list[Any]:
    """Run the module ``program`` once for each list of arguments, all at once; return the reports.

    Each must print ``ready``, wait for a line, which is what ``go`` returns when all are ready, and
    end with its report in JSON.
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-m", program, *own],
            cwd=_PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for own in arguments
    ]
    try:
        for process in running:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a process could not open the store")
        line = go()
        for process in running:
            if process.stdin is not None:
                process.stdin.write(line + "\n")
                process.stdin.flush()
        return [json.loads(process.communicate()[0]) for process in running]
    finally:
        for process in running:
            process.kill()
