"""No space, no permission, no home: one documented error each, and nothing lost."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hive
from cas.errors import (
    AccessError,
    HiveError,
    InvalidInputError,
    ReadOnlyStoreError,
    StoreFullError,
)
from manifests import Repository
from tests.cas.children import NOBODY, in_child, nobody, temporary_limit

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts and changes owners")


def noise(number: int, size: int = 60_000) -> dict[str, Any]:
    return {"number": number, "noise": random.Random(number).randbytes(size)}


def fill_up(repo: Repository) -> int:
    """Commit until there is no more room; return how many commits were acknowledged."""
    number = 0
    while True:
        try:
            assert repo.commit("r", noise(number)).sequence == number + 1
        except StoreFullError:
            return number
        number += 1


def check(repo: Repository, count: int) -> None:
    for number in range(count):
        assert repo.restore(("r", number + 1)) == noise(number)
    assert repo.resolve("r").sequence == count


# -- no space -----------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@needs_root
def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(disk: Path) -> None:
    other = disk / "other"
    other.write_bytes(bytes(1 << 20))
    with Repository.open(disk / "home") as repo:
        count = fill_up(repo)
        assert count > 20
        for _ in range(2):
            check(repo, count)
            with pytest.raises(StoreFullError):
                repo.commit("r", noise(count, 400_000))
            with pytest.raises(StoreFullError):
                repo.commit("another", noise(count, 400_000))
        assert [info.name for info in repo.runs()] == ["r"]
        other.unlink()
        assert repo.commit("r", noise(count)).sequence == count + 1
        check(repo, count + 1)
    with Repository.open(disk / "home") as repo:
        check(repo, count + 1)
        assert repo.commit("r", noise(count + 1)).sequence == count + 2


@needs_root
def test_a_full_disk_can_be_opened_read_and_forgotten_from(disk: Path) -> None:
    with Repository.open(disk / "home") as repo:
        count = fill_up(repo)
    with open(disk / "rest", "wb") as rest:
        with pytest.raises(OSError, match="space"):
            rest.write(bytes(8 << 20))
    with Repository.open(disk / "home", read_only=True) as repo:
        check(repo, count)
    with Repository.open(disk / "home") as repo:
        check(repo, count)
        repo.forget([("r", number) for number in range(1, count)])
        assert len(repo.log("r")) == 1
        assert repo.restore("r") == noise(count - 1)


@needs_root
def test_what_others_filled_the_disk_with_keeps_nothing_from_being_deleted(disk: Path) -> None:
    """The file of a compacted store has no free page, and cannot grow."""
    ways: list[tuple[str, Callable[[Repository], object]]] = [
        ("", lambda repo: repo.forget([("r", number) for number in range(1, 15)])),
        ("", lambda repo: repo.delete_run("gone")),
        ("tag", lambda repo: repo.untag("tag")),
        ("pin", lambda repo: repo.unpin("r@2")),
    ]
    for kept_by, way in ways:
        with Repository.open(disk / "home") as repo:
            for number in range(15):
                repo.commit("r", noise(number, 20_000))
            repo.commit("gone", noise(16))
            if kept_by == "tag":
                repo.tag("tag", "r@1")
            if kept_by == "pin":
                repo.pin("r@2")
            repo.compact()
        with open(disk / "rest", "wb") as rest, pytest.raises(OSError, match="space"):
            rest.write(bytes(8 << 20))
        with Repository.open(disk / "home") as repo:
            with pytest.raises(StoreFullError, match="forget checkpoints and run gc"):
                repo.commit("r", noise(0))
            way(repo)
            assert repo.gc().complete
            (disk / "rest").unlink()
            assert repo.check().ok
        shutil.rmtree(disk / "home")


@needs_root
def test_a_check_that_has_no_room_for_its_copy_says_so(
    disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Repository.open(disk / "home") as repo:
        repo.commit("r", noise(0))
        with open(disk / "rest", "wb") as rest, pytest.raises(OSError, match="space"):
            rest.write(bytes(8 << 20))
        assert repo.check().ok, "it takes what room there is for temporary files"
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(StoreFullError, match="a check looks at a copy of the store's file"):
            repo.check()
        assert {place.name for place in disk.iterdir()} == {"home", "rest"}
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        assert repo.check().ok
        assert list(tmp_path.glob("hive-check-*")) == []
        (disk / "rest").unlink()
        assert repo.check().ok


@needs_root
def test_a_backup_that_has_no_room_names_the_disk_that_is_full(disk: Path, home: Path) -> None:
    with Repository.open(home) as repo:
        for number in range(120):
            repo.commit("r", noise(number))
        with pytest.raises(StoreFullError, match=f"no room left for this write to {disk}"):
            repo.backup(disk / "copy")
    assert [*disk.rglob("*")] == []


def test_a_check_that_cannot_make_its_copy_whole_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with Repository.open(home) as repo:
        repo.commit("r", noise(0))
        for function in ("truncate", "mkdir"):
            with monkeypatch.context() as patch:
                patch.setattr(os, function, full)
                with pytest.raises(StoreFullError):
                    repo.check()
        assert repo.check().ok


def test_a_limit_on_the_size_of_files_loses_nothing(home: Path) -> None:
    def child() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Repository.open(home) as repo:
            with temporary_limit(resource.RLIMIT_FSIZE, 3 << 20):
                count = fill_up(repo)
                check(repo, count)
                with pytest.raises(StoreFullError):
                    repo.commit("r", noise(count, 400_000))
            assert repo.commit("r", noise(count)).sequence == count + 1
            check(repo, count + 1)
        return str(count + 1)

    count = int(in_child(child)[1:])
    assert count > 20
    with Repository.open(home) as repo:
        check(repo, count)


def test_a_store_has_at_most_the_bytes_it_was_given(home: Path) -> None:
    with Repository.open(home, max_bytes=3 << 20) as repo:
        count = fill_up(repo)
        check(repo, count)
        assert repo.stats().disk_bytes < 4 << 20
    with Repository.open(home) as repo:
        check(repo, count)
        assert repo.commit("r", noise(count)).sequence == count + 1


@needs_root
def test_there_is_no_room_for_a_new_store(disk: Path) -> None:
    with open(disk / "rest", "wb") as rest, pytest.raises(OSError, match="space"):
        rest.write(bytes(8 << 20))
    with pytest.raises(StoreFullError):
        Repository.open(disk / "home")
    (disk / "rest").unlink()
    with Repository.open(disk / "home") as repo:
        assert repo.commit("r", noise(0)).sequence == 1


# -- no permission ------------------------------------------------------------------------------


@needs_root
def test_a_store_in_a_read_only_directory_is_read_and_not_written(public: Path) -> None:
    home = public / "home"

    def owner() -> str:
        nobody()
        with Repository.open(home) as repo:
            repo.commit("r", {"kept": True})
        places = [home / "objects" / "g1", home / "objects", home]
        for directory in places:
            for file in directory.iterdir():
                if file.is_file():
                    file.chmod(0o400)
            directory.chmod(0o500)
        with Repository.open(home, read_only=True) as reading:
            assert reading.restore("r") == {"kept": True}
            assert [info.name for info in reading.runs()] == ["r"]
            with pytest.raises(ReadOnlyStoreError):
                reading.commit("r", {})
        with pytest.raises(AccessError, match=f"uid {NOBODY}"), Repository.open(home) as repo:
            repo.commit("r", {"kept": False})
        for directory in reversed(places):
            directory.chmod(0o700)
            for file in directory.iterdir():
                if file.is_file():
                    file.chmod(0o600)
        with Repository.open(home) as repo:
            return f"{repo.restore('r')} {repo.commit('r', 2).sequence}"

    assert in_child(owner) == "+{'kept': True} 2"


@needs_root
def test_a_home_that_cannot_be_made_is_an_access_error(public: Path) -> None:
    public.chmod(0o755)

    def other() -> str:
        nobody()
        with pytest.raises(AccessError, match="refused"):
            Repository.open(public / "home")
        with pytest.raises(HiveError):
            Repository.open(public / "home", read_only=True)
        return "refused"

    assert in_child(other) == "+refused"
    assert list(public.iterdir()) == []


@needs_root
def test_the_store_of_another_user_is_refused(public: Path) -> None:
    home = public / "home"

    def owner() -> str:
        nobody()
        with Repository.open(home) as repo:
            return str(repo.commit("r", "theirs").sequence)

    assert in_child(owner) == "+1"
    for read_only in (False, True):
        with pytest.raises(AccessError, match="belongs to somebody else"):
            Repository.open(home, read_only=read_only)


@needs_root
def test_a_read_only_file_system_says_how_to_open_it(disk: Path) -> None:
    with Repository.open(disk / "home") as repo:
        repo.commit("r", {"kept": True})
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with Repository.open(disk / "home", read_only=True) as repo:
        assert repo.restore("r") == {"kept": True}
    with pytest.raises((ReadOnlyStoreError, AccessError)), Repository.open(disk / "home") as repo:
        repo.commit("r", {})
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    with Repository.open(disk / "home") as repo:
        assert repo.commit("r", {}).sequence == 2


# -- no home ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hive_home", "user_home"),
    [
        (None, None),
        ("", ""),
        (None, ""),
        ("", None),
        (None, "relative"),
        (None, "."),
        (None, "/"),
        ("relative", None),
        (".", "/root"),
        ("./x", "/root"),
    ],
)
def test_without_a_usable_home_nothing_is_created(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hive_home: str | None,
    user_home: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("HIVE_HOME", hive_home), ("HOME", user_home)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInputError, match="HIVE_HOME"):
        hive.open()
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/.hive").exists()
    assert not Path("/objects").exists()


def test_a_usable_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "chosen"))
    with hive.open() as repo:
        repo.commit("r", 1)
    assert (tmp_path / "chosen" / "objects" / "generation").is_file()
    monkeypatch.delenv("HIVE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    with hive.open() as repo:
        assert repo.runs() == []
        assert repo.home == tmp_path / "user" / ".hive"
    with hive.open(tmp_path / "chosen") as repo:
        assert repo.restore("r") == 1


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(HiveError) as caught:
            hive.open(place)
        assert str(tmp_path / "file") in str(caught.value)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a directory"
