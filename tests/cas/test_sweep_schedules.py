"""Collection against writers that re-use what is dying, at every boundary between transactions.

A schedule is what happens between two transactions of a collection: the `progress` callback runs
there. The writers are handles of their own, so each remembers what it believes to be stored, as
another process would. The last tests switch one safeguard off each, and then the same schedules
lose data: so they can fail.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable
from contextlib import nullcontext
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest

import cas.compact
import cas.late
import cas.marking
import cas.removal
import cas.sweep
from cas.counters import Counters
from cas.environment import WriteTransaction
from cas.errors import CorruptionError, HiveError
from cas.late import LateMarks
from cas.marking import Marker
from cas.markpass import Marked
from cas.objects import Object
from cas.packs import FRAGMENT_BYTES, NewRecord, Pack
from cas.records import record_key
from cas.upkeep import Progress
from cas.writer import RecordWriter
from tests.cas.garbage import NAMES, Names, check_store, leaf, node
from tests.damage import Vandal

SCHEDULES = 50


def once(phase: str, place: int, work: Callable[[], object]) -> Callable[[Progress], None]:
    """Return a callback that works once, at the given call of that phase."""
    calls = 0

    def call(told: Progress) -> None:
        nonlocal calls
        if told.phase == phase:
            calls += 1
            if calls == place:
                work()

    return call


# -- single schedules --------------------------------------------------------------------------


def dying_tree(names: Names) -> list[Object]:
    """A parent and its children, in packs of their own, that nothing names any more."""
    low, middle = leaf("low"), node("middle", leaf("low"))
    top = node("top", middle)
    names.save("kept", leaf("kept"))
    names.save("1", low)
    names.save("2", middle)
    names.save("3", top)
    names.drop("1", "2", "3")
    return [low, middle, top]


def after_the_mark_a_name_is_given(names: Names, other: Names) -> None:
    """A fork, or an import, of what was forgotten but not swept: between mark and sweep."""
    items = dying_tree(names)
    given: list[bool] = []
    last = items[-1].address()
    names.gc(batch_seconds=0, progress=once("mark", 1, lambda: given.append(other.name("f", last))))
    check_store(names)
    assert given == [True]
    assert last in names.reachable()


def a_parent_is_used_before_its_children_are_swept(names: Names, other: Names) -> None:
    """A commit finds a dying parent by its digest, whose children are next to be swept."""
    items = dying_tree(names)
    names.save("noise", *[leaf(f"noise {place}") for place in range(3)])
    names.drop("noise")

    def use() -> None:
        other.save("used", *items[:2], node("above", items[1]))

    names.gc(batch_seconds=0, progress=once("sweep", 1, use))
    check_store(names)
    assert items[0].address() in names.reachable()


def an_interrupted_sweep_leaves_whole_trees(names: Names, other: Names) -> None:
    """A sweep ends after one batch; then a commit finds a parent that was to be swept."""
    items = dying_tree(names)
    names.gc(batch_seconds=0, time_budget=0.0)
    check_store(names)
    other.save("used", *items)
    check_store(names)


def a_writer_remembers_what_was_swept(names: Names, other: Names) -> None:
    """A writer that stored a child itself believes that it is there still."""
    child = leaf("child")
    other.save("mine", child)
    other.drop("mine")
    names.gc(batch_seconds=0)
    other.save("parent", child, node("parent", child))
    check_store(names)
    assert child.address() in names.reachable()


SCENARIOS = [
    after_the_mark_a_name_is_given,
    a_parent_is_used_before_its_children_are_swept,
    an_interrupted_sweep_leaves_whole_trees,
    a_writer_remembers_what_was_swept,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("index_share", [1, 1 << 30])
def test_nothing_live_is_lost(
    names: Names,
    other: Names,
    scenario: Callable[[Names, Names], None],
    index_share: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cas.sweep, "_INDEX_SHARE", index_share)
    scenario(names, other)
    names.gc(whole=True)
    check_store(names, collected=True)


def test_a_swept_tail_is_followed_by_new_records(names: Names, other: Names) -> None:
    items = dying_tree(names)
    names.gc(
        batch_seconds=0,
        progress=once("sweep", 2, lambda: other.save("again", *items, node("more", items[-1]))),
    )
    check_store(names)
    assert items[0].address() in names.reachable()
    names.gc()
    check_store(names, collected=True)


def test_what_was_swept_can_be_imported_again(names: Names, other: Names) -> None:
    items = dying_tree(names)
    names.gc()
    other.save("again", *items)
    check_store(names, collected=True)
    names.gc()
    check_store(names, collected=True)


def test_a_name_for_what_is_swept_is_refused(names: Names, other: Names) -> None:
    items = dying_tree(names)
    names.gc()
    assert not other.name("late", items[-1].address())


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_dropped_while_names_are_listed_is_no_damage_later(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """It is garbage to that collection; the log says behind its moment that it was dropped."""
    names.save("kept", leaf("kept"))
    names.gc()
    names.save("gone", leaf("low"), node("gone", leaf("low")))
    names.save("stays", leaf("low"), node("stays", leaf("low")))
    list_roots = Marker._list_roots

    def dropping(marker: Marker, limit: int) -> None:
        monkeypatch.setattr(Marker, "_list_roots", list_roots)
        other.drop("gone")
        list_roots(marker, limit)

    monkeypatch.setattr(Marker, "_list_roots", dropping)
    assert names.gc(whole=whole).complete
    assert node("gone", leaf("low")).address() not in names.digests()
    other.drop("stays")
    for _ in range(2):
        assert names.gc().complete
        check_store(names, collected=True)
    assert names.digests() == {leaf("kept").address()}


def test_what_is_stored_while_names_are_listed_is_no_business_of_the_collection(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.save("gone", leaf("gone"))
    names.drop("gone")
    list_roots = Marker._list_roots

    def saving(marker: Marker, limit: int) -> None:
        other.save("new", leaf("new"))
        list_roots(marker, limit)

    monkeypatch.setattr(Marker, "_list_roots", saving)
    assert names.gc().objects_removed == 1
    check_store(names, collected=True)


def test_garbage_that_a_new_record_saved_and_left_again_is_found(
    names: Names, other: Names
) -> None:
    items = dying_tree(names)

    def use() -> None:
        other.save("used", *items, node("above", items[-1]))
        other.drop("used")

    names.gc(batch_seconds=0, progress=once("mark", 1, use))
    check_store(names)
    names.gc()
    check_store(names, collected=True)


def test_a_writer_that_is_always_a_step_ahead_loses_nothing_and_holds_nothing_up(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it saves behind the marking outside is more than a transaction may mark, every time."""
    monkeypatch.setattr(cas.sweep, "_LATE_SECONDS", -1.0)
    names.save("kept", leaf("kept"))
    trees = [[leaf(f"low {n}"), node(f"top {n}", leaf(f"low {n}"))] for n in range(40)]
    for tree in trees:
        names.save("gone", *tree)
    names.drop("gone")
    saved: list[Object] = []
    mark_late = cas.sweep._Sweeping._mark_late

    def a_step_ahead(sweeping: cas.sweep._Sweeping) -> None:
        mark_late(sweeping)
        tree = trees.pop(0)
        other.save(f"again {len(trees)}", *tree, node("above", tree[-1]))
        saved.extend(tree)

    monkeypatch.setattr(cas.sweep._Sweeping, "_mark_late", a_step_ahead)
    done = names.gc(batch_seconds=0, time_budget=0.0)
    assert not done.complete
    assert done.batches == 1, "it was held up"
    assert len(saved) > len(trees[0]), "it marked with the lock held at once"
    check_store(names)
    assert {item.address() for item in saved} <= names.reachable()


def test_marking_that_ran_out_of_time_goes_on_with_the_very_next_record(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new record leads to a dying tree, and after each the time for marking is over."""
    trees = [[leaf(f"low {n}"), node(f"top {n}", leaf(f"low {n}"))] for n in range(9)]
    for tree in trees:
        names.save("gone", *tree)
    names.drop("gone")
    moments = cycle([0.0, math.inf])
    late = SimpleNamespace(perf_counter=lambda: next(moments))

    def use() -> None:
        for number, tree in enumerate(trees):
            other.save(f"again {number}", *tree, node(f"above {number}", tree[-1]))
        monkeypatch.setattr(cas.late, "time", late)

    names.gc(batch_seconds=0, progress=once("mark", 1, use))
    check_store(names)
    assert {item.address() for tree in trees for item in tree} <= names.reachable()


def test_a_name_given_without_a_note_is_noticed(names: Names, other: Names) -> None:
    """By an older version, say: only the root epoch tells that something changed."""
    items = dying_tree(names)

    def name(writer: RecordWriter) -> None:
        number = writer.find(items[-1].address())
        assert number is not None
        writer.writing.put(NAMES, b"f", number.to_bytes(6, "big"))
        writer.counters.root_epoch += 1

    names.gc(batch_seconds=0, progress=once("mark", 1, lambda: other.store.write(name)))
    check_store(names)
    assert items[-1].address() in names.reachable()


def test_what_a_healed_record_links_to_is_kept(place: Path) -> None:
    """Until it was healed its links led elsewhere, so its child was dead at the mark."""
    child, wrong = leaf("child"), leaf("wrong")
    parent = node("parent", child)
    names = Names(place)
    for name, item in (("wrong", wrong), ("child", child), ("parent", parent)):
        names.save(name, item)
    names.drop("child")
    names.close()
    damaged = NewRecord(3, parent.address(), [1], parent.payload)
    (row,) = Pack.encode([damaged], FRAGMENT_BYTES)
    Vandal(place).put("objects", record_key(3), row)
    names, other = Names(place), Names(place)

    def heal() -> None:
        with pytest.raises(CorruptionError):
            other.reachable()
        other.save("healed", parent)

    names.gc(batch_seconds=0, progress=once("mark", 1, heal))
    assert names.reachable() == {item.address() for item in (child, wrong, parent)}
    names.close()
    other.close()


@pytest.mark.parametrize("phase", ["mark", "sweep", "index", "end"])
def test_a_file_replaced_meanwhile_begins_a_collection_again(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """By a tool that takes no upkeep lock: all records have other numbers then."""
    monkeypatch.setattr(cas.compact, "upkeep_lock", lambda *_arguments: nullcontext())
    monkeypatch.setattr(cas.sweep, "_INDEX_SHARE", 1 << 30)
    monkeypatch.setattr(cas.removal, "_LEAST_ROWS", 1)
    for item in (leaf("gone 1"), leaf("gone 2"), leaf("gone 3")):
        names.save("gone", item)
    for n in range(20):
        names.save(f"kept {n}", leaf(f"low {n}"), node(f"kept {n}", leaf(f"low {n}")))
    names.drop("gone")
    expected = names.reachable()
    replaced: list[str] = []

    def replace(told: Progress) -> None:
        at_end = (told.phase, told.done) == ("index", told.total)
        if not replaced and (told.phase == phase or (phase == "end" and at_end)):
            replaced.append(phase)
            other.compact()

    assert names.gc(batch_seconds=0, progress=replace).complete
    assert replaced
    assert names.digests() == names.reachable() == expected
    check_store(names, collected=True)
    names.store.put(leaf("stray"))
    names.gc()
    check_store(names, collected=True)


# -- many schedules ----------------------------------------------------------------------------


class Crowd:
    """Writers that store, name and drop small trees that share pieces, at random."""

    def __init__(self, seed: int, writers: list[Names]) -> None:
        self.random = random.Random(seed)
        self.writers = writers
        self.named: dict[str, list[Object]] = {}
        self.former: list[list[Object]] = []

    def tree(self) -> list[Object]:
        """A tree over a few of 12 leaves: most trees share children, and some recur."""
        leaves = [leaf(f"leaf {n}") for n in sorted(self.random.sample(range(12), 3))]
        middle = node("middle", *leaves[:2])
        return [*leaves, middle, node(f"top {self.random.randrange(4)}", middle, leaves[2])]

    def act(self) -> None:
        writer = self.random.choice(self.writers)
        name = str(self.random.randrange(6))
        choice = self.random.random()
        if choice < 0.35:
            tree = self.tree()
            writer.save(name, *tree)
            self._now(name, tree)
        elif choice < 0.6 and self.former:
            tree = self.random.choice(self.former)
            if self.random.random() < 0.5:
                writer.save(name, *tree)
                self._now(name, tree)
            elif writer.name(name, tree[-1].address()):
                self._now(name, tree)
        elif name in self.named:
            writer.drop(name)
            self.former.append(self.named.pop(name))

    def _now(self, name: str, tree: list[Object]) -> None:
        if name in self.named:
            self.former.append(self.named[name])
        self.named[name] = tree

    def expected(self) -> set[bytes]:
        return {item.address() for tree in self.named.values() for item in tree}


@pytest.mark.parametrize("schedule", range(SCHEDULES))
def test_random_schedules_lose_nothing(
    names: Names, other: Names, seed: int, schedule: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cas.sweep, "_INDEX_SHARE", 1 if schedule % 2 else 1 << 30)
    monkeypatch.setattr(cas.removal, "_LEAST_ROWS", 5)
    crowd = Crowd(seed + schedule, [names, other])
    for _ in range(20):
        crowd.act()

    def between(told: Progress) -> None:
        for _ in range(crowd.random.randrange(3)):
            crowd.act()
        if crowd.random.random() < 0.3:
            check_store(names)
        assert names.reachable() >= crowd.expected()

    for _ in range(2):
        budget = crowd.random.choice([None, 0.0])
        names.gc(batch_seconds=0, time_budget=budget, progress=between)
        check_store(names)
        assert names.reachable() == crowd.expected()
    while not names.gc(batch_seconds=0).complete:
        check_store(names)
    assert names.digests() == crowd.expected()
    for _ in range(20):
        crowd.act()
    names.gc()
    assert names.digests() == crowd.expected(), "garbage that only a look at everything finds"
    assert names.gc(whole=True).objects_removed == 0
    check_store(names, collected=True)


# -- negative controls -------------------------------------------------------------------------


def test_without_the_root_epoch_a_fork_is_lost(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordWriter, "root", lambda *_arguments: None)
    with pytest.raises((AssertionError, HiveError)):
        after_the_mark_a_name_is_given(names, other)


def test_without_late_marks_a_reused_parent_loses_its_children(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LateMarks, "update", lambda *_arguments: None)
    with pytest.raises((AssertionError, HiveError)):
        a_parent_is_used_before_its_children_are_swept(names, other)


def test_in_another_order_a_parent_stays_without_children(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ascending(Marker):
        def mark(self, *, whole: bool) -> Marked | None:
            marked = super().mark(whole=whole)
            if marked is not None:
                marked.packs = array("Q", reversed(marked.packs))
            return marked

    monkeypatch.setattr(cas.sweep, "Marker", Ascending)
    with pytest.raises((AssertionError, HiveError)):
        an_interrupted_sweep_leaves_whole_trees(names, other)


def test_without_the_counter_a_writer_links_to_what_is_gone(
    names: Names, other: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = cas.sweep._Sweeping._seal

    def silent(
        self: cas.sweep._Sweeping, transaction: WriteTransaction, counters: Counters
    ) -> None:
        seal(self, transaction, counters)
        counters.sweeps -= 1
        counters.save(transaction)

    monkeypatch.setattr(cas.sweep._Sweeping, "_seal", silent)
    with pytest.raises((AssertionError, HiveError)):
        a_writer_remembers_what_was_swept(names, other)
