"""The check of LMDB's pages: sound ones pass, and what would end the process does not."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb
import pytest

from cas.environment import Environment, Table, WriteTransaction
from cas.errors import CorruptStoreError, NotFoundError
from cas.pages import check_pages
from tests.cas.children import in_child
from tests.damage import PAGE_BYTES, data_file, flip

ROWS = Table("rows")
WORDS = Table("words", checked=False)


def fill(store: Path, seed: int) -> None:
    """A small store with branch pages, overflow pages, and free pages of every origin."""
    rng = random.Random(seed)
    with Environment.open(store, [ROWS, WORDS]) as environment:
        for _ in range(8):

            def work(tx: WriteTransaction) -> None:
                for _ in range(60):
                    key = b"%d" % rng.randrange(150)
                    size = rng.choice([0, 1, 7, 30, 31, 300, 301, 600, 5_001])
                    tx.put(rng.choice([ROWS, WORDS]), key, rng.randbytes(size))
                for _ in range(20):
                    tx.delete(ROWS, b"%d" % rng.randrange(150))

            environment.write(work)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pages") / "objects"
    fill(place, 1)
    return place


@pytest.fixture(scope="module")
def sound(store: Path) -> bytes:
    return data_file(store).read_bytes()


def last_commit(data: bytes) -> int:
    return max(int.from_bytes(data[at + 144 : at + 152], "little") for at in (0, PAGE_BYTES))


def is_refused(path: Path, last: int) -> bool:
    try:
        return not check_pages(path, PAGE_BYTES, last)
    except CorruptStoreError as error:
        return error.path == path and "restore the store from a copy" in str(error)


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file turned over for a while."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        good = os.pread(descriptor, 1, bit // 8)
        os.pwrite(descriptor, flip(good, 0, bit % 8), bit // 8)
        yield
        os.pwrite(descriptor, good, bit // 8)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("seed", range(2, 12))
def test_sound_stores_pass(home: Path, seed: int) -> None:
    fill(home / "objects", seed)
    path = data_file(home / "objects")
    assert not is_refused(path, last_commit(path.read_bytes()))


def test_a_new_store_passes(home: Path) -> None:
    Environment.open(home / "objects", [ROWS]).close()
    path = data_file(home / "objects")
    assert not is_refused(path, last_commit(path.read_bytes()))


def test_a_snapshot_that_is_gone_is_not_judged(store: Path, sound: bytes) -> None:
    last = last_commit(sound)
    path = data_file(store)
    assert check_pages(path, PAGE_BYTES, last)
    assert not check_pages(path, PAGE_BYTES, last + 1)
    assert not check_pages(path, PAGE_BYTES, last - 2)


def test_only_so_many_pages_are_looked_at(sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data.mdb"
    path.write_bytes(sound[: 2 * PAGE_BYTES])
    last = last_commit(sound)
    with pytest.raises(CorruptStoreError, match="behind the end"):
        check_pages(path, PAGE_BYTES, last)
    assert check_pages(path, PAGE_BYTES, last, most_pages=0)


def test_an_absent_file_is_a_documented_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        check_pages(tmp_path / "data.mdb", PAGE_BYTES, 1)


def test_no_flipped_bit_in_a_header_passes_and_kills(
    store: Path, sound: bytes, tmp_path: Path
) -> None:
    """Every bit of every page's header, list of places and first nodes, then random ones."""
    rng = random.Random(3)
    work = tmp_path / "objects"
    shutil.copytree(store, work)
    target, last = data_file(work), last_commit(sound)
    passed: list[int] = []
    refused = 0
    for page in range(2, len(sound) // PAGE_BYTES):
        header = range(8 * page * PAGE_BYTES, 8 * (page * PAGE_BYTES + 18))
        others = (8 * page * PAGE_BYTES + rng.randrange(8 * PAGE_BYTES) for _ in range(10))
        for bit in (*rng.sample(header, 10), *others):
            with flipped(target, bit):
                if is_refused(target, last):
                    refused += 1
                else:
                    passed.append(bit)
    assert refused > 300
    assert len(passed) > 300

    def read_all() -> str:
        for bit in rng.sample(passed, 300):
            with flipped(target, bit):
                read_everything(target)
        return "alive"

    assert in_child(read_all) == "+alive"


def read_everything(path: Path) -> None:
    environment = lmdb.open(str(path.parent), max_dbs=8, readonly=True, lock=False)
    for name in (b"rows", b"words"):
        database = environment.open_db(name, create=False)
        with environment.begin() as transaction:
            for key, value in transaction.cursor(database):
                transaction.get(key, db=database)
                assert len(value) < 10_000
    environment.close()


@pytest.mark.parametrize("name", ["rows", "words"])
def test_every_flipped_bit_in_the_root_of_a_table_is_noticed(
    sound: bytes, tmp_path: Path, name: str
) -> None:
    last = last_commit(sound)
    meta = sound[(last % 2) * PAGE_BYTES :]
    root = int.from_bytes(meta[128:136], "little")
    at = sound.index(name.encode(), root * PAGE_BYTES, (root + 1) * PAGE_BYTES) + len(name)
    path = tmp_path / "data.mdb"
    path.write_bytes(sound)
    # The first four bytes are padding in a table's record.
    for bit in range(8 * (at + 4), 8 * (at + 48)):
        with flipped(path, bit):
            assert is_refused(path, last), f"byte {bit // 8 - at}"


def test_a_free_page_that_is_in_use_is_noticed(sound: bytes, tmp_path: Path) -> None:
    last = last_commit(sound)
    meta = sound[(last % 2) * PAGE_BYTES :]
    root = int.from_bytes(meta[80:88], "little")
    in_use = int.from_bytes(meta[128:136], "little")
    page = bytearray(sound[root * PAGE_BYTES : (root + 1) * PAGE_BYTES])
    (place,) = {int.from_bytes(page[16:18], "little")}
    first_number = place + 8 + 8 + 8
    assert int.from_bytes(page[first_number - 8 : first_number], "little") > 0
    page[first_number : first_number + 8] = in_use.to_bytes(8, "little")
    data = sound[: root * PAGE_BYTES] + bytes(page) + sound[(root + 1) * PAGE_BYTES :]
    path = tmp_path / "data.mdb"
    path.write_bytes(data)
    assert is_refused(path, last)


@pytest.mark.parametrize("name", ["rows", "words"])
def test_keys_out_of_order_are_noticed_where_rows_have_no_address(
    store: Path, sound: bytes, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "data.mdb"
    path.write_bytes(sound)
    last = last_commit(sound)
    rng = random.Random(5)
    noticed = passed = 0
    with lmdb.open(str(data_file(store).parent), max_dbs=8, readonly=True, lock=False) as opened:
        database = opened.open_db(name.encode(), create=False)
        with opened.begin() as transaction:
            keys = list(transaction.cursor(database).iternext(values=False))
    for key in rng.sample(keys, 20):
        # Far from its neighbours in any order, and still a row of the same size.
        changed = sound.replace(
            len(key).to_bytes(2, "little") + key,
            len(key).to_bytes(2, "little") + b"\xff" * len(key),
        )
        path.write_bytes(changed)
        with suppress(CorruptStoreError):
            passed += check_pages(path, PAGE_BYTES, last)
        with suppress(CorruptStoreError):
            check_pages(path, PAGE_BYTES, last, ordered={name})
            continue
        noticed += 1
    assert noticed >= 18, "only the very last key stays in order"
    assert passed >= 10, "but for those that stand on branch pages too"


def nodes_of(data: bytes, flags: int) -> Iterator[tuple[int, bytes]]:
    """Where the nodes of all pages of a kind begin, and their keys."""
    for page in range(2 * PAGE_BYTES, len(data), PAGE_BYTES):
        if int.from_bytes(data[page + 10 : page + 12], "little") != flags:
            continue
        lower = int.from_bytes(data[page + 12 : page + 14], "little")
        for place in range(page + 16, page + lower, 2):
            at = page + int.from_bytes(data[place : place + 2], "little")
            size = int.from_bytes(data[at + 6 : at + 8], "little")
            yield at, data[at + 8 : at + 8 + size]


def test_keys_that_lead_past_rows_are_noticed_in_every_table(tmp_path: Path) -> None:
    """LMDB would put the next rows where they hide others."""
    with Environment.open(tmp_path / "objects", [WORDS]) as environment:

        def work(tx: WriteTransaction) -> None:
            for number in range(4_096, 8_192, 8):
                tx.put(WORDS, number.to_bytes(4, "big"), bytes(700))

        environment.write(work)
    path = data_file(tmp_path / "objects")
    sound = path.read_bytes()
    last, checked = last_commit(sound), 0
    for at, key in nodes_of(sound, 1):
        # Each leaf page has five rows: a key that moves past one may be right, and the row's wrong.
        for changed in (5 * 8, -5 * 8, 1 << 20) if key else ():
            other = (int.from_bytes(key, "big") + changed).to_bytes(4, "big")
            path.write_bytes(sound[: at + 8] + other + sound[at + 12 :])
            assert is_refused(path, last), (key, other)
            checked += 1
    assert checked > 100
    for at, key in [*nodes_of(sound, 2)][::9]:
        if len(key) == 4:
            path.write_bytes(sound[: at + 8] + b"\xff" + sound[at + 9 :])
            assert not is_refused(path, last), "a row that is hidden is for its reader to notice"


def test_a_free_list_of_commits_to_come_is_noticed(sound: bytes, tmp_path: Path) -> None:
    """It was written anew, and no store with the new one could be opened."""
    last, path, checked = last_commit(sound), tmp_path / "data.mdb", 0
    for at, key in nodes_of(sound, 2):
        number = int.from_bytes(key, "little")
        if len(key) == 8 and number <= last:
            path.write_bytes(
                sound[: at + 8] + (number | 1 << 41).to_bytes(8, "little") + sound[at + 16 :]
            )
            checked += is_refused(path, last)
    assert checked
