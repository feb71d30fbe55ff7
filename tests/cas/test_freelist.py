"""The free list of a file is read whole, however large it is: what it lacks is in use."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import lmdb
import pytest

from cas.datafile import check_data_file
from cas.freelist import free_pages_from, newest_record

TREE = struct.Struct("=IHHQQQQQ")  # of a meta page: page size, flags, depth, pages, entries, root
FREE_TREE_AT = 40


def assert_read_whole(path: Path, env: lmdb.Environment) -> int:
    """Compare with what LMDB counts; returns how deep the tree of the list is."""
    meta = check_data_file(path)
    page_bytes = meta.page_bytes
    data = path.read_bytes()
    _, _, depth, *pages, _, root = TREE.unpack_from(
        data, meta.transaction % 2 * page_bytes + FREE_TREE_AT
    )
    stat = env.stat()
    own = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    used = 2 + sum(pages) + own
    descriptor = os.open(path, os.O_RDONLY)
    try:
        free = free_pages_from(descriptor, root, page_bytes, 0)
        assert free is not None
        assert len(free) == meta.last_page + 1 - used
        high = meta.last_page // 2
        assert free_pages_from(descriptor, root, page_bytes, high) == {p for p in free if p >= high}
        assert newest_record(descriptor, root, page_bytes) == meta.transaction
    finally:
        os.close(descriptor)
    return int(depth)


@pytest.mark.parametrize("rows", [1, 40, 3_000])
def test_a_record_of_many_pages_is_read_whole(tmp_path: Path, rows: int) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 28, sync=False) as env:
        with env.begin(write=True) as writing:
            for number in range(rows):
                writing.put(b"%d" % number, bytes(20_000))
        with env.begin(write=True) as writing:
            for number in range(rows):
                writing.delete(b"%d" % number)
        assert_read_whole(tmp_path / "data.mdb", env)


def test_records_of_many_commits_are_read_whole(tmp_path: Path) -> None:
    """Beside a reader that never ends, each commit leaves one."""
    depths = set()
    with lmdb.open(str(tmp_path), map_size=1 << 28, sync=False) as env, env.begin():
        for number in range(600):
            with env.begin(write=True) as writing:
                writing.put(b"%d" % (number % 7), bytes(3_000 * (number % 5)))
            if number % 20 == 1:
                depths.add(assert_read_whole(tmp_path / "data.mdb", env))
    assert depths == {1, 2}
