"""A process that has imported everything and opened nothing, and forks for every job.

To start an interpreter and import Hive takes hundreds of times as long as what a test of a crash
does then; to fork the test runner copies all that it has loaded, open files included.
"""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.hive.crashing import in_child

__all__ = ["PROJECT", "Zygote"]

PROJECT = Path(__file__).resolve().parents[2]


class Zygote:
    """Runs functions of test modules, named ``module:function``, in fresh processes."""

    def __init__(self, *modules: str) -> None:
        """Start the process, which imports ``modules``."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hive.zygote", *modules],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, function: str, *arguments: Any) -> int:
        """Call a function with JSON data; return the exit status, negative if a signal ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote has died"
        return int(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _serve(modules: list[str]) -> None:
    known = {name: importlib.import_module(name) for name in modules}
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that it looks at
    for line in sys.stdin:
        name, arguments = json.loads(line)
        module, _, function = name.partition(":")
        status = in_child(lambda: getattr(known[module], function)(*arguments))  # noqa: B023
        print(status, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
