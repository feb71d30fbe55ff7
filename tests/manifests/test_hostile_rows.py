"""Rows that an attacker wrote, with right checksums: an error of this project comes out, soon."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cbor2
import pytest

from cas.environment import Table
from cas.errors import CorruptStoreError, HiveError
from cas.leases import LEASES
from cas.owner import Owner
from cas.records import STORE
from cas.store import HEADER_KEY
from manifests import PendingWrite, Repository, RetentionPolicy
from manifests.claims import CLAIMS
from manifests.effects import EFFECTS
from manifests.pending_rows import PENDING
from manifests.rows import CHECKPOINTS, KEYS, PINS, RUNS, TAGS, checkpoint_key, checkpoint_row

KEY: Final = "1f0e0000-0000-6000-8000-00000000000"
DIGEST: Final = bytes(32)
BOMB: Final = cbor2.CBORTag(35, "(a*)*b")
"""A regular expression, which the CBOR library would compile."""
CIRCLE: Final = bytes.fromhex("d81c81d81d00")
"""A list that holds itself."""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("master")
    with Repository.open(home) as repo:
        for number in range(3):
            repo.commit("a", {"n": number, "text": f"{number} " * 100})
        for number in range(3):
            parent = ("k", f"{KEY}{number - 1}") if number else None
            repo.commit(
                "k", {"n": number}, key=f"{KEY}{number}", parent=parent, needs_parent=number > 0
            )
        repo.put_pending("a", 3, [PendingWrite("t", 0, "n", "long " * 90, "path")])
        repo.put_pending("k", f"{KEY}2", [PendingWrite("t", 0, "n", 1)])
        repo.record_effect("a", "paid", "receipt " * 90)
        repo.tag("gold", "a@1")
        repo.pin("a@2", "why")
    return home


@pytest.fixture(scope="module")
def shared(master: Path) -> Iterator[Repository]:
    """The same for tests that put back what they change."""
    with Repository.open(master, create=False) as opened:
        yield opened


@pytest.fixture
def repo(master: Path, home: Path) -> Iterator[Repository]:
    shutil.copytree(master, home, ignore=shutil.ignore_patterns("ballast"))
    with Repository.open(home, create=False) as opened:
        yield opened


def rows_of(repo: Repository, table: Table) -> list[tuple[bytes, bytes]]:
    return repo._store.environment.read(lambda transaction: list(transaction.items(table)))


def put(repo: Repository, table: Table, key: bytes, row: bytes) -> None:
    repo._store.environment.write(lambda transaction: transaction.put(table, key, row))


READERS: Final[dict[str, Callable[[Repository], Any]]] = {
    "runs": lambda repo: repo.runs(),
    "log": lambda repo: [repo.log("a"), repo.log("k")],
    "restore": lambda repo: [repo.restore("a"), repo.restore("k")],
    "ancestor": lambda repo: [repo.restore("a~2"), repo.restore("k~2")],
    "by id": lambda repo: repo.resolve("0" * 64),
    "tags": lambda repo: [repo.tags(), repo.tagged(), repo.pins()],
    "footprints": lambda repo: [repo.footprints("a"), repo.branches("a")],
    "pending": lambda repo: [repo.pending("a", 3), repo.pending("k", f"{KEY}2")],
    "effects": lambda repo: [repo.effects("a"), repo.recorded_effects("a")],
    "keys": lambda repo: [repo.keyed_runs(), repo.head_key("k"), list(repo.keys("k"))],
    "snapshot": lambda repo: repo.snapshot("k", lambda found: found.parent_key),
    "behind": lambda repo: repo.behind("k", ["n", "nothing"]),
    "search": lambda repo: repo.search("2"),
    "stats": lambda repo: repo.stats(),
    "export": lambda repo: repo.export(["a", "k"], repo.home / "bundle", history=True),
    "gc": lambda repo: repo.gc(dry_run=True),
    "plan": lambda repo: repo.forget(RetentionPolicy(keep_last=1), dry_run=True),
}
"""Everything that reads rows, and changes nothing."""


def use(repo: Repository) -> list[str]:
    """Read all that is there; return which readers refused it."""
    refused = []
    for name, read in READERS.items():
        try:
            read(repo)
        except HiveError:
            refused.append(name)
    repo.check()
    return refused


def pending(*fields: Any) -> bytes:
    return cbor2.dumps(["path", "t", *fields])


ODD: Final[dict[str, tuple[Table, bytes]]] = {
    "run without fields": (RUNS, cbor2.dumps([])),
    "run of a map": (RUNS, cbor2.dumps({"number": 1})),
    "run that is no CBOR": (RUNS, b"\x1c"),
    "run of a regular expression": (RUNS, cbor2.dumps([1, BOMB, 3, 3, 3, 0])),
    "run of a circle": (RUNS, CIRCLE),
    "run with a number too high": (RUNS, cbor2.dumps([1 << 40, "a", 3, 3, 3, 0])),
    "run with a head below zero": (RUNS, cbor2.dumps([1, "a", -3, 3, 3, 0])),
    "run with a name of a list": (RUNS, cbor2.dumps([1, ["a"], 3, 3, 3, 0])),
    "run with a name that clears the screen": (RUNS, cbor2.dumps([1, "\x1b[2J", 3, 3, 3, 0])),
    "run made after all time": (RUNS, cbor2.dumps([1, "a", 3, 3, 3, 1 << 62])),
    "checkpoint of undefined": (CHECKPOINTS, b"\xf7"),
    "checkpoint with a short digest": (CHECKPOINTS, cbor2.dumps([1, b"x", 0, 0, 0])),
    "checkpoint below record zero": (CHECKPOINTS, cbor2.dumps([-1, DIGEST, 0, 0, 0])),
    "checkpoint at no record": (CHECKPOINTS, cbor2.dumps([1 << 63, DIGEST, 0, 0, 0])),
    "checkpoint with a parent ahead": (CHECKPOINTS, cbor2.dumps([1, DIGEST, -1, 0, 0])),
    "checkpoint that is its own parent": (CHECKPOINTS, cbor2.dumps([1, DIGEST, 1 << 32, 0, 0, 1])),
    "checkpoint with a parent of a tag": (
        CHECKPOINTS,
        cbor2.dumps([1, DIGEST, cbor2.CBORTag(9, 1), 0, 0]),
    ),
    "checkpoint with flags of a text": (CHECKPOINTS, cbor2.dumps([1, DIGEST, 0, 0, 0, "x"])),
    "checkpoint with a key too long": (
        CHECKPOINTS,
        cbor2.dumps([1, DIGEST, 0, 0, 0, 0, "x" * 400]),
    ),
    "checkpoint with bytes of a fraction": (CHECKPOINTS, cbor2.dumps([1, DIGEST, 0, 0.5, 0])),
    "key of nothing": (KEYS, b""),
    "key of too much": (KEYS, bytes(9)),
    "tag of a name of bytes": (TAGS, cbor2.dumps([b"gold", 1, DIGEST, "a", 1])),
    "tag of a run of a list": (TAGS, cbor2.dumps(["gold", 1, DIGEST, ["a"], 1])),
    "tag at no record": (TAGS, cbor2.dumps(["gold", 1 << 60, DIGEST, "a", 1])),
    "pin with a reason of a number": (PINS, cbor2.dumps([1, DIGEST, "a", 2, 7])),
    "pin of a run without a name": (PINS, cbor2.dumps([1, DIGEST, "", 2, ""])),
    "writes of two": (PENDING, pending([0, "n"])),
    "writes at a list": (PENDING, pending([[], "n", b"\x01"])),
    "writes without a name": (PENDING, pending([0, None, b"\x01"])),
    "writes of a text": (PENDING, pending([0, "n", "value"])),
    "writes at no record": (PENDING, pending([0, "n", [1 << 60, DIGEST]])),
    "writes with a short digest": (PENDING, pending([0, "n", [1, b"x"]])),
    "writes that are a map": (PENDING, pending({})),
    "writes with a path too long": (PENDING, cbor2.dumps(["x" * 70_000, "t", []])),
    "effect of one field": (EFFECTS, cbor2.dumps(["paid"])),
    "effect after a text": (EFFECTS, cbor2.dumps(["paid", "now", b"\x01"])),
    "effect without a name": (EFFECTS, cbor2.dumps(["", 1, b"\x01"])),
    "effect of a value of a map": (EFFECTS, cbor2.dumps(["paid", 1, {}])),
}


@pytest.mark.parametrize("name", ODD)
def test_a_row_that_no_writer_wrote_is_an_error(shared: Repository, name: str) -> None:
    table, row = ODD[name]
    (key, before), *_ = rows_of(shared, table)
    put(shared, table, key, row)
    try:
        assert len(use(shared)) > 1, "somebody has to notice"
        assert not shared.check().ok
    finally:
        put(shared, table, key, before)


def test_a_sound_store_is_read_by_all(repo: Repository) -> None:
    assert use(repo) == ["by id"]
    assert repo.check().ok


def test_the_way_back_from_a_checkpoint_ends() -> None:
    """Two that are each other's parents would be followed for ever."""
    row = cbor2.dumps([1, DIGEST, 1, 0, 0, 1])
    assert checkpoint_row(row, 2).parent == 1
    for back, sequence in ((-1, 2), (2, 2), (3, 2), (1, 1), (-(1 << 40), 5)):
        with pytest.raises(CorruptStoreError):
            checkpoint_row(cbor2.dumps([1, DIGEST, back, 0, 0, 1]), sequence)


def test_a_run_in_the_place_of_another_is_an_error(repo: Repository) -> None:
    """What was known of one run would be asked of the other."""
    (_, row), (key, _) = rows_of(repo, RUNS)
    put(repo, RUNS, key, row)
    assert {"runs", "restore", "stats"} <= {*use(repo)}
    with pytest.raises(CorruptStoreError):
        repo.forget(["k@1"])
    with pytest.raises(CorruptStoreError):
        repo.commit("k", {}, key=f"{KEY}9")


def test_a_key_in_the_wrong_form_is_an_error(repo: Repository) -> None:
    (key, row), *_ = rows_of(repo, CHECKPOINTS)
    put(repo, CHECKPOINTS, key + b"\0", row)
    assert {"runs", "log", "footprints", "stats"} & {*use(repo)}


def test_a_repair_drops_what_cannot_be_read_and_keeps_the_rest(repo: Repository) -> None:
    put(repo, CHECKPOINTS, checkpoint_key(1, 2), cbor2.dumps([1, DIGEST, -1, 0, 0]))
    put(repo, RUNS, b"evil\x1b", cbor2.dumps([9, "evil\x1b", 1, 1, 1, 0]))
    put(repo, PENDING, b"x", b"\xf7")
    report = repo.repair()
    assert "a@2" in report.dropped
    assert repo.check().ok
    assert [found.sequence for found in repo.log("a")] == [3, 1]
    assert repo.restore("k") == {"n": 2}


def test_an_impossible_parent_costs_no_checkpoint_in_a_repair(repo: Repository) -> None:
    (_key, row), *_ = rows_of(repo, CHECKPOINTS)
    record, digest, _back, *rest = cbor2.loads(row)
    put(repo, CHECKPOINTS, checkpoint_key(1, 1), cbor2.dumps([record, digest, -7, *rest]))
    assert not repo.check().ok
    assert repo.repair().dropped == ()
    assert repo.restore("a@1")["n"] == 0


def test_who_holds_a_lease_or_a_claim_is_not_believed(repo: Repository) -> None:
    """No signal goes to a group of processes, whatever a row says."""
    for pid in (0, -1, -(1 << 40), 1 << 31, 1 << 63, "1", True):
        owner = cbor2.dumps([pid, "", 0])
        with pytest.raises(CorruptStoreError):
            Owner.from_bytes(owner)
        put(repo, CLAIMS, b"a", cbor2.dumps(["a", 3, b"token", owner]))
        put(repo, LEASES, bytes(8), owner)
        use(repo)
        with pytest.raises(CorruptStoreError):
            repo.gc()
    assert repo.commit("a", {"goes": "on"}).sequence == 4


@pytest.mark.parametrize("row", [[], {}, {"format": 1}, 7, BOMB, {"format": 1, "engine": BOMB}])
def test_a_header_that_is_none(repo: Repository, row: Any) -> None:
    put(repo, STORE, HEADER_KEY, cbor2.dumps(row))
    repo.close()
    with pytest.raises(HiveError):
        Repository.open(repo.home, create=False)


def changed(dice: random.Random, value: Any) -> Any:
    """Return what a row holds with one thing in it replaced."""
    if isinstance(value, list) and value and dice.random() < 0.9:
        at = dice.randrange(len(value))
        inner = [] if dice.random() < 0.1 else [changed(dice, value[at])]
        return [*value[:at], *inner, *value[at + 1 :]]
    if type(value) is int and dice.random() < 0.5:
        return dice.choice((value + 1, value - 1, -value, value + (1 << 32), value << 40))
    odd: tuple[Any, ...] = (
        None,
        True,
        0,
        -1,
        7,
        1 << 32,
        1 << 64,
        0.5,
        "",
        "x",
        b"",
        DIGEST,
        [],
        [[]],
        {},
        BOMB,
    )
    return dice.choice(odd)


@pytest.mark.torture
def test_whatever_rows_say_only_errors_of_this_project_come_out(
    repo: Repository, seed: int, rounds: Callable[[int, int], int]
) -> None:
    dice = random.Random(seed)
    refused = 0
    for _ in range(rounds(30, 5_000)):
        table = dice.choice((RUNS, CHECKPOINTS, CHECKPOINTS, TAGS, PINS, PENDING, EFFECTS))
        key, before = dice.choice(rows_of(repo, table))
        put(repo, table, key, cbor2.dumps(changed(dice, cbor2.loads(before))))
        refused += len(use(repo)) > 1
        put(repo, table, key, before)
    assert refused
