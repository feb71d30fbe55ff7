"""A flipped bit anywhere in the file: right data or a documented error, never anything else."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cas.errors import CorruptStoreError
from manifests import Repository
from tests.cas.children import finish, start_child
from tests.damage import PAGE_BYTES, Vandal, data_file, flip
from tests.durability.histories import Known, build, look

NO_PAGE = (1 << 64) - 1
KINDS = {
    "objects": "record",
    "index": "index",
    "free list": "free list",
    "list of tables": "list of tables",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Known]:
    home = tmp_path_factory.mktemp("flips") / "home"
    return home, build(home)


def kinds_of_pages(data: bytes) -> dict[int, str]:
    """What each page of a data file is; the last commit's own pages by their table."""
    kinds = {page: "unused" for page in range(len(data) // PAGE_BYTES)} | {0: "meta", 1: "meta"}

    def number(at: int) -> int:
        found: int = struct.unpack_from("=Q", data, at)[0]
        return found

    def walk(page: int, table: str) -> None:
        if page == NO_PAGE:
            return
        start = page * PAGE_BYTES
        _, _, flags, lower, _ = struct.unpack_from("=QHHHH", data, start)
        kinds[page] = KINDS.get(table, "catalogue") + (" branch" if flags == 1 else "")
        for place in range(start + 16, start + lower, 2):
            at = start + struct.unpack_from("=H", data, place)[0]
            low, high, top, key_bytes = struct.unpack_from("=HHHH", data, at)
            key = data[at + 8 : at + 8 + key_bytes]
            if flags == 1:
                walk(low | high << 16 | top << 32, table)
            elif top == 2:
                walk(number(at + 8 + key_bytes + 40), key.decode())

    meta = PAGE_BYTES * max((0, 1), key=lambda page: number(page * PAGE_BYTES + 144))
    walk(number(meta + 80), "free list")
    walk(number(meta + 128), "list of tables")
    return kinds


def look_with_flips(home: Path, known: Known, bits: list[int]) -> str:
    """Flip one bit after the other, and say how looking at the store went each time."""
    path = data_file(home / "objects")
    good = path.read_bytes()
    outcomes = []
    for bit in bits:
        path.write_bytes(flip(good, bit // 8, bit % 8))
        outcomes.append(str(look(home, known)))
        os.truncate(path, len(good))
    path.write_bytes(good)
    return json.dumps(outcomes)


@pytest.mark.torture
def test_a_flipped_bit_in_any_page_is_noticed_or_harmless(
    filled: tuple[Path, Known],
    tmp_path: Path,
    seed: int,
    rounds: Callable[[int, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    home, known = filled
    data = data_file(home / "objects").read_bytes()
    kinds = kinds_of_pages(data)
    expected = {"record", "index", "catalogue", "meta", "free list", "list of tables"}
    expected |= {"record branch", "catalogue branch", "unused"}
    assert expected <= set(kinds.values()), "the store is too simple to show anything"
    rng = random.Random(seed)
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    work = tmp_path / "home"
    shutil.copytree(home, work, ignore=shutil.ignore_patterns("ballast"))
    for page, kind in kinds.items():
        start = 8 * page * PAGE_BYTES
        bits = [start + rng.randrange(8 * PAGE_BYTES) for _ in range(rounds(1, 60))]
        if kind != "unused":
            # Headers are a small part of a page and the most dangerous one.
            bits += [start + rng.randrange(8 * 40) for _ in range(rounds(1, 60))]
        # A child of its own for each page: if a bit kills, the message says where.
        child = start_child(partial(look_with_flips, work, known, bits))
        try:
            found = json.loads(finish(child)[1:])
        finally:
            data_file(work / "objects").write_bytes(data)
        for bit, outcome in zip(bits, found, strict=True):
            place = f"bit {bit % 8} of byte {bit // 8 % PAGE_BYTES} of page {page} ({kind})"
            assert not outcome.startswith("wrong"), f"{place}: {outcome}"
            outcomes[kind][outcome] += 1
    with capsys.disabled():
        print(f"\nflipped bits (seed {seed}):")
        for kind, counts in sorted(outcomes.items()):
            print(f"  {kind}: " + "; ".join(f"{o} {n}" for o, n in counts.most_common()))
    assert set(outcomes["unused"]) == {"right"}
    assert "corrupt-object" in outcomes["record"]


def test_an_index_row_damaged_alone_makes_nothing_unrestorable(
    filled: tuple[Path, Known], tmp_path: Path, seed: int
) -> None:
    home, known = filled
    rng = random.Random(seed)
    work = tmp_path / "home"
    shutil.copytree(home, work, ignore=shutil.ignore_patterns("ballast"))
    vandal = Vandal(work / "objects")
    rows = vandal.rows("index")
    for key in rng.sample(sorted(rows), 6):
        changes: list[bytes | None] = [
            None,
            b"",
            flip(rows[key], rng.randrange(6), rng.randrange(8)),
            rng.randbytes(6),
        ]
        for change in changes:
            if change is None:
                vandal.delete("index", key)
            else:
                vandal.put("index", key, change)
            assert str(look(work, known, write=False)) == "right"
            vandal.put("index", key, rows[key])


def test_each_damaged_catalogue_row_is_an_error_and_the_others_are_not_touched(
    filled: tuple[Path, Known], tmp_path: Path, seed: int
) -> None:
    home, known = filled
    rng = random.Random(seed)
    work = tmp_path / "home"
    shutil.copytree(home, work, ignore=shutil.ignore_patterns("ballast"))
    vandal = Vandal(work / "objects")
    for table in ("runs", "checkpoints", "tags"):
        rows = vandal.rows(table)
        for key in rng.sample(sorted(rows), 4):
            row = rows[key]
            vandal.put(table, key, flip(row, rng.randrange(len(row)), rng.randrange(8)))
            outcome = look(work, known, write=False)
            assert set(outcome.errors) == {"corrupt-store"}, f"{table} {key!r}: {outcome}"
            assert not outcome.wrong
            if table == "checkpoints":
                # The state itself, by id, its log, perhaps the list of runs and of tags.
                assert outcome.errors.total() <= 8, f"{key!r}: {outcome.errors}"
            vandal.put(table, key, row)
    assert str(look(work, known, write=False)) == "right"


@pytest.mark.parametrize("place", [0, 5, 8, -1])
def test_a_run_whose_key_is_damaged_does_not_begin_again(home: Path, place: int) -> None:
    names = ["run a of several", "run m of several", "run z of several"]
    with Repository.open(home) as repo:
        for name in names:
            repo.commit(name, {"first": name})
    path = data_file(home / "objects")
    key = len(names[1]).to_bytes(2, sys.byteorder) + names[1].encode()
    where = place + 2 if place >= 0 else place
    path.write_bytes(path.read_bytes().replace(key, flip(key, where)))
    # A key that is out of order now is noticed at once, another one when it is looked for.
    with pytest.raises(CorruptStoreError), Repository.open(home) as repo:
        repo.commit(names[1], {"first": "again"})
    with pytest.raises(CorruptStoreError), Repository.open(home) as repo:
        repo.restore(names[1])
    assert len(Vandal(home / "objects").rows("runs")) == 3


def test_a_number_that_a_run_had_is_not_given_out_again(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("old", {"kept": True})
    vandal = Vandal(home / "objects")
    row = vandal.row("numbers", b"next-run")
    vandal.delete("numbers", b"next-run")
    vandal.put("numbers", flip(b"next-run", 3), row)
    with Repository.open(home) as repo:
        with pytest.raises(CorruptStoreError):
            repo.commit("new", {})
        assert repo.restore("old") == {"kept": True}


@pytest.mark.parametrize("table", ["checkpoints", "runs", "tags", "objects", "index", "store"])
def test_a_table_whose_name_is_damaged_is_not_taken_for_a_new_one(home: Path, table: str) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", {"kept": True})
        repo.tag("t", "r")
    path = data_file(home / "objects")
    good = path.read_bytes()
    for bit in (0, 1, 4):
        path.write_bytes(good.replace(table.encode(), flip(table.encode(), -1, bit)))
        for read_only in (False, True):
            with pytest.raises(CorruptStoreError):
                Repository.open(home, read_only=read_only)
    path.write_bytes(good)
    with Repository.open(home) as repo:
        assert repo.restore("tag:t") == {"kept": True}


def test_a_head_that_is_not_found_does_not_hide_its_run(home: Path) -> None:
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit("r", number)
    vandal = Vandal(home / "objects")
    key = struct.pack(">II", 1, 3)
    row = vandal.row("checkpoints", key)
    vandal.delete("checkpoints", key)
    vandal.put("checkpoints", struct.pack(">II", 1, 7), row)
    with Repository.open(home) as repo:
        with pytest.raises(CorruptStoreError):
            repo.runs()
        with pytest.raises(CorruptStoreError):
            repo.log("r")
        assert repo.restore("r@2") == 1
