from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hive.demo.files import Finding, Limits, UnreadableError, find_files, read_document


def paths(finding: Finding) -> list[str]:
    return [path for path, _ in finding.files]


def step(folder: int, name: str) -> int:
    """Go from one open folder to another."""
    there = os.open(name, os.O_RDONLY, dir_fd=folder)
    os.close(folder)
    return there


def write(folder: Path, path: str, data: bytes | str = "text\n") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def test_files_are_found_in_path_order_with_their_sizes(tmp_path: Path) -> None:
    for path in ("b.md", "a/z.txt", "a/y/x.py", "B.md"):
        write(tmp_path, path, path)
    assert find_files(tmp_path).files == (("B.md", 4), ("a/y/x.py", 8), ("a/z.txt", 7), ("b.md", 4))


def test_hidden_generated_and_linked_files_are_passed_over(tmp_path: Path) -> None:
    for path in (".hidden", ".git/config", "node_modules/x.js", "a/__pycache__/x.txt", "kept.md"):
        write(tmp_path, path)
    (tmp_path / "link.md").symlink_to(tmp_path / "kept.md")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_files(tmp_path)
    assert paths(found) == ["kept.md"]
    assert found.left_out == {}


def test_the_skipped_folder_is_passed_over_however_it_is_spelled(tmp_path: Path) -> None:
    write(tmp_path, "home/objects/data.mdb")
    write(tmp_path, "kept.md")
    (tmp_path / "other").symlink_to(tmp_path / "home")
    for spelled in ("home", "./home", "home/objects/..", "other"):
        assert paths(find_files(tmp_path, skip=[tmp_path / spelled])) == ["kept.md"]


def test_limits_are_inclusive_and_cut_off_the_depths_first(tmp_path: Path) -> None:
    write(tmp_path, "a/deep.txt", b"1234")
    write(tmp_path, "b.txt", b"1234")
    write(tmp_path, "c.txt", b"1234")
    two = find_files(tmp_path, limits=Limits(max_files=2))
    assert paths(two) == ["b.txt", "c.txt"]
    assert two.left_out == {"beyond the first 2 files": 1}
    assert len(find_files(tmp_path, limits=Limits(max_bytes=12)).files) == 3
    eleven = find_files(tmp_path, limits=Limits(max_bytes=11))
    assert paths(eleven) == ["b.txt", "c.txt"]
    assert eleven.left_out == {"beyond 11 bytes in all": 1}
    assert len(find_files(tmp_path, limits=Limits(max_file_bytes=4)).files) == 3
    assert find_files(tmp_path, limits=Limits(max_file_bytes=3)).left_out == {
        "larger than 3 bytes": 3
    }


def test_the_walk_ends_in_a_huge_folder(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path, f"{number:02}.txt")
    found = find_files(tmp_path, limits=Limits(max_entries=5))
    assert paths(found) == [f"{number:02}.txt" for number in range(5)]
    assert found.left_out == {"not looked at after 5 entries": 1}


def test_folders_nested_deeper_than_calls_can_be(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        # One at a time: the whole path would be longer than the system takes at once.
        for _ in range(1_500):
            os.mkdir("d", dir_fd=here)
            here = step(here, "d")
        write(tmp_path, "top.md")
        assert paths(find_files(tmp_path)) == ["top.md"]
        for _ in range(1_500):  # pytest could not delete what is this deep
            here = step(here, "..")
            os.rmdir("d", dir_fd=here)
    finally:
        os.close(here)


def test_names_that_are_not_utf8_are_left_out(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert find_files(tmp_path) == Finding((), {"name is not UTF-8": 1})


def test_only_regular_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        listener.bind("socket")
        assert find_files(tmp_path).files == ()


def test_a_folder_that_is_gone_is_counted(tmp_path: Path) -> None:
    assert find_files(tmp_path / "gone") == Finding((), {"gone meanwhile": 1})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_counted(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert find_files(tmp_path) == Finding((), {"no permission": 1})


def test_a_document_is_read_with_its_digest(tmp_path: Path) -> None:
    write(tmp_path, "a/b.md", "\ufeffGrüße\n")
    document = read_document(tmp_path, "a/b.md", max_file_bytes=100)
    assert document.text == "Grüße\n"
    assert document.size_bytes == 11
    assert len(document.digest) == 64


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\0b", "not text"),
        (b"\xff\xfe\xfd", "not UTF-8 text"),
        (b"x" * 101, "larger than 100 bytes"),
    ],
    ids=["binary", "latin", "huge"],
)
def test_what_cannot_be_surveyed_says_why(tmp_path: Path, data: bytes, reason: str) -> None:
    write(tmp_path, "file", data)
    with pytest.raises(UnreadableError) as caught:
        read_document(tmp_path, "file", max_file_bytes=100)
    assert caught.value.reason == reason


def test_a_file_replaced_since_it_was_found_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    reasons = {}
    for name in ("link", "pipe", "gone"):
        with pytest.raises(UnreadableError) as caught:
            read_document(tmp_path, name, max_file_bytes=100)
        reasons[name] = caught.value.reason
    assert reasons == {
        "link": "cannot be read",
        "pipe": "not a regular file",
        "gone": "gone meanwhile",
    }
