"""Compaction: a dense, verified copy of what is alive, beside whoever works with the store."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

import cas.sweep
import cas.upkeep
from cas.environment import Environment
from cas.errors import CorruptionError, CorruptStoreError, HiveError, StoreFullError
from cas.generation import GenerationLock
from cas.objects import Object
from cas.packs import MAX_PACK_BYTES, MAX_PACK_LINKS, MAX_PACK_RECORDS, Pack
from cas.packwalk import packs_up
from cas.records import RecordReader, record_key
from cas.repack import Draft
from cas.upkeep import Progress
from tests.cas.children import finish, start_child
from tests.cas.garbage import NAMES, Names, check_store, leaf, node
from tests.damage import Vandal


def fill(names: Names, seed: int, *, first: int = 0, count: int = 40) -> None:
    """Save trees that share leaves, each under a name."""
    rng = random.Random(seed)
    for number in range(first, first + count):
        leaves = [leaf(f"{n}" * 200) for n in rng.sample(range(60), 6)]
        new = leaf(f"text {number} " + rng.randbytes(100).hex())
        names.save(f"{number % 4}{number}", *leaves, new, node(f"top {number}", *leaves, new))


def test_everything_is_there_afterwards_and_nothing_else(names: Names, seed: int) -> None:
    fill(names, seed)
    names.drop(*[f"{n % 4}{n}" for n in range(30)])
    expected = names.reachable()
    done = names.compact()
    assert names.reachable() == names.digests() == expected
    assert (done.objects, names.store.environment.generation) == (len(expected), 2)
    assert done.objects_left_out > 0
    assert done.bytes_after <= done.bytes_before
    check_store(names, collected=True)
    assert names.gc().scope == "nothing"
    fill(names, seed + 1, first=100)
    names.drop("339")
    check_store(names)
    names.gc()
    check_store(names, collected=True)


def test_an_empty_store_is_compacted(names: Names) -> None:
    assert names.compact().objects == 0
    names.save("a", leaf("a"))
    assert names.compact().objects == 1
    check_store(names, collected=True)


def test_counters_and_roots_go_on(names: Names, seed: int) -> None:
    fill(names, seed)
    before = names.store.counters()
    names.compact()
    after = names.store.counters()
    assert (after.sweeps, after.root_epoch, after.objects, after.payload_bytes) == (
        before.sweeps,
        before.root_epoch,
        before.objects,
        before.payload_bytes,
    )
    assert after.stored_bytes < before.stored_bytes


def test_only_one_generation_is_left(names: Names, place: Path) -> None:
    names.save("a", leaf("a"))
    names.compact()
    names.compact()
    assert sorted(name for name in os.listdir(place) if name[0] in "g.") == ["g3", "generation"]
    for path, mode in ((place / "g3", 0o700), (place / "g3" / "data.mdb", 0o600)):
        assert path.stat().st_mode & 0o777 == mode


def test_records_that_link_to_a_root_of_their_group_stay_above_it(names: Names) -> None:
    low = leaf("low")
    first = node("first", low)
    names.save("a1", low, first)
    names.save("a2", node("second", first, low))
    names.compact()
    check_store(names, collected=True)


def test_the_file_is_as_small_as_if_the_dead_had_never_been(
    home: Path, names: Names, seed: int
) -> None:
    fill(names, seed, count=300)
    names.drop(*[f"{n % 4}{n}" for n in range(300) if n % 3])
    after = names.compact().bytes_after
    survivors = Names(home / "survivors")
    rng = random.Random(seed)
    for number in range(300):
        leaves = [leaf(f"{n}" * 200) for n in rng.sample(range(60), 6)]
        new = leaf(f"text {number} " + rng.randbytes(100).hex())
        if number % 3 == 0:
            survivors.save(
                f"{number % 4}{number}", *leaves, new, node(f"top {number}", *leaves, new)
            )
    assert survivors.digests() == names.digests()
    assert after <= 1.05 * survivors.compact().bytes_after
    survivors.close()


def test_pages_are_full(names: Names, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(200):
        names.save(f"{number}", leaf(rng.randbytes(rng.randrange(50, 20_000)).hex()))
    done = names.compact()
    stored = names.store.counters().stored_bytes
    # 2 % for LMDB's page and row headers; the lock file, other tables and branch pages.
    assert done.bytes_after < 1.02 * stored + 40 * 4096


# -- beside others -----------------------------------------------------------------------------


def test_what_is_committed_meanwhile_is_kept(names: Names, place: Path, seed: int) -> None:
    other = Names(place)
    fill(names, seed)
    told: set[str] = set()
    number = 1000

    def commit(progress: Progress) -> None:
        nonlocal number
        told.add(progress.phase)
        if number < 1040:
            fill(other, seed + number, first=number, count=1)
            number += 1

    expected = names.reachable()
    names.compact(progress=commit)
    assert told == {"mark", "copy", "verify"}
    assert number > 1003
    assert names.reachable() > expected
    check_store(names)
    for saved in range(1000, number):
        other.drop(f"{saved % 4}{saved}")
    assert names.reachable() == expected
    other.close()


def test_a_name_given_meanwhile_to_what_was_dead_is_kept(names: Names, place: Path) -> None:
    other = Names(place)
    item, above = leaf("low"), node("above", leaf("low"))
    names.save("a", item, above)
    names.save("b", leaf("b"))
    names.drop("a")
    given: list[bool] = []

    def fork(told: Progress) -> None:
        if told.phase == "verify" and not given:
            given.append(other.name("f", above.address()))

    names.compact(progress=fork)
    assert given == [True]
    assert above.address() in names.reachable()
    check_store(names, collected=True)
    other.close()


@pytest.mark.parametrize("by", ["name", "link"])
def test_what_was_dropped_meanwhile_and_is_used_again_is_kept(
    names: Names, place: Path, by: str
) -> None:
    """Alive at the mark, without a name while everything is copied, then reached again."""
    low, middle = leaf("low"), node("middle", leaf("low"))
    top = node("top", low, middle)
    names.save("kept", leaf("kept"))
    names.save("dropped", low, middle, top)
    other = Names(place)
    done: list[str] = []

    def between(told: Progress) -> None:
        if told.phase == "mark" and not done:
            done.append("dropped")
            other.drop("dropped")
        elif told.phase == "verify" and len(done) == 1:
            done.append("used")
            if by == "name":
                assert other.name("again", top.address())
            else:
                other.save("again", low, middle, top, node("above", top))

    names.compact(progress=between)
    other.close()
    assert done == ["dropped", "used"]
    assert names.reachable() >= {low.address(), middle.address(), top.address()}
    check_store(names, collected=True)


@pytest.mark.parametrize("phase", ["copy", "verify"])
def test_a_collection_meanwhile_begins_it_again(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """By a tool that takes no upkeep lock: what was found alive may be gone."""
    monkeypatch.setattr(cas.sweep, "upkeep_lock", lambda *_arguments, **_options: nullcontext())
    names.save("kept", leaf("low"), node("kept", leaf("low")))
    names.save("dropped", leaf("other"), node("dropped", leaf("other")))
    calls: list[str] = []

    def collect(told: Progress) -> None:
        calls.append(told.phase)
        if told.phase == phase and calls.count(phase) == 1:
            other.drop("dropped")
            other.gc()

    assert names.compact(progress=collect).objects == 2
    assert calls.count("mark") > 1, "it went on"
    assert (
        names.digests()
        == names.reachable()
        == {
            leaf("low").address(),
            node("kept", leaf("low")).address(),
        }
    )
    check_store(names, collected=True)


def test_packs_stay_within_their_bounds(names: Names) -> None:
    big = [leaf(f"{n} " * 5_000) for n in range(12)]
    many = [leaf(f"small {n}") for n in range(600)]
    wide = [node(f"wide {n}", *many) for n in range(9)]
    names.save("all", *big, *many, *wide, node("all", *big, *wide))
    names.compact()

    def packs(reader: RecordReader) -> list[Pack]:
        return [Pack(base, data) for base, data in packs_up(reader.transaction, 0, 1 << 40)]

    for pack in names.store.read(packs):
        places = range(len(pack.numbers))
        assert len(places) <= MAX_PACK_RECORDS
        assert sum(map(len, map(pack.links, places))) <= MAX_PACK_LINKS
        assert sum(pack.sizes) <= MAX_PACK_BYTES


def test_garbage_that_arises_meanwhile_is_found_later(names: Names, place: Path) -> None:
    other = Names(place)
    names.save("a", leaf("low"), node("a", leaf("low")))
    names.save("b", leaf("b"))

    dropped: list[str] = []

    def drop(told: Progress) -> None:
        if told.phase == "verify" and not dropped:
            dropped.append("a")
            other.drop("a")

    names.compact(progress=drop)
    assert dropped
    assert names.gc().objects_removed == 2
    check_store(names, collected=True)
    other.close()


def test_another_process_goes_on_in_the_new_file(names: Names, place: Path, seed: int) -> None:
    """A process that has the store open commits throughout; nothing acknowledged is lost."""
    names.save("base", leaf("base"))
    stop, stopper = os.pipe()

    def child() -> str:
        os.close(stopper)
        mine = Names(place)
        number = 0
        os.set_blocking(stop, False)
        while True:
            try:
                if os.read(stop, 1) == b"":
                    break
            except BlockingIOError:
                pass
            mine.save(f"c{number}", leaf(f"child {number}"), node(f"n {number}", leaf("base")))
            number += 1
        return str(number)

    started = start_child(child)
    while names.store.environment.read(lambda tx: tx.get(NAMES, b"c0")) is None:
        time.sleep(0.01)
    for _ in range(4):
        names.compact()
    os.close(stopper)
    count = int(finish(started)[1:])
    os.close(stop)
    reached = names.reachable()
    for number in range(count):
        assert node(f"n {number}", leaf("base")).address() in reached
    assert count > 0
    assert names.store.environment.generation == 5
    check_store(names)


def test_a_forked_child_uses_the_new_generation(names: Names) -> None:
    names.save("a", leaf("a"))
    names.compact()

    def child() -> str:
        names.save("b", leaf("b"))
        return str(len(names.reachable()))

    assert finish(start_child(child)) == "+2"
    assert len(names.reachable()) == 2


# -- failures ----------------------------------------------------------------------------------


def test_a_damaged_object_stops_it_and_nothing_is_replaced(names: Names, place: Path) -> None:
    names.save("a", leaf("a"))
    names.save("b", leaf("b"))
    names.close()
    vandal = Vandal(place)
    number = vandal.number(leaf("b").address())
    vandal.change("objects", vandal.pack_key(number), lambda row: row[:-1] + bytes([row[-1] ^ 1]))
    again = Names(place)
    with pytest.raises(CorruptionError):
        again.compact()
    assert again.store.environment.generation == 1
    assert sorted(n for n in os.listdir(place) if n[0] in "g.") == ["g1", "generation"]
    again.save("c", leaf("c"))
    again.close()


def test_a_bad_copy_is_never_put_in_place(
    names: Names, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.save("a", *[leaf(f"{n}") for n in range(9)], node("a", *[leaf(f"{n}") for n in range(9)]))
    before = names.reachable()
    append = Draft.append

    def damaged(self: Draft, table: object, key: bytes, row: bytes) -> None:
        if key == record_key(1):
            row = row[:-1] + bytes([row[-1] ^ 1])
        append(self, table, key, row)  # type: ignore[arg-type]

    monkeypatch.setattr(Draft, "append", damaged)
    with pytest.raises(CorruptionError):
        names.compact()
    assert names.reachable() == before
    assert names.store.environment.generation == 1
    assert not list(place.glob(".compacting.*"))


def test_a_full_disk_is_said_before_anything_is_copied(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.save("a", leaf("a"))
    space = os.statvfs("/")
    full = os.statvfs_result((*space[:3], 0, 0, *space[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    with pytest.raises(StoreFullError, match="compacting needs up to"):
        names.compact()


def test_room_is_needed_for_what_is_kept_alone(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that the store itself has filled, there is never as much as for the whole file."""
    rng = random.Random(1)
    for number in range(40):
        names.save(f"{number}", Object((), rng.randbytes(200_000)))
    for number in range(39):
        names.drop(f"{number}")
    space = os.statvfs("/")
    free = os.statvfs_result((4096, 4096, space[2], 1_400, 1_400, *space[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: free)
    with pytest.raises(StoreFullError, match="or run gc first"):
        names.compact()
    names.gc()
    names.gc()
    assert names.compact().bytes_after < 1 << 20


class StopError(Exception):
    """An interruption."""


@pytest.mark.parametrize("phase", ["mark", "copy", "verify"])
def test_an_interruption_changes_nothing(names: Names, place: Path, phase: str) -> None:
    names.save("a", leaf("a"))

    def stop(told: Progress) -> None:
        if told.phase == phase:
            raise StopError

    with pytest.raises(StopError):
        names.compact(progress=stop)
    assert not list(place.glob(".compacting.*"))
    check_store(names, collected=True)
    assert names.compact().objects == 1


@pytest.mark.parametrize("part", ["the names", "the number"])
def test_a_failure_while_switching_changes_nothing(
    names: Names, place: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the number that others would see, and a power failure would take back."""
    names.save("a", leaf("a"))
    before = names.reachable()
    number = (place / "generation").read_bytes()
    wanted = os.stat(place if part == "the names" else place / "generation").st_ino
    sync, failed = os.fsync, list[int]()

    def fail(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == wanted and not failed:
            failed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(CorruptStoreError, match="input/output error"):
            names.compact()
    assert failed
    assert (place / "generation").read_bytes() == number
    assert [found.name for found in place.glob("g[0-9]*")] == ["g1"]
    assert names.reachable() == before
    assert names.compact().objects == 1
    assert [found.name for found in place.glob("g[0-9]*")] == ["g2"]
    assert names.reachable() == before


@pytest.mark.parametrize("step", ["rename", "advance", "after"])
def test_a_crash_while_switching_leaves_the_old_or_the_new_store(
    names: Names, place: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.save("a", leaf("a"), node("top", leaf("a")))
    names.save("b", leaf("b"))
    names.drop("b")
    expected = names.reachable()

    def die(*_arguments: object, **_keywords: object) -> None:
        os._exit(9)

    def child() -> str:
        if step == "rename":
            monkeypatch.setattr(os, "rename", die)
        elif step == "advance":
            monkeypatch.setattr(GenerationLock, "advance", die)
        else:
            advance = GenerationLock.advance

            def advance_and_die(self: GenerationLock, generation: int) -> None:
                advance(self, generation)
                die()

            monkeypatch.setattr(GenerationLock, "advance", advance_and_die)
        names.compact()
        return "survived"

    pid, pipe = start_child(child)
    os.close(pipe)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    left = [name for name in os.listdir(place) if name[0] == "." or name[1:].isdecimal()]
    assert len(left) == 2
    assert names.reachable() == expected
    again = Names(place)
    generation = 2 if step == "after" else 1
    assert again.store.environment.generation == generation
    left = [name for name in os.listdir(place) if name[0] == "." or name[1:].isdecimal()]
    assert left == [f"g{generation}"], "opening does not remove what is left behind"
    again.compact()
    check_store(again, collected=True)
    again.close()


def test_a_generation_in_the_way_is_no_obstacle(names: Names, place: Path) -> None:
    names.save("a", leaf("a"))
    shutil.copytree(place / "g1", place / "g2")
    assert names.compact().objects == 1
    check_store(names, collected=True)


def test_leftovers_that_cannot_be_removed_keep_nobody_out(
    names: Names, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be what fills the disk."""
    names.save("a", leaf("a"))
    names.close()
    left = place / ".compacting.1.left"
    left.mkdir()
    with monkeypatch.context() as patch:

        def full(*_arguments: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(cas.upkeep, "_open", full)
        with Environment.open(place, [NAMES]) as environment:
            assert environment.read(lambda tx: tx.count(NAMES)) == 1
    assert left.exists()
    Environment.open(place, [NAMES]).close()
    assert not left.exists()


def test_a_read_only_handle_cannot_compact(names: Names, place: Path) -> None:
    names.save("a", leaf("a"))
    with Environment.open(place, [], read_only=True) as environment, pytest.raises(HiveError):
        environment.replace(lambda _transaction: place)


def test_packs_of_small_groups_are_shared(names: Names) -> None:
    for number in range(100):
        names.save(f"{number}", Object((), f"{number}".encode()))
    names.compact()
    packs = names.store.environment.read(lambda tx: [Pack(*p) for p in packs_up(tx, 0, 1 << 40)])
    assert len(packs) == 1
