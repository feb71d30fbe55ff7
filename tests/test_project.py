"""The project's own promises: what is packaged, what `make` says, what tests may touch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

PROJECT = Path(__file__).resolve().parent.parent


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the project's make, untouched by the options of a make that runs these tests."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run_tests(folder: Path, source: str, **variables: str) -> str:
    """The output of pytest over one file with this `source`, under the settings of all tests."""
    shutil.copy(PROJECT / "tests" / "conftest.py", folder / "conftest.py")
    (folder / "test_inner.py").write_text(source, encoding="utf-8")
    drop = ("PYTEST_", "CI", "HIVE_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)]
    config = ["--config-file", str(PROJECT / "pyproject.toml"), "--rootdir", str(folder)]
    return subprocess.run(
        [*command, *config, "--basetemp", str(folder / "basetemp")],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_the_installed_distribution_is_this_version() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata.version(declared["name"]) == declared["version"]


@pytest.mark.parametrize("package", ["cas", "manifests", "hive"])
def test_a_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert (PROJECT / package / "py.typed").is_file()


def test_make_alone_lists_its_targets() -> None:
    result = make()
    assert result.returncode == 0
    targets = "demo test browser lint types format torture bench reference clean"
    for target in targets.split():
        assert f"\n  {target} " in result.stdout


def test_make_explains_what_is_missing_when_no_python_is_suitable(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    result = make("demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0
    assert "Hive needs Python 3.11 or later" in result.stderr
    assert str(old) in result.stderr
    assert not (tmp_path / "venv").exists()


def test_no_test_sees_the_home_of_the_user(home: Path, tmp_path: Path) -> None:
    assert home.is_relative_to(tmp_path)
    assert not home.exists()
    assert os.environ["HIVE_HOME"] == str(home)
    assert Path.home().is_relative_to(tmp_path)


def test_a_seed_repeats_its_choices_and_stands_beside_the_failure(tmp_path: Path) -> None:
    source = "def test_choice(seed):\n    assert not seed, f'chose {seed}!'\n"
    first, again, other = (
        run_tests(tmp_path, source, HIVE_TEST_SEED=chosen) for chosen in ("7", "7", "8")
    )
    chosen = re.findall(r"chose (\d+)!", first)
    assert chosen
    assert re.findall(r"chose (\d+)!", again) == chosen
    assert re.findall(r"chose (\d+)!", other) != chosen
    assert "repeat them with HIVE_TEST_SEED=7" in first


def test_a_missing_browser_skips_a_test_and_fails_it_in_ci(tmp_path: Path) -> None:
    source = (PROJECT / "tests" / "hive" / "ui" / "conftest.py").read_text(encoding="utf-8")
    source += "\n\ndef test_page(browser):\n    assert browser\n"
    nowhere = str(tmp_path / "nowhere")
    assert "1 skipped" in run_tests(tmp_path, source, PATH=nowhere)
    assert "1 error" in run_tests(tmp_path, source, PATH=nowhere, CI="1")


def test_missing_recorded_runs_skip_a_test_and_fail_it_in_ci(tmp_path: Path) -> None:
    source = "def test_runs(data_dir):\n    assert data_dir\n"
    nowhere = str(tmp_path / "nowhere")
    assert "1 skipped" in run_tests(tmp_path, source, HIVE_DATA=nowhere)
    assert "1 error" in run_tests(tmp_path, source, HIVE_DATA=nowhere, CI="1")


def test_a_hang_fails_one_test_and_the_others_still_run(tmp_path: Path) -> None:
    source = (
        "import time, pytest\n"
        "@pytest.mark.timeout(0.2)\n"
        "def test_hang():\n    time.sleep(60)\n"
        "def test_other():\n    assert True\n"
    )
    assert "1 failed, 1 passed" in run_tests(tmp_path, source)


def test_a_long_loop_is_brief_unless_torture_is_asked_for(
    rounds: Callable[[int, int], int],
) -> None:
    asked = os.environ.get("HIVE_TORTURE", "") not in {"", "0"}
    assert rounds(3, 300) == (300 if asked else 3)


@given(st.integers())
def test_properties_may_be_tested_beside_the_fixtures_of_every_test(number: int) -> None:
    assert "HIVE_HOME" in os.environ
    assert int(str(number)) == number
