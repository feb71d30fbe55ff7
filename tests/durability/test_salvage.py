"""A salvage gives what verifies: never a wrong state, nothing made up, what is missing admitted."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cas.errors import AccessError, ConflictError, CorruptStoreError, HiveError, NotFoundError
from cas.records import NUMBER_BYTES
from manifests import Repository, RetentionPolicy, salvage, salvaging
from tests.damage import PAGE_BYTES, flip
from tests.durability.salvaging import (
    SHAPES,
    Shape,
    content_of,
    damaged_copy,
    data_file,
    judge,
)
from tests.durability.test_flipped_bits import kinds_of_pages

HEADER_BITS = 8 * 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shape]:
    shapes: dict[str, Shape] = {}

    def make(name: str) -> Shape:
        if name not in shapes:
            shapes[name] = SHAPES[name](tmp_path_factory.mktemp("salvage") / name)
        return shapes[name]

    return make


def blank(data: bytes, page: int) -> bytes:
    """Return a file with one page zeroed."""
    return data[: page * PAGE_BYTES] + bytes(PAGE_BYTES) + data[(page + 1) * PAGE_BYTES :]


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """Return a file damaged in one of many ways, perhaps in several places."""
    bad = bytearray(data)
    pages = len(data) // PAGE_BYTES
    kind = rng.choice(["flip", "flip", "header", "zero", "cut", "swap", "metas", "junk"])
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(pages) * PAGE_BYTES
        if kind == "flip":
            at += rng.randrange(PAGE_BYTES)
            bad[at] ^= 1 << rng.randrange(8)
        elif kind == "header":
            at += rng.randrange(60)
            bad[at] ^= 1 << rng.randrange(8)
        elif kind == "zero":
            bad[at : at + PAGE_BYTES] = bytes(PAGE_BYTES)
        elif kind == "swap":
            other = rng.randrange(pages) * PAGE_BYTES
            bad[at : at + PAGE_BYTES] = data[other : other + PAGE_BYTES]
        elif kind == "metas":
            for meta in (0, PAGE_BYTES):
                bad[meta + rng.randrange(16, 152)] ^= 1 << rng.randrange(8)
        elif kind == "junk":
            at += rng.randrange(PAGE_BYTES - 1)
            size = rng.randrange(1, PAGE_BYTES - at % PAGE_BYTES + 1)
            bad[at : at + size] = rng.randbytes(size)
        else:
            return bytes(bad[: rng.randrange(1, len(data))])
    return bytes(bad)


@pytest.mark.parametrize("name", SHAPES)
def test_of_an_undamaged_store_everything_comes_over(
    made: Callable[[str], Shape], tmp_path: Path, name: str
) -> None:
    shape = made(name)
    before = data_file(shape.home).read_bytes()
    report = salvage(shape.home, tmp_path / "new")
    assert report.ok
    assert not report.damage
    assert not report.uncertain
    assert content_of(tmp_path / "new") == shape.now
    assert report.checkpoints == len(shape.now.listed)
    assert data_file(shape.home).read_bytes() == before
    with Repository.open(tmp_path / "new") as repo:
        assert not repo.check().damage


@pytest.mark.parametrize("name", SHAPES)
def test_whatever_is_damaged_nothing_wrong_comes_out(
    made: Callable[[str], Shape],
    tmp_path: Path,
    name: str,
    seed: int,
    rounds: Callable[[int, int], int],
) -> None:
    shape = made(name)
    data = data_file(shape.home).read_bytes()
    rng = random.Random(seed)
    for number in range(rounds(6, 300)):
        home = damaged_copy(shape, tmp_path / f"bad {number}", spoiled(data, rng))
        into = tmp_path / f"new {number}"
        try:
            report = salvage(home, into)
        except HiveError:
            assert not into.exists() or not any(into.iterdir())
        else:
            judge(shape, report, into)
            shutil.rmtree(into)
        shutil.rmtree(home)


@pytest.mark.parametrize("name", SHAPES)
def test_damage_outside_of_leaves_loses_nothing(
    made: Callable[[str], Shape], tmp_path: Path, name: str, seed: int
) -> None:
    """Branch pages, the free list, the list of tables, the index, one meta page."""
    shape = made(name)
    data = data_file(shape.home).read_bytes()
    rng = random.Random(seed)
    kinds = kinds_of_pages(data)
    pages = [
        page
        for page, kind in kinds.items()
        if "branch" in kind or kind in ("free list", "list of tables", "index", "meta")
    ]
    for page in pages if len(pages) < 5 else rng.sample(pages, 4):
        at = page * PAGE_BYTES + rng.randrange(60 if kinds[page] != "meta" else 152)
        for bad in (flip(data, at, rng.randrange(8)), blank(data, page)):
            home = damaged_copy(shape, tmp_path / "bad", bad)
            report = salvage(home, tmp_path / "new")
            assert content_of(tmp_path / "new") == shape.now, (kinds[page], report)
            # A meta page that is gone may have been that of a commit that is gone as well.
            assert report.ok or (kinds[page] == "meta" and bad == blank(data, page)), report
            shutil.rmtree(home)
            shutil.rmtree(tmp_path / "new")


@pytest.mark.parametrize("name", ["keyed", "cut"])
def test_what_is_gone_is_admitted_though_no_list_says_how_much(
    made: Callable[[str], Shape], tmp_path: Path, name: str
) -> None:
    """Without the list of tables nobody knows how many rows each had."""
    shape = made(name)
    data = data_file(shape.home).read_bytes()
    kinds = kinds_of_pages(data)
    for page, kind in kinds.items():
        if kind == "list of tables":
            data = blank(data, page)
    for page, kind in kinds.items():
        if kind == "catalogue":
            home = damaged_copy(shape, tmp_path / f"bad {page}", blank(data, page))
            judge(shape, salvage(home, tmp_path / f"new {page}"), tmp_path / f"new {page}")


def test_a_damaged_branch_page_brings_back_nothing(tmp_path: Path, seed: int) -> None:
    """It was a leaf before, of the catalogue say, and dropped rows may still stand in its rest."""
    home, rng = tmp_path / "home", random.Random(seed)
    with Repository.open(home) as repo:
        for number in range(40):
            repo.commit("chat", {"n": number, "text": rng.randbytes(2_000).hex()})
        before = data_file(home).read_bytes()
        repo.forget(RetentionPolicy(keep_last=30))
        repo.gc()
        repo.commit("chat", {"n": 40})
    data, now = data_file(home).read_bytes(), content_of(home)
    leaves = [page for page, kind in kinds_of_pages(before).items() if kind == "catalogue"]
    branches = [page for page, kind in kinds_of_pages(data).items() if "branch" in kind]
    assert leaves
    assert branches
    for leaf in leaves:
        rest = before[leaf * PAGE_BYTES + 8 : (leaf + 1) * PAGE_BYTES]
        for page in branches:
            bad = bytearray(data)
            bad[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(8) + rest  # of no number
            copy = tmp_path / "bad"
            shutil.copytree(home, copy)
            data_file(copy).write_bytes(bad)
            report = salvage(copy, tmp_path / "new")
            assert (report.lost, report.uncertain) == ((), ())
            assert content_of(tmp_path / "new") == now
            shutil.rmtree(copy)
            shutil.rmtree(tmp_path / "new")


@pytest.mark.parametrize("name", SHAPES)
def test_a_flipped_bit_in_a_row_of_the_catalogue_loses_nothing(
    made: Callable[[str], Shape], tmp_path: Path, name: str, seed: int
) -> None:
    shape = made(name)
    data = data_file(shape.home).read_bytes()
    rng = random.Random(seed)
    pages = [page for page, kind in kinds_of_pages(data).items() if kind == "catalogue"]
    for page in pages if len(pages) < 5 else rng.sample(pages, 4):
        start = page * PAGE_BYTES
        upper = int.from_bytes(data[start + 14 : start + 16], "little")
        # In a row's key or value: behind the first row's header.
        at = start + rng.randrange(upper + 8, min(upper + 30, PAGE_BYTES))
        home = damaged_copy(shape, tmp_path / "bad", flip(data, at, rng.randrange(8)))
        report = salvage(home, tmp_path / "new")
        assert content_of(tmp_path / "new") == shape.now, (page, at, report)
        shutil.rmtree(home)
        shutil.rmtree(tmp_path / "new")


@pytest.mark.parametrize("name", ["small", "long", "tidied", "keyed"])
def test_a_flipped_bit_in_the_key_of_a_pack_loses_nothing(
    made: Callable[[str], Shape],
    tmp_path: Path,
    seed: int,
    rounds: Callable[[int, int], int],
    name: str,
) -> None:
    """It gave the pack the numbers of others, which were lost as well, or numbers far too high."""
    shape, rng = made(name), random.Random(seed)
    data = data_file(shape.home).read_bytes()
    keys = keys_of_packs(data)
    taken = {data[at : at + 8] for at in keys}
    for _ in range(rounds(6, 150)):
        at, place, bit = rng.choice(keys), rng.randrange(8), rng.randrange(8)
        if flip(data[at : at + 8], place, bit) in taken:
            continue  # of two rows with one key, either may be the right one
        home = damaged_copy(shape, tmp_path / "bad", flip(data, at + place, bit))
        report = salvage(home, tmp_path / "new")
        assert content_of(tmp_path / "new") == shape.now, (at, place, bit, report)
        with Repository.open(tmp_path / "new") as repo:
            repo.gc(whole=True)
        shutil.rmtree(home)
        shutil.rmtree(tmp_path / "new")


@pytest.mark.parametrize("name", ["small", "long", "tidied", "keyed"])
def test_a_key_of_a_pack_that_fits_elsewhere_loses_nothing(
    made: Callable[[str], Shape], tmp_path: Path, seed: int, name: str
) -> None:
    """With its lowest bit turned over a pack was taken for what it is not, as whole as it was."""
    shape, rng = made(name), random.Random(seed)
    data = data_file(shape.home).read_bytes()
    keys = keys_of_packs(data)
    taken = {data[at : at + 8] for at in keys}
    lowest = NUMBER_BYTES - 1
    for at in keys if len(keys) < 12 else rng.sample(keys, 12):
        for place, bit in ((lowest, 0), (rng.choice((lowest, lowest - 1)), rng.randrange(8))):
            if flip(data[at : at + 8], place, bit) in taken:
                continue
            home = damaged_copy(shape, tmp_path / "bad", flip(data, at + place, bit))
            report = salvage(home, tmp_path / "new")
            assert content_of(tmp_path / "new") == shape.now, (at, place, bit, report)
            with suppress(CorruptStoreError), Repository.open(home) as repo:  # out of order
                mended = repo.repair()
                assert content_of(home) == shape.now, (at, place, bit, mended)
                assert not repo.check().damage
            shutil.rmtree(home)
            shutil.rmtree(tmp_path / "new")


def keys_of_packs(data: bytes) -> list[int]:
    """Return where the keys of all rows of packs stand."""
    return [
        at
        for page, kind in kinds_of_pages(data).items()
        if kind == "record"
        for at in keys_on(data, page)
    ]


def keys_on(data: bytes, page: int) -> list[int]:
    """Return where the keys on a page stand."""
    start = page * PAGE_BYTES
    lower = int.from_bytes(data[start + 12 : start + 14], sys.byteorder)
    places = range(start + 16, start + lower, 2)
    return [start + int.from_bytes(data[at : at + 2], sys.byteorder) + 8 for at in places]


def test_both_meta_pages_may_be_gone(made: Callable[[str], Shape], tmp_path: Path) -> None:
    for name in SHAPES:
        shape = made(name)
        data = blank(blank(data_file(shape.home).read_bytes(), 0), 1)
        home = damaged_copy(shape, tmp_path / name, data)
        salvage(home, tmp_path / "new" / name)
        assert content_of(tmp_path / "new" / name) == shape.now


@pytest.mark.parametrize("name", SHAPES)
def test_objects_that_are_gone_come_from_a_backup(
    made: Callable[[str], Shape], tmp_path: Path, name: str
) -> None:
    shape = made(name)
    with Repository.open(shape.home, read_only=True) as repo:
        backup = repo.backup(tmp_path / "backup")
    data = data_file(shape.home).read_bytes()
    for page, kind in kinds_of_pages(data).items():
        if kind in ("record", "unused"):
            data = blank(data, page)
    home = damaged_copy(shape, tmp_path / "bad", data)
    without = salvage(home, tmp_path / "without")
    assert not without.ok
    assert len(without.lost) >= len(shape.now.listed)
    report = salvage(home, tmp_path / "new", source=backup)
    assert report.ok, report
    assert content_of(tmp_path / "new") == shape.now
    judge(shape, report, tmp_path / "new")


def test_what_was_forgotten_or_deleted_stays_away(
    made: Callable[[str], Shape], tmp_path: Path
) -> None:
    """Its rows still stand in free pages; the rest of the catalogue tells that it is gone."""
    shape = made("tidied")
    data = data_file(shape.home).read_bytes()
    for page, kind in kinds_of_pages(data).items():
        if kind != "catalogue":
            continue
        home = damaged_copy(shape, tmp_path / "bad", blank(data, page))
        report = salvage(home, tmp_path / "new")
        found = content_of(tmp_path / "new")
        moved = {run for run, _before, _after in report.moved_heads}
        back = {place for place in found.listed if place not in shape.now.listed}
        assert all(run in moved or f"{run}@{at}" in report.uncertain for run, at in back)
        assert ("side 3", 1) not in found.listed
        shutil.rmtree(home)
        shutil.rmtree(tmp_path / "new")


def test_it_works_on_files_that_cannot_be_written(
    made: Callable[[str], Shape], tmp_path: Path
) -> None:
    shape = made("small")
    home = damaged_copy(shape, tmp_path / "bad", blank(data_file(shape.home).read_bytes(), 3))
    store = home / "objects"
    for path in (*store.rglob("*"), store):
        path.chmod(0o500 if path.is_dir() else 0o400)
    names = sorted(store.rglob("*"))
    try:
        salvage(home, tmp_path / "new")
    finally:
        assert sorted(store.rglob("*")) == names
        for path in (store, *store.rglob("*")):
            path.chmod(0o700)


def test_it_refuses_what_is_in_use_or_there_already(
    made: Callable[[str], Shape], tmp_path: Path
) -> None:
    shape = made("small")
    with pytest.raises(ConflictError, match="salvage into a new place"):
        salvage(shape.home, shape.home)
    with open(shape.home / "objects" / "generation", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(ConflictError, match="at work"):
            salvage(shape.home, tmp_path / "new")
    (tmp_path / "empty" / "objects").mkdir(parents=True)
    for place, text in [("nowhere", "there is no store at"), ("empty", "there is no data file")]:
        with pytest.raises(NotFoundError, match=text):
            salvage(tmp_path / place, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_place_on_a_network_disk_is_refused_before_anything_is_read(
    made: Callable[[str], Shape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: Path) -> None:
        raise AccessError("network", path=place)

    monkeypatch.setattr(salvaging, "refuse_network_file_system", refuse)
    monkeypatch.setattr(salvaging, "RawFile", None)
    with pytest.raises(AccessError, match="network"):
        salvage(made("small").home, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"x", b"no store at all\n" * 9_000, bytes(90_000)])
def test_a_file_that_is_no_store_gives_nothing(
    made: Callable[[str], Shape], tmp_path: Path, content: bytes
) -> None:
    home = damaged_copy(made("small"), tmp_path / "bad", content)
    with pytest.raises(CorruptStoreError, match="holds nothing of a Hive store"):
        salvage(home, tmp_path / "new")
    assert not any((tmp_path / "new").glob("*"))
    assert not any((tmp_path / "new").glob(".*"))


def test_the_generation_file_may_be_gone(made: Callable[[str], Shape], tmp_path: Path) -> None:
    shape = made("tidied")
    home = damaged_copy(shape, tmp_path / "bad", data_file(shape.home).read_bytes())
    (home / "objects" / "generation").unlink()
    report = salvage(home, tmp_path / "new")
    assert content_of(tmp_path / "new") == shape.now
    assert "generation is missing" in report.damage[0].text


def test_no_pipe_is_waited_for(made: Callable[[str], Shape], tmp_path: Path) -> None:
    home = damaged_copy(made("small"), tmp_path / "bad", b"")
    path = data_file(home)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CorruptStoreError, match="no regular file"):
        salvage(home, tmp_path / "new")
