"""A full disk: one clear error, nothing lost, and room to free space with."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cas.ballast import BALLAST_BYTES
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import StoreFullError
from tests.cas.children import in_child, temporary_limit

ROWS = Table("rows")
BLOBS = Table("blobs", checked=False)
TABLES = [ROWS, BLOBS]
KIB = 1 << 10
MIB = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


def put(key: bytes, size: int, tx: WriteTransaction) -> None:
    tx.put(BLOBS, key, key.ljust(size, b"."))


def blobs(tx: ReadTransaction) -> dict[bytes, int]:
    return {key: len(value) for key, value in tx.items(BLOBS)}


def fill(environment: Environment, size: int = 60 * KIB) -> list[bytes]:
    """Write until there is no room; return the keys that were acknowledged."""
    keys: list[bytes] = []
    with contextlib.suppress(StoreFullError):
        while len(keys) < 10_000:
            key = b"%05d" % len(keys)
            environment.write(partial(put, key, size))
            keys.append(key)
    assert len(keys) < 10_000
    return keys


def delete(keys: list[bytes], tx: WriteTransaction) -> int:
    return sum(tx.delete(BLOBS, key) for key in keys)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@needs_root
def test_a_full_disk_loses_nothing_and_can_be_freed(disk: Path) -> None:
    path = disk / "objects"
    (disk / "other").write_bytes(bytes(64 * KIB))
    with Environment.open(path, TABLES) as environment:
        assert (path / "ballast").stat().st_size == BALLAST_BYTES
        keys = fill(environment)
        assert len(keys) > 10
        assert environment.read(blobs) == dict.fromkeys(keys, 60 * KIB)
        # Again and again: each failed write leaves the store as it was.
        for _ in range(3):
            with pytest.raises(StoreFullError):
                environment.write(partial(put, b"more", 200 * KIB))
        assert environment.read(blobs) == dict.fromkeys(keys, 60 * KIB)
        assert (path / "ballast").exists()
        assert environment.write(partial(delete, keys[::2]), frees_space=True) == len(keys[::2])
        # Freed pages are used from the second commit on, so the first one needs room of its own.
        (disk / "other").unlink()
        for number in range(len(keys) // 3):
            environment.write(partial(put, b"new%d" % number, 30 * KIB))
        found = environment.read(blobs)
    assert {key for key in found if key.startswith(b"0")} == set(keys[1::2])
    with Environment.open(path, TABLES) as environment:
        assert environment.read(blobs) == found


@needs_root
def test_the_ballast_makes_a_large_deletion_possible(disk: Path) -> None:
    """Rows spread over many pages: deleting them needs more new pages than are free."""
    path = disk / "objects"

    def put_rows(start: int, tx: WriteTransaction) -> None:
        for number in range(start, start + 500):
            tx.put(ROWS, number.to_bytes(8, "big"), b"x" * 100)

    def delete_rows(tx: WriteTransaction) -> int:
        # About 170 of the pages, every row of some of them.
        keys = [key for key, _ in tx.items(ROWS, stop=(6000).to_bytes(8, "big"))]
        return sum(tx.delete(ROWS, key) for key in keys if key[-1] % 4)

    with Environment.open(path, TABLES) as environment:
        with contextlib.suppress(StoreFullError):
            for start in range(0, 1_000_000, 500):
                environment.write(partial(put_rows, start))
        before = environment.read(lambda tx: tx.count(ROWS))
        with pytest.raises(StoreFullError):
            environment.write(delete_rows)
        assert environment.read(lambda tx: tx.count(ROWS)) == before
        removed = environment.write(delete_rows, frees_space=True)
        assert not (path / "ballast").exists()
        assert environment.read(lambda tx: tx.count(ROWS)) == before - removed
        environment.write(delete_rows)


@needs_root
def test_without_a_ballast_the_error_is_the_same(disk: Path) -> None:
    path = disk / "objects"
    with Environment.open(path, TABLES) as environment:
        keys = fill(environment)
        (path / "ballast").unlink()
        (disk / "other").write_bytes(b"x" * (free_bytes(disk) // 4096 * 4096))
        with pytest.raises(StoreFullError):
            environment.write(partial(put, b"more", 200 * KIB), frees_space=True)
        assert environment.read(blobs) == dict.fromkeys(keys, 60 * KIB)


@needs_root
def test_a_full_disk_has_no_room_for_a_store(disk: Path) -> None:
    (disk / "other").write_bytes(b"x" * (free_bytes(disk) - 8192))
    with pytest.raises(StoreFullError, match="no room left"):
        Environment.open(disk / "objects", TABLES)
    assert [place.name for place in disk.iterdir()] == ["other"]


@needs_root
def test_a_full_disk_can_still_be_opened_and_read(disk: Path) -> None:
    path = disk / "objects"
    with Environment.open(path, TABLES) as environment:
        keys = fill(environment)
    (path / "ballast").unlink()
    (path / "g1" / "lock.mdb").unlink()
    (disk / "other").write_bytes(b"x" * free_bytes(disk))
    with Environment.open(path, TABLES, read_only=True) as environment:
        assert environment.read(blobs) == dict.fromkeys(keys, 60 * KIB)


def free_bytes(disk: Path) -> int:
    space = os.statvfs(disk)
    return space.f_bavail * space.f_frsize


def test_a_file_size_limit_is_a_full_store(home: Path) -> None:
    path = home / "objects"
    Environment.open(path, TABLES).close()

    def work() -> str:
        with Environment.open(path, TABLES) as environment:
            with temporary_limit(resource.RLIMIT_FSIZE, 3 * MIB):
                keys = fill(environment)
                assert environment.read(blobs) == dict.fromkeys(keys, 60 * KIB)
                with pytest.raises(StoreFullError, match="no room left"):
                    environment.write(partial(put, b"more", 200 * KIB))
            with temporary_limit(resource.RLIMIT_FSIZE, 3 * MIB + 64 * KIB):
                assert environment.write(partial(delete, keys[:20]), frees_space=True) == 20
                environment.write(lambda tx: None)
                environment.write(partial(put, b"new", 60 * KIB))
            environment.write(partial(put, b"large", 4 * MIB))
            return str(len(keys))

    count = int(in_child(work)[1:])
    assert 30 < count < 60
    with Environment.open(path, TABLES) as environment:
        assert len(environment.read(blobs)) == count - 20 + 2


def test_a_missing_ballast_is_made_again(home: Path) -> None:
    path = home / "objects"
    Environment.open(path, TABLES).close()
    for spoiled in (None, b"half"):
        (path / "ballast").unlink()
        if spoiled:
            (path / "ballast").write_bytes(spoiled)
        Environment.open(path, TABLES).close()
        assert (path / "ballast").stat().st_size == BALLAST_BYTES
        assert (path / "ballast").stat().st_blocks * 512 >= BALLAST_BYTES


@needs_root
def test_the_ballast_never_takes_the_last_room(disk: Path) -> None:
    """A disk with less than sixteen times its size free gets none at a later opening."""
    path = disk / "objects"
    Environment.open(path, TABLES).close()
    (path / "ballast").unlink()
    Environment.open(path, TABLES).close()
    assert not (path / "ballast").exists()


@needs_root
@pytest.mark.parametrize("step", range(1, 40, 3))
def test_running_full_at_any_point_of_a_creation(disk: Path, step: int) -> None:
    other = disk / "other"
    other.write_bytes(b"x" * max(0, free_bytes(disk) - step * 4096))
    path = disk / "objects"
    with contextlib.suppress(StoreFullError):
        with Environment.open(path, TABLES, prepare=partial(put, b"key", 9000)) as environment:
            assert environment.read(blobs) == {b"key": 9000}
    assert sorted(place.name for place in disk.iterdir()) in (["other"], ["objects", "other"])
    other.unlink()
    with Environment.open(path, TABLES, prepare=partial(put, b"key", 9000)) as environment:
        assert environment.read(blobs) == {b"key": 9000}
