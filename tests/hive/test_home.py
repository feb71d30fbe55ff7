"""Where a user's Hive lives, and the names of the package."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

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


@pytest.mark.parametrize(
    ("home", "advice"),
    [
        (":memory:", "a store is a folder: name one, a temporary one"),
        ("below/:memory:", "a temporary one for what need not be kept"),
        ("file:x.db?mode=memory", "as SQLite has it, and a store is a folder"),
        ("sqlite:///x.db", "reads as a URL, sqlite:.*name its path; `hive import-langgraph URL`"),
        ("sqlite://", "reads as a URL, sqlite:"),
        ("postgresql+psycopg://user:secret@host/db", "`hive import-langgraph URL` takes over"),
        (
            Path("s3://bucket/agents"),
            r"reads as a URL, s3:\.\.\., and a store .* machine: name its path; a folder",
        ),
        ("~/agents", "begins with ~, which only a shell replaces: write the whole path"),
        ("a\0b", "has a null character"),
    ],
)
def test_what_is_typed_out_of_habit_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | Path, advice: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (home, Path(home).absolute()):
        if "~" in str(home) and place is not home:
            continue  # a folder below another one may have any name
        with pytest.raises(hive.InvalidInputError, match=f"home .*{advice}") as caught:
            hive.open(place)
        assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [":memory:", "sqlite:", "~", "file:x"])
def test_a_folder_that_is_there_is_used_whatever_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    with hive.open(f"{name}/below") as repo:
        repo.commit("r", {"a": 1})
    assert (tmp_path / name / "below" / "objects").is_dir()


def test_a_file_in_the_place_of_a_home_is_told_with_what_to_do(tmp_path: Path) -> None:
    file, database = tmp_path / "notes.txt", tmp_path / "check points?.db"
    file.write_text("SQLite")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE checkpoints (thread_id)")
    for home in (file, file / "below" / "it", Path("/dev/null")):
        with pytest.raises(hive.InvalidInputError, match="a file, and a store is a folder: name"):
            hive.open(home)
    for home in (database, database / "below"):
        with pytest.raises(hive.InvalidInputError, match="an SQLite database") as caught:
            hive.open(home, create=False)
        words = shlex.split(str(caught.value).split("`")[1])
        assert words[:2] == ["hive", "import-langgraph"]
        assert unquote(words[2].removeprefix("sqlite:///")) == str(database)
    assert file.read_text() == "SQLite"
