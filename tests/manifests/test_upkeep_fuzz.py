"""Random damage and upkeep: nothing that a damaged store still gives is lost by working on it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from cas.errors import HiveError
from manifests import PendingWrite, Repository, RetentionPolicy
from tests.cas.children import in_child
from tests.damage import Vandal, data_file, flip

Facts = dict[tuple[str, str, int], Any]
"""What a store says of its checkpoints and runs; an error stands for itself by its name."""

KEYED: Final = {"k": 4, "cut": 5}
LISTED: Final = {"a": 9, "b": 3, "c": 2, **KEYED}
REBUILT: Final = ("log", "files")


def key_of(run: str, number: int) -> str:
    """The key of a checkpoint of a run that has keys, as frameworks make them."""
    return f"1f0{'b' if run == 'cut' else 'a'}0000-0000-6000-8000-00000000000{number}"


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that upkeep looks at, and with garbage."""
    first = tmp_path_factory.mktemp("master") / "first"
    with Repository.open(first) as repo:
        for number in range(LISTED["a"]):
            words = [f"{n} and {n * n} " * 6 for n in range(number)]
            repo.commit("a", {"messages": words, "text": str(number) * 40 * number}, graph="g")
            repo.commit("gone", {"text": f"garbage {number} " * 30})
        for number in range(LISTED["b"]):
            repo.commit("b", {"noise": random.Random(number).randbytes(3_000)})
        repo.tag("gold", "a@5")
        repo.pin("a@7", "why")
        repo.fork("a@4", "c")
        repo.commit("c", {"other": "x" * 200})
        for run, count in KEYED.items():
            for number in range(count):
                state: dict[str, Any] = {"n": number, "text": f"state {number} " * 20}
                if run == "cut":
                    stored = zip(REBUILT, (2, 3), strict=True)
                    state |= {name: [number, "v" * 80] for name, at in stored if number % at == 0}
                repo.commit(
                    run,
                    state,
                    key=key_of(run, number),
                    parent=(run, number) if number else None,
                    needs_parent=run == "cut" and number > 0,
                    execution={"rebuilt": list(REBUILT)},
                )
                writes = [
                    PendingWrite("t", 0, "log", number),
                    PendingWrite("t", 1, "x", f"{number} " * 150),
                ]
                repo.put_pending(run, key_of(run, number), writes)
            repo.record_effect(run, "paid", {"receipt": run * 300})
        repo.gc()
        repo.forget(["a@2", "a@3", "k@2"])
        repo.delete_run("gone")
        return repo.backup(first.with_name("good"))


def facts(home: Path) -> Facts:
    """Ask a store for everything."""
    found: Facts = {}

    def ask(place: tuple[str, str, int], question: Callable[[], Any]) -> None:
        try:
            found[place] = question()
        except HiveError as error:
            found[place] = type(error).__name__

    try:
        repo = Repository.open(home, create=False, read_only=True)
    except HiveError:
        return found
    with repo:
        for run, count in LISTED.items():
            ask(("effects", run, 0), partial(repo.effects, run))
            for at in range(1, count + 1):
                ask(("state", run, at), partial(repo.restore, (run, at)))
                if run in KEYED:
                    key = key_of(run, at - 1)
                    ask(("pending", run, at), partial(repo.pending, run, key))
                if run == "cut":
                    ask(("behind", run, at), partial(repo.behind, (run, at), REBUILT))
    return found


# -- damage ------------------------------------------------------------------------------------

TABLES: Final = (
    *("objects",) * 6,
    *("checkpoints", "keys", "pending") * 3,
    *("effects", "index", "root-log", "store", "pins", "tags", "numbers"),
)
EASILY_LOST: Final = {"objects", "index", "keys", "root-log", "numbers", "checkpoints"}
"""Of the others, nothing says that a row is missing."""


def damage_row(chooser: random.Random, home: Path) -> str:
    """Change a row or its key, as a flipped bit would, or remove it."""
    vandal = Vandal(home / "objects")
    table = chooser.choice(TABLES)
    rows = vandal.rows(table)
    if not rows:
        return f"{table} was empty"
    key = chooser.choice(sorted(rows))
    row = rows[key]
    how = chooser.choice(("change", "change", "move", "move", "copy", "remove"))
    if how == "change":
        at = chooser.randrange(min(len(row), chooser.choice((8, 400))))
        vandal.put(table, key, flip(row, at, chooser.randrange(8)))
        return f"byte {at} of {table} {key.hex()}"
    if how == "remove":
        if table in EASILY_LOST:
            vandal.delete(table, key)
        return f"{table} {key.hex()} removed"
    other = flip(key, chooser.choice((-1, -1, chooser.randrange(len(key)))), chooser.randrange(8))
    between = sorted({*rows, other})
    # Behind its neighbours it would not be where a bad disk leaves it.
    if other not in rows and abs(between.index(other) - between.index(key)) == 1:
        if how == "move":
            vandal.delete(table, key)
        vandal.put(table, other, row)
    return f"{table} {key.hex()} to {other.hex()} ({how})"


def damage_file(chooser: random.Random, home: Path) -> str:
    path = data_file(home / "objects")
    data = path.read_bytes()
    at = chooser.randrange(len(data))
    path.write_bytes(flip(data, at, chooser.randrange(8)))
    return f"byte {at} of the file"


# -- work --------------------------------------------------------------------------------------


def collect(repo: Repository) -> None:
    repo.gc()


def collect_twice(repo: Repository) -> None:
    for _ in range(2):
        repo.gc(whole=True)


def compact(repo: Repository) -> None:
    repo.compact()


def forget(repo: Repository) -> None:
    """A policy for each run, and gc."""
    for run in LISTED:
        with suppress(HiveError):
            policy = RetentionPolicy(mode="latest_only")
            repo.forget(policy, run=run, rebuilt=lambda execution: execution.get("rebuilt", []))
    repo.gc()


def withdraw(repo: Repository) -> None:
    for run in KEYED:
        with suppress(HiveError):
            repo.withdraw(run, [key_of(run, 0), key_of(run, 3)])
    with suppress(HiveError):
        repo.delete_run("c")
    repo.gc()


def copy(repo: Repository) -> None:
    for ref, run in (("a@9", "one"), ("cut@4", "two")):
        with suppress(HiveError):
            repo.fork(ref, run)
    with suppress(HiveError):
        repo.copy_runs({"k": "k too"})
    repo.gc(whole=True)


def go_on(repo: Repository) -> None:
    """Commits that heal what is damaged, and that merge packs."""
    for run, count in LISTED.items():
        for at in range(1, count + 1):
            with suppress(HiveError):
                state = repo.restore((run, at))
                saved = repo.commit("again", state)
                assert repo.restore(saved) == state
    for number in range(9):
        with suppress(HiveError):
            saved = repo.commit("new", {"n": number})
            assert repo.restore(saved) == {"n": number}


WORK: Final = (collect, collect_twice, compact, forget, withdraw, copy, go_on)


def worked_on(home: Path, work: Callable[[Repository], None]) -> str:
    """Do it, and say whether that was refused."""
    try:
        with Repository.open(home, create=False) as repo:
            work(repo)
    except HiveError:
        return "refused"
    return "done"


@pytest.mark.parametrize("work", WORK)
def test_no_work_on_a_damaged_store_loses_what_it_still_gives(
    master: Path,
    home: Path,
    seed: int,
    rounds: Callable[[int, int], int],
    work: Callable[[Repository], None],
) -> None:
    want = facts(master)
    shutil.copytree(master, home)
    assert in_child(partial(worked_on, home, work)) == "+done"
    there = {place for place, fact in want.items() if not isinstance(fact, str)}
    kept = {place for place, fact in facts(home).items() if fact == want[place]} & there

    def judged(chooser: random.Random) -> str:
        damage = [
            chooser.choice((damage_row, damage_row, damage_file))(chooser, home)
            for _ in range(chooser.choice((1, 1, 1, 2)))
        ]
        before = facts(home)
        outcome = worked_on(home, work)
        after = facts(home)
        for place in there:
            fact, was = after.get(place), before.get(place)
            if was == want[place] and place in kept:
                assert fact == was, f"{place} was lost: {damage}"
            elif fact is not None and not isinstance(fact, str) and place[0] == "state":
                assert fact == want[place], f"{place} is wrong: {damage}"
        return outcome

    chooser = random.Random(seed)
    outcomes = set()
    for _ in range(rounds(6, 200)):
        shutil.rmtree(home)
        shutil.copytree(master, home, ignore=shutil.ignore_patterns("ballast"))
        outcomes.add(in_child(partial(judged, chooser)))
        chooser = random.Random(chooser.random())
    assert outcomes <= {"+done", "+refused"}
