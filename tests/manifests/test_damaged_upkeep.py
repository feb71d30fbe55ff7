"""Damage and upkeep: what could be restored from a damaged store still can be after work on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cas.errors import CorruptStoreError
from manifests import PendingWrite, Repository, RetentionPolicy
from manifests.effects import effect_key
from manifests.pending_rows import row_key
from manifests.rows import KEYS, checkpoint_key, key_place
from tests.damage import PAGE_BYTES, Vandal, data_file, flip


def objects(home: Path) -> Path:
    return home / "objects"


def key_of(number: int) -> str:
    """The key of a checkpoint, as frameworks make them."""
    return f"1f0a0000-0000-6000-8000-00000000000{number}"


# -- pending writes ----------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["the way from the key", "the checkpoint"])
def test_pending_writes_stay_when_a_damaged_key_hides_whose_they_are(home: Path, lost: str) -> None:
    """They looked like strays, which the second whole collection removes."""
    keyed = lost == "the way from the key"
    anchors = [key_of(number) if keyed else number + 1 for number in range(4)]
    with Repository.open(home) as repo:
        for number, anchor in enumerate(anchors):
            repo.commit("r", {"n": number}, key=key_of(number) if keyed else None)
            repo.put_pending("r", anchor, [PendingWrite("t", 0, "n", number)])
    table = "keys" if keyed else "checkpoints"
    rows = Vandal(objects(home)).rows(table)
    key = sorted(rows)[1]
    if keyed:
        assert key == key_place(1, key_of(1))
        assert KEYS.name == table
    Vandal(objects(home)).delete(table, key)
    for _ in range(3):
        with Repository.open(home) as repo:
            repo.gc(whole=True)
    Vandal(objects(home)).put(table, key, rows[key])
    with Repository.open(home) as repo:
        for number, anchor in enumerate(anchors):
            assert repo.pending("r", anchor) == [PendingWrite("t", 0, "n", number)]


# -- numbers of runs ---------------------------------------------------------------------------


NEW_RUNS: dict[str, Callable[[Repository], object]] = {
    "commit": lambda repo: repo.commit("new", {"n": "new"}),
    "fork": lambda repo: repo.fork("old@1", "new"),
    "pending": lambda repo: repo.put_pending("new", 1, [PendingWrite("t", 0, "n", 1)]),
    "effect": lambda repo: repo.record_effect("new", "paid", 1),
}


@pytest.mark.parametrize("how", NEW_RUNS)
def test_a_store_that_lost_the_number_of_its_next_run_makes_none(home: Path, how: str) -> None:
    """The first number was given out again, and a new run wrote over the checkpoints of another."""
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit("old", {"n": number})
    Vandal(objects(home)).delete("numbers", b"next-run")
    with Repository.open(home) as repo:
        with pytest.raises(CorruptStoreError, match="hive check --repair"):
            NEW_RUNS[how](repo)
        repo.commit("old", {"n": 3})
        assert [damage.table for damage in repo.check().damage] == ["numbers"]
        assert repo.repair().fixed == ("the number of the next run",)
        assert repo.check().ok
        NEW_RUNS[how](repo)
        assert [repo.restore(("old", at + 1)) for at in range(4)] == [{"n": n} for n in range(4)]


# -- what is not found where it belongs --------------------------------------------------------


def flip_in_keys(home: Path, key: bytes, place: int, bit: int) -> None:
    """Turn over a bit of a key where it stands in the file, as a disk would."""
    path = data_file(objects(home))
    framed = len(key).to_bytes(2, sys.byteorder) + key
    data = path.read_bytes()
    assert framed in data
    path.write_bytes(data.replace(framed, flip(framed, place + 2, bit)))


ASKED: dict[str, Callable[[Repository], object]] = {
    "pending": lambda repo: repo.pending("m", 1),
    "pending of all": lambda repo: [repo.pending("m", at) for at in (1, 2)],
    "put again": lambda repo: repo.put_pending("m", 1, [PendingWrite("t", 0, "n", 1)]),
    "fork": lambda repo: repo.fork("m@1", "copy"),
    "export": lambda repo: repo.export(["m@1"], repo.home / "bundle"),
    "effects": lambda repo: repo.effects("m"),
    "record again": lambda repo: repo.record_effect("m", "paid", {"for": "m"}),
    "effect": lambda repo: repo.effect("m", "paid"),
}


@pytest.mark.parametrize("place", [3, 7, -1])
@pytest.mark.parametrize("asked", ASKED)
def test_what_a_run_did_is_not_taken_for_undone_when_its_key_is_damaged(
    home: Path, asked: str, place: int
) -> None:
    with Repository.open(home) as repo:
        for name in ("a", "m"):  # the last of its table may get any larger key
            repo.commit(name, {"of": name})
            repo.put_pending(name, 1, [PendingWrite("t", 0, "n", 1)])
            repo.record_effect(name, "paid", {"for": name})
    is_effect = asked in {"effects", "effect", "record again"}
    key = effect_key(2, "paid") if is_effect else row_key(2, 1, "", "t")
    for bit in range(8):
        copy = home.with_name(f"copy {bit}")
        shutil.copytree(home, copy)
        flip_in_keys(copy, key, place, bit)
        # A key that is out of order now is noticed at once, another one when it is looked for.
        with pytest.raises(CorruptStoreError), Repository.open(copy) as repo:
            ASKED[asked](repo)


def test_what_has_pending_writes_is_not_forgotten_when_their_key_is_damaged(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", {"n": 1})
        repo.commit("r", {"n": 2})
        repo.commit("r", {"n": 3}, parent="r@1")  # so that r@2 ends a branch
        repo.put_pending("r", 2, [PendingWrite("t", 0, "n", 2)])
    for bit in range(8):
        copy = home.with_name(f"copy {bit}")
        shutil.copytree(home, copy)
        flip_in_keys(copy, row_key(1, 2, "", "t"), 8, bit)
        with pytest.raises(CorruptStoreError), Repository.open(copy) as repo:
            repo.forget(["r@2"])
        with Repository.open(copy, read_only=True) as repo:
            assert repo.restore("r@2") == {"n": 2}


# -- rows that are lost ------------------------------------------------------------------------


def lose_last_row(home: Path, key: bytes) -> None:
    """Let the page of a table's last row end before it, under a store that is open."""
    framed = len(key).to_bytes(2, sys.byteorder) + key
    with open(data_file(objects(home)), "r+b", buffering=0) as file:
        data = file.read()
        assert data.count(framed) == 1
        lower_at = data.index(framed) // PAGE_BYTES * PAGE_BYTES + 12
        file.seek(lower_at)
        file.write((int.from_bytes(data[lower_at:][:2], sys.byteorder) - 2).to_bytes(2, "little"))


def lose_checkpoint(home: Path) -> None:
    lose_last_row(home, checkpoint_key(2, 3))


def lose_pending(home: Path) -> None:
    lose_last_row(home, row_key(2, 3, "", "t"))


def lose_effect(home: Path) -> None:
    lose_last_row(home, effect_key(2, "paid"))


def lose_tag(home: Path) -> None:
    lose_last_row(home, b"gold r")


@pytest.mark.skipif(sys.byteorder != "little", reason="it writes a page's header")
@pytest.mark.parametrize("lose", [lose_checkpoint, lose_pending, lose_effect, lose_tag])
@pytest.mark.parametrize("work", ["gc", "compact"])
def test_what_lost_rows_name_is_not_swept(
    home: Path, lose: Callable[[Path], None], work: str
) -> None:
    """Pages are looked at when a store is opened, but not all of a large one, and not later."""
    first = home.with_name("first")
    with Repository.open(first) as repo:
        for name in ("a", "r"):
            for number in range(3):
                repo.commit(name, {"of": name, "n": number, "text": f"{name}{number} " * 99})
            repo.put_pending(name, 3, [PendingWrite("t", 0, "n", "long " * 99)])
            repo.record_effect(name, "paid", "much " * 99)
            repo.tag(f"gold {name}", f"{name}@2")
        repo.backup(home)
    with Repository.open(home) as repo:
        before = repo.stats().objects
        lose(home)
        with pytest.raises(CorruptStoreError, match="hive salvage"):
            repo.gc(whole=True) if work == "gc" else repo.compact()
        assert repo.stats().objects == before


def test_withdrawing_what_is_left_of_a_run_does_not_remove_what_it_lost(home: Path) -> None:
    """It counted anew what the run lists, so that no check told of the loss any more."""
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit("r", {"n": number}, key=key_of(number))
        repo.record_effect("r", "paid", "much")
    vandal = Vandal(objects(home))
    row = vandal.row("checkpoints", checkpoint_key(1, 1))
    vandal.delete("checkpoints", checkpoint_key(1, 1))
    with Repository.open(home) as repo:
        for keys in ([key_of(1)], [key_of(1), key_of(2)]):
            with pytest.raises(CorruptStoreError, match="counts 3 checkpoints"):
                repo.withdraw("r", keys)
        assert repo.effects("r") == {"paid": "much"}
    vandal.put("checkpoints", checkpoint_key(1, 1), row)
    with Repository.open(home) as repo:
        assert repo.withdraw("r", [key_of(1), key_of(2)]) == 2
        assert repo.restore("r@1") == {"n": 0}


def test_a_key_that_leads_to_a_lost_checkpoint_is_not_saved_elsewhere(home: Path) -> None:
    """It was told to have been saved in its old place, and stood behind all others."""
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit("r", {"n": number}, key=key_of(number))
    Vandal(objects(home)).delete("checkpoints", checkpoint_key(1, 2))
    with Repository.open(home) as repo:
        with pytest.raises(CorruptStoreError, match="hive check --repair"):
            repo.commit("r", {"n": "again"}, key=key_of(1), parent=("r", 1))
        assert repo.commit("r", {"n": 3}, key=key_of(3), parent=("r", 3)).sequence == 4


@pytest.mark.parametrize("run", ["r", None])
def test_nothing_is_forgotten_of_a_run_that_lost_its_head(home: Path, run: str | None) -> None:
    """A policy that keeps heads alone kept nothing of it."""
    with Repository.open(home) as repo:
        for number in range(4):
            repo.commit("other", {"n": number})
            repo.commit("r", {"n": number})
    Vandal(objects(home)).delete("checkpoints", checkpoint_key(2, 4))
    with Repository.open(home) as repo:
        with pytest.raises(CorruptStoreError, match="head of run 'r' is lost"):
            repo.forget(RetentionPolicy(mode="latest_only"), run=run)
        assert [repo.restore(("r", at)) for at in (1, 2, 3)] == [{"n": n} for n in range(3)]
        repo.forget(RetentionPolicy(mode="latest_only"), run="other")
        assert [found.sequence for found in repo.log("other")] == [4]


def test_of_one_run_is_forgotten_without_a_look_at_all_others(home: Path) -> None:
    """There may be very many, and one of them may be damaged."""
    with Repository.open(home) as repo:
        for run in ("before", "r", "z"):
            for number in range(3):
                repo.commit(run, {"n": number})
    rows = Vandal(objects(home)).rows("runs")
    for key in (min(rows), max(rows)):
        Vandal(objects(home)).put("runs", key, rows[key][:-1] + bytes([rows[key][-1] ^ 1]))
    with Repository.open(home) as repo:
        plan = repo.forget(RetentionPolicy(keep_last=1), run="r")
        assert [found.sequence for found in plan.dropped] == [2, 1]
        with pytest.raises(CorruptStoreError):
            repo.forget(RetentionPolicy(keep_last=1))
