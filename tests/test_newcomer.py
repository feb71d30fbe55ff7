"""A newcomer's session: what the README prints, typed as printed, with nothing but the package.

The package is built and installed into an environment of its own, which knows this project only by
its wheel; its libraries are those of the environment that runs the tests. The home is empty and the
current folder is another one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.strict import STRICT
from tests.test_documents import EXAMPLE

ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"^(hive(?: .*?)?)(?: {2,}#.*)?$", re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """Return the lines that begin with ``hive`` in the blocks of a page, without remarks."""
    blocks = [block for language, block in BLOCK.findall(page) if language in ("", "text")]
    return [command for block in blocks for command in COMMAND.findall(block)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the package."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    quiet = ["--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *quiet, "--no-build-isolation", "--wheel-dir", str(place), str(ROOT)],
        check=True,
        cwd=place,
    )
    venv.create(place / "env", symlinks=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run(
        [*pip, "--python", str(place / "env" / "bin" / "python"), "install", *quiet, str(wheel)],
        check=True,
        cwd=place,
    )
    # A folder named in a .pth file is searched, but .pth files in it are not read: this project's
    # own sources, which are installed there in place, stay out of sight.
    (packages,) = (place / "env").glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "env" / "bin"


def typed(installed: Path, home: Path, script: str, *, shell: bool) -> str:
    program = ["sh", "-e", "-c"] if shell else [str(installed / "python"), *STRICT, "-c"]
    done = subprocess.run(
        [*program, script],
        cwd=home,
        env={"HOME": str(home), "PATH": f"{installed}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


def test_the_package_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    program = "import cas, hive, manifests; print(cas.__file__, hive.__file__, manifests.__file__)"
    places = typed(installed, tmp_path, program, shell=False).split()
    assert all(place.startswith(str(installed.parent)) for place in places)
    assert typed(installed, tmp_path, "hive --version", shell=True).startswith("hive 0.")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_commands_work_as_printed(installed: Path, tmp_path: Path, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    typed(installed, tmp_path, "\n".join(EXAMPLE.findall(text)), shell=False)
    script = commands(text)
    assert len(script) > 4
    # All in one shell, as a person would; it stops at the first that fails.
    typed(installed, tmp_path, "\n".join(script), shell=True)


def test_a_first_look_tells_what_to_do(installed: Path, tmp_path: Path) -> None:
    shown = typed(installed, tmp_path, "hive", shell=True)
    assert "hive demo" in shown
    assert not list(tmp_path.iterdir())
