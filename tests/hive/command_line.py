"""Ways to run the command line in tests: in this process, as a child, on a terminal."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from typer.testing import CliRunner
from typing_extensions import is_typeddict

from hive.cli import shapes, store_shapes
from hive.cli.shapes import SHAPES

PROJECT = Path(__file__).resolve().parents[2]
HIVE = [sys.executable, "-m", "hive.cli"]


@contextlib.contextmanager
def fresh_imports() -> Iterator[None]:
    """Forget afterwards which files below temporary folders were imported, and the import path."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and not Path(file).is_relative_to(PROJECT) and "pytest-" in file:
            del sys.modules[name]


class Ran:
    """How a command ended."""

    def __init__(self, code: int, output: str, errors: str, command: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors
        self.command = command

    @property
    def json(self) -> Any:
        """The output as JSON, in the command's documented shape.

        The command must have succeeded, or have failed in a way of which it prints a result: a run
        that failed (1), damage that was found (5).
        """
        assert self.code in (0, 1, 5), (self.code, self.errors)
        value = json.loads(self.output)
        has_shape(self.command, value)
        return value


def has_shape(command: str, value: Any) -> None:
    """Fail unless a value is exactly what hive/cli/shapes.py says that a command prints."""
    assert command in SHAPES, f"add what `hive {command} --json` prints to hive/cli/shapes.py"
    _shape(command).validate_python(value)


@functools.cache
def _shape(command: str) -> TypeAdapter[Any]:
    for shape in (*vars(shapes).values(), *vars(store_shapes).values()):
        if is_typeddict(shape):
            # Strictly: programs may be told of keys that later versions add, tests must be.
            shape.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)
    return TypeAdapter(SHAPES[command])


def command_of(arguments: Sequence[str]) -> str:
    """Return the command that some arguments name, an empty text for ``hive`` alone."""
    first = arguments[0] if arguments else ""
    return "" if first.startswith("-") else first


def hive(*arguments: str, given: str | None = None) -> Ran:
    """Run a command in this process."""
    from hive.cli.app import app

    result = CliRunner().invoke(app, list(arguments), input=given, prog_name="hive")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr, command_of(arguments))


def environment(**changes: str | None) -> dict[str, str]:
    """The environment for a child: this one's, able to import the project, with changes."""
    merged: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(PROJECT), **changes}
    return {name: value for name, value in merged.items() if value is not None}


def spawn(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    given: str = "",
) -> Ran:
    """Run a command in a process of its own, its output in pipes."""
    done = subprocess.run(
        [*HIVE, *arguments],
        cwd=cwd,
        env=environment() if env is None else env,
        input=given.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    output, errors = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    return Ran(done.returncode, output, errors, command_of(arguments))


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own and return at once."""
    return subprocess.Popen(
        [*HIVE, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def on_terminal(*arguments: str, columns: int = 80) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*HIVE, *arguments],
            env=environment(TERM="xterm-256color", COLUMNS=str(columns), NO_COLOR=None),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not data:
                break
            shown += data
        return process.wait(timeout=60), shown.decode("utf-8").replace("\r\n", "\n")
    finally:
        os.close(ours)
