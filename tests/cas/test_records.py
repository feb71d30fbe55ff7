"""Looking records up: from numbers and digests to verified bytes, whatever the rows say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.digest import Digest
from cas.errors import (
    CorruptionError,
    CorruptObjectError,
    HiveError,
    MissingObjectError,
    UnsupportedFormatError,
)
from cas.objects import Object
from cas.packs import Pack
from cas.records import (
    GenerationChangedError,
    PackCache,
    RecordReader,
    index_key,
    record_key,
    row_numbers,
)
from cas.store import ObjectStore
from cas.writer import RecordWriter
from tests.damage import Vandal, flip


@pytest.fixture
def store(place: Path) -> Iterator[ObjectStore]:
    with ObjectStore.open(place) as opened:
        yield opened


def chain(store: ObjectStore, count: int) -> list[Object]:
    """Store objects in one pack, each with a link to the one before."""
    items: list[Object] = []
    for number in range(count):
        links = (items[-1].address(),) if items else ()
        items.append(Object(links, b"object %d" % number))

    def work(writer: RecordWriter) -> None:
        for item in items:
            writer.put(item.address(), item)

    store.write(work)
    return items


@given(number=st.integers(1, (1 << 48) - 1), fragment=st.integers(0, (1 << 16) - 1))
def test_keys_of_records_are_in_the_order_of_their_numbers(number: int, fragment: int) -> None:
    key = record_key(number, fragment)
    assert len(key) == 8
    assert int.from_bytes(key[:6], "big") == number
    assert int.from_bytes(key[6:], "big") == fragment
    assert record_key(number - 1, (1 << 16) - 1) < key


@given(st.lists(st.integers(0, (1 << 48) - 1)))
def test_an_index_row_lists_numbers(numbers: list[int]) -> None:
    row = b"".join(number.to_bytes(6, "big") for number in numbers)
    assert row_numbers(row) == numbers


def test_records_are_found_by_number_with_their_links_and_sizes(store: ObjectStore) -> None:
    items = chain(store, 10)

    def look(reader: RecordReader) -> None:
        for index, item in enumerate(items):
            number = reader.find(item.address())
            assert number == index + 1
            record = reader.read(number)
            assert (record.digest, record.payload) == (item.address(), item.payload)
            assert record.number == number
            assert record.links == reader.links_of(number) == ([index] if index else [])
            assert reader.size_of(number) == len(item.payload)
            assert reader.digest_of(number) == item.address()
            assert reader.is_sound(number)
        assert [record.number for record in reader.read_all([3, 1, 3])] == [3, 1, 3]

    store.read(look)


def test_reads_are_counted(store: ObjectStore) -> None:
    chain(store, 5)
    cache = PackCache()
    store.read(lambda reader: reader.read_all([1, 2, 3]), cache=cache)
    store.read(lambda reader: reader.digest_of(4), cache=cache)
    assert cache.reads == 3


@pytest.mark.parametrize("number", [0, 11, 1 << 40, (1 << 48) - 1])
def test_a_number_that_no_record_has_is_missing(store: ObjectStore, number: int) -> None:
    chain(store, 10)
    for ask in (RecordReader.read, RecordReader.digest_of, RecordReader.links_of):
        with pytest.raises(MissingObjectError, match=f"record {number} "):
            store.read(partial(ask, number=number))


def test_a_record_must_be_the_object_that_it_is_read_as(store: ObjectStore) -> None:
    first, second = chain(store, 2)
    assert store.read(lambda reader: reader.read_as(2, second.address())).payload == b"object 1"
    with pytest.raises(CorruptObjectError) as caught:
        store.read(lambda reader: reader.read_as(2, first.address()))
    assert (caught.value.expected, caught.value.actual) == (first.address(), second.address())


def test_a_cache_serves_one_generation(store: ObjectStore) -> None:
    chain(store, 2)
    cache = PackCache()
    store.read(lambda reader: reader.read(1), cache=cache)
    store.read(lambda reader: reader.read(2), cache=cache)
    cache.generation = 2
    with pytest.raises(GenerationChangedError):
        store.read(lambda reader: reader.read(1), cache=cache)


def test_a_small_cache_forgets_packs_and_reads_them_again(store: ObjectStore) -> None:
    rng = random.Random(1)
    items = [Object((), rng.randbytes(3_000)) for _ in range(20)]
    for item in items:
        store.put(item)
    parent = Object(tuple(item.address() for item in items), b"all")
    store.put(parent)
    cache = PackCache(most_bytes=8_000)
    record = store.read(lambda reader: reader.read(len(items) + 1), cache=cache)
    read = store.read(lambda reader: reader.read_all(record.links), cache=cache)
    assert [record.payload for record in read] == [item.payload for item in items]
    assert sum(cache.get(number) is not None for number in record.links) <= 2


def test_an_object_whose_record_cannot_be_read_is_damaged_and_not_missing(
    store: ObjectStore, place: Path
) -> None:
    item = Object((), b"payload")
    store.put(item)
    store.close()
    Vandal(place).change("objects", record_key(1), lambda row: row[:-1])
    with ObjectStore.open(place) as again:
        with pytest.raises(CorruptObjectError, match="damaged") as caught:
            again.get(item.address())
        assert caught.value.expected == item.address()


def test_a_row_that_is_found_under_another_number_is_not_believed(
    store: ObjectStore, place: Path
) -> None:
    items = [Object((), b"%d" % number) for number in range(3)]
    for item in items:
        store.put(item)
    store.close()
    vandal = Vandal(place)
    moved = vandal.row("objects", record_key(2))
    vandal.put("objects", record_key(3), moved)
    with ObjectStore.open(place) as again:
        with pytest.raises(CorruptionError):
            again.get(items[2].address())
        with pytest.raises(CorruptObjectError):
            again.read(lambda reader: reader.read_as(3, items[2].address()))
        assert again.get(items[1].address()) == items[1]


@pytest.mark.parametrize("size", [1, 7, 9, 16])
def test_keys_of_another_length_are_damage(store: ObjectStore, place: Path, size: int) -> None:
    items = chain(store, 3)
    store.close()
    vandal = Vandal(place)
    row = vandal.row("objects", record_key(1))
    vandal.delete("objects", record_key(1))
    vandal.put("objects", bytes(size), row)
    with ObjectStore.open(place) as again, pytest.raises(CorruptionError):
        again.get(items[0].address())


def test_a_pack_without_all_its_rows_is_damaged(store: ObjectStore, place: Path) -> None:
    large = Object((), random.Random(4).randbytes(10_000))
    store.put(large)
    store.close()
    vandal = Vandal(place)
    keys = sorted(vandal.rows("objects"))
    assert len(keys) > 3
    for key in keys:
        row = vandal.row("objects", key)
        vandal.delete("objects", key)
        with ObjectStore.open(place) as again, pytest.raises(CorruptionError):
            again.get(large.address())
        vandal.put("objects", key, row)
    with ObjectStore.open(place) as again:
        assert again.get(large.address()) == large


def test_every_flipped_bit_of_a_pack_is_noticed_or_harmless(
    store: ObjectStore, place: Path
) -> None:
    items = chain(store, 3)
    store.close()
    vandal = Vandal(place)
    key = record_key(1)
    row = vandal.row("objects", key)
    outcomes: dict[str, int] = {}
    for at in range(8 * len(row)):
        vandal.put("objects", key, flip(row, at // 8, at % 8))
        with ObjectStore.open(place, read_only=True) as again:
            for item in items:
                try:
                    assert again.get(item.address()) == item
                    outcome = "right"
                except HiveError as error:
                    outcome = error.code
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {
        "right",
        "corrupt-object",
        "missing-object",
        "unsupported-format",
    }
    assert outcomes["corrupt-object"] > len(row)


@settings(max_examples=300)
@given(data=st.data())
def test_no_bytes_make_a_pack_raise_anything_undocumented(data: st.DataObject) -> None:
    item = st.recursive(
        st.integers(-2, 1 << 40) | st.binary(max_size=4) | st.floats() | st.none() | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 3), inner, max_size=3)
        ),
        max_leaves=8,
    )
    meta = cbor2.dumps(data.draw(st.lists(item, min_size=3, max_size=4) | item))
    body = data.draw(st.binary(max_size=60))
    count = data.draw(st.integers(0, 4))
    head = bytes([data.draw(st.integers(0, 2)), count, 0, 1]) + len(meta).to_bytes(2, "big")
    with suppress(CorruptObjectError, UnsupportedFormatError):
        pack = Pack(7, head + bytes(32 * count) + meta + body)
        for index in range(len(pack.numbers)):
            assert len(pack.digest(index)) == 32
            assert all(0 < link < pack.numbers[index] for link in pack.links(index))
            assert len(pack.payload(index)) == pack.size(index)


@given(st.binary(max_size=300))
def test_noise_is_no_pack(noise: bytes) -> None:
    with suppress(CorruptObjectError, UnsupportedFormatError):
        Pack(1, noise).payload(0)
        assert len(noise) > 6 + 32


def test_a_frame_that_states_an_enormous_size_is_refused_before_room_is_made_for_it(
    store: ObjectStore, place: Path
) -> None:
    item = Object((), bytes(5_000))
    store.put(item)
    store.close()
    vandal = Vandal(place)
    row = vandal.row("objects", record_key(1))
    body = row.index(b"\x00", 6 + 32 + int.from_bytes(row[4:6], "big"))
    enormous = row[:body] + b"\xe0" + (1 << 62).to_bytes(8, "little")
    vandal.put("objects", record_key(1), enormous.ljust(len(row), b"\0")[: len(row)])
    with ObjectStore.open(place) as again, pytest.raises(CorruptObjectError):
        again.get(item.address())


@pytest.mark.parametrize(
    "change",
    [
        lambda row: b"",
        lambda row: row[:5],
        lambda row: flip(row, 0, 7),
        lambda row: flip(row, 5, 2),
        lambda row: (9_999).to_bytes(6, "big"),
        lambda row: row + row,
        lambda row: bytes(6) + row,
    ],
    ids=["empty", "short", "far", "near", "another", "twice", "zero first"],
)
def test_a_damaged_index_row_alone_never_misleads(
    store: ObjectStore, place: Path, change: object
) -> None:
    items = chain(store, 20)
    top = items[-1]
    store.close()
    assert callable(change)
    Vandal(place).change("index", index_key(items[7].address()), change)
    with ObjectStore.open(place) as again:
        try:
            assert again.get(items[7].address()) == items[7]
        except CorruptionError as error:
            named = getattr(error, "digest", None) or getattr(error, "expected", None)
            assert named == items[7].address()
        # Restoring follows record numbers, and those are not in the index.
        number = 20
        for item in reversed(items):
            record = again.read(partial(RecordReader.read, number=number))
            assert record.payload == item.payload
            number = record.links[0] if record.links else 0
        # Storing it again makes it found again, above its children.
        again.put(items[7])
        assert again.get(items[7].address()) == items[7]
        assert again.get(top.address()) == top
        assert again.counters().next_record < 30


def test_digests_are_32_bytes_of_the_row(store: ObjectStore, place: Path) -> None:
    (item,) = chain(store, 1)
    store.close()
    vandal = Vandal(place)
    at = vandal.digest_at(vandal.number(item.address()))
    assert Digest(vandal.row("objects", record_key(1))[at : at + 32]) == item.address()
