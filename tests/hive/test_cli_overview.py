"""``hive`` alone, ``hive doctor`` and completion: what a person meets first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from cas.readers import Reader, parse_readers
from hive.cli.app import app
from hive.cli.completion import complete_ref, complete_run, complete_tag
from hive.cli.launches import Launch, record_launch
from hive.commands import command_line
from hive.diagnosis import diagnose
from manifests import Repository
from tests.cas.children import in_child, nobody
from tests.hive.command_line import environment, hive, spawn


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        opened.commit("bees", {"n": 1}, node="gather")
        yield opened


# hive alone


def test_hive_alone_says_how_to_begin(home: Path) -> None:
    ran = hive()
    assert ran.code == 0
    assert "hive demo" in ran.output
    assert "hive run" in ran.output
    assert not home.exists()
    shown = hive("--json").json
    assert (shown["runs"], shown["home"]) == (None, str(home))


def test_hive_alone_says_what_to_do_next(repo: Repository) -> None:
    repo.end_claim(repo.claim("a lost run", repo.commit("a lost run", {}, node="think")))
    record_launch(repo.home, Launch("a lost run", "bees.py", Path("/")))
    waiting = {"executor": "graph", "status": "paused", "paused_at": "ask"}
    repo.commit("asking", {}, kind="paused", node="ask", execution=waiting)
    record_launch(repo.home, Launch("asking", "bees.py", Path("/")))
    stopped = {"executor": "graph", "status": "running", "paused_at": None}
    repo.commit("stopped", {}, kind="paused", node="ask", execution=stopped)  # with Ctrl-C
    repo.commit("broken", {}, kind="failed", node="break")
    ran = hive()
    assert ran.output.startswith("5 runs in ")
    for text in (
        "hive resume 'a lost run'",
        "after 'think'",
        "hive resume asking --input '{...}'",
        "hive resume stopped --target FILE.py:GRAPH  ",
        "or start its program again",
        "hive show broken",
        "hive runs",
    ):
        assert text in ran.output
    assert ran.output.count("waits for input") == 1
    steps = hive("--json").json["next"]
    assert steps[0]["command"] == "hive resume 'a lost run'"
    assert not any("gc" in step["command"] for step in steps)


def test_hive_alone_looks_at_the_latest_runs_only(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "newer", "newest"):
        repo.commit(name, {}, kind="failed")
    monkeypatch.setattr("hive.cli.overview.MOST_RUNS", 2)
    shown = hive("--json").json
    assert shown["runs"] == 4
    assert [step["command"] for step in shown["next"]][:2] == [
        "hive show newest",
        "hive show newer",
    ]
    assert not any("old" in step["command"] for step in shown["next"])


def test_hive_alone_suggests_a_gc_that_pays(repo: Repository, home: Path) -> None:
    repo.commit("big", {"x": os.urandom(2_500_000)})
    repo.delete_run("big")
    assert "hive gc --compact" in hive().output
    shown = hive("--json", "--home", str(home)).json
    assert all(f" --home {home}" in step["command"] for step in shown["next"])


def test_options_of_hive_alone_do_not_get_lost(repo: Repository, tmp_path: Path) -> None:
    repo.commit("mine", {"n": 1})
    assert hive("--home", str(tmp_path / "other"), "runs").code == 3
    ran = hive("--home", str(tmp_path / "other"), "--json", "runs", "--home", str(repo.home))
    assert [run["run"] for run in json.loads(ran.output)] == ["mine", "bees"]


def test_every_command_takes_the_options_of_hive_alone() -> None:
    """Else one that stands before the command would be passed over silently."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert {"home", "as_json"} <= {option.name for option in command.params}, name


# doctor


def test_doctor_finds_nothing(repo: Repository) -> None:
    ran = hive("doctor")
    assert ran.code == 0
    report = hive("doctor", "--json").json
    assert report["ok"]
    assert {found["name"] for found in report["findings"]} == {
        *("versions", "permissions", "file-system", "disk"),
        *("store", "readers", "ballast", "leftovers"),
    }


def test_doctor_creates_nothing(home: Path) -> None:
    ran = hive("doctor")
    assert (ran.code, "no store" in ran.output) == (0, True)
    assert not home.exists()


def test_doctor_tells_commands_for_the_home_that_it_was_given(tmp_path: Path) -> None:
    """What was pasted made, or freed, something in another one."""
    other = tmp_path / "it's another"
    run = command_line("run", "FILE.py:GRAPH", home=str(other))
    assert f"`{run}` makes one" in hive("doctor", "--home", str(other)).output
    Repository.open(other).close()
    (other / "objects" / "g1" / "data.mdb").write_bytes(b"no store")
    salvage = command_line("salvage", "DIR", home=str(other))
    assert f"`{salvage}` takes all" in hive("doctor", "--home", str(other)).output


def test_doctor_warns(repo: Repository, home: Path) -> None:
    repo.close()
    (home / "objects" / "ballast").unlink()
    (home / "objects" / "g1" / "data.mdb").chmod(0o644)
    (home / "objects" / ".compacting.x").mkdir(mode=0o700)
    home.chmod(0o777)
    ran = hive("doctor")
    assert ran.code == 1
    for text in ("data.mdb", "everybody may write", "ballast: ", ".compacting.x"):
        assert text in ran.output
    levels = {found["name"]: found["level"] for found in hive("doctor", "--json").json["findings"]}
    assert levels["permissions"] == "warning"
    assert levels["ballast"] == "note"


def test_doctor_looks_on_where_the_store_does_not_open(repo: Repository, home: Path) -> None:
    repo.close()
    (home / "objects" / "g1" / "data.mdb").write_bytes(b"no store")
    ran = hive("doctor")
    assert (ran.code, "does not open (corrupt-store)" in ran.output) == (1, True)
    assert "disk: " in ran.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_doctor_does_not_take_another_users_store_for_a_private_one(public: Path) -> None:
    """It cannot be looked into, so nothing in it seemed open to others."""
    Repository.open(public / "home").close()
    (public / "home").chmod(0o755)

    def look() -> str:
        nobody()
        return repr(
            [(found.level, found.text) for found in diagnose(public / "home", default_home=None)]
        )

    assert f"('error', '{public}/home/objects belongs to another user')" in in_child(look)


def test_doctor_warns_of_the_janitor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = Path(os.environ["HOME"]) / ".hive"
    with Repository.open(default) as repo:
        repo.commit("run", {})
    monkeypatch.delenv("HIVE_HOME")
    ran = hive("doctor")
    assert (ran.code, "hive janitor" in ran.output) == (0, True)
    monkeypatch.setattr("hive.diagnosis.JANITOR_BYTES", 1)
    ran = hive("doctor")
    assert (ran.code, "WARN   janitor" in ran.output) == (1, True)
    assert not any(found.name == "janitor" for found in diagnose(home, default_home=default))


def test_doctor_names_a_reader_that_keeps_the_file_growing(
    repo: Repository, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys; from manifests import Repository\n"
        "repo = Repository.open(sys.argv[1], read_only=True)\n"
        "def wait(view):\n    print('reading', flush=True); sys.stdin.read()\n"
        "repo._store.environment.read(wait)\n"
    )
    monkeypatch.setattr("hive.diagnosis.FAR_BEHIND", 2)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"reading\n"
        for number in range(3):
            repo.commit("bees", {"n": number})
        assert repo.readers() == [Reader(process.pid, 3)]
        ran = hive("doctor")
        assert (ran.code, f"process {process.pid} has read for 3 commits" in ran.output) == (
            1,
            True,
        )
        process.stdin.close()
    assert repo.readers() == []


def test_the_table_of_readers() -> None:
    table = "    pid     thread     txnid\n  123 7f00 40\n  124 7f01 -\nnoise\n"
    assert parse_readers(table, 42) == [Reader(123, 2)]
    assert parse_readers("(no active readers)\n", 42) == []


# completion


def complete(*words: str) -> list[str]:
    ran = spawn(
        env=environment(
            _HIVE_COMPLETE="complete_bash",
            COMP_WORDS=" ".join(["hive", *words]),
            COMP_CWORD=str(len(words)),
        )
    )
    assert ran.errors == ""
    return ran.output.split()


def test_the_shell_completes_names(repo: Repository) -> None:
    repo.commit("beetles", {})
    repo.commit("bad name; rm -rf", {})
    repo.tag("best", "bees")
    assert complete("log", "bee") == ["beetles", "bees"]
    context: Any = SimpleNamespace(params={})
    assert set(complete_ref(context, "be")) == {"beetles", "bees"}
    assert complete_ref(context, "bees@") == ["bees@1"]
    assert complete_ref(context, "tag:") == ["tag:best"]
    assert complete_tag(context, "b") == ["best"]
    assert complete_run(context, "ba") == []


def test_completion_is_quiet_without_a_store(home: Path) -> None:
    assert complete_run(SimpleNamespace(params={}), "x") == []  # type: ignore[arg-type]
    assert not home.exists()


def test_completion_offers_a_bounded_number(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive.cli.completion.MOST", 3)
    for number in range(5):
        repo.fork("bees", f"fork-{number}")
    context: Any = SimpleNamespace(params={"home": repo.home})
    assert len(complete_run(context, "fork")) == 3
