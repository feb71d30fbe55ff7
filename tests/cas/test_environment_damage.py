"""Damaged files: one clear error or provably right data, never a signal and never a guess.

Every opening of a damaged store happens in a child process, because without the checks LMDB would
kill it: a file shorter than its meta page promises ends in SIGBUS.
"""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import lmdb
import pytest

from cas.datafile import check_data_file, newest_meta
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError, UnsupportedFormatError
from tests.cas.children import ChildFailedError, in_child

ROWS = Table("rows")
PLAIN = Table("plain", checked=False)
TABLES = [ROWS, PLAIN]
PAGE = 4096
MIB = 1 << 20


def content(tx: ReadTransaction) -> dict[bytes, bytes]:
    return {table.name.encode() + key: row for table in TABLES for key, row in tx.items(table)}


def digest(rows: dict[bytes, bytes]) -> str:
    return str(hash(tuple(sorted(rows.items()))))


def churn(chooser: random.Random, tx: WriteTransaction) -> None:
    """Put and delete rows of all sizes, long ones in pages of their own."""
    for _ in range(chooser.randrange(1, 120)):
        table = chooser.choice(TABLES)
        key = b"%04d" % chooser.randrange(300)
        if chooser.random() < 0.55:
            tx.put(
                table, key, bytes([chooser.randrange(256)]) * chooser.choice((9, 400, 3000, 20_000))
            )
        else:
            tx.delete(table, key)
    if chooser.random() < 0.5:
        for number in range(300):
            tx.delete(PLAIN, b"%04d" % number)


def put(key: bytes, tx: WriteTransaction) -> None:
    tx.put(PLAIN, key, b"z" * 5000)


def missing_pages(path: Path) -> int:
    """How many pages behind the end of the file its last commit counts."""
    data = path / "g1" / "data.mdb"
    return check_data_file(data).last_page + 1 - data.stat().st_size // PAGE


@pytest.fixture
def path(home: Path) -> Path:
    """A small store with short and long rows, and free pages."""
    store = home / "objects"
    with Environment.open(store, TABLES, map_size=MIB) as environment:
        for size in (50, 6000, 900):

            def work(tx: WriteTransaction, size: int = size) -> None:
                for number in range(6):
                    tx.put(ROWS, b"%d-%d" % (size, number), b"r" * size)
                    tx.put(PLAIN, b"%d-%d" % (size, number), b"p" * size)

            environment.write(work)
        environment.write(lambda tx: all(tx.delete(ROWS, b"6000-%d" % n) for n in range(4)))
    return store


def look(path: Path, read_only: bool = True) -> str:
    """Open the store and read all of it; said as `in_child` says it."""
    with Environment.open(path, TABLES, read_only=read_only) as environment:
        return digest(environment.read(content))


def opened(path: Path) -> dict[bytes, bytes]:
    with Environment.open(path, TABLES, read_only=True) as environment:
        return environment.read(content)


def damaged(path: Path, change: Callable[[Path], None]) -> str:
    """How looking at a copy of the store ends after `change` of its data file."""
    copy = path.with_name("damaged")
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("ballast"))
    try:
        change(copy / "g1" / "data.mdb")
        return in_child(partial(look, copy))
    finally:
        shutil.rmtree(copy)


# -- sizes -------------------------------------------------------------------------------------


def test_healthy_stores_are_accepted_also_when_they_are_short(home: Path, seed: int) -> None:
    """LMDB never writes a page that one transaction allocates and gives up again."""
    short = 0
    for number in range(6):
        chooser = random.Random(seed + number)
        path = home / f"objects{number}"
        for _ in range(25):
            with Environment.open(path, TABLES, map_size=MIB) as environment:
                environment.write(partial(churn, chooser))
                before = environment.read(content)
                short += missing_pages(path) > 0
            with Environment.open(path, TABLES, read_only=True) as environment:
                assert environment.read(content) == before
    assert short > 10


def test_a_short_healthy_store_goes_on(home: Path) -> None:
    path = home / "objects"
    with Environment.open(path, TABLES, map_size=MIB) as environment:
        for number in range(100):
            environment.write(partial(churn, random.Random(number)))
            if missing_pages(path) > 0:
                break
    rows = opened(path)
    assert missing_pages(path) > 0
    with Environment.open(path, TABLES) as environment:
        for number in range(30):
            rows[b"plain" + b"%d" % number] = b"z" * 5000
            environment.write(partial(put, b"%d" % number))
    assert opened(path) == rows


def test_truncation_anywhere_is_noticed_or_harmless(path: Path) -> None:
    data = path / "g1" / "data.mdb"
    size = data.stat().st_size
    right = in_child(partial(look, path))
    cuts = {edge + step for edge in range(0, size + 1, PAGE) for step in (-1, 0, 1)}
    outcomes = {}
    for cut in sorted(cut for cut in cuts if 0 <= cut < size):
        outcomes[cut] = damaged(path, partial(os.truncate, length=cut))
    harmless = [cut for cut, outcome in outcomes.items() if outcome == right]
    noticed = [cut for cut, text in outcomes.items() if text.startswith("CorruptStoreError")]
    assert len(harmless) + len(noticed) == len(outcomes)
    assert len(noticed) > len(outcomes) * 0.6
    # What was cut off without harm can only be free pages at the very end.
    assert not harmless or min(harmless) > max(noticed)
    for text in (outcomes[cut] for cut in noticed if cut >= 2 * PAGE):
        assert "truncated" in text
        assert "restore the store from a copy" in text


def test_without_the_check_truncation_kills(path: Path) -> None:
    """The control: this is what LMDB does by itself."""
    data = path / "g1" / "data.mdb"
    os.truncate(data, 3 * PAGE)

    def bare() -> str:
        faulthandler.disable()
        with lmdb.open(str(data.parent), readonly=True, max_dbs=8, lock=False) as raw:
            database = raw.open_db(b"plain", create=False)
            with raw.begin() as transaction:
                return str(len(list(transaction.cursor(database))))

    with pytest.raises(ChildFailedError, match="SIGBUS"):
        in_child(bare)


def test_a_truncated_store_is_not_opened_for_writing(path: Path) -> None:
    data = path / "g1" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    before = data.read_bytes()
    outcome = in_child(partial(look, path, read_only=False))
    assert outcome.startswith("CorruptStoreError")
    assert data.read_bytes() == before


@pytest.mark.parametrize("size", [0, 1, 15, 16, 100, PAGE - 1, PAGE, PAGE + 20, 2 * PAGE - 1])
def test_a_file_without_two_meta_pages_is_damaged(path: Path, size: int) -> None:
    assert damaged(path, partial(os.truncate, length=size)).startswith("CorruptStoreError")


def test_a_longer_file_is_fine(path: Path) -> None:
    """As a transaction leaves it that was killed before its commit."""
    right = in_child(partial(look, path))

    def extend(data: Path) -> None:
        with data.open("ab") as file:
            file.write(b"\xff" * (5 * PAGE + 7))

    assert damaged(path, extend) == right


# -- meta pages --------------------------------------------------------------------------------


def overwrite(data: Path, offset: int, content: bytes) -> None:
    with data.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize("pages", [[0], [1], [0, 1]])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\x5a"])
def test_a_destroyed_meta_page_is_an_error(path: Path, pages: list[int], filling: bytes) -> None:
    """Also when only one is: the other may be the commit before an acknowledged one."""

    def destroy(data: Path) -> None:
        for page in pages:
            overwrite(data, page * PAGE, filling * PAGE)

    outcome = damaged(path, destroy)
    assert outcome.startswith("CorruptStoreError")
    assert "restore the store from a copy" in outcome


def test_meta_pages_of_distant_transactions_are_an_error(path: Path) -> None:
    def revert(data: Path) -> None:
        with data.open("rb") as file:
            newest = newest_meta(file.fileno())
        page = newest.transaction % 2
        overwrite(data, page * PAGE + 16 + 128, struct.pack("=Q", newest.transaction + 2))

    outcome = damaged(path, revert)
    assert outcome.startswith("CorruptStoreError")
    assert "do not follow each other" in outcome


def test_a_commit_whose_meta_page_could_not_be_written_harms_nobody(path: Path) -> None:
    """LMDB puts back the numbers of the page then, and leaves the roots of the failed commit."""
    right = in_child(partial(look, path))

    def fail(data: Path) -> None:
        with data.open("rb") as file:
            newest = newest_meta(file.fileno())
        page = (newest.transaction + 1) % 2
        for root in (16 + 24 + 40, 16 + 72 + 40):
            overwrite(data, page * PAGE + root, struct.pack("=Q", newest.last_page + 3))

    assert damaged(path, fail) == right


def test_a_flipped_bit_of_a_meta_page_is_noticed_or_harmless(
    path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    right = in_child(partial(look, path))
    places = [(page, bit) for page in (0, 1) for bit in range(8 * 152)]
    chooser = random.Random(seed)
    for page, bit in chooser.sample(places, rounds(80, len(places))):

        def flip(data: Path, page: int = page, bit: int = bit) -> None:
            offset = page * PAGE + bit // 8
            byte = data.read_bytes()[offset]
            overwrite(data, offset, bytes([byte ^ 1 << bit % 8]))

        outcome = damaged(path, flip)
        assert outcome == right or outcome.startswith(("CorruptStoreError", "Unsupported")), (
            f"page {page}, bit {bit}: {outcome}"
        )


def test_a_file_of_lmdb_1_asks_for_an_upgrade(path: Path) -> None:
    directory = path / "g1"
    shutil.rmtree(directory)
    with lmdb.open(str(directory), max_dbs=8, lib_version=1) as newer:
        newer.open_db(b"rows")
    outcome = in_child(partial(look, path))
    assert outcome.startswith("UnsupportedFormatError")
    assert "LMDB data format 3" in outcome


def test_a_file_of_the_other_byte_order_is_unsupported(path: Path) -> None:
    def swap(data: Path) -> None:
        for page in (0, 1):
            overwrite(data, page * PAGE + 16, (0xBEEFC0DE).to_bytes(4, "big") + b"\0\0\0\x01")

    outcome = damaged(path, swap)
    assert outcome.startswith("UnsupportedFormatError")
    assert "big-endian" in outcome


def test_the_engine_does_not_depend_on_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMDB_DEFAULT_LIB_VERSION", "1")
    Environment.open(home / "objects", TABLES).close()
    assert check_data_file(home / "objects" / "g1" / "data.mdb").page_bytes == PAGE


@pytest.mark.parametrize("size", [1, 100, 2 * PAGE, 40_000])
def test_a_file_of_something_else_is_damaged(path: Path, size: int) -> None:
    def replace(data: Path) -> None:
        data.write_bytes(b"The quick brown fox. " * (size // 21 + 1))

    assert damaged(path, replace).startswith("CorruptStoreError")


# -- pages -------------------------------------------------------------------------------------


def test_junk_in_pages_never_becomes_data(
    path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    """What comes back of checked rows is right, or an error.

    LMDB trusts the structure of its pages: junk in the length of a row in overflow pages makes it
    read behind the end of the file, and some contradictions end in abort(). So a damaged page can
    still kill a process, which is why a full check belongs in a child process.
    """
    right = {key: row for key, row in opened(path).items() if key.startswith(b"rows")}
    size = (path / "g1" / "data.mdb").stat().st_size
    copy = path.with_name("damaged")
    chooser = random.Random(seed)

    def work() -> str:
        faulthandler.disable()
        with Environment.open(copy, TABLES, read_only=True) as environment:
            rows = environment.read(lambda tx: dict(tx.items(ROWS)))
        found = {b"rows" + key: row for key, row in rows.items()}
        return "right" if found.items() <= right.items() else "wrong"

    outcomes = []
    for _ in range(rounds(60, 5000)):
        offset = chooser.randrange(2 * PAGE, size)
        if chooser.random() < 0.5:
            offset -= offset % PAGE - chooser.randrange(40)  # A header, where it hurts most.
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("ballast"))
        overwrite(copy / "g1" / "data.mdb", offset, chooser.randbytes(chooser.choice((1, 2, 9))))
        try:
            outcomes.append(in_child(work))
        except ChildFailedError as error:
            outcomes.append(str(error))
        shutil.rmtree(copy)
    kinds = Counter(outcome.split(":")[0] for outcome in outcomes)
    killed = [f"killed by {name}" for name in ("SIGABRT", "SIGBUS", "SIGSEGV")]
    assert kinds.keys() <= {"+right", "CorruptStoreError", *killed}
    assert sum(kinds[kind] for kind in killed) < len(outcomes) / 10
    assert kinds["CorruptStoreError"]


def test_a_damaged_free_list_never_makes_a_short_file_pass(
    path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    """Junk in the list's pages while pages in use are missing: refused, whatever it says."""
    data = path / "g1" / "data.mdb"
    with data.open("rb") as file:
        meta = newest_meta(file.fileno())
    bare = data.read_bytes()[: 4 * PAGE]
    chooser = random.Random(seed)
    for _ in range(rounds(300, 20_000)):
        spoiled = bytearray(bare)
        for _ in range(chooser.randrange(1, 6)):
            spoiled[chooser.randrange(2 * PAGE, len(spoiled))] = chooser.randrange(256)
        # Let the list's root be one of the pages that are left.
        root = struct.pack("=Q", chooser.choice((2, 3)))
        place = meta.transaction % 2 * PAGE + 16 + 24 + 40
        spoiled[place : place + 8] = root
        target = path / "spoiled.mdb"
        target.write_bytes(spoiled)
        with pytest.raises(CorruptStoreError):
            check_data_file(target)


def test_errors_name_the_file(path: Path) -> None:
    data = path / "g1" / "data.mdb"
    os.truncate(data, PAGE)
    with pytest.raises(CorruptStoreError, match=r"data\.mdb") as caught:
        check_data_file(data)
    assert caught.value.path == data
    data.write_bytes(b"\0" * 8 + b"\0" * 8 + struct.pack("=II", 0xBEEFC0DE, 9) + b"\0" * 9000)
    with pytest.raises(UnsupportedFormatError, match="data format 9"):
        check_data_file(data)


@pytest.mark.parametrize(
    ("reverse", "found", "other"),
    [(False, b"key 12", b"key 02"), (True, b"key 05", b"key 25")],
)
def test_a_walk_over_keys_out_of_order_ends(
    home: Path, reverse: bool, found: bytes, other: bytes
) -> None:
    """In a transaction that may remove rows, the last key is looked up: it went in circles."""
    words = Table("words", checked=False)
    with Environment.open(home / "objects", [words]) as environment:

        def fill(transaction: WriteTransaction) -> None:
            for number in range(20):
                transaction.put(words, b"key %02d" % number, b"value")

        environment.write(fill)
    path = home / "objects" / "g1" / "data.mdb"
    path.write_bytes(path.read_bytes().replace(found, other))
    with Environment.open(home / "objects", [words]) as environment:

        def walk(transaction: ReadTransaction) -> int:
            return sum(1 for _ in islice(transaction.items(words, reverse=reverse), 1_000))

        assert environment.read(walk) == 20
        with pytest.raises(CorruptStoreError, match="out of order"):
            environment.write(walk)
