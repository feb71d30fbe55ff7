"""Reading a data file page by page: the size of a page, and files made to lead in circles."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from cas.errors import CorruptStoreError, HiveError
from cas.rawfile import RawFile
from cas.rawpage import HEADER, DamagedPageError, leaf_nodes, loose_nodes
from cas.rawroots import find_last_commit
from cas.stamp import STAMP_KEY
from cas.table import Table
from manifests import Repository, salvage
from tests.damage import PAGE_BYTES, data_file

NO_PAGE = (1 << 64) - 1
META = struct.Struct("=QHHHH IIQQ IHHQQQQQ IHHQQQQQ QQ")


def meta_page(number: int, page_bytes: int, *, root: int = NO_PAGE, last: int = 9) -> bytes:
    """A sound meta page of transaction `number` + 2."""
    header = (number, 0, 8, 0, 0, 0xBEEFC0DE, 1, 0, 1 << 30)
    free = (page_bytes, 8, 0, 0, 0, 0, 0, NO_PAGE)
    main = (0, 0, 1 if root != NO_PAGE else 0, 0, 0, 0, 0, root)
    return META.pack(*header, *free, *main, last, number + 2).ljust(page_bytes, b"\0")


def leaf_page(number: int, rows: list[tuple[bytes, bytes, int]], page_bytes: int) -> bytes:
    """A leaf page of (key, value, flags)."""
    places: list[int] = []
    body, at = b"", page_bytes
    for key, value, flags in reversed(rows):
        node = struct.pack("=HHHH", len(value) & 0xFFFF, len(value) >> 16, flags, len(key))
        node += key + value
        node += b"\0" * (len(node) % 2)
        at -= len(node)
        places.insert(0, at)
        body = node + body
    head = struct.pack("=QHHHH", number, 0, 2, 16 + 2 * len(rows), at)
    list_of_places = struct.pack(f"={len(places)}H", *places)
    return (head + list_of_places).ljust(at, b"\0") + body


def branch_page(number: int, pages: list[int], page_bytes: int) -> bytes:
    """A branch page whose keys ascend."""
    places: list[int] = []
    body, at = b"", page_bytes
    for place, page in reversed(list(enumerate(pages))):
        key = struct.pack(">I", place) if place else b""
        low, middle, high = page & 0xFFFF, page >> 16 & 0xFFFF, page >> 32 & 0xFFFF
        node = struct.pack("=HHHH", low, middle, high, len(key)) + key
        at -= len(node)
        places.insert(0, at)
        body = node + body
    head = struct.pack("=QHHHH", number, 0, 1, 16 + 2 * len(pages), at)
    return (head + struct.pack(f"={len(places)}H", *places)).ljust(at, b"\0") + body


@pytest.mark.parametrize("page_bytes", [512, 4_096, 16_384, 32_768])
@pytest.mark.parametrize("gone", [(), (0,), (1,), (0, 1)])
def test_the_size_of_a_page_is_found(
    tmp_path: Path, page_bytes: int, gone: tuple[int, ...]
) -> None:
    pages = [meta_page(0, page_bytes), meta_page(1, page_bytes)]
    pages += [leaf_page(page, [(b"k", b"v", 0)], page_bytes) for page in range(2, 10)]
    for page in gone:
        pages[page] = bytes(page_bytes)
    path = tmp_path / "data.mdb"
    path.write_bytes(b"".join(pages))
    with RawFile(path) as file:
        assert (file.page_bytes, file.pages) == (page_bytes, 10)
        assert leaf_nodes(file.page(5), 5, "it")[0].value == b"v"
        with pytest.raises(DamagedPageError):
            file.page(10)


def test_rows_of_a_page_with_a_damaged_header_are_found() -> None:
    rows = [(b"key %03d" % number, b"v" * number, 0) for number in range(40)]
    page = bytearray(leaf_page(2, rows, PAGE_BYTES))
    for at in range(16):
        for bit in range(8):
            page[at] ^= 1 << bit
            assert {row[0] for row in rows} <= {node.key for node in loose_nodes(bytes(page))}
            page[at] ^= 1 << bit


def test_rows_of_before_are_not_taken_for_those_of_a_page() -> None:
    """They are still there between the list of places and the rows."""
    rows = [(b"key %03d" % number, b"v" * number, 0) for number in range(20)]
    old = [(b"old %03d" % number, b"gone", 0) for number in range(40)]
    sound = bytearray(leaf_page(2, rows, PAGE_BYTES))
    _, _, _, lower, upper = HEADER.unpack_from(sound)
    before = leaf_page(2, old, upper)  # which fills what is free down to where the rows stand
    free = slice(lower, upper)
    sound[free] = before[free]
    for at in range(lower):
        for bit in range(8):
            page = bytearray(sound)
            page[at] ^= 1 << bit
            assert [node.key for node in sorted(loose_nodes(bytes(page)))] == [
                key for key, _value, _flags in rows
            ], (at, bit)


def test_pages_that_lead_in_circles_end(tmp_path: Path) -> None:
    """Every page names every other one, and claims to be the list of tables as well."""
    rng = random.Random(1)
    count = 400
    stamp = Table("commit").seal(STAMP_KEY, (7).to_bytes(8, "big"))
    pages = [meta_page(0, PAGE_BYTES, root=2, last=count), meta_page(1, PAGE_BYTES, root=2)]
    for page in range(2, count):
        if page % 3:
            below = [rng.randrange(count) for _ in range(150)]
            pages.append(branch_page(page, below, PAGE_BYTES))
        else:
            record = struct.pack("=IHHQQQQQ", 0, 0, 5, 1, 1, 0, 9, rng.randrange(2, count))
            names = [b"checkpoints", b"objects", b"runs", b"store"]
            rows = [(STAMP_KEY, stamp, 0), *((name, record, 2) for name in names)]
            pages.append(leaf_page(page, rows, PAGE_BYTES))
    home = tmp_path / "home"
    Repository.open(home).close()
    for metas in (pages[:2], [bytes(PAGE_BYTES)] * 2):
        data_file(home / "objects").write_bytes(b"".join([*metas, *pages[2:]]))
        with RawFile(data_file(home / "objects")) as file:
            find_last_commit(file)
        with pytest.raises(HiveError):
            salvage(home, tmp_path / "new")


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    with pytest.raises(CorruptStoreError):
        RawFile(tmp_path)
