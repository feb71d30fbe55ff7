"""Damage and upkeep: what could be restored from a damaged store still can be after work on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cas.errors import CorruptStoreError
from manifests import PendingWrite, Repository
from manifests.rows import KEYS, key_place
from tests.damage import Vandal


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
        with pytest.raises(CorruptStoreError, match="hive salvage"):
            NEW_RUNS[how](repo)
        repo.commit("old", {"n": 3})
        assert [repo.restore(("old", at + 1)) for at in range(4)] == [{"n": n} for n in range(4)]
