"""The order in which compaction writes: versions of one thing side by side, children first."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas import order
from cas.objects import Object
from cas.packs import Pack
from cas.packwalk import packs_up
from cas.records import RecordReader
from cas.versions import older_versions
from cas.writer import RecordWriter
from tests.cas.garbage import NAMES, Names, check_store, leaf, node

_END = 1 << 47

numbers = st.lists(st.integers(1, 12), max_size=9, unique=True)


@pytest.mark.parametrize(
    ("links", "older", "expected"),
    [
        ([1, 2, 9, 4], [1, 2, 3, 4], [1, 2, 3, 4]),  # changed
        ([1, 2, 3, 9], [1, 2, 3], [1, 2, 3, 0]),  # appended
        ([9, 1, 2], [1, 2], [0, 1, 2]),  # inserted in front
        ([1, 8, 9, 3], [1, 2, 3], [1, 2, 2, 3]),  # one became two
        ([1, 9, 4], [1, 2, 3, 4], [1, 2, 4]),  # two became one
        ([7, 2, 8, 4, 9], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),  # several at once
        ([7, 8], [], [0, 0]),
        ([], [1, 2], []),
    ],
)
def test_a_new_link_replaces_what_stood_between_the_same_neighbours(
    links: list[int], older: list[int], expected: list[int]
) -> None:
    assert older_versions(links, older) == expected


@given(numbers, numbers)
def test_what_is_replaced_is_an_older_link_and_what_stayed_replaces_itself(
    links: list[int], older: list[int]
) -> None:
    found = older_versions(links, older)
    assert len(found) == len(links)
    for link, old in zip(links, found, strict=True):
        assert old in older or old == 0
        if link in older:
            assert old == link
        elif old:
            assert old not in links


def stored(names: Names) -> list[list[tuple[bytes, int]]]:
    """(payload, links) of all records, pack by pack."""

    def read(reader: RecordReader) -> list[list[tuple[bytes, int]]]:
        packs = [Pack(*found) for found in packs_up(reader.transaction, 0, _END)]
        return [
            [(pack.payload(place), len(pack.links(place))) for place in range(len(pack.numbers))]
            for pack in packs
        ]

    return names.store.read(read)


def save_versions(names: Names, rng: random.Random, *, files: int, steps: int) -> None:
    """Save a folder of files of 1 KB in two nodes; each step changes one of them, a little."""
    texts = [f"{number:04d}" + rng.randbytes(500).hex() for number in range(files)]
    half = files // 2

    def work(writer: RecordWriter) -> None:
        leaves = [Object((), text.encode()) for text in texts]
        fresh = leaves
        for step in range(steps):
            if step:
                changed = rng.randrange(files)
                texts[changed] = texts[changed][:500] + f"{step:04d}" + texts[changed][504:]
                leaves[changed] = Object((), texts[changed].encode())
                fresh = [leaves[changed]]
            inner = [
                node(f"in {n}", *some) for n, some in enumerate((leaves[:half], leaves[half:]))
            ]
            top = node(f"top {step}", *inner)
            for item in (*fresh, *inner):
                writer.put(item.address(), item)
            names._name(writer, f"a{step:04d}", writer.put(top.address(), top))

    names.store.write(work)


def test_versions_stand_side_by_side_and_are_stored_once(names: Names, seed: int) -> None:
    save_versions(names, random.Random(seed), files=30, steps=120)
    expected = names.reachable()
    names.compact()
    assert names.reachable() == expected
    check_store(names, collected=True)
    records = [record for pack in stored(names) for record in pack]
    files = [payload[:4] for payload, links in records if not links]
    assert len(files) > 100
    # Every file's versions are in one piece.
    assert sum(a != b for a, b in pairwise(files)) == 29
    raw = sum(len(payload) for payload, _ in records)
    unique = 30 * 500
    assert raw > 120_000
    # 40 bytes a record for its digest and links; 149 versions cost the 30 and some bytes each.
    assert names.store.counters().stored_bytes < 1.3 * unique + 80 * len(records)


def test_inner_nodes_are_ordered_so_that_children_come_first(names: Names) -> None:
    """A later version of a node may be higher than the first one was."""
    low, other = leaf("low"), leaf("other")
    first = node("first", low)
    names.save("a1", low, first, node("top 1", first))
    deep = node("deep", low, other)
    second = node("second", deep)
    third = node("third", second, deep)
    names.save("a2", low, other, deep, second, third, node("top 2", third))
    names.save("a3", third, first, node("top 3", third, first))
    names.save("b1", third, node("other top", third))
    expected = names.reachable()
    names.compact()
    assert names.reachable() == expected
    check_store(names, collected=True)


def decompressed(names: Names, name: str) -> float:
    """How many times the bytes below a name must be decompressed to read them."""

    def read(reader: RecordReader) -> float:
        row = reader.transaction.get(NAMES, name.encode())
        assert row is not None
        stack, packs, needed = [int.from_bytes(row, "big")], dict[int, int](), dict[int, int]()
        while stack:
            number = stack.pop()
            if number not in needed:
                record = reader.read(number)
                needed[number] = len(record.payload)
                stack += record.links
                place = reader.cache.get(number)
                assert place is not None
                pack = place[0]
                packs[pack.base] = sum(pack.size(at) for at in range(len(pack.numbers)))
        return sum(packs.values()) / sum(needed.values())

    return names.store.read(read)


def test_a_restore_decompresses_few_versions_however_many_there_are(
    home: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, found = 540, {}
    monkeypatch.setattr(order, "_LEAST_STRETCH_BYTES", 1)
    for most in (order.MOST_VERSIONS, 10**6):
        monkeypatch.setattr(order, "MOST_VERSIONS", most)
        names = Names(home / str(most))
        save_versions(names, random.Random(seed), files=60, steps=steps)
        names.compact()
        found[most] = decompressed(names, f"a{steps - 1:04d}")
        names.close()
    few, many = found.values()
    # What changed in the last stretch, and packs of older ones in which something is still in use.
    assert few < 2 * order.MOST_VERSIONS, (few, many)
    assert many > 9.9
