"""Small packs that one stream's commits left next to each other become one."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import cas.check
import cas.trail
from cas.check import ObjectCheck
from cas.closure import read_closure
from cas.errors import HiveError
from cas.kept import KeptRecords
from cas.objects import Object
from cas.packs import MAX_PACK_BYTES, MAX_PACK_LINKS, MAX_PACK_RECORDS, Pack
from cas.packwalk import packs_up
from cas.records import OBJECTS, REPAIRS, PackCache, RecordReader, record_key
from cas.store import ObjectStore
from cas.trail import Trail
from cas.upkeep import BriefUpkeep, Progress, upkeep_lock
from tests.cas.children import in_child
from tests.cas.garbage import Names, check_store, leaf, node

SCHEDULES = 40
_END = 1 << 47


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge two packs as soon as there are."""
    monkeypatch.setattr(cas.trail, "_LEAST_PACKS", 2)
    monkeypatch.setattr(cas.trail, "_MOST_PACKS", 3)


def packs_of(names: Names) -> list[Pack]:
    def work(reader: RecordReader) -> list[Pack]:
        return [Pack(base, data) for base, data in packs_up(reader.transaction, 0, _END)]

    return names.store.read(work)


def save_texts(names: Names, texts: range, stream: str | None = "run", size: int = 1) -> None:
    for text in texts:
        names.save(str(text), leaf(f"text {text} " * size), stream=stream)


def assert_sound(names: Names) -> None:
    """Everything is whole, and the whole check says so too."""
    check_store(names)
    check = ObjectCheck(names.store, True, lambda _progress: None)
    check.run()
    assert not check.damage
    assert check.records == names.store.counters().objects


def check_between(names: Names, between: Callable[[], None]) -> None:
    """Check everything, with work of others between the transactions; nothing may be found."""
    read = names.store.read

    def read_and_wait(work: Any, *, cache: PackCache | None = None) -> Any:
        result = read(work, cache=cache)
        between()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cas.check, "SLICE_SECONDS", 0.0)
        patch.setattr(names.store, "read", read_and_wait)
        check = ObjectCheck(names.store, True, lambda _progress: None)
        check.run()
    assert not check.damage


# -- what is merged ----------------------------------------------------------------------------


def test_packs_of_one_stream_are_merged(names: Names) -> None:
    save_texts(names, range(100))
    assert len(packs_of(names)) < 100 // 4
    assert_sound(names)


def test_a_merged_pack_keeps_the_limits(names: Names) -> None:
    rng = random.Random(1)
    for number in range(120):
        items = [leaf(f"{number} {n} " * rng.randrange(1, 60)) for n in range(rng.randrange(1, 40))]
        names.save(str(number), *items, node(f"top {number}", *items), stream="run")
    packs = packs_of(names)
    assert len(packs) < 60
    for pack in packs:
        assert len(pack.numbers) <= MAX_PACK_RECORDS
        assert sum(pack.sizes) <= MAX_PACK_BYTES
        assert sum(len(pack.links(place)) for place in range(len(pack.numbers))) <= MAX_PACK_LINKS
    assert_sound(names)


def test_packs_that_together_are_too_large_are_not(names: Names) -> None:
    for number in range(12):
        names.save(str(number), Object((), bytes([number]) * 30_000), stream="run")
    assert len(packs_of(names)) == 12
    assert_sound(names)


def test_streams_are_not_mixed(names: Names) -> None:
    for part in range(10):
        save_texts(names, range(6 * part, 6 * part + 6), stream=f"run {part % 2}")
    assert [len(pack.numbers) for pack in packs_of(names)] == [6] * 9 + [1] * 6
    assert_sound(names)


@pytest.mark.parametrize("between", ["another stream", "no stream", "another handle"])
def test_what_is_not_next_to_each_other_stays_alone(
    names: Names, other: Names, between: str
) -> None:
    for number in range(40):
        save_texts(names, range(number, number + 1))
        if between == "another handle":
            save_texts(other, range(100 + number, 101 + number))
        else:
            stream = None if between == "no stream" else between
            save_texts(names, range(100 + number, 101 + number), stream=stream)
    assert len(packs_of(names)) == 80
    assert_sound(names)


def test_a_commit_that_merges_is_not_counted_less(names: Names, eager: None) -> None:
    """What a commit says it added is its own, though the store has become smaller."""
    added = []

    def work(number: int) -> None:
        def save(writer: cas.writer.RecordWriter) -> None:
            before = writer.counters.stored_bytes
            item = leaf(f"text {number} " * 50)
            writer.put(item.address(), item)
            writer.flush("run")
            added.append(writer.counters.stored_bytes - before)

        names.store.write(save)

    for number in range(20):
        work(number)
    assert len(packs_of(names)) < 10
    assert min(added) > 0
    assert names.store.counters().stored_bytes < sum(added)
    check_store(names)


def fill(names: Names) -> float:
    """Return how full the pages with records are, but for one: the next commit goes on with it."""

    def work(reader: RecordReader) -> float:
        rows = [row for _key, row in reader.transaction.items(OBJECTS)]
        pages = reader.transaction.pages(OBJECTS) - 1
        return sum(len(row) + 18 for row in rows) / (4_080 * pages)

    return names.store.read(work)


def test_pages_stay_full(names: Names, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(600):
        item = Object((), rng.randbytes(rng.randrange(100, 1_500)))
        names.save(str(number), item, stream=f"run {number // 50}")
    assert fill(names) > 0.93


def test_packs_that_shrink_leave_no_holes(names: Names, seed: int) -> None:
    """Where the merged pack begins, its page is filled up, though the rows there were smaller."""
    rng = random.Random(seed)
    for number in range(900):
        words = " ".join(rng.choice(("agent", "answer", "block", "call")) for _ in range(100))
        names.save(str(number), leaf(f"{number} {words[: rng.randrange(60, 900)]}"), stream="run")
    assert fill(names) > 0.97
    assert_sound(names)


def test_a_merged_pack_that_fits_into_what_is_left_of_a_page_begins_there(names: Names) -> None:
    for number in range(900):
        save_texts(names, range(number, number + 1), stream=f"run {number // 30}")
    assert fill(names) > 0.65
    assert_sound(names)


def test_the_file_may_grow_in_the_middle(place: Path) -> None:
    with ObjectStore.open(place, map_size=1 << 20) as store:
        for number in range(400):
            item = Object((), random.Random(number).randbytes(6_000))

            def save(writer: cas.writer.RecordWriter, item: Object = item) -> None:
                writer.put(item.address(), item)
                writer.flush("run")

            store.write(save)
        check = ObjectCheck(store, True, lambda _progress: None)
        check.run()
        assert not check.damage
        assert check.records == 400


# -- what is left as it is ---------------------------------------------------------------------


def test_damage_is_left_as_it_is(names: Names) -> None:
    """A pack with a flipped bit is not written again, nor are its neighbours."""
    save_texts(names, range(20))
    key = record_key(10)

    def flip(writer: cas.writer.RecordWriter) -> None:
        row = bytearray(writer.writing.get(OBJECTS, key) or b"")
        row[-1] ^= 1
        writer.writing.put(OBJECTS, key, bytes(row))

    names.store.write(flip)
    before = [pack._data for pack in packs_of(names)]
    save_texts(names, range(20, 25))
    assert [pack._data for pack in packs_of(names)][:20] == before
    save_texts(names, range(25, 60))
    packs = packs_of(names)
    assert [pack._data for pack in packs][:20] == before
    assert len(packs) < 50


def test_nothing_is_merged_while_repairs_stand_in(names: Names) -> None:
    save_texts(names, range(10))
    (row,) = Pack.encode(
        [cas.packs.NewRecord(3, leaf("text 2 ").address(), [], leaf("text 2 ").payload)], 1 << 20
    )

    def heal(writer: cas.writer.RecordWriter) -> None:
        writer.writing.put(REPAIRS, record_key(3), row)
        writer.counters.stored_bytes += len(row)

    names.store.write(heal)
    save_texts(names, range(10, 60))
    assert len(packs_of(names)) == 60


def test_a_sweep_in_between_is_respected(names: Names, eager: None) -> None:
    for number in range(30):
        names.save("only", leaf(f"text {number}"), stream="run")
        if number % 4 == 3:
            names.gc()
            assert names.store.counters().objects == 1
    names.gc(whole=True)
    check_store(names, collected=True)


def test_beside_a_collection_packs_wait(names: Names, place: Path) -> None:
    save_texts(names, range(10))
    with upkeep_lock(place, None):
        save_texts(names, range(10, 35))
        assert len(packs_of(names)) == 35
    save_texts(names, range(35, 36))
    assert len(packs_of(names)) == 2
    assert_sound(names)


def test_a_child_and_its_parent_each_go_on(names: Names) -> None:
    save_texts(names, range(20))

    def go_on() -> str:
        save_texts(names, range(100, 120))
        return str(len(packs_of(names)))

    assert in_child(go_on) == "+17"
    save_texts(names, range(20, 40))
    assert_sound(names)
    assert len(names.reachable()) == 60


def test_merging_fails_no_commit(
    names: Names, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object) -> int:
        raise OSError

    monkeypatch.setattr(cas.upkeep, "_open", fail)
    save_texts(names, range(20))
    assert len(packs_of(names)) == 20
    assert_sound(names)


def test_the_lock_is_free_afterwards(names: Names, place: Path, eager: None) -> None:
    save_texts(names, range(20))
    with upkeep_lock(place, 0.0):
        pass

    def fail(writer: cas.writer.RecordWriter) -> None:
        writer.put(leaf("a").address(), leaf("a"))
        writer.flush("run")
        writer.put(leaf("b").address(), leaf("b"))
        writer.flush("run")
        raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            names.store.write(fail)
    with upkeep_lock(place, 0.0):
        pass
    assert_sound(names)


# -- readers over several transactions ---------------------------------------------------------


def test_a_restore_may_know_packs_of_before_and_after(names: Names, eager: None) -> None:
    """Numbers of one merged pack are known from an old pack, which also begins at its base."""
    items = [leaf("child")]
    for number in range(3):
        items.append(node(f"parent {number}", items[-1]))
    cache = PackCache()
    names.save("0", items[0], stream="run")
    names.save("1", items[1], stream="run")
    names.store.read(lambda reader: reader.read_all([1, 2]), cache=cache)
    names.save("2", items[2], stream="run")
    names.save("3", items[3], stream="run")
    assert len(packs_of(names)) == 2

    def restore(reader: RecordReader) -> list[int]:
        closure = read_closure(reader, KeptRecords(0), [4], 1 << 20)
        assert closure is not None
        return sorted([*closure.leaves, *closure.parents])

    assert names.store.read(restore, cache=cache) == [1, 2, 3, 4]


def test_a_check_sees_every_record_once(
    names: Names, other: Names, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    record = ObjectCheck._record

    def note(self: ObjectCheck, reader: RecordReader, pack: Pack, at: int, number: int) -> None:
        seen.append(number)
        record(self, reader, pack, at, number)

    monkeypatch.setattr(ObjectCheck, "_record", note)
    save_texts(names, range(3))
    texts = count(3)

    def between() -> None:
        if len(seen) < 60:
            text = next(texts)
            save_texts(names, range(text, text + 1))

    check_between(other, between)
    assert seen == sorted(set(seen))
    assert seen == list(range(1, len(seen) + 1))
    assert len(packs_of(names)) < len(seen) // 2


# -- schedules ---------------------------------------------------------------------------------


class Streams:
    """Handles that commit to their streams in bursts, share objects, and drop names at random."""

    def __init__(self, seed: int, handles: list[Names]) -> None:
        self.random = random.Random(seed)
        self.handles = handles
        self.named: dict[str, list[Object]] = {}
        self.former: list[list[Object]] = []
        self._texts = count()

    def act(self) -> None:
        rng = self.random
        place = rng.randrange(len(self.handles))
        handle, stream = self.handles[place], f"{place} {rng.randrange(2)}"
        if rng.random() < 0.3 and self.named:
            name = rng.choice(sorted(self.named))
            handle.drop(name)
            self.former.append(self.named.pop(name))
            return
        for _ in range(rng.randrange(1, 6)):
            again = rng.random() < 0.4 and self.former
            below = rng.choice(self.former) if again else [leaf(f"leaf {rng.randrange(30)}")]
            tree = [*below, node(f"top {next(self._texts)} " * rng.randrange(1, 40), below[-1])]
            name = str(rng.randrange(8))
            handle.save(name, *tree, stream=stream)
            if name in self.named:
                self.former.append(self.named[name])
            self.named[name] = tree

    def expected(self) -> set[bytes]:
        return {item.address() for tree in self.named.values() for item in tree}


def interleave(seed: int, names: Names, other: Names) -> int:
    """Collect, check and compact while others commit; returns how often packs were merged."""
    streams = Streams(seed, [names, other])
    rng = streams.random

    def between(_told: Progress | None = None) -> None:
        for _ in range(rng.randrange(3)):
            streams.act()
        assert names.reachable() >= streams.expected()

    for _ in range(8):
        streams.act()
    for _ in range(3):
        choice = rng.random()
        if choice < 0.6:
            names.gc(batch_seconds=0, whole=rng.random() < 0.3, progress=between)
        elif choice < 0.8:
            check_between(other, lambda: between() if rng.random() < 0.1 else None)
        else:
            names.compact(progress=between)
        check_store(names)
        assert names.reachable() == streams.expected()
    while not names.gc(batch_seconds=0).complete:
        pass
    names.gc(whole=True)
    assert names.digests() == streams.expected()
    check_store(names, collected=True)
    assert_sound(other)
    return sum(len(pack.numbers) > 12 for pack in packs_of(names))


@pytest.mark.parametrize("schedule", range(SCHEDULES))
def test_random_schedules_lose_nothing(
    names: Names,
    other: Names,
    eager: None,
    seed: int,
    schedule: int,
) -> None:
    interleave(seed + schedule, names, other)


def late_mark_of_a_merged_pack(names: Names, other: Names) -> None:
    """A new record that saves garbage moves into a pack that began before the mark."""
    dying = [leaf("low"), node("middle", leaf("low"))]
    names.save("1", *dying)
    names.save("noise", leaf("noise"))
    names.drop("1")
    other.save("a", leaf("a"), stream="run")
    told: list[str] = []

    def use(progress: Progress) -> None:
        told.append(progress.phase)
        if told == ["mark"]:
            other.save("used", *dying, node("above", dying[1]), stream="run")
            save_texts(other, range(4))

    names.gc(batch_seconds=0, progress=use)
    check_store(names)
    assert dying[0].address() in names.reachable()


def compaction_of_a_merged_pack(names: Names, other: Names) -> None:
    """What is committed while a compaction copies moves into a pack that began before."""
    other.save("a", leaf("a"), stream="run")
    told: list[str] = []

    def use(progress: Progress) -> None:
        told.append(progress.phase)
        if told == ["mark"]:
            save_texts(other, range(5))

    names.compact(progress=use)
    check_store(names)
    assert len(names.reachable()) == 6


@pytest.mark.parametrize("scenario", [late_mark_of_a_merged_pack, compaction_of_a_merged_pack])
def test_collections_and_compactions_keep_merging_out(
    names: Names, other: Names, eager: None, scenario: Callable[[Names, Names], None]
) -> None:
    scenario(names, other)


def test_without_the_lock_a_collection_loses_what_moved(
    names: Names, other: Names, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BriefUpkeep, "take", lambda _lock: True)
    with pytest.raises((AssertionError, HiveError, IndexError)):
        late_mark_of_a_merged_pack(names, other)


def test_without_looking_at_the_rows_what_was_swept_comes_back(
    names: Names, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trail, "stands", lambda *_arguments: True)
    names.save("1", leaf("1"), stream="run")
    names.save("2", leaf("2"), stream="run")
    names.drop("1")
    names.gc()
    save_texts(names, range(10, 14))
    with pytest.raises(AssertionError):
        check_store(names)
