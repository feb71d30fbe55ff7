"""What lies behind a checkpoint: as a walk over its ancestors finds it, in few transactions."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.environment import Environment
from cas.errors import CorruptionError, NotFoundError
from cas.records import RecordReader
from manifests import PendingWrite, Repository, ancestry
from manifests.ancestry import Behind
from tests.damage import Vandal, flip

NAMES = ("log", "notes", "n")
LONG = "a long result " * 100
SHARED = ["a part that several writes share " * 9] * 4


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        yield opened


def key_of(number: int) -> str:
    return f"{number:04}"


class Model:
    """What a run should have, told by a walk from parent to parent."""

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.parents: dict[int, int] = {}
        self.states: dict[int, dict[str, Any]] = {}
        self.writes: dict[int, list[PendingWrite]] = {}
        self.needing: set[int] = set()

    def commit(self, parent: int, state: dict[str, Any], *, needs_parent: bool) -> int:
        number = len(self.states) + 1
        self.repo.commit(
            "run",
            copy.deepcopy(state),
            key=key_of(number),
            parent=("run", key_of(parent)) if parent else None,
            needs_parent=needs_parent and parent > 0,
        )
        self.parents[number], self.states[number], self.writes[number] = parent, state, []
        if needs_parent:
            self.needing.add(number)
        return number

    def write(self, number: int, *writes: PendingWrite) -> None:
        self.repo.put_pending("run", key_of(number), writes)
        self.writes[number] += writes

    def is_kept_whole(self, number: int) -> bool:
        """Whether all that is behind a checkpoint stays as long as that does."""
        while parent := self.parents[number]:
            if number not in self.needing:
                return False
            number = parent
        return True

    def behind(self, number: int, names: list[str]) -> dict[str, Behind]:
        found = {name: Behind() for name in names}
        for name, behind in found.items():
            at = self.parents[number]
            while at and not behind.is_found:
                ordered = sorted(self.writes[at], key=lambda w: (w.path, w.task, w.index))
                behind.writes[:0] = [write for write in ordered if write.name == name]
                if name in self.states[at]:
                    behind.value, behind.is_found = self.states[at][name], True
                at = self.parents[at]
        return found


def value_of(dice: random.Random) -> Any:
    kind = dice.randrange(6)
    return [
        dice.random(),
        "short",
        f"a longer text, {dice.random()} " * 20,
        copy.deepcopy(SHARED),
        {"some": [dice.random(), "fields"], "more": (1, {2})},
        [f"an item, {dice.random()} " * 9 for _ in range(dice.randrange(80))],
    ][kind]


def state_of(dice: random.Random) -> dict[str, Any]:
    """Return a state: in its manifest, an object, or so wide that it is a tree."""
    others = dice.choice([0, 2, 30])
    state = {f"other {number}": value_of(dice) for number in range(others)}
    return state | {name: value_of(dice) for name in NAMES if dice.random() < 0.15}


@given(st.integers(0, 1 << 32), st.sampled_from([1, 3, 256]))
@settings(max_examples=25)
def test_it_is_what_a_walk_from_parent_to_parent_finds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, at_once: int
) -> None:
    dice = random.Random(seed)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched, Repository.open(home) as repo:
        patched.setattr(ancestry, "_MOST_AT_ONCE", at_once)
        model = Model(repo)
        for number in range(1, dice.randrange(3, 25)):
            parent = number - 1 if dice.random() < 0.8 else dice.randrange(number)
            model.commit(parent, state_of(dice), needs_parent=dice.random() < 0.7)
            for task in range(dice.randrange(3)):
                writes = [
                    PendingWrite(f"task {task}", at, dice.choice(NAMES), value_of(dice), "p")
                    for at in range(dice.randrange(1, 4))
                ]
                model.write(number, *writes)
        names = list(NAMES)
        expected = {number: model.behind(number, names) for number in model.states}
        for number, found in expected.items():
            assert repo.behind(("run", key_of(number)), names) == found
        kept = list(model.states)[-1]
        repo.withdraw("run", [key_of(number) for number in model.states if number != kept])
    with Repository.open(home, kept_bytes=0) as repo:
        found = repo.behind(("run", key_of(kept)), names)
        if model.is_kept_whole(kept):
            assert found == expected[kept]


def chain(repo: Repository, length: int, value: Any = "written") -> None:
    """Commit checkpoints that need their parents, each with a write; the first has the value."""
    for number in range(1, length + 1):
        state = {"log": ["seed"]} if number == 1 else {}
        parent = ("run", key_of(number - 1)) if number > 1 else None
        repo.commit("run", state, key=key_of(number), parent=parent, needs_parent=number > 1)
        repo.put_pending("run", key_of(number), [PendingWrite("task", 0, "log", value)])


def test_a_long_way_back_takes_few_transactions_and_reads_nothing_twice(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(repo, 150, LONG)
    begun = count()
    packs = count()
    read, locate = Environment.read, RecordReader.locate
    monkeypatch.setattr(Environment, "read", lambda *a: (next(begun), read(*a))[1])
    monkeypatch.setattr(RecordReader, "locate", lambda *a: (next(packs), locate(*a))[1])
    found = repo.behind(("run", key_of(150)), ["log"])["log"]
    assert (len(found.writes), found.value) == (149, ["seed"])
    assert next(begun) <= 4
    assert next(packs) == 0  # all of it is in memory


def test_equal_writes_do_not_share_what_may_be_changed(repo: Repository) -> None:
    chain(repo, 4, SHARED)
    first, second, third = repo.behind(("run", key_of(4)), ["log"])["log"].writes
    first.value.append("changed")
    assert second.value == third.value == SHARED
    assert second.value is not third.value


def test_more_than_is_read_at_once(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    chain(repo, 5, LONG)
    monkeypatch.setattr("manifests.reading._GATHERED_BYTES", 2 * len(LONG))
    assert [w.value for w in repo.behind(("run", key_of(5)), ["log"])["log"].writes] == [LONG] * 4


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_damage_is_an_error_and_never_another_value(home: Path, kept: int) -> None:
    with Repository.open(home) as repo:
        chain(repo, 3, LONG)
        repo.put_pending("run", key_of(1), [PendingWrite("task", 1, "log", "other" * 99)])
    vandal = Vandal(home / "objects")
    rows = vandal.rows("objects")
    sound = 0
    for key, row in rows.items():
        vandal.put("objects", key, flip(row, len(row) // 2))
        with Repository.open(home, kept_bytes=kept) as repo:
            try:
                found = repo.behind(("run", key_of(3)), ["log"])["log"]
            except CorruptionError:
                pass
            else:
                sound += 1
                assert [write.value for write in found.writes] == [LONG, "other" * 99, LONG]
                assert found.value == ["seed"]
        vandal.put("objects", key, row)
    assert sound < len(rows)


def test_a_record_under_another_one_s_number_is_not_taken(home: Path) -> None:
    with Repository.open(home) as repo:
        chain(repo, 2, LONG)
        repo.commit("other", "another object " * 99)
    vandal = Vandal(home / "objects")
    keys = sorted(vandal.rows("objects"))
    packs = [vandal.row("objects", key) for key in keys]
    outcomes = set()
    for key in keys:
        for pack in packs:
            vandal.put("objects", key, pack)
            with Repository.open(home) as repo:
                try:
                    (found,) = repo.behind(("run", key_of(2)), ["log"])["log"].writes
                    outcomes.add(found.value)
                except CorruptionError:
                    outcomes.add("refused")
        vandal.put("objects", key, packs[keys.index(key)])
    assert outcomes == {LONG, "refused"}


def test_what_goes_while_it_is_read_is_not_half_returned(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(repo, 6, LONG)
    monkeypatch.setattr(ancestry, "_MOST_AT_ONCE", 2)
    states = ancestry._states

    def going(*given: Any) -> Any:
        if repo.runs():
            repo.delete_run("run", force=True)
            repo.gc(whole=True)
        return states(*given)

    monkeypatch.setattr(ancestry, "_states", going)
    with pytest.raises(NotFoundError):
        repo.behind(("run", key_of(6)), ["log"])


def test_a_name_that_none_has_leads_back_to_the_first(repo: Repository) -> None:
    chain(repo, 3)
    assert repo.behind(("run", key_of(3)), ["none", "log"])["none"] == Behind()
    assert repo.behind(("run", key_of(1)), ["log"]) == {"log": Behind()}
    with pytest.raises(NotFoundError):
        repo.behind(("run", key_of(9)), ["log"])
