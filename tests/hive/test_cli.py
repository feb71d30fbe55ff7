from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cas.errors
from cas.errors import HiveError
from hive.cli.failures import exit_code
from hive.cli.shapes import SHAPES
from manifests import Repository
from tests.hive.command_line import HIVE, environment, hive, on_terminal, spawn

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e"
COMMANDS = [name for name in SHAPES if name]


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """Two runs: ``bees`` of four checkpoints, done; ``wasps`` of one."""
    with Repository.open(home) as opened:
        state = {"messages": ["buzz"], "count": 1, "raw": b"\x00\xff", "evil": EVIL}
        execution = {"steps": 1, "path": ["gather"]}
        opened.commit("bees", {}, kind="input")
        opened.commit("bees", state, node="gather", execution=execution, next_nodes=("dance",))
        state = {**state, "messages": ["buzz", "bzz"], EVIL: 1}
        opened.commit("bees", state, node=f"dance{EVIL}"[:5], labels={"hive": "north"})
        opened.commit(
            "bees",
            state,
            node="dance",
            kind="final",
            execution={"steps": 2, "path": ["x", "dance"]},
        )
        opened.commit("wasps", [1, 2])
        opened.tag("before-dance", "bees@2")
        yield opened


def test_version() -> None:
    assert re.fullmatch(r"hive (\d+\.\d+\.\S+|\(not installed\))\n", hive("--version").output)


def test_help_is_light() -> None:
    # The point of late imports: help and completion must not wait for the store or for models.
    program = (
        "import sys\nfrom hive.cli import main\nsys.argv = ['hive', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'asyncio', 'blake3', 'cas', 'cbor2', 'lmdb', 'manifests', 'numpy', 'pydantic',"
        " 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("HEAVY []\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    ran = hive(command, "--help")
    assert ran.code == 0
    for option in ("--home", "--json"):
        assert option in ran.output
    assert max(map(len, ran.output.splitlines())) <= 80


def test_a_wrong_option_is_a_usage_error() -> None:
    ran = hive("runs", "--colour")
    assert ran.code == 2
    assert "--colour" in ran.errors


@pytest.mark.parametrize("command", [["runs"], ["log", "x"], ["show", "x"], ["stats"]])
def test_asking_never_creates_a_store(home: Path, command: list[str]) -> None:
    ran = hive(*command)
    assert ran.code == 3
    assert ran.errors.startswith("hive: error (not-found): ")
    assert ran.errors.count("\n") == 1
    assert not home.exists()


def test_runs(repo: Repository) -> None:
    ran = hive("runs")
    assert ran.code == 0
    header, *rows = [re.split(r"  +", line.strip()) for line in ran.output.splitlines()]
    assert header == [
        *("RUN", "STATUS", "STEPS", "LAST NODE", "AGE"),
        *("CHECKPOINTS", "ONLY HERE", "SHARED"),
    ]
    found = {row[0]: row[1:4] + row[5:6] for row in rows}
    assert found == {
        "bees": ["done", "2", "dance", "4"],
        "wasps": ["unfinished", "-", "-", "1"],
    }


def test_runs_as_json(repo: Repository) -> None:
    by_name = {row["run"]: row for row in hive("runs", "--json").json}
    assert set(by_name) == {"bees", "wasps"}
    bees = by_name["bees"]
    assert {name: bees[name] for name in ("status", "steps", "last_node", "checkpoints")} == {
        "status": "done",
        "steps": 2,
        "last_node": "dance",
        "checkpoints": 4,
    }
    assert bees["head"]["id"] == str(repo.resolve("bees").id)
    assert datetime.fromisoformat(bees["updated_at"]) <= datetime.now(UTC)


def test_an_empty_store_says_how_to_begin(home: Path) -> None:
    Repository.open(home).close()
    assert "hive demo" in hive("runs").output
    assert hive("runs", "--json").json == []
    assert hive("stats").code == 0


def test_a_failed_run_says_why(repo: Repository) -> None:
    why = f"node 'dance' failed: KeyError: 'honey'{EVIL}"
    repo.commit("lost", {"x": 1}, kind="failed", execution={"error": why, "status": "failed"})
    shown = hive("show", "lost").output
    assert "\nerror       node 'dance' failed: KeyError: 'honey'\\x1b[2J" in shown
    assert "error " not in hive("show", "bees").output


def test_home_is_an_option_too(repo: Repository, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with Repository.open(other) as there:
        there.commit("ants", {})
    assert [row["run"] for row in hive("runs", "--json", "--home", str(other)).json] == ["ants"]


def test_log(repo: Repository) -> None:
    ran = hive("log", "bees")
    rows = [line.split() for line in ran.output.splitlines()]
    assert rows[0] == ["SEQ", "ID", "KIND", "NODE", "AGE", "NEW", "CHANGED", "NAMES"]
    assert [(row[0], row[1], row[3], row[4]) for row in rows[1:]] == [
        ("*", "4", "final", "dance"),
        ("*", "3", "node_complete", "dance"),
        ("*", "2", "node_complete", "gather"),
        ("*", "1", "input", "-"),
    ]
    assert rows[3][-2:] == ["tag", "before-dance"]
    assert rows[1][2] == repo.resolve("bees@4").id.short


def test_log_as_json(repo: Repository) -> None:
    newest, older = hive("log", "bees", "--limit", "2", "--json").json
    found = repo.resolve("bees@3")
    assert older == {
        "id": str(found.id),
        "run": "bees",
        "sequence": 3,
        "parent": str(repo.resolve("bees@2").id),
        "kind": "node_complete",
        "node": "dance",
        "next_nodes": [],
        "created_at": found.created_at.isoformat(),
        "graph": None,
        "labels": {"hive": "north"},
        "logical_bytes": found.logical_bytes,
        "new_bytes": found.new_bytes,
        "new_objects": found.new_objects,
        "origin_run": "bees",
        "origin_sequence": 3,
        "tags": [],
        "forks": [],
        "changed": [
            {"kind": "changed", "path": "['messages']", "added": 1, "removed": 0, "changed": 0},
            {"kind": "added", "path": repr([EVIL]), "added": 0, "removed": 0, "changed": 0},
        ],
    }
    assert newest["sequence"] == 4


@pytest.mark.parametrize("command", ["log", "show"])
def test_an_unknown_run_is_not_found(repo: Repository, command: str) -> None:
    ran = hive(command, "ants")
    assert ran.code == 3
    assert "ants" in ran.errors


def test_show_a_checkpoint(repo: Repository) -> None:
    ran = hive("show", "tag:before-dance")
    assert ran.code == 0
    for text in (
        "bees@2",
        str(repo.resolve("bees@2").id),
        "gather",
        "dance",
        "before-dance",
        "messages",
        "['buzz']",
        "b'\\x00\\xff'",
    ):
        assert text in ran.output


def test_show_a_checkpoint_as_json(repo: Repository) -> None:
    shown = hive("show", "bees@2", "--json").json
    assert shown["tags"] == ["before-dance"]
    assert shown["next_nodes"] == ["dance"]
    assert shown["state"] == {
        "messages": ["buzz"],
        "count": 1,
        "raw": {"$bytes": "AP8="},
        "evil": EVIL,
    }


def test_show_a_path_restores_nothing_else(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object, **_options: object) -> object:
        pytest.fail("the whole state was restored")

    monkeypatch.setattr(Repository, "restore", refused)
    assert hive("show", "bees", "messages").output == "['buzz', 'bzz']\n"
    assert hive("show", "bees", "messages[-1]").output == "bzz\n"
    assert hive("show", "bees", "messages[0:1]").output == "['buzz']\n"
    shown = hive("show", "bees", "count", "--json").json
    assert (shown["path"], shown["value"]) == ("count", 1)
    assert "list, 2 items" not in hive("show", "bees").output
    assert hive("show", "bees", "messages", "--summary").output.split() == [
        *("KEY", "VALUE", "0", "'buzz'", "1", "'bzz'")
    ]


def test_show_a_key_that_is_not_there(repo: Repository) -> None:
    ran = hive("show", "bees", "honey")
    assert ran.code == 3
    assert "honey" in ran.errors


def test_show_a_state_that_is_no_dict(repo: Repository) -> None:
    assert hive("show", "wasps").output.endswith("\nKEY  VALUE\n0    1\n1    2\n")
    assert hive("show", "wasps", "--json").json["state"] == [1, 2]
    assert hive("show", "wasps", "[1]").output == "2\n"
    ran = hive("show", "wasps", "key")
    assert (ran.code, "[0]" in ran.errors) == (3, True)
    assert hive("show", "wasps", "a[").code == 2


def test_show_raw_gives_the_very_bytes(repo: Repository) -> None:
    for key, expected in (("raw", b"\x00\xff"), ("evil", EVIL.encode())):
        done = subprocess.run(
            [*HIVE, "show", "bees", key, "--raw"],
            env=environment(),
            capture_output=True,
            check=True,
        )
        assert done.stdout == expected


@pytest.mark.parametrize(
    "arguments",
    [["bees", "--raw"], ["bees", "messages", "--raw"], ["bees", "evil", "--raw", "--json"]],
    ids=["no-key", "a-list", "json"],
)
def test_raw_is_for_one_text_or_bytes(repo: Repository, arguments: list[str]) -> None:
    assert hive("show", *arguments).code == 2


def test_stats(repo: Repository) -> None:
    shown = hive("stats", "--json").json
    assert shown["runs"] == 2
    assert shown["checkpoints"] == 5
    assert shown["logical_bytes"] == repo.stats().logical_bytes
    assert set(shown["by_run"]["bees"]) == {
        "checkpoints",
        "logical_bytes",
        "unique_bytes",
        "shared_bytes",
    }
    text = hive("stats").output
    assert "5 checkpoints of 2 runs" in text
    assert "bees" in text


# --- what reaches a terminal --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "bees"],
        ["show", "bees", "evil"],
        ["show", "bees", EVIL],
        ["log", EVIL],
        ["show", EVIL],
    ],
    ids=["keys", "value", "key", "error", "ref"],
)
def test_no_control_sequence_gets_through(repo: Repository, arguments: list[str]) -> None:
    ran = hive(*arguments)
    for text in (ran.output, ran.errors):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_a_terminal_gets_tables_that_fit(repo: Repository) -> None:
    repo.commit("a-run-with-a-name-" + "x" * 100, {}, node="n" * 60)
    code, shown = on_terminal("runs")
    assert code == 0
    assert "\u2026" in shown, "the long name was not shortened"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    assert "bees" in plain


def test_a_terminal_gets_values_without_control_sequences(repo: Repository) -> None:
    code, shown = on_terminal("show", "bees")
    assert code == 0
    assert "\\x1b[2J" in shown
    assert not re.search(r"\x1b(?!\[[0-9;]*m)|\x07|\u202e", shown)


@pytest.mark.parametrize("unbuffered", [None, "1"])
def test_a_reader_that_went_away_is_no_error(repo: Repository, unbuffered: str | None) -> None:
    repo.commit("long", {"page": "buzz\n" * 200_000})
    for arguments in (["show", "long", "page"], ["show", "long", "page", "--raw"]):
        with subprocess.Popen(
            [*HIVE, *arguments],
            env=environment(PYTHONUNBUFFERED=unbuffered),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"buzz\n"
            process.stdout.close()
            errors = process.stderr.read()
        assert (process.returncode, errors) == (141, b"")


@pytest.mark.parametrize("unbuffered", [None, "1"])
@pytest.mark.parametrize("words", ["--help", "--version", "show --help", "", "log long", "gc"])
def test_output_into_a_closed_pipe_is_quiet(
    repo: Repository, words: str, unbuffered: str | None
) -> None:
    repo.commit("long", {"a": 1})
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*HIVE, *words.split()],
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_output_is_no_crash(repo: Repository) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *HIVE, "runs"],
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", [None, "1"])
@pytest.mark.parametrize("words", ["runs", "--help", "--version", "show --help"])
def test_a_full_disk_behind_the_output_is_one_line(
    repo: Repository, words: str, unbuffered: str | None
) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*HIVE, *words.split()],
            env=environment(PYTHONUNBUFFERED=unbuffered),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 7
    assert done.stderr.startswith(b"hive: error (store-full): no room left to write the output")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_the_exit_code_tells_where_the_error_cannot_be_written(repo: Repository) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*HIVE, "log", "none"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )
    assert done.returncode == 3


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "utf-8"])
def test_no_locale_is_a_crash(repo: Repository, encoding: str) -> None:
    repo.commit("\u0436\u0443\u043a-\xe9", {"\u65e5": "\u672c \xe9"})
    env = environment(
        LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING=encoding
    )
    for arguments in (["runs"], ["runs", "--json"]):
        done = subprocess.run([*HIVE, *arguments], env=env, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        shown = done.stdout.decode(encoding)
        if "--json" in arguments or encoding == "ascii":
            assert "\\u0436" in shown


# --- errors ---------------------------------------------------------------------------------------

CODES = {
    "InvalidInputError": 2,
    "NotFoundError": 3,
    "ConflictError": 4,
    "CorruptionError": 5,
    "CorruptObjectError": 5,
    "MissingObjectError": 5,
    "CorruptStoreError": 5,
    "UnsupportedFormatError": 6,
    "StoreFullError": 7,
    "LimitError": 7,
    "AccessError": 8,
    "ReadOnlyStoreError": 8,
    "HiveError": 9,
}


def test_every_error_class_has_its_exit_code() -> None:
    classes = {name: getattr(cas.errors, name) for name in cas.errors.__all__}
    assert {name: exit_code(kind("x")) for name, kind in classes.items()} == CODES
    assert exit_code(ZeroDivisionError()) == 70


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.ENOSPC, "No space", "/x/demo"), 7, "error (store-full): no room left to"),
        (OSError(errno.EROFS, "Read-only", "/x/demo"), 8, "error (read-only): /x/demo is on a"),
        (PermissionError(errno.EACCES, "Denied", "/x/demo"), 8, "error (access): access to /x"),
        (OSError(errno.EIO, "Input/output error"), 70, "unexpected error: OSError"),
    ],
)
def test_what_the_system_refuses_outside_of_a_store(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, error: OSError, code: int, told: str
) -> None:
    def fail(self: Repository) -> None:
        raise error

    monkeypatch.setattr(Repository, "stats", fail)
    ran = hive("stats")
    assert (ran.code, ran.errors.count("\n")) == (code, 1)
    assert ran.errors.startswith(f"hive: {told}")


def test_the_documented_exit_codes_are_these() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    rows = re.findall(r"^\| (\d+) \| .*? \| (.*) \|$", page, re.MULTILINE)
    documented = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert documented == {name: CODES[name] for name in documented}
    assert set(CODES) - set(documented) == {
        "CorruptObjectError",
        "MissingObjectError",
        "CorruptStoreError",
    }


def test_an_expected_error_is_one_line(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Repository) -> None:
        raise HiveError(f"no honey{EVIL}\nleft")

    monkeypatch.setattr(Repository, "stats", fail)
    ran = hive("stats")
    assert ran.code == 9
    assert ran.errors.startswith("hive: error (hive): no honey\\x1b[2J")
    assert ran.errors.count("\n") == 1


def test_an_unexpected_error_says_how_to_see_more(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Repository) -> None:
        raise ZeroDivisionError(EVIL)

    monkeypatch.setattr(Repository, "stats", fail)
    ran = hive("stats")
    assert ran.code == 70
    assert "HIVE_DEBUG=1" in ran.errors
    assert "Traceback" not in ran.errors
    assert ran.errors.count("\n") == 1

    monkeypatch.setenv("HIVE_DEBUG", "1")
    ran = hive("stats")
    assert ran.code == 70
    assert "Traceback" in ran.errors
    assert "\x1b" not in ran.errors


def test_a_damaged_store_is_one_line(repo: Repository, home: Path) -> None:
    repo.close()
    (data,) = home.rglob("data.mdb")
    os.truncate(data, 4_096)
    ran = spawn("runs")
    assert ran.code == 5
    assert ran.errors.startswith("hive: error (corrupt")
    assert ran.errors.count("\n") == 1


def test_no_home_at_all_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIVE_HOME")
    monkeypatch.delenv("HOME")
    ran = hive("runs")
    assert ran.code == 2
    assert "HIVE_HOME" in ran.errors
