"""Where a user's Hive lives, and the names of the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hive
from hive.home import home_directory

PROJECT = Path(__file__).resolve().parents[2]


def test_hive_home_goes_before_home() -> None:
    assert home_directory({"HIVE_HOME": "/srv/h", "HOME": "/u"}) == Path("/srv/h")
    assert home_directory({"HIVE_HOME": "", "HOME": "/u"}) == Path("/u/.hive")
    assert home_directory({"HOME": "/u/"}) == Path("/u/.hive")


@pytest.mark.parametrize(
    "environment",
    [{}, {"HOME": ""}, {"HOME": "relative"}, {"HOME": "/"}, {"HOME": "//"}, {"HOME": "."}],
)
def test_an_unusable_home_is_an_error_that_names_the_variable(environment: dict[str, str]) -> None:
    with pytest.raises(hive.InvalidInputError, match="set HIVE_HOME"):
        home_directory(environment)


@pytest.mark.parametrize("value", ["relative", "~/hive", "."])
def test_a_relative_hive_home_is_an_error(value: str) -> None:
    with pytest.raises(hive.InvalidInputError, match="HIVE_HOME"):
        home_directory({"HIVE_HOME": value, "HOME": "/u"})


def test_open_creates_the_store_in_the_home(home: Path) -> None:
    with hive.open() as repo:
        repo.commit("r", {"a": 1})
    assert (home / "objects").is_dir()
    with hive.open(home) as repo, hive.open(str(home), create=False) as again:
        assert again.restore("r") == repo.restore("r") == {"a": 1}


def test_an_empty_path_is_not_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(hive.InvalidInputError, match="home is empty"):
        hive.open("")
    monkeypatch.delenv("HIVE_HOME")
    monkeypatch.delenv("HOME")
    with pytest.raises(hive.InvalidInputError, match="HOME is not set"):
        hive.open()
    assert list(tmp_path.iterdir()) == []


def test_the_public_names_are_there_and_no_others() -> None:
    assert set(hive.__all__) <= set(dir(hive))
    for name in hive.__all__:
        assert getattr(hive, name) is not None
    for module in (hive, hive.errors):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = module.nothing


def test_importing_the_package_and_its_graphs_loads_no_store(tmp_path: Path) -> None:
    program = (
        "import sys, hive, hive.graph, hive.schemas.checkpoint\n"
        "heavy = {'cas', 'manifests', 'lmdb', 'cbor2', 'typer', 'rich'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
        "import hive.graph.checkpoint_manager as manager\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
        "print(hive.CheckpointManager is manager.CheckpointManager)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n[]\nTrue\n", done.stderr


def test_a_home_that_is_no_path_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(hive.InvalidInputError, match="home is an int: pass a directory"):
        hive.open(wrong)
