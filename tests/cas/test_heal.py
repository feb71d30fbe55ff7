"""Storing an object again heals a damaged record of it, with everything that links there."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

import cas.records
import cas.writer
from cas.digest import Digest
from cas.environment import WriteTransaction
from cas.errors import CorruptionError, CorruptObjectError, HiveError, MissingObjectError
from cas.objects import Object
from cas.records import OBJECTS, RecordReader, index_key, record_key
from cas.store import ObjectStore
from cas.writer import RecordWriter
from tests.damage import Vandal, flip

Damage = Callable[[bytes, int], bytes | None]
"""Makes of the first row of a pack, and where in it the victim's digest stands, another row."""


def tree(seed: int) -> list[Object]:
    """Two levels of objects below one root, children first; half of them do not compress."""
    rng = random.Random(seed)
    leaves = [Object((), rng.randbytes(90) if rng.random() < 0.5 else b"ab" * 60) for _ in range(8)]
    leaves = [Object((), b"%d " % index + leaf.payload) for index, leaf in enumerate(leaves)]
    nodes = [
        Object(tuple(leaf.address() for leaf in leaves[at : at + 4]), b"node %d" % at)
        for at in (0, 2, 4)
    ]
    root = Object(tuple(node.address() for node in nodes), b"root %d" % seed)
    return [*leaves, *nodes, root]


def put_all(store: ObjectStore, items: Sequence[Object]) -> None:
    def work(writer: RecordWriter) -> None:
        for item in items:
            writer.put(item.address(), item)

    store.write(work)


def restore(store: ObjectStore, number: int) -> list[bytes]:
    """Read everything below a record, by numbers only, as a restore does."""

    def work(reader: RecordReader) -> list[bytes]:
        payloads, level = [], [number]
        while level:
            records = reader.read_all(level)
            payloads += [record.payload for record in records]
            level = list(dict.fromkeys(link for record in records for link in record.links))
        return payloads

    return store.read(work)


def damaged(store: Path, number: int, damage: Damage) -> None:
    """Damage the pack of a record in a closed store."""
    vandal = Vandal(store)
    key = vandal.pack_key(number)
    row = damage(vandal.row("objects", key), vandal.digest_at(number))
    if row is None:
        vandal.delete("objects", key)
    else:
        vandal.put("objects", key, row)


def damaged_while_open(store: ObjectStore, number: int, damage: Damage) -> None:
    """Damage the pack of a record behind the back of a handle that may have stored it."""

    def work(tx: WriteTransaction) -> None:
        found = tx.last_at_or_before(OBJECTS, record_key(number))
        assert found is not None
        base = int.from_bytes(found[0][:6], "big")
        row = damage(found[1], 6 + (number - base) * 32)
        if row is None:
            tx.delete(OBJECTS, found[0])
        else:
            tx.put(OBJECTS, found[0], row)

    store.environment.write(work)


def payload(row: bytes, _digest_at: int) -> bytes:
    return flip(row, -1)


DAMAGE: dict[str, Damage] = {
    "payload": payload,
    "middle": lambda row, _at: flip(row, len(row) * 2 // 3, 4),
    "first byte of the digest": flip,
    "last byte of the digest": lambda row, at: flip(row, at + 31),
    "codec": lambda row, _at: flip(row, 0, 6),
    "count": lambda row, _at: flip(row, 1, 1),
    "meta": lambda row, _at: flip(row, 6 + 32 * row[1], 5),
    "lost": lambda _row, _at: None,
    "empty": lambda _row, _at: b"",
}


@pytest.mark.parametrize("together", [True, False], ids=["one pack", "a pack each"])
@pytest.mark.parametrize("reopened", [True, False], ids=["reopened", "same handle"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("victim", [0, 9, 10], ids=["leaf", "node", "last node"])
def test_storing_a_tree_again_heals_it_and_what_shares_it(
    home: Path, damage: str, reopened: bool, together: bool, victim: int
) -> None:
    place = home / "objects"
    items = tree(1)
    other_root = Object((items[9].address(), items[0].address()), b"other")
    root, other = len(items), len(items) + 1
    with ObjectStore.open(place) as store:
        for part in [items] if together else [[item] for item in items]:
            put_all(store, part)
        put_all(store, [other_root])
        whole = restore(store, root), restore(store, other)
        if not reopened:
            damaged_while_open(store, victim + 1, DAMAGE[damage])
            check_that_it_heals(store, items, whole)
    if reopened:
        damaged(place, victim + 1, DAMAGE[damage])
        with ObjectStore.open(place) as store:
            check_that_it_heals(store, items, whole)
    with ObjectStore.open(place, read_only=True) as store:
        assert (restore(store, root), restore(store, other)) == whole
        assert store.counters().next_record == len(items) + 2, "nothing was stored anew"
    assert Vandal(place).rows("repairs")


def check_that_it_heals(
    store: ObjectStore, items: Sequence[Object], whole: tuple[list[bytes], list[bytes]]
) -> None:
    with pytest.raises(HiveError):
        restore(store, len(items))
    put_all(store, items)
    assert restore(store, len(items)) == whole[0], "the same record numbers lead to good bytes"
    assert restore(store, len(items) + 1) == whole[1]
    for item in items:
        assert store.get(item.address()) == item


def test_damage_in_two_packs_of_which_one_is_known_is_healed_at_once(home: Path) -> None:
    place = home / "objects"
    items = tree(2)
    with ObjectStore.open(place) as store:
        put_all(store, items[:4])
        put_all(store, items[4:8])
        put_all(store, items[8:])
        whole = restore(store, 12)
    damaged(place, 1, DAMAGE["count"])
    damaged(place, 5, DAMAGE["meta"])
    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptionError):
            restore(store, 12)
        put_all(store, items)
        assert restore(store, 12) == whole


def test_a_repair_counts_also_when_its_pack_was_read_before(home: Path) -> None:
    place = home / "objects"
    items = [Object((), bytes([65 + index]) * 50) for index in range(6)]
    with ObjectStore.open(place) as store:
        put_all(store, items)
    damaged(place, 3, DAMAGE["first byte of the digest"])
    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptionError):
            store.read(lambda reader: reader.read(3))
        put_all(store, items)
        for order in ([3, 1], [1, 3], [6, 3, 2]):
            read = store.read(partial(RecordReader.read_all, numbers=order))
            assert [record.payload for record in read] == [items[n - 1].payload for n in order]


def test_a_damaged_repair_is_healed_too(home: Path) -> None:
    place = home / "objects"
    items = tree(3)
    with ObjectStore.open(place) as store:
        put_all(store, items)
        whole = restore(store, 12)
    vandal = Vandal(place)
    damaged(place, 1, DAMAGE["lost"])
    for _ in range(2):
        with ObjectStore.open(place) as store:
            with pytest.raises(CorruptionError):
                restore(store, 12)
            put_all(store, items)
            assert restore(store, 12) == whole
        vandal.change("repairs", record_key(2), lambda row: flip(row, -1))
    with ObjectStore.open(place) as store:
        for item in items[:1] + items[2:8]:
            assert store.get(item.address()) == item


def test_a_child_that_is_known_to_be_damaged_counts_as_absent(home: Path) -> None:
    place = home / "objects"
    child, sibling = Object((), b"child" * 30), Object((), b"sibling")
    with ObjectStore.open(place) as store:
        store.put(child)
        store.put(sibling)
    damaged(place, 1, payload)
    parent = Object((child.address(), sibling.address()), b"parent")
    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptObjectError):
            store.get(child.address())
        with pytest.raises(MissingObjectError) as caught:
            store.put(parent)
        assert caught.value.digest == child.address()
        store.put(child)
        store.put(parent)
        assert store.get(parent.address()) == parent
        assert store.get(child.address()) == child


def test_what_a_failed_transaction_healed_is_still_damaged(home: Path) -> None:
    place = home / "objects"
    items = tree(4)
    with ObjectStore.open(place) as store:
        put_all(store, items)
    damaged(place, 12, payload)

    def work(writer: RecordWriter) -> None:
        for item in items:
            writer.put(item.address(), item)
        raise ZeroDivisionError

    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptObjectError):
            restore(store, 12)
        with pytest.raises(ZeroDivisionError):
            store.write(work)
        with pytest.raises(CorruptObjectError):
            restore(store, 12)
        put_all(store, items)
        assert len(restore(store, 12)) == len(items)


def test_undamaged_records_are_not_stored_again(home: Path) -> None:
    place = home / "objects"
    items = tree(5)
    with ObjectStore.open(place) as store:
        for item in items:
            store.put(item)
    damaged(place, 1, payload)
    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptObjectError):
            restore(store, 12)
        put_all(store, items)
    repaired = Vandal(place).rows("repairs")
    assert {int.from_bytes(key[:6], "big") for key in repaired} == {1}


def test_a_row_of_the_index_cannot_make_a_record_appear_above_its_parents(home: Path) -> None:
    place = home / "objects"
    child = Object((), b"child")
    parent = Object((child.address(),), b"parent")
    with ObjectStore.open(place) as store:
        store.put(child)
    vandal = Vandal(place)
    vandal.put("index", index_key(child.address()), (1 << 40).to_bytes(6, "big"))
    with ObjectStore.open(place) as store:
        put_all(store, [child, parent])
        assert store.get(parent.address()) == parent
        assert store.counters().next_record == 4
        links = store.read(lambda reader: reader.links_of(3))
        assert links == [2]
    assert not vandal.rows("repairs")


def test_the_newer_of_two_records_of_one_object_is_taken(home: Path) -> None:
    place = home / "objects"
    child = Object((), b"child" * 30)
    parent = Object((child.address(),), b"parent" * 30)
    with ObjectStore.open(place) as store:
        store.put(child)
        store.put(parent)
    vandal = Vandal(place)
    damaged(place, 2, payload)
    vandal.delete("index", index_key(child.address()))
    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptObjectError):
            restore(store, 2)
        # The child is stored anew, above the damaged parent, which so cannot keep its number.
        put_all(store, [child, parent])
        assert store.get(parent.address()) == parent
    with ObjectStore.open(place) as store:
        put_all(store, [child, parent])
        assert store.read(lambda reader: reader.find(parent.address())) == 4
        assert store.get(parent.address()) == parent


def test_an_object_that_only_begins_alike_never_replaces_a_sound_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cas.records, cas.writer):
        monkeypatch.setattr(module, "index_key", lambda digest: digest[:0] + b"all")
    place = home / "objects"
    first, second, third = (Object((), text * 40) for text in (b"first", b"second", b"third"))
    with ObjectStore.open(place) as store:
        store.put(first)
        store.put(second)
    damaged(place, 2, DAMAGE["first byte of the digest"])
    with ObjectStore.open(place) as store:
        with pytest.raises(CorruptionError):
            store.get(second.address())
        store.put(first)
        assert store.get(first.address()) == first
        store.put(second)
        put_all(store, [third, first, second])
        for item in (first, second, third):
            assert store.get(item.address()) == item
            assert isinstance(item.address(), Digest)
