"""Verified records in memory: bounded, of one generation, and never a reason for a wrong answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from cas.closure import Closure, read_closure
from cas.kept import Kept, KeptRecords
from cas.objects import Object
from cas.records import RecordReader
from cas.store import ObjectStore


def records(*numbers: int, size: int = 100) -> dict[int, Kept]:
    return {number: Kept(bytes(32), (), bytes(size)) for number in numbers}


def test_what_was_kept_is_found_in_its_generation_only() -> None:
    kept = KeptRecords(10_000)
    kept.keep(1, records(1, 2))
    assert kept.of(1, [1, 2, 3]).keys() == {1, 2}
    assert kept.of(2, [1, 2]) == {}
    kept.keep(2, records(7))
    assert kept.of(1, [1, 2]) == {}
    kept.keep(1, records(1))  # by a reader that began before the file was replaced
    assert kept.of(2, [1, 7]).keys() == {7}


def test_what_is_used_stays_and_the_rest_makes_room() -> None:
    kept = KeptRecords(20_000)
    kept.keep(1, records(1, 2, size=1_000))
    for number in range(10, 200):
        kept.keep(1, records(number, size=1_000))
        assert kept.of(1, [1]).keys() == {1}
    held = kept.of(1, [*range(10, 200), 2])
    assert 2 not in held
    assert 0 < sum(len(each.payload) for each in held.values()) <= 20_000


@pytest.mark.parametrize("most", [0, 1_000])
def test_what_is_too_large_is_not_kept(most: int) -> None:
    kept = KeptRecords(most)
    kept.keep(1, records(1, size=1_000))
    assert kept.of(1, [1]) == {}


def test_a_closure_is_read_from_the_file_once(tmp_path: Path) -> None:
    leaf, other = Object((), b"leaf"), Object((), b"other")
    parent = Object((leaf.address(), other.address()), b"parent")
    with ObjectStore.open(tmp_path / "objects") as store:
        for item in (leaf, other, parent):
            store.put(item)
    with ObjectStore.open(tmp_path / "objects") as store:

        def read(reader: RecordReader, most_bytes: int = 15) -> tuple[Closure | None, int]:
            number = reader.find(parent.address())
            assert number is not None
            return read_closure(reader, store.kept, [number], most_bytes), reader.cache.reads

        first, reads = store.read(read)
        assert reads == 3
        assert store.read(read) == (first, 0)
        assert first is not None
        assert sorted(first.leaves.values()) == [b"leaf", b"other"]
        assert [payload for _links, payload in first.parents.values()] == [b"parent"]
        assert store.read(lambda reader: read(reader, 14))[0] is None


@pytest.mark.parametrize("which", ["parent", "leaf"])
def test_what_is_kept_of_another_file_is_not_returned(tmp_path: Path, which: str) -> None:
    leaf = Object((), b"leaf")
    parent = Object((leaf.address(),), b"parent")
    with ObjectStore.open(tmp_path / "objects") as store:
        numbers = {}
        for name, item in (("leaf", leaf), ("parent", parent)):
            store.put(item)
            numbers[name] = store.counters().next_record - 1
        generation = store.read(lambda reader: reader.transaction.generation)
        store.kept = KeptRecords()
        wrong = Object((), b"wrong")
        store.kept.keep(generation, {numbers[which]: Kept(wrong.address(), (), wrong.payload)})

        def read(reader: RecordReader) -> Closure | None:
            return read_closure(reader, store.kept, [numbers["parent"]], 1_000)

        closure = store.read(read)
        if which == "parent":
            assert closure is not None
            assert closure.leaves == {numbers["leaf"]: b"leaf"}
            assert closure.parents == {numbers["parent"]: ([numbers["leaf"]], b"parent")}
        else:
            assert closure is None  # then it is read step by step, from the file alone


def test_what_was_written_is_kept(tmp_path: Path) -> None:
    leaf = Object((), b"leaf")
    with ObjectStore.open(tmp_path / "objects") as store:
        store.put(leaf)
        number = store.read(lambda reader: reader.find(leaf.address()))
        assert number is not None
        kept = store.kept.of(store.read(lambda reader: reader.transaction.generation), [number])
        assert kept[number] == (leaf.address(), [], b"leaf")
    with ObjectStore.open(tmp_path / "other", kept_bytes=0) as store:
        store.put(leaf)
        assert store.kept.of(1, range(10)) == {}
