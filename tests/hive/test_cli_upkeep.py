"""The commands that name, forget, check, repair and carry checkpoints."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import manifests.importing
from cas.errors import InvalidInputError, StoreFullError
from hive.cli.quantities import parse_size, parse_span
from manifests import Repository
from manifests.rows import checkpoint_key
from tests.damage import PAGE_BYTES, Vandal, flip
from tests.durability.test_flipped_bits import kinds_of_pages
from tests.hive.command_line import hive

EVIL = "\x1b[2Jhoney"


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """The runs ``bees`` of six checkpoints and ``wasps`` of two."""
    with Repository.open(home) as opened:
        for number in range(6):
            opened.commit("bees", {"n": number, "text": f"{number} " * 400}, node="n")
            if number in (2, 5):  # in between, so that each checkpoint keeps its pack
                opened.commit("wasps", {"n": number // 3})
        yield opened


def sequences(repo: Repository, run: str = "bees") -> list[int]:
    return [checkpoint.sequence for checkpoint in repo.log(run)]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("30min", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        (" 7 d ", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_spans(text: str, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2_000_000_000), ("1.5 MiB", 1_572_864), ("10k", 10_000), ("7", 7), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7y", "1.5h"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(InvalidInputError, match="span"):
        parse_span(text)


@pytest.mark.parametrize("text", ["", "GB", "2 XB", "-1", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidInputError, match="size"):
        parse_size(text)


def test_forget_says_what_goes_and_why(repo: Repository) -> None:
    repo.tag("gold", "bees@2")
    ran = hive("forget", "--keep-last", "2", "--dry-run")
    assert ran.code == 0
    assert "drop  bees@4" in ran.output
    assert "has the tag 'gold'" in ran.output
    assert "3 checkpoints would be forgotten (3 no_rule)\n" in ran.output
    assert "5 checkpoints kept (4 keep_last, 2 head, 1 tag)\n" in ran.output
    assert "frees the space" not in ran.output
    assert " more; --json" not in ran.output
    assert sequences(repo) == [6, 5, 4, 3, 2, 1]
    made = hive("forget", "--keep-last", "2", "--json").json
    assert (made["dry_run"], made["dropped"], made["kept"]) == (False, 3, 5)
    assert made["verdicts"][0]["reasons"][0] == {"rule": "head", "text": "head of its run"}
    assert sequences(repo) == [6, 5, 2]
    assert "`hive gc` frees the space" not in hive("forget", "--keep-last", "2").output
    assert "`hive gc` frees the space" in hive("forget", "bees@5").output


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["bees@1", "bees@3"], [6, 5, 4, 2]),
        (["--policy", "latest_only"], [6]),
        (["--policy", "latest_only", "--run", "wasps"], [6, 5, 4, 3, 2, 1]),
        (["--keep-within", "1h"], [6, 5, 4, 3, 2, 1]),
        (["--max-age", "0s", "--keep-last", "3"], [6, 5, 4]),
        (["--keep-every", "week", "--keep-every", "day:3"], None),
        (["--keep-kind", "final"], [6]),
        (["--keep-tagged"], [6]),
        (["--max-checkpoints-per-run", "4"], [6, 5, 4, 3]),
        (["--max-checkpoints", "3"], [6]),
        (["--max-bytes", "1GB"], [6, 5, 4, 3, 2, 1]),
        (["--max-bytes-per-run", "2kB"], [6, 5]),
    ],
)
def test_options_make_the_policy(
    repo: Repository, options: list[str], left: list[int] | None
) -> None:
    ran = hive("forget", *options)
    assert ran.code == 0, ran.errors
    assert left is None or sequences(repo) == left
    assert sequences(repo)[0] == 6


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 2),
        (["bees@1", "--keep-last", "1"], 2),
        (["--policy", "prune_old"], 2),
        (["--policy", "some"], 2),
        (["--policy", "latest_only", "--keep-last", "2"], 2),
        (["--keep-every", "year"], 2),
        (["--keep-every", "day:0"], 2),
        (["--keep-within", "soon"], 2),
        (["--max-bytes", "lots"], 2),
        (["--policy", "none"], 2),
        (["bees"], 4),
        (["bees@9"], 3),
        (["--keep-last", "1", "--run", "none"], 3),
        (["--keep-kind", "pased"], 2),
    ],
)
def test_what_is_no_policy_forgets_nothing(repo: Repository, options: list[str], code: int) -> None:
    ran = hive("forget", *options)
    assert ran.code == code
    assert ran.errors.count("\n") == 1
    assert len(sequences(repo)) == 6


def test_a_policy_that_is_none_names_its_option(repo: Repository) -> None:
    assert "--policy: must be 'all', " in hive("forget", "--policy", "none").errors
    errors = hive("forget", "--policy", "all", "--keep-kind", "final").errors
    assert "no policy: --keep-kind: for --policy 'prune_old', not 'all'" in errors
    assert "not both" in hive("forget", "bees@1", "--keep-last", "1").errors
    assert "not both" not in hive("forget").errors


def test_gc_with_a_policy_forgets_first_and_says_what_and_why(repo: Repository) -> None:
    ran = hive("gc", "--keep-last", "2", "--max-age", "0s", "--dry-run")
    assert ran.code == 0, ran.errors
    assert "drop  bees@4" in ran.output
    assert "4 checkpoints would be forgotten (4 no_rule)\n" in ran.output
    told = hive("gc", "--keep-last", "2", "--max-age", "0s", "--dry-run", "--json").json
    assert len(sequences(repo)) == 6
    assert told["objects_removed"] > 0
    done = hive("gc", "--keep-last", "2", "--max-age", "0s", "--json").json
    assert done["forget"]["dropped"] == 4
    assert sequences(repo) == [6, 5]
    for figure in ("objects_removed", "payload_bytes_removed", "objects_kept", "roots"):
        assert done[figure] == told[figure], "a dry run says what is done"
    again = hive("gc", "--max-bytes", "1GB", "--run", "bees")
    assert "2 checkpoints kept (2 all, 1 head)\n" in again.output
    assert "nothing has changed since the last gc" in again.output
    compacted = hive("gc", "--policy", "latest_only", "--compact", "--json").json
    assert compacted["compact"]["objects_left_out"] == 0
    assert sequences(repo) == [6]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--run", "bees"], 2),
        (["--dry-run", "--compact"], 2),
        (["--keep-every", "year"], 2),
        (["--max-age", "soon"], 2),
        (["--keep-last", "1", "--run", "none"], 3),
        (["--keep-kind", "pased"], 2),
        (["--time-budget", "0"], 0),
    ],
)
def test_gc_refuses_what_means_nothing(repo: Repository, options: list[str], code: int) -> None:
    ran = hive("gc", *options)
    assert ran.code == code
    assert ran.errors.count("\n") == (code != 0)
    assert len(sequences(repo)) == 6


def test_names(repo: Repository) -> None:
    assert hive("tag", f"gold{EVIL}"[:4], "bees@2").output.startswith("tag gold names bees@2 (")
    assert hive("tag", "gold", "bees@3").code == 4
    assert hive("tag", "gold", "bees@3", "--force", "--json").json["tags"] == ["gold"]
    assert hive("pin", "bees@2", "--reason", "audit", "--json").json["reason"] == "audit"
    assert repo.pins()[0].reason == "audit"
    assert hive("rm", "bees").code == 4
    assert hive("unpin", "bees@2").output == "unpinned bees@2\n"
    assert hive("unpin", "bees@2").code == 3
    assert hive("untag", "gold").output == "removed the tag gold\n"
    assert hive("fork", "bees@2", "drones").output.startswith("run drones begins at ")
    assert hive("fork", "bees@2", "drones").code == 4
    assert hive("rm", "bees", "--json").json == {"run": "bees", "checkpoints": 6}
    assert repo.restore("drones")["n"] == 1
    assert hive("rm", "bees").code == 3


def test_check_and_repair(repo: Repository, home: Path, tmp_path: Path) -> None:
    assert hive("check").output.startswith("no damage: 8 checkpoints, ")
    assert "not hashed" in hive("check", "--quick").output
    assert hive("check", "--yes").code == 2
    copy = tmp_path / "copy"
    assert hive("backup", str(copy), "--json").json == {"home": str(copy)}
    assert hive("backup", str(copy)).code == 4
    number = repo.resolve("bees@3")
    repo.close()
    vandal = Vandal(home / "objects")
    record = vandal.number(number.id)
    vandal.change("objects", vandal.pack_key(record), lambda row: flip(row, len(row) - 1))
    ran = hive("show", "bees@3")
    assert (ran.code, ran.errors.count("; `hive check` tells what that hits")) == (5, 1)
    ran = hive("check")
    assert ran.code == 5
    assert "hits bees@3\n" in ran.output
    assert "cannot be restored: bees@3" in ran.output
    ran = hive("check", "--repair", "--dry-run")
    assert (ran.code, "to be dropped: bees@3" in ran.output) == (5, True)
    for answer in ("n\n", ""):
        ran = hive("check", "--repair", given=answer)
        assert (ran.code, "hive: nothing was changed; --yes drops" in ran.errors) == (1, True)
    assert hive("check").code == 5
    ran = hive("check", "--repair", "--from", str(copy))
    assert (ran.code, ran.output.endswith("repaired\n")) == (0, True)
    assert "to be restored: bees@3" in ran.output
    assert hive("check", "--json").json["ok"]
    vandal.change("objects", vandal.pack_key(1), lambda row: flip(row, len(row) - 1))
    done = hive("check", "--repair", "--yes", "--json").json
    assert done["dropped"] == ["bees@1"]
    assert not done["dry_run"]
    assert hive("check", "--repair", "--json").json["found"]["ok"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_damage_of_a_row_hides_no_runs(repo: Repository, home: Path) -> None:
    """What runs take is told by all names; that failed, and with it the list of runs."""
    whole = hive("runs", "--json").json
    repo.close()
    vandal = Vandal(home / "objects")
    vandal.change("checkpoints", checkpoint_key(1, 2), lambda row: flip(row, 3))
    ran = hive("runs")
    assert (ran.code, "bees" in ran.output, "ONLY HERE" in ran.output) == (0, True, False)
    assert "not measured what each run takes: " in ran.errors
    assert "repair the store (hive check --repair)" in ran.errors
    rows = [{**row, "unique_bytes": None, "shared_bytes": None} for row in whole]
    assert hive("runs", "--json").json == rows
    assert hive("stats").code == 5

    vandal.change("checkpoints", checkpoint_key(1, 6), lambda row: flip(row, 3))
    assert hive("runs").code == 5
    ran = hive("doctor")
    assert (ran.code, "ERROR  runs: run 'bees' cannot be read: " in ran.output) == (1, True)
    assert "readers: " in ran.output
    assert hive("check", "--repair").code == 0
    assert hive("runs", "--json").json == whole


def test_a_dry_run_works_on_a_read_only_disk(
    repo: Repository, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = repo.resolve("bees@3")
    repo.forget(["bees@1"])
    repo.close()
    vandal = Vandal(home / "objects")
    record = vandal.number(number.id)
    vandal.change("objects", vandal.pack_key(record), lambda row: flip(row, len(row) - 1))
    disk = tmp_path / "disk"
    disk.mkdir()
    for options in (["--bind", str(home), str(disk)], ["-o", "remount,ro,bind", str(disk)]):
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        monkeypatch.setenv("HIVE_HOME", str(disk))
        assert hive("gc").code == 8
        assert hive("gc", "--dry-run", "--json").json["objects_removed"]
        policy = ["--keep-last", "1", "--run", "wasps", "--dry-run"]
        assert hive("forget", *policy, "--json").json["dropped"] == 1
        assert hive("gc", *policy).code == 0
        assert hive("check", "--repair").code == 8
        ran = hive("check", "--repair", "--dry-run")
        assert (ran.code, "to be dropped: bees@3" in ran.output) == (5, True)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_export_and_import(repo: Repository, tmp_path: Path) -> None:
    file, other = str(tmp_path / "bundle"), str(tmp_path / "other")
    assert hive("export", "bees", "-o", file, "--history").output.startswith(f"wrote {file}: 6 ")
    made = hive("export", "bees", "-o", file, "--history", "--json").json
    assert (made["checkpoints"], made["file"]) == (6, file)
    ran = hive("import", file, "--home", other)
    assert ran.output.startswith("imported 6 checkpoints, 0 known before; ")
    again = hive("import", file, "--home", other, "--json").json
    assert (again["checkpoints"], again["known"], again["new_objects"]) == ([], 6, 0)
    assert hive("import", file, "--home", other, "--as", "drones").code == 0
    assert hive("import", file, "--home", other, "--max-bytes", "10").code == 7
    assert hive("import", str(tmp_path / "none"), "--home", other).code == 3
    for folder in (".", str(tmp_path)):
        ran = hive("export", "bees", "-o", folder)
        assert (ran.code, "is a folder" in ran.errors) == (2, True)
        ran = hive("import", folder, "--home", other)
        assert (ran.code, "is a folder" in ran.errors) == (2, True)
    ran = hive("export", "bees", "-o", "-")
    assert (ran.code, "name the file" in ran.errors, Path("-").exists()) == (2, True, False)
    Path(file).write_bytes(Path(file).read_bytes()[:-1])
    ran = hive("import", file, "--home", other)
    assert (ran.code, ran.errors.count("\n")) == (5, 1)
    repo.commit("bees", {"n": 7})
    ran = hive("export", "bees", "-o", file, "--have", "bees@6", "--json")
    assert ran.json["objects"] == 1
    assert hive("import", file, "--home", other).code == 0
    with Repository.open(other) as opened:
        assert opened.restore("bees") == {"n": 7}
        assert sorted(info.name for info in opened.runs()) == ["bees", "drones"]


def full(*_: object) -> None:
    raise StoreFullError("no room")


def test_what_cannot_be_imported_makes_no_store(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, new = tmp_path / "bundle", tmp_path / "new"
    repo.export(["bees"], file)
    whole = file.read_bytes()
    repo.export(["bees@2"], file, have=["bees@1"])
    partial = file.read_bytes()
    for data, code in [(whole[:-1], 5), (b"no bundle", 2), (partial, 5)]:
        file.write_bytes(data)
        assert hive("import", str(file), "--home", str(new)).code == code
    file.write_bytes(whole)
    for options, code in [(["--max-bytes", "10"], 7), (["--as", ""], 2)]:
        assert hive("import", str(file), "--home", str(new), *options).code == code
    assert hive("import", str(tmp_path / "none"), "--home", str(new)).code == 3
    with monkeypatch.context() as patch:
        patch.setattr(manifests.importing, "_list", full)  # the last that is done
        assert hive("import", str(file), "--home", str(new)).code == 7
    assert not new.exists()
    assert hive("import", str(file), "--home", str(new)).code == 0


def test_no_store_is_made_inside_another(repo: Repository, home: Path) -> None:
    inside = str(home / "objects" / "copy")
    for arguments in (["backup", inside], ["salvage", inside], ["runs", "--home", inside]):
        ran = hive(*arguments)
        assert (ran.code, "choose a folder outside" in ran.errors) == (2, True)
    with pytest.raises(InvalidInputError, match="is inside the store"):
        Repository.open(inside)
    assert not os.path.exists(inside)
    assert hive("backup", str(home / "copy")).code == 0


@pytest.mark.parametrize(
    "arguments", [["demo", "--home", ""], ["--home", "", "demo"], ["backup", ""], ["salvage", ""]]
)
def test_an_empty_folder_is_not_the_current_one(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """It is what an unset variable of a shell leaves."""
    place = tmp_path / "current"
    place.mkdir()
    monkeypatch.chdir(place)
    ran = hive(*arguments)
    assert (ran.code, "it is empty: name a folder" in ran.errors) == (2, True)
    assert not any(place.iterdir())


def test_a_run_that_no_executor_made_stands_after_abandon_as_before(repo: Repository) -> None:
    stands = next(row["status"] for row in hive("runs", "--json").json if row["run"] == "bees")
    assert hive("abandon", "bees", "--json").json["status"] == "abandoned"
    undone = hive("abandon", "bees", "--undo")
    assert undone.output == f"run bees is {stands} again\n"


def test_a_deleted_run_takes_its_launch_along(repo: Repository) -> None:
    from hive.cli.launches import Launch, find_launch, record_launch

    record_launch(repo.home, Launch("bees", "bees.py", Path("/")))
    assert hive("rm", "bees", "--force").code == 0
    assert find_launch(repo.home, "bees") is None


def test_a_run_is_not_deleted_under_the_program_that_executes_it(repo: Repository) -> None:
    from hive.cli.launches import while_executing

    repo.commit("live", {"n": 1})
    with while_executing(repo.home, "live"):
        refused = hive("rm", "live")
        assert refused.code == 4
        assert "is being executed" in refused.errors
    assert hive("rm", "live").code == 0


def test_a_store_that_does_not_open_is_salvaged(
    repo: Repository, home: Path, tmp_path: Path
) -> None:
    """The root of the runs is another page, and what the first checkpoints need is gone."""
    repo.commit("bees", {"noise": os.urandom(9_000)})
    backup = repo.backup(tmp_path / "backup")
    repo.close()
    file = home / "objects" / "g1" / "data.mdb"
    data = file.read_bytes()
    data = data.replace(b"runs", b"rums")
    for page, kind in kinds_of_pages(data).items():
        if kind in ("record", "unused"):
            data = data[: page * PAGE_BYTES] + bytes(PAGE_BYTES) + data[(page + 1) * PAGE_BYTES :]
    file.write_bytes(data)
    assert hive("runs").code == 5
    assert "`hive salvage DIR`" in hive("doctor").output

    ran = hive("salvage", str(tmp_path / "bare"))
    assert ran.code == 5
    assert "structure: a table 'rums' is not known here" in ran.output
    assert "cannot be restored: " in ran.output
    assert "bees@7" in ran.output
    assert "nothing is missing" not in ran.output

    ran = hive("salvage", str(tmp_path / "whole"), "--from", str(backup), "--json")
    assert ran.code == 0
    assert ran.json["ok"]
    assert ran.json["checkpoints"] == 9
    assert not ran.json["lost"]
    with Repository.open(tmp_path / "whole") as whole:
        assert sequences(whole) == [7, 6, 5, 4, 3, 2, 1]
        assert whole.restore("wasps") == {"n": 1}
    assert hive("salvage", str(tmp_path / "whole")).code == 4
    ran = hive("salvage", str(tmp_path / "again"), "--home", str(backup))
    assert ran.code == 0
    assert "nothing is missing" in ran.output
    assert not re.search("cannot be restored|hits|moves from|perhaps deleted", ran.output)
