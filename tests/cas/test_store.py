"""`ObjectStore`: what is put is got, once; what cannot be right is refused."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cas.records
import cas.writer
from cas.digest import Digest
from cas.errors import (
    CorruptStoreError,
    LimitError,
    MissingObjectError,
    NotFoundError,
    ReadOnlyStoreError,
    UnsupportedFormatError,
)
from cas.objects import MAX_LINKS, MAX_PAYLOAD_BYTES, Object
from cas.records import OBJECTS, RecordReader, record_key
from cas.store import STORE_FORMAT, ObjectStore
from cas.writer import RecordWriter
from tests.cas.children import in_child
from tests.damage import Vandal


@pytest.fixture
def store(place: Path) -> Iterator[ObjectStore]:
    with ObjectStore.open(place) as opened:
        yield opened


def put_all(store: ObjectStore, *items: Object) -> list[Digest]:
    """Store objects in one transaction, children first."""

    def work(writer: RecordWriter) -> list[Digest]:
        for item in items:
            writer.put(item.address(), item)
        return [item.address() for item in items]

    return store.write(work)


def leaf(text: str) -> Object:
    return Object((), text.encode())


def parent_of(*children: Object, payload: bytes = b"parent") -> Object:
    return Object(tuple(child.address() for child in children), payload)


def test_a_new_store_appears_with_what_it_shall_have_or_not_at_all(place: Path) -> None:
    assert not place.parent.exists()

    def fail(store: ObjectStore) -> None:
        store.put(leaf("lost"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ObjectStore.make(place, fail, parameters={})
    assert not place.parent.exists()

    def begin(store: ObjectStore) -> None:
        store.put(leaf("there"))
        assert not place.exists()

    assert ObjectStore.make(place, begin, parameters={"a": 1})
    assert not ObjectStore.make(place, fail, parameters={})
    with ObjectStore.open(place) as store:
        assert store.has(leaf("there").address())
        assert store.parameters == {"a": 1}
    assert sorted(each.name for each in place.parent.iterdir()) == [place.name]


def test_a_new_store_gives_way_to_one_that_is_made_meanwhile(place: Path) -> None:
    def begin(_: ObjectStore) -> None:
        with ObjectStore.open(place) as other:
            other.put(leaf("other"))

    assert not ObjectStore.make(place, begin, parameters={})
    with ObjectStore.open(place) as store:
        assert store.has(leaf("other").address())


def test_an_object_is_got_as_it_was_put(store: ObjectStore) -> None:
    child = leaf("child")
    parent = parent_of(child)
    digest = store.put(child)
    assert digest == child.address()
    assert store.put(parent) == parent.address()
    assert store.get(digest) == child
    assert store.get(parent.address()) == parent
    assert store.links(parent.address()) == (digest,)
    assert store.links(digest) == ()
    assert store.has(digest)


def test_an_object_that_is_not_there_is_named(store: ObjectStore) -> None:
    absent = leaf("absent").address()
    assert not store.has(absent)
    for ask in (store.get, store.links):
        with pytest.raises(MissingObjectError, match=absent.short) as caught:
            ask(absent)
        assert caught.value.digest == absent


def test_a_child_must_be_stored_before_its_parent(store: ObjectStore) -> None:
    child, other = leaf("child"), leaf("other")
    before = store.counters()
    with pytest.raises(MissingObjectError, match="before its parent") as caught:
        put_all(store, other, parent_of(other, child))
    assert caught.value.digest == child.address()
    assert store.counters() == before
    assert not store.has(other.address()), "a refused transaction left something behind"


def test_equal_objects_are_stored_once(store: ObjectStore, place: Path) -> None:
    items = leaf("a"), leaf("b"), parent_of(leaf("a"), leaf("b"))
    put_all(store, *items, *items)
    counters = store.counters()
    assert counters.objects == 3
    put_all(store, *items)
    store.close()
    with ObjectStore.open(place) as again:
        put_all(again, *items)
        assert (again.counters().objects, again.counters().stored_bytes) == (
            counters.objects,
            counters.stored_bytes,
        )


def test_what_another_process_stored_is_not_stored_again(store: ObjectStore, place: Path) -> None:
    items = leaf("a"), parent_of(leaf("a"))

    def child() -> str:
        with ObjectStore.open(place) as other:
            put_all(other, *items)
        return "stored"

    assert in_child(child) == "+stored"
    put_all(store, *items)
    assert store.counters().objects == 2
    assert store.get(items[1].address()) == items[1]


def test_threads_store_the_same_objects_once(store: ObjectStore) -> None:
    items = [leaf(str(number)) for number in range(50)]
    errors: list[Exception] = []

    def work(seed: int) -> None:
        order = random.Random(seed).sample(items, len(items))
        try:
            for item in order:
                store.put(item)
                assert store.get(item.address()) == item
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert store.counters().objects == len(items)


def test_a_failed_transaction_stores_nothing_and_is_not_believed_later(store: ObjectStore) -> None:
    child = leaf("child")

    def work(writer: RecordWriter) -> None:
        writer.put(child.address(), child)
        raise ZeroDivisionError

    before = store.counters()
    with pytest.raises(ZeroDivisionError):
        store.write(work)
    assert store.counters() == before
    with pytest.raises(MissingObjectError):
        store.put(parent_of(child))
    put_all(store, child, parent_of(child))
    assert store.get(child.address()) == child


@settings(max_examples=40)
@given(
    graph=st.lists(
        st.tuples(st.binary(max_size=200), st.sets(st.integers(0, 30), max_size=6)), max_size=30
    ),
    together=st.booleans(),
)
def test_any_graph_of_objects_is_got_back_and_counted(
    tmp_path_factory: pytest.TempPathFactory,
    graph: list[tuple[bytes, set[int]]],
    together: bool,
) -> None:
    items: list[Object] = []
    for payload, children in graph:
        links = dict.fromkeys(items[child].address() for child in children if child < len(items))
        items.append(Object(tuple(links), payload))
    place = tmp_path_factory.mktemp("graph") / "objects"
    with ObjectStore.open(place) as store:
        if together:
            put_all(store, *items)
        else:
            for item in items:
                store.put(item)
        for item in items:
            assert store.get(item.address()) == item
        counters = store.counters()
        distinct = {item.address(): item for item in items}
        assert counters.objects == len(distinct) == counters.next_record - 1
        assert counters.payload_bytes == sum(len(item.payload) for item in distinct.values())

        def check_order(reader: RecordReader) -> None:
            for digest in distinct:
                number = reader.find(digest)
                assert number is not None
                assert all(0 < link < number for link in reader.links_of(number))

        store.read(check_order)
    rows = Vandal(place).rows("objects")
    assert counters.stored_bytes == sum(map(len, rows.values()))


def test_numbers_are_never_given_out_twice(store: ObjectStore) -> None:
    seen: list[int] = []
    for number in range(20):
        item = leaf(f"{number}")

        def work(writer: RecordWriter, item: Object = item, fail: bool = bool(number % 3)) -> int:
            got = writer.put(item.address(), item)
            if fail:
                seen.append(got)
            return got

        seen.append(store.write(work))
    kept = sorted(set(seen))
    assert kept == list(range(1, 21))
    assert store.counters().next_record == 21


def test_the_largest_object_is_spread_over_many_rows(store: ObjectStore, place: Path) -> None:
    noise = random.Random(1).randbytes(MAX_PAYLOAD_BYTES)
    large = Object((), noise)
    small = parent_of(large)
    put_all(store, leaf("before"), large, small)
    assert store.get(large.address()).payload == noise
    assert store.get(small.address()) == small
    store.close()
    with ObjectStore.open(place) as again:
        assert again.get(large.address()).payload == noise
    assert len(Vandal(place).rows("objects")) > 8_000
    with pytest.raises(LimitError, match=str(MAX_PAYLOAD_BYTES)):
        Object((), bytes(MAX_PAYLOAD_BYTES + 1))


def test_packs_of_every_size_around_a_row_are_read_back(store: ObjectStore) -> None:
    rng = random.Random(2)
    items = [Object((), rng.randbytes(size)) for size in range(1_900, 2_100, 3)]
    items += [Object((), rng.randbytes(size)) for size in range(3_980, 4_070, 3)]
    for item in items:
        store.put(item)
    for item in items:
        assert store.get(item.address()) == item


def test_a_transaction_of_many_objects_fills_several_packs(store: ObjectStore) -> None:
    rng = random.Random(3)
    items = [Object((), rng.randbytes(rng.randrange(2_000))) for _ in range(1_000)]
    put_all(store, *items)
    for item in rng.sample(items, 200):
        assert store.get(item.address()) == item


def test_an_object_has_as_many_links_as_it_may(store: ObjectStore) -> None:
    children = [leaf(str(number)) for number in range(MAX_LINKS)]
    parent = parent_of(*children)
    other = parent_of(*reversed(children))
    put_all(store, *children, parent, other)
    assert store.get(parent.address()) == parent
    assert store.get(other.address()) == other
    with pytest.raises(LimitError, match=str(MAX_LINKS)):
        parent_of(*children, leaf("one more"))


@pytest.mark.parametrize("together", [True, False], ids=["one transaction", "one each"])
def test_digests_that_begin_alike_are_told_apart(
    store: ObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    # Finding two digests with the same eight bytes takes 2^32 attempts, which somebody may make.
    for module in (cas.records, cas.writer):
        monkeypatch.setattr(module, "index_key", lambda digest: digest[:1])
    items: list[Object] = []
    for number in range(400):
        items.append(Object(tuple(item.address() for item in items[-2:]), b"%d" % number))
    if together:
        put_all(store, *items)
    else:
        for item in items:
            store.put(item)
    absent = [leaf(f"absent {number}").address() for number in range(50)]
    for _ in range(2):
        for item in items:
            assert store.get(item.address()) == item
        assert not any(map(store.has, absent))
        put_all(store, *items)
        assert store.counters().objects == len(items)
        store.close()
        store = ObjectStore.open(place)
    store.close()
    assert not Vandal(place).rows("repairs"), "an object that is only alike was taken for damaged"


def test_a_store_open_for_reading_sees_what_a_writer_elsewhere_adds(
    store: ObjectStore, place: Path
) -> None:
    first, second = leaf("first"), leaf("second")
    store.put(first)

    def child() -> str:
        with ObjectStore.open(place, read_only=True, create=False) as reading:
            assert reading.get(first.address()) == first
            with pytest.raises(ReadOnlyStoreError):
                reading.put(second)
            return str(reading.has(second.address()))

    assert in_child(child) == "+False"
    store.put(second)
    with ObjectStore.open(place, read_only=True) as reading:
        assert reading.get(second.address()) == second


def test_a_sweep_elsewhere_voids_what_a_handle_believes_to_be_stored(store: ObjectStore) -> None:
    child, other = leaf("child"), leaf("other")
    store.put(child)

    def sweep(writer: RecordWriter) -> None:
        number = writer.find(child.address())
        assert number is not None
        writer.writing.delete(OBJECTS, record_key(number))
        writer.writing.delete(cas.records.INDEX, cas.records.index_key(child.address()))
        writer.counters.sweeps += 1

    store.write(sweep)
    assert not store.has(child.address())
    put_all(store, other, child, parent_of(child))
    assert store.get(child.address()) == child
    assert store.counters().next_record == 5


def test_parameters_are_those_the_store_was_made_with(place: Path) -> None:
    with ObjectStore.open(place, parameters={"size": 1}) as store:
        assert store.parameters == {"size": 1}
    with ObjectStore.open(place, parameters={"size": 2}) as store:
        assert store.parameters == {"size": 1}


def test_an_absent_store_is_not_created_unless_asked_for(place: Path) -> None:
    with pytest.raises(NotFoundError):
        ObjectStore.open(place, create=False)
    assert not place.exists()


@pytest.mark.parametrize(
    "header",
    [
        {"format": STORE_FORMAT + 1, "engine": "lmdb-0.9", "parameters": {}},
        {"format": STORE_FORMAT, "engine": "lmdb-1.0", "parameters": {}},
        {"format": STORE_FORMAT + 1, "laid": "out otherwise"},
    ],
    ids=["format", "engine", "layout"],
)
def test_a_store_of_a_newer_format_is_refused(place: Path, header: dict[str, object]) -> None:
    item = leaf("kept")
    with ObjectStore.open(place) as store:
        store.put(item)
    vandal = Vandal(place)
    kept = vandal.row("store", b"header")
    vandal.put_checked("store", b"header", cbor2.dumps(header))
    for read_only in (False, True):
        with pytest.raises(UnsupportedFormatError, match="upgrade Hive"):
            ObjectStore.open(place, create=False, read_only=read_only)
    vandal.put("store", b"header", kept)
    with ObjectStore.open(place, create=False) as store:
        assert store.get(item.address()) == item


@pytest.mark.parametrize("row", [b"header", b"counters"])
def test_a_store_without_its_own_rows_is_damaged(place: Path, row: bytes) -> None:
    ObjectStore.open(place).close()
    vandal = Vandal(place)
    good = vandal.row("store", row)
    vandal.delete("store", row)
    with pytest.raises(CorruptStoreError, match=row.decode()), ObjectStore.open(place) as store:
        store.put(leaf("x"))
    vandal.put("store", row, good[:-1] + b"?")
    with pytest.raises(CorruptStoreError, match="checksum"), ObjectStore.open(place) as store:
        store.put(leaf("x"))
