"""Collection: what no name leads to goes, the rest stays, and the cost follows what changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cas.removal
import cas.sweep
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptionError, MissingObjectError, StoreFullError, UnsupportedFormatError
from cas.objects import Object
from cas.records import INDEX, OBJECTS, REPAIRS, record_key
from cas.store import ObjectStore
from cas.upkeep import Progress
from cas.writer import RecordWriter
from tests.cas.garbage import NAMES, Names, check_store, leaf, node
from tests.damage import Vandal


def chain(text: str, length: int) -> list[Object]:
    """Objects of which each links to the one before."""
    items = [leaf(f"{text} 0")]
    for step in range(1, length):
        items.append(node(f"{text} {step}", items[-1]))
    return items


def test_where_room_is_scarce_less_is_removed_at_once(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, before = Environment.write, names.store.environment.read(rows_of_objects)

    def write_tight(self: Environment, work: Callable[..., Any], **options: Any) -> Any:
        """A disk that has room for a transaction that removes two packs, or that many rows."""

        def checked(transaction: WriteTransaction) -> Any:
            packs, rows = rows_of_objects(transaction), transaction.count(INDEX)
            result = work(transaction)
            if packs - rows_of_objects(transaction) > 2 or rows - transaction.count(INDEX) > 100:
                raise StoreFullError("full")
            return result

        return write(self, checked, **options)

    for number in range(40):
        names.save(f"{number}", *chain(f"{number}", 10))
        names.drop(f"{number}")
    names.save("kept", *chain("kept", 10))
    with monkeypatch.context() as patch:
        patch.setattr(Environment, "write", write_tight)
        done = names.gc(batch_seconds=1)
    assert (done.complete, done.objects_removed) == (True, 400)
    assert names.store.environment.read(rows_of_objects) == before + 1
    check_store(names, collected=True)


def rows_of_objects(transaction: ReadTransaction) -> int:
    return transaction.count(OBJECTS)


def test_what_is_left_of_packs_takes_no_more_pages(names: Names) -> None:
    """A little was removed beside long texts, and the tree grew by a quarter: its pages split."""
    rng = random.Random(3)
    for number in range(100):
        text = Object((), rng.randbytes(15_000))
        names.save(f"old {number}", text, node(f"{number}", text))
        names.save(f"text {number}", text)
        names.drop(f"old {number}")
    before = names.store.environment.read(ReadTransaction.bytes_in_use)
    assert names.gc().objects_removed == 100
    assert names.store.environment.read(ReadTransaction.bytes_in_use) < 1.05 * before


def test_an_empty_store_is_collected(names: Names) -> None:
    assert names.gc().complete
    check_store(names, collected=True)


def test_what_has_no_name_goes_and_what_has_one_stays(names: Names) -> None:
    shared, only_a, only_b = leaf("shared"), leaf("a"), leaf("b")
    a, b = node("A", shared, only_a), node("B", shared, only_b)
    names.save("a", shared, only_a, a)
    names.save("b", shared, only_b, b)
    names.drop("a")
    done = names.gc()
    assert (done.complete, done.objects_removed, done.objects_kept) == (True, 2, 3)
    assert done.payload_bytes_removed == len(only_a.payload) + len(a.payload)
    assert names.digests() == {item.address() for item in (shared, only_b, b)}
    check_store(names, collected=True)


def test_what_was_never_named_goes(names: Names) -> None:
    names.save("kept", leaf("kept"))
    names.store.put(leaf("stray"))
    assert names.gc().objects_removed == 1
    names.store.put(leaf("stray"))
    assert names.gc().objects_removed == 1, "an incremental collection missed it"
    check_store(names, collected=True)


def test_a_dry_run_says_what_a_run_then_does(names: Names) -> None:
    names.save("a", *chain("a", 20))
    names.save("b", *chain("b", 5))
    names.drop("a")
    before = names.store.counters()
    plan = names.gc(dry_run=True)
    assert names.store.counters() == before
    done = names.gc()
    assert plan.objects_removed == done.objects_removed == 20
    assert plan.payload_bytes_removed == done.payload_bytes_removed
    assert plan.stored_bytes_removed == done.stored_bytes_removed
    assert plan.objects_kept == done.objects_kept == 5


def test_a_dry_run_tells_dead_records_from_live_ones_beside_them(names: Names) -> None:
    child = leaf("child " * 50)
    items = [child, leaf("gone " * 50), node("kept", child)]
    names.save("pack", *items)
    empty = [Object((), b""), Object((Object((), b"").address(),), b"")]
    names.save("empty", *empty)
    names.save("first", empty[0])
    names.drop("empty")
    before = names.store.counters()
    plan = names.gc(dry_run=True)
    done = names.gc()
    assert plan.objects_removed == done.objects_removed == 2
    assert plan.objects_kept == done.objects_kept == 3
    assert plan.payload_bytes_removed == done.payload_bytes_removed == len(items[1].payload)
    assert 0 < plan.stored_bytes_removed < before.stored_bytes
    check_store(names, collected=True)


def test_record_numbers_are_not_used_again_after_the_tail_was_swept(names: Names) -> None:
    names.save("kept", leaf("kept"))
    names.save("tail", *chain("tail", 10))
    highest = names.store.counters().next_record
    names.drop("tail")
    assert names.gc().objects_removed == 10
    assert names.store.counters().next_record == highest
    names.save("tail", *chain("tail", 10))
    assert names.store.counters().next_record == highest + 10
    check_store(names, collected=True)


def test_a_pack_keeps_its_live_records_when_others_of_it_go(names: Names) -> None:
    items = [leaf(f"leaf {place}") for place in range(9)]
    names.save("all", *items, node("all", *items))
    names.save("odd", node("odd", *items[1::2]))
    names.drop("all")
    assert names.gc().objects_removed == 6
    assert names.reachable() == {i.address() for i in (*items[1::2], node("odd", *items[1::2]))}
    check_store(names, collected=True)
    names.save("more", items[0], node("more", items[0], items[1]))
    names.drop("odd")
    names.gc()
    assert names.reachable() == {i.address() for i in (*items[:2], node("more", *items[:2]))}
    check_store(names, collected=True)


# -- incremental -------------------------------------------------------------------------------


def test_nothing_is_looked_at_when_nothing_changed(names: Names) -> None:
    names.save("a", *chain("a", 5))
    assert names.gc().scope == "everything"
    assert names.gc().scope == "nothing"
    assert names.gc(whole=True).scope == "everything"


def test_only_what_changed_is_looked_at(names: Names) -> None:
    for run in range(30):
        names.save(f"{run:02}", *chain(f"run {run}", 10))
    names.gc()
    looked: list[int] = []
    names.save("new", *chain("new", 10))
    done = names.gc(progress=lambda told: looked.append(told.total))
    assert (done.scope, done.objects_removed, max(looked)) == ("changes", 0, 10)
    names.drop("28")
    done = names.gc()
    assert (done.scope, done.objects_removed) == ("changes", 10)
    check_store(names, collected=True)


def test_new_garbage_below_a_new_name_that_was_dropped_goes_too(names: Names) -> None:
    for run in range(10):
        names.save(f"{run}", *chain(f"run {run}", 5))
    names.gc()
    names.store.put(leaf("stray"))
    names.save("new", leaf("new"))
    names.drop("new")
    done = names.gc()
    assert (done.scope, done.objects_removed) == ("changes", 2)
    check_store(names, collected=True)


def test_an_incremental_collection_spares_what_another_name_reaches(names: Names) -> None:
    base = chain("base", 10)
    names.save("base", *base)
    names.save("near", node("near", base[4]))
    for run in range(30):
        names.save(f"{run:02}", *chain(f"run {run}", 10))
    between = node("between", base[6])
    for item in (between, node("far", between)):
        names.save("far", item)
    for run in range(30, 40):
        names.save(f"{run:02}", *chain(f"run {run}", 10))
    names.gc()
    names.drop("base")
    done = names.gc()
    assert (done.scope, done.objects_removed) == ("changes", 3)
    assert names.digests() >= {item.address() for item in base[:7]}
    check_store(names, collected=True)


def test_a_name_dropped_and_given_again_in_between_keeps(names: Names) -> None:
    items = chain("a", 5)
    names.save("a", *items)
    names.save("b", *chain("b", 5))
    names.gc()
    names.drop("a")
    assert names.name("again", items[-1].address())
    assert names.gc().objects_removed == 0
    names.drop("again")
    assert names.gc().objects_removed == 5
    check_store(names, collected=True)


def test_a_change_of_roots_without_a_note_is_noticed(names: Names) -> None:
    items = chain("a", 5)
    names.save("a", *items)
    names.gc()

    def drop(writer: RecordWriter) -> None:
        writer.writing.delete(NAMES, b"a")
        writer.counters.root_epoch += 1

    names.store.write(drop)
    done = names.gc()
    assert (done.scope, done.objects_removed) == ("everything", 5)


# -- interruption ------------------------------------------------------------------------------


class StopError(Exception):
    """An interruption of a collection."""


@pytest.mark.parametrize("whole_index", [False, True])
def test_an_interrupted_collection_is_harmless_and_the_next_one_finishes(
    names: Names, whole_index: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cas.sweep, "_INDEX_SHARE", 1 << 30 if whole_index else 1)
    monkeypatch.setattr(cas.removal, "_LEAST_ROWS", 20)
    for run in range(8):
        names.save(f"{run}", *chain(f"run {run}", 6))
    names.drop(*(f"{run}" for run in range(7)))
    steps = 0
    while True:
        left = steps

        def stop(told: Progress) -> None:
            nonlocal left
            if told.phase != "mark":
                left -= 1
                if left < 0:
                    raise StopError

        try:
            names.gc(batch_seconds=0, progress=stop)
        except StopError:
            check_store(names)
            names.save("0", *chain("run 0", 6))
            check_store(names)
            names.drop("0")
            steps += 1
            continue
        break
    assert steps >= 1
    check_store(names, collected=True)
    assert names.gc().scope == "nothing"


def test_a_time_budget_stops_it_and_repeating_ends(names: Names) -> None:
    for run in range(10):
        names.save(f"{run}", *chain(f"run {run}", 6))
    names.drop(*(f"{run}" for run in range(9)))
    removed, calls = 0, 0
    while True:
        done = names.gc(batch_seconds=0, time_budget=0.0)
        check_store(names)
        removed += done.objects_removed
        calls += 1
        if done.complete:
            break
    assert removed == 54
    assert calls > 5
    check_store(names, collected=True)


def test_what_an_interrupted_collection_of_changes_left_is_found_by_the_next(names: Names) -> None:
    """The dropped root above it is gone by then, so no log leads there."""
    low, middle = leaf("low"), node("middle", leaf("low"))
    names.save("kept", leaf("kept"))
    for item in (low, middle, node("top", middle)):
        names.save("gone", item)
    assert names.gc().complete
    names.drop("gone")
    done = names.gc(batch_seconds=0, time_budget=0.0)
    assert (done.complete, done.scope, done.objects_removed) == (False, "changes", 1)
    done = names.gc()
    assert (done.complete, done.scope, done.objects_removed) == (True, "everything", 2)
    check_store(names, collected=True)


# -- damage ------------------------------------------------------------------------------------


def test_a_damaged_pack_ends_the_collection_before_anything_is_removed(
    names: Names, place: Path
) -> None:
    names.save("kept", *chain("kept", 5))
    names.save("gone", *chain("gone", 5))
    names.drop("gone")
    names.close()
    key = record_key(1)
    Vandal(place).change("objects", key, lambda row: row[:2] + b"\xff" + row[3:])
    again = Names(place)
    before = again.store.counters()
    with pytest.raises(CorruptionError):
        again.gc()
    assert again.store.counters() == before
    again.close()


@pytest.mark.parametrize("missing", [1, 2, 5])
def test_a_missing_pack_ends_the_collection(names: Names, place: Path, missing: int) -> None:
    lowest, low = leaf("lowest"), chain("low", 3)
    names.save("lowest", lowest)
    names.save("low", *low)
    names.save("high", node("high", lowest, low[-1]))
    names.save("gone", *chain("gone", 5))
    names.drop("gone")
    names.close()
    Vandal(place).delete("objects", record_key(missing))
    again = Names(place)
    before = again.store.counters()
    with pytest.raises(MissingObjectError):
        again.gc()
    assert again.store.counters() == before
    again.close()


def test_a_table_that_may_hold_roots_is_not_overlooked(names: Names, place: Path) -> None:
    names.save("a", leaf("a"))
    names.close()
    ObjectStore.open(place, tables=(NAMES, Table("later"))).close()
    again = Names(place)
    # A table is created by the first write of whoever knows it.
    with ObjectStore.open(place, tables=(NAMES, Table("later"))) as later:
        later.environment.write(lambda tx: tx.put(Table("later"), b"k", b"v"))
        for work in (again.gc, again.compact):
            with pytest.raises(UnsupportedFormatError, match="later"):
                work()
    again.close()


def test_bytes_that_stand_in_for_damaged_ones_move_into_the_pack(names: Names, place: Path) -> None:
    gone, kept = leaf("gone" * 50), leaf("kept" * 50)
    names.save("both", gone, kept, node("both", gone, kept))
    names.save("kept", node("kept", kept))
    names.drop("both")
    names.close()
    vandal = Vandal(place)
    number = vandal.number(kept.address())
    vandal.change("objects", vandal.pack_key(number), lambda row: row[:-1] + bytes([row[-1] ^ 1]))
    again = Names(place)
    with pytest.raises(CorruptionError):
        again.reachable()
    again.save("healed", kept, node("healed", kept))
    assert again.store.environment.read(lambda tx: tx.count(REPAIRS)) > 0
    again.gc()
    assert again.store.environment.read(lambda tx: tx.count(REPAIRS)) == 0
    assert again.reachable() == {
        item.address() for item in (kept, node("kept", kept), node("healed", kept))
    }
    again.close()
