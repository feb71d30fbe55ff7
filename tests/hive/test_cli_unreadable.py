"""A run that cannot be read hides no other one, and is never taken for none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cas.errors import CorruptionError, NotFoundError, UnsupportedFormatError
from hive.ui.links import Commands
from manifests import Checkpoint, Repository, RetentionPolicy, RunInfo, UnreadableRun
from manifests.rows import checkpoint_key
from tests.damage import Vandal, flip
from tests.hive.command_line import hive
from tests.hive.ui.sites import pages_of


def row_of_run(vandal: Vandal, _head: bytes) -> None:
    vandal.change("runs", b"bees", lambda row: flip(row, 5))


def key_of_run(vandal: Vandal, _head: bytes) -> None:
    row = vandal.row("runs", b"bees")
    vandal.delete("runs", b"bees")
    vandal.put("runs", b"beds", row)


def key_out_of_order(vandal: Vandal, _head: bytes) -> None:
    row = vandal.row("runs", b"bees")
    vandal.delete("runs", b"bees")
    vandal.put("runs", b"zees", row)


def row_of_head(vandal: Vandal, _head: bytes) -> None:
    vandal.change("checkpoints", checkpoint_key(1, 3), lambda row: flip(row, 3))


def lost_head(vandal: Vandal, _head: bytes) -> None:
    vandal.delete("checkpoints", checkpoint_key(1, 3))


def manifest_of_head(vandal: Vandal, head: bytes) -> None:
    vandal.change(
        "objects", vandal.pack_key(vandal.number(head)), lambda row: flip(row, len(row) - 1)
    )


NAMES = {"key_of_run": "beds", "key_out_of_order": "zees"}
"""What is left of the name where its key is damaged."""
DAMAGE = (row_of_run, key_of_run, key_out_of_order, row_of_head, lost_head, manifest_of_head)


@pytest.fixture
def head(home: Path) -> bytes:
    """The id of the head of ``bees``, beside which stand the runs ``ants`` and ``wasps``."""
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit("bees", {"n": number, "text": f"{number} " * 400}, node="n")
            repo.commit("ants", {"n": number})
        repo.commit("wasps", {"n": "honey"})
        return bytes(repo.resolve("bees").id)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_listed_beside_the_others(
    damage: Callable[[Vandal, bytes], None], head: bytes, home: Path
) -> None:
    whole = {row["run"]: row for row in hive("runs", "--json", "--no-bytes").json}
    damage(Vandal(home / "objects"), head)
    ran = hive("runs", "--json", "--no-bytes")
    assert ran.code == 5
    assert "`hive check` tells all that is damaged" in ran.errors
    *rows, odd = ran.json
    assert {row["run"]: row for row in rows} == {"ants": whole["ants"], "wasps": whole["wasps"]}
    assert (odd["status"], odd["run"]) == ("damaged", NAMES.get(damage.__name__, "bees"))
    assert f"run {odd['run']!r} cannot be read: {odd['error']}" in ran.errors

    ran = hive("runs")
    assert ran.code == 5
    assert f"{odd['run']}  " in ran.output
    assert "damaged" in ran.output
    ran = hive("runs", "--status", "damaged", "--json")
    assert (ran.code, ran.json) == (5, [odd])
    ran = hive("runs", "--status", "unfinished", "--json", "--no-bytes")
    assert (ran.code, ran.json) == (5, rows)
    for options in ([], ["--waiting"], ["--since", "7d"]):
        assert hive("runs", *options).errors.count(f"run {odd['run']!r} cannot be read") == 1

    ran = hive("--json")
    assert (ran.code, ran.json["runs"], ran.json["unreadable"]) == (5, 3, [odd])
    assert ran.json["next"][0]["command"] == "hive check"
    assert hive("check").code == 5
    ran = hive("doctor")
    assert (ran.code, f"run {odd['run']!r} cannot be read" in ran.output) == (1, True)
    ran = hive("grep", "honey")
    assert (ran.code, "wasps@1" in ran.output, "cannot be read" in ran.errors) == (5, True, True)
    assert hive("grep", "honey", "--run", "wasps").code == 0
    assert hive("log", "wasps").code == 0
    assert hive("show", "wasps").code == 0
    assert hive("show", "bees").code in ((3, 5) if "key" in damage.__name__ else (5,))

    with Repository.open(home, read_only=True) as repo:
        with pytest.raises(CorruptionError):
            repo.runs()
        pages = pages_of(repo, commands=Commands(None))
        page = pages.get("/")
        assert "1 run cannot be read" in page
        assert "wasps" in page
        assert "hive check" in page


def test_what_a_later_version_wrote_is_no_damage(
    head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert head
    read = Repository.claim_of

    def later(repo: Repository, run: str) -> object:
        if run == "bees":
            raise UnsupportedFormatError("written by a later version")
        return read(repo, run)

    monkeypatch.setattr(Repository, "claim_of", later)
    ran = hive("runs", "--no-bytes")
    assert ran.code == 6
    assert "newer" in ran.output
    assert "upgrade" in ran.errors
    assert "hive check" not in ran.errors


def test_a_lost_head_is_no_run_that_keeps_nothing(head: bytes, home: Path) -> None:
    """It was left out of the list, and `show` said that there was no checkpoint."""
    lost_head(Vandal(home / "objects"), head)
    with Repository.open(home) as repo, pytest.raises(CorruptionError, match="lost the row"):
        repo.resolve("bees")
    assert hive("check", "--repair", "--yes").code == 0
    assert hive("runs").code == 0
    assert hive("show", "bees").code == 0


def test_runs_that_go_on_while_they_are_listed(
    head: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the newest checkpoint is kept, the one that was listed is gone a moment later."""
    assert head
    read = Repository.readable_runs

    def late(repo: Repository) -> tuple[list[RunInfo], list[UnreadableRun]]:
        found = read(repo)
        with Repository.open(home) as other:
            other.commit("bees", {"n": 4}, node="later")
            other.forget(RetentionPolicy(keep_last=1), run="bees")
            other.delete_run("wasps")
            other.commit("wasps", {"n": 0})
            other.delete_run("ants")
        return found

    monkeypatch.setattr(Repository, "readable_runs", late)
    ran = hive("runs", "--json", "--no-bytes")
    assert ran.code == 0, ran.errors
    assert {row["run"]: row["last_node"] for row in ran.json} == {"bees": "later", "wasps": None}


def test_a_page_lists_runs_that_go_on_meanwhile(head: bytes, home: Path) -> None:
    """All of it was not found where the head of one was forgotten a moment ago."""
    assert head
    with Repository.open(home) as repo:

        def status_of(found: Checkpoint) -> str:
            if (found.run, found.sequence) == ("bees", 3):
                repo.commit("bees", {"n": 4})
                raise NotFoundError("forgotten")
            if found.run == "ants":
                repo.delete_run("ants")
                raise NotFoundError("deleted")
            return "running" if found.sequence == 4 else "done"

        page = pages_of(repo, status_of=status_of).get("/")
    assert "all (3)" in page
    assert ("running (1)" in page, "done (1)" in page) == (True, True)
    assert (">bees<" in page, ">wasps<" in page, ">ants<" in page) == (True, True, False)


def test_a_damaged_head_hides_no_page_of_an_older_step(head: bytes, home: Path) -> None:
    """The command that resumes the run is printed there, and was made from the head."""
    assert head
    with Repository.open(home) as repo:
        repo.commit("bees", {"n": 4}, graph="graph", node="n")
        last = repo.commit("bees", {"n": 5}, graph="graph", node="n")
    manifest_of_head(Vandal(home / "objects"), bytes(last.id))
    with Repository.open(home, read_only=True) as repo:
        commands = Commands(None, repo, lambda run: [repo.log(run, limit=1)[0].kind])
        page = pages_of(repo, commands=commands).get("/step", run="bees", at=4)
    assert "hive resume bees" in page


@pytest.mark.parametrize(("table", "key"), [("tags", b"mine"), ("runs", b"ants")])
def test_damage_beside_a_run_hides_no_page_of_it(
    table: str, key: bytes, head: bytes, home: Path
) -> None:
    """Nor did the search for the free name of a fork ever end, as of no name it could be told."""
    assert head
    with Repository.open(home) as repo:
        repo.tag("mine", "ants@2")
        repo.commit("bees", {"n": 4}, graph="graph")
    Vandal(home / "objects").change(table, key, lambda row: flip(row, 3))
    with Repository.open(home, read_only=True) as repo:
        pages = pages_of(repo, commands=Commands(None, repo))
        assert "Cannot be read" in pages.get("/run", name="bees")
        step = pages.get("/step", run="bees", at=2)
    assert ("Cannot be read" in step) is (table == "tags")
    assert "hive fork" in step
