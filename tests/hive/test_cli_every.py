"""Every command: its text, its JSON in the documented shape, no store, wrong usage, other homes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer

from hive.cli.app import app
from manifests import Repository
from tests.hive.command_line import Ran, hive

EVIL = "\x1b[2J\u202e"
COMMANDS: list[str] = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]

CASES: dict[str, tuple[list[str], str]] = {
    "abandon": (["bees"], "bees"),
    "runs": ([], r"bees +\w+"),
    "log": (["bees"], r"\*  +2 "),
    "show": (["bees", "n"], r"^2\n$"),
    "diff": (["bees@1", "bees@2"], "~ n: 1 -> 2"),
    "grep": (["buzz"], r"^bees@1 text: buzz"),
    "effects": (["bees"], r"sting +2 +'buzz"),
    "stats": ([], "on disk"),
    "doctor": ([], r"ok +versions"),
    "tag": (["gold", "bees@1"], "gold names bees@1"),
    "untag": (["old"], "removed the tag old"),
    "pin": (["bees@1"], "pinned bees@1"),
    "unpin": (["wasps"], "unpinned wasps@1"),
    "fork": (["bees@1", "drones"], "run drones begins at"),
    "forget": (["bees@1"], "1 checkpoint forgotten"),
    "rm": (["bees"], "deleted run bees, 2 checkpoints"),
    "gc": ([], "freed"),
    "compact": ([], "on disk"),
    "check": ([], "no damage"),
    "export": (["bees", "-o", "{there}"], "wrote .*: 1 checkpoint"),
    "import": (["{bundle}", "--as", "moved"], "imported 1 checkpoint"),
    "backup": (["{there}"], "copied to"),
    "salvage": (["{there}"], "taken over into .*: 2 runs, 3 checkpoints"),
}
"""By command, arguments that succeed on the store below, and what the text then holds."""
ELSEWHERE = {"demo", "run", "resume", "ui", "import-langgraph"}
"""Commands that execute or serve: their tests have files of their own."""
CREATES = {"import"}


@pytest.fixture
def repo(home: Path, tmp_path: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        opened.commit("bees", {"n": 1, "text": f"buzz{EVIL}"}, node="n")
        opened.commit("bees", {"n": 2, "text": f"buzz{EVIL}"}, node="n")
        opened.commit("wasps", {"evil": EVIL})
        opened.record_effect("bees", "sting", f"buzz{EVIL}")
        opened.tag("old", "wasps")
        opened.pin("wasps", "audit")
        opened.export(["bees"], tmp_path / "bundle")
        yield opened


def run(command: str, tmp_path: Path, *options: str) -> Ran:
    places = {"there": str(tmp_path / "there"), "bundle": str(tmp_path / "bundle")}
    arguments = [each.format(**places) for each in CASES[command][0]]
    return hive(command, *arguments, *options)


def test_no_command_is_forgotten() -> None:
    assert set(COMMANDS) - ELSEWHERE == set(CASES)


@pytest.mark.parametrize("command", CASES)
def test_its_text(repo: Repository, tmp_path: Path, command: str) -> None:
    ran = run(command, tmp_path)
    assert ran.code == 0, ran.errors
    assert re.search(CASES[command][1], ran.output)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", ran.output + ran.errors)


@pytest.mark.parametrize("command", CASES)
def test_its_json(repo: Repository, tmp_path: Path, command: str) -> None:
    ran = run(command, tmp_path, "--json")
    assert ran.code == 0, ran.errors
    assert ran.output.isascii()
    assert ran.json is not None  # in its documented shape


@pytest.mark.parametrize("command", CASES)
def test_without_a_store(home: Path, tmp_path: Path, command: str) -> None:
    for options in ([], ["--json"]):
        ran = run(command, tmp_path, *options)
        if command == "doctor":
            assert ran.code == 0
        else:
            assert ran.code == 3
            assert ran.errors.startswith("hive: error (not-found): ")
            assert (ran.output, ran.errors.count("\n")) == ("", 1)
    assert command in CREATES or not home.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_option(command: str) -> None:
    ran = hive(command, "--no-such-option")
    assert ran.code == 2
    assert "--no-such-option" in ran.errors


@pytest.mark.parametrize("command", ["runs", "rm", "gc", "check", "stats"])
def test_a_home_that_is_a_file(tmp_path: Path, command: str) -> None:
    place = tmp_path / "file"
    place.write_text("")
    ran = hive(command, *(["x"] if command == "rm" else []), "--home", str(place))
    assert ran.code in (2, 3, 8)
    assert ran.errors.count("\n") == 1
    assert "Traceback" not in ran.errors


@pytest.mark.parametrize("place", ["sqlite:///x.db", ":memory:", "~/x", "s3://bucket/x"])
def test_a_folder_that_is_surely_not_meant(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for arguments in (
        ["runs", "--home", place],
        ["import", str(tmp_path / "bundle"), "--home", place],
        ["demo", "--home", place],
        ["backup", place],
        ["salvage", place],
    ):
        ran = hive(*arguments)
        assert (ran.code, ran.output) == (2, "")
        assert "a store is a folder" in ran.errors or "write the whole path" in ran.errors
    assert sorted(tmp_path.iterdir()) == before


def test_a_database_in_the_place_of_a_home(tmp_path: Path) -> None:
    place = tmp_path / "x.db"
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("CREATE TABLE checkpoints (thread_id)")
    for command in (["runs"], ["demo"], ["doctor", "--json"]):
        ran = hive(*command, "--home", str(place))
        assert ran.code in (1, 2)
        assert f"hive import-langgraph sqlite:///{place}" in ran.output + ran.errors
