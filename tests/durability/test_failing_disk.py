"""A disk that is full or fails, at any change that an operation makes: clear errors, nothing lost.

Each time the operation ends with one of the project's own errors or goes well, leaves no file and
no lock behind, and goes well when it is repeated in the same process; all that was acknowledged is
there, and the store is sound.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cas.children import PROJECT
from tests.durability.failing_disk import OPERATIONS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("library") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(built), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return built


@pytest.mark.torture
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_may_fail_at_any_change(
    library: Path, tmp_path: Path, name: str, seed: int, rounds: Callable[[int, int], int]
) -> None:
    program = [sys.executable, "-m", "tests.durability.failing_disk"]
    arguments = [str(library), str(tmp_path), name, str(seed), str(rounds(8, 400))]
    done = subprocess.run(
        [*program, *arguments],
        cwd=PROJECT,
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"[1-9]\d* changes\n", done.stdout), done.stdout
