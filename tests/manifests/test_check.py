"""Checking and repairing: all damage is found and named, and no more is dropped than it hits."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import lmdb
import pytest
import zstandard

import cas.check
import cas.packs
from cas.broken import BrokenRecords
from cas.digest import Digest
from cas.errors import CorruptStoreError, NotFoundError, UnsupportedFormatError
from cas.flock import FlockFile
from cas.objects import Object
from cas.packs import Pack
from cas.records import OBJECTS, record_place
from cas.store import ObjectStore
from cas.trail import Trail
from cas.writer import RecordWriter
from manifests import CheckReport, PendingWrite, RepairReport, Repository
from manifests.healing import Healer
from manifests.manifest import MANIFEST_FORMAT
from tests.cas.children import ChildFailedError, in_child
from tests.damage import PAGE_BYTES, Vandal, data_file, flip

Rows = dict[bytes, list[tuple[bytes, bytes]]]


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with runs, a fork, a branch, a tag, a pin, and forgotten checkpoints."""
    home = tmp_path_factory.mktemp("master") / "first"
    with pytest.MonkeyPatch.context() as patch, Repository.open(home) as repo:
        # Each commit keeps its pack, so that a damaged one hits few checkpoints.
        patch.setattr(Trail, "is_due", lambda *_arguments: False)
        for number in range(1, 25):
            state = {"messages": [f"{n} and {n * n} " * 6 for n in range(number)], "n": number}
            repo.commit("a", state | {"text": str(number) * 90 * number}, graph="g")
        for number in range(4):
            repo.commit("b", {"noise": random.Random(number).randbytes(20_000)})
        repo.commit("b", {"back": True}, parent="b@2")
        repo.tag("gold", "a@5")
        repo.pin("a@7", "why")
        repo.fork("a@9", "c")
        repo.forget(["a@3", "a@4"])
        for number in range(3):
            key = f"1f0a0000-0000-6000-8000-00000000000{number}"
            repo.commit("k", {"n": number}, key=key, parent=("k", number) if number else None)
            writes = [PendingWrite("t", 0, "n", number), PendingWrite("t", 1, "x", "long " * 90)]
            repo.put_pending("k", key, writes)
        repo.record_effect("a", "paid", {"receipt": "r" * 400})
        # A copy has no free pages: every one of its pages matters.
        return repo.backup(home.with_name("good"))


@pytest.fixture
def good(master: Path, home: Path) -> Path:
    """A copy of that store for one test."""
    shutil.copytree(master, home, ignore=shutil.ignore_patterns("ballast"))
    return home


def objects(home: Path) -> Path:
    return home / "objects"


def states(repo: Repository) -> dict[tuple[str, int], Any]:
    """Every state that is listed."""
    listed = [checkpoint for info in repo.runs() for checkpoint in repo.log(info.name)]
    return {(found.run, found.sequence): repo.restore(found) for found in listed}


def all_rows(home: Path) -> Rows:
    """Every row of every table, as LMDB has it."""
    found: Rows = {}
    with lmdb.open(str(objects(home) / "g1"), max_dbs=64, readonly=True, lock=False) as raw:
        with raw.begin() as transaction:
            names = [key for key, _ in transaction.cursor() if not key.startswith(b"\0")]
        for name in names:
            table = raw.open_db(name, create=False)
            with raw.begin() as transaction:
                found[name] = list(transaction.cursor(table))
    return found


def meaning_of(rows: Rows) -> dict[bytes, list[Any]]:
    """What rows say: zstd has bits that change nothing, such as the size of a frame's window."""
    packs: dict[int, bytes] = {}
    for key, row in rows[OBJECTS.name.encode()]:
        base, _fragment = record_place(key)
        packs[base] = packs.get(base, b"") + row
    read = [Pack(base, data) for base, data in packs.items()]
    records = [
        (number, pack.digest(index), pack.links(index), pack.payload(index))
        for pack in read
        for index, number in enumerate(pack.numbers)
    ]
    return {**rows, OBJECTS.name.encode(): records}


def checked(home: Path) -> CheckReport:
    with Repository.open(home, create=False) as repo:
        return repo.check()


def repaired(home: Path, source: Path | None = None) -> RepairReport:
    """Repair, after dry runs that must say the same and change nothing."""
    with Repository.open(home, create=False, read_only=True) as reader:
        tried = reader.repair(source=source, dry_run=True)
    with Repository.open(home, create=False) as repo:
        before = repo.check()
        plan = repo.repair(source=source, dry_run=True)
        assert repo.check().damage == before.damage
        assert tried == plan
        done = repo.repair(source=source)
        assert (plan.dropped, plan.restored) == (done.dropped, done.restored)
        assert plan.dry_run
        assert repo.check().damage == ()
        assert repo.repair().found.ok
        repo.commit("a new one", {"after": "repair"})
        assert repo.restore("a new one") == {"after": "repair"}
        repo.delete_run("a new one")
        return done


def left(home: Path) -> dict[tuple[str, int], Any]:
    with Repository.open(home, create=False) as repo:
        return states(repo)


def copy_of(home: Path, name: str) -> Path:
    place = home.with_name(name)
    shutil.copytree(home, place, ignore=shutil.ignore_patterns("ballast"))
    return place


def test_a_sound_store_is_found_sound_by_readers_too(good: Path) -> None:
    with Repository.open(good, create=False, read_only=True) as repo:
        seen: list[str] = []
        report = repo.check(progress=lambda progress: seen.append(progress.phase))
        assert report.ok
        assert report.damage == ()
        assert report.checkpoints == 31
        assert seen[-1] == "check"
        assert repo.check(read_data=False).ok
    assert [name for name in os.listdir(good) if "checking" in name] == []


def test_what_a_killed_check_left_is_removed(good: Path) -> None:
    """It is as large as the store, and hidden."""

    def killed() -> str:
        with Repository.open(good) as repo, pytest.MonkeyPatch.context() as patch:
            patch.setattr(cas.check, "verify", lambda _place: os._exit(0))
            repo.check()
        return "not killed"

    with pytest.raises(ChildFailedError):
        in_child(killed)
    (left,) = good.glob(".objects.checking.*")
    with closing(FlockFile(left, os.O_RDONLY)) as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        assert checked(good).ok
        assert left.exists(), "somebody is at work in it"
    assert checked(good).ok
    assert not left.exists()


def test_checking_goes_on_beside_a_writer(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told how far it is may write."""
    monkeypatch.setattr(cas.check, "SLICE_SECONDS", 0.0)  # as on a busy machine
    told: list[object] = []
    with Repository.open(good) as repo, Repository.open(good) as writer:

        def disturb(progress: object) -> None:
            told.append(progress)
            if len(told) > 20:
                return  # what is written meanwhile is checked too
            writer.commit("busy", {"text": "x" * 4_000, "n": len(writer.runs())})
            writer.forget(["busy~1"]) if writer.resolve("busy").sequence > 1 else None

        assert repo.check(progress=disturb).damage == ()
        assert writer.gc().complete
        assert repo.check().damage == ()


@pytest.mark.parametrize("library", ["cbor2", "zstandard"])
def test_a_lack_of_memory_is_no_damage(
    good: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """A repair would drop what could not be read because of it."""

    def cbor_fails(*_arguments: Any, **_options: Any) -> Any:
        raise cbor2.CBORDecodeError("error decoding array") from MemoryError()

    def zstd_fails(*_arguments: Any) -> bytes:
        raise zstandard.ZstdError("zstd decompress error: Allocation error : not enough memory")

    with Repository.open(good) as repo:
        before = states(repo)
    with Repository.open(good) as repo:
        with monkeypatch.context() as patch:
            if library == "cbor2":
                patch.setattr(cbor2, "loads", cbor_fails)
            else:
                patch.setattr(cas.packs, "_inflate", zstd_fails)
            for work in (repo.check, repo.repair, lambda: repo.restore("a")):
                with pytest.raises(MemoryError, match="too little memory"):
                    work()
        assert repo.repair().dropped == ()
        assert states(repo) == before


# -- flips -------------------------------------------------------------------------------------


def look(home: Path, want: dict[tuple[str, int], Any]) -> str:
    """Check a damaged store and restore from it; a wrong state is a failure."""
    with Repository.open(home, create=False) as repo:
        report = repo.check()
        if any(damage.kind == "structure" for damage in report.damage):
            return "structure"
        hits = set(report.hits)
        for (run, sequence), state in want.items():
            try:
                assert repo.restore((run, sequence)) == state, "a wrong state was restored"
            except (CorruptStoreError, NotFoundError):
                assert report.damage
            except Exception:
                assert f"{run}@{sequence}" in hits
        return report.damage[0].kind if report.damage else "nothing"


def test_a_flip_in_any_page_is_found_or_changes_nothing(
    good: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    """Free pages, and the holes in pages that are in use, hold nothing that anybody reads."""
    chooser = random.Random(seed)
    want, sound = left(good), meaning_of(all_rows(good))
    raw = data_file(objects(good)).read_bytes()
    copy = copy_of(good, "damaged")
    outcomes: Counter[str] = Counter()
    for page in range(len(raw) // PAGE_BYTES):
        for _ in range(rounds(1, 20)):
            at = page * PAGE_BYTES + chooser.randrange(PAGE_BYTES)
            data_file(objects(copy)).write_bytes(flip(raw, at, chooser.randrange(8)))
            outcome = in_child(partial(look, copy, want))
            if outcome == "+nothing":
                assert meaning_of(all_rows(copy)) == sound, f"the flip at {at} was not found"
            outcomes[outcome.split(":")[0]] += 1
    assert outcomes["+record"] >= 4, outcomes
    assert outcomes["+nothing"] < sum(outcomes.values()) * 0.6, outcomes


def test_repair_after_a_flip_in_any_page_drops_only_what_it_hit(
    good: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    chooser = random.Random(seed)
    want = left(good)
    raw = data_file(objects(good)).read_bytes()
    copy, spare = copy_of(good, "damaged"), good.with_name("spare")
    bundle = good.with_name("bundle")
    with Repository.open(good) as repo:
        repo.backup(spare)
        repo.export(["a", "b", "c", "k"], bundle, history=True)

    def work(source: Path | None) -> str:
        report = checked(copy)
        if report.ok:
            return "nothing"
        done = repaired(copy, source)
        rest = left(copy)
        heads = {run: (run, now) for run, _before, now in done.moved_heads}
        for place, state in list(rest.items()):
            if place not in want:
                assert state == want[heads[place[0]]]
                del rest[place]
        assert all(want[place] == state for place, state in rest.items())
        lost = {f"{run}@{sequence}" for run, sequence in want.keys() - rest.keys()}
        beside = ("tag:", "pin:", "pending:", "effect:", "a row of ")
        assert lost == {name for name in done.dropped if not name.startswith(beside)}
        assert lost <= set(report.hits)
        assert not (lost and source)
        return "lost some" if lost else "lost none"

    outcomes: Counter[str] = Counter()
    for page in range(2, len(raw) // PAGE_BYTES):
        for turn in range(rounds(1, 10)):
            at = page * PAGE_BYTES + chooser.randrange(PAGE_BYTES)
            data_file(objects(copy)).write_bytes(flip(raw, at, chooser.randrange(8)))
            source = (None, spare, bundle)[(page + turn) % 3]
            outcome = in_child(partial(work, source))
            assert outcome.startswith(("+", "CorruptStoreError"))
            outcomes[outcome.split(":")[0]] += 1
    assert outcomes["+lost none"] >= 2, outcomes


# -- one thing at a time -----------------------------------------------------------------------


def record_of(home: Path, key: str) -> int:
    """The record that one key of the state of a@20 leads to, alone with its neighbours."""
    with Repository.open(home) as repo:
        checkpoint = repo.resolve(key)
    return Vandal(objects(home)).number(checkpoint.id)


@pytest.mark.parametrize("with_source", [False, True])
def test_a_pack_whose_key_is_damaged_takes_no_other_with_it(
    good: Path, with_source: bool, seed: int, rounds: Callable[[int, int], int]
) -> None:
    """Its rows lie where the records of another pack should be found, or behind their own place."""
    spare, want = good.with_name("spare"), left(good)
    with Repository.open(good) as repo:
        repo.backup(spare)
    copy = copy_of(good, "damaged")
    vandal, chooser = Vandal(objects(copy)), random.Random(seed)
    raw, rows = data_file(objects(copy)).read_bytes(), vandal.rows("objects")
    many = vandal.pack_key(record_of(good, "b@2"))
    one = vandal.pack_key(record_of(good, "a@20"))
    bits = [(key, bit) for key in (one, many) for bit in range(64)]
    # Those that lead into the pack before, whatever else is chosen.
    near = [(one, 48), (one, 49), (many, 0), (many, 49), (many, 50)]
    for key, bit in [*near, *chooser.sample(bits, rounds(5, len(bits)))]:
        moved = flip(key, bit // 8, bit % 8)
        if moved in rows:
            continue
        data_file(objects(copy)).write_bytes(raw)
        vandal.delete("objects", key)
        alone = set(checked(copy).hits)
        vandal.put("objects", moved, rows[key])
        assert not checked(copy).ok
        dropped = set(repaired(copy, spare if with_source else None).dropped)
        is_put_back = with_source or (key, bit) in near
        assert dropped <= (set() if is_put_back else alone), (key, bit)
        rest = left(copy)
        kept = {(run, at) for run, at in want if f"{run}@{at}" not in dropped}
        assert all(rest[place] == want[place] for place in kept), (key, bit)


def test_a_damaged_object_is_named_with_all_it_hits(good: Path) -> None:
    vandal = Vandal(objects(good))
    number = record_of(good, "a@9")
    vandal.change(
        "objects", vandal.pack_key(number), lambda row: flip(row, vandal.digest_at(number))
    )
    report = checked(good)
    assert {damage.kind for damage in report.damage} <= {"record", "index", "row"}
    assert {"a@9", "c@1"} <= set(report.hits)
    done = repaired(good)
    assert set(done.dropped) == {"a@9", "c@1"}
    with Repository.open(good) as repo:
        assert [info.name for info in repo.runs()] == ["a", "b", "k"]
        assert repo.gc().complete
        assert repo.check().ok


def test_a_lost_head_gives_way_to_its_newest_ancestor(good: Path) -> None:
    vandal = Vandal(objects(good))
    number = record_of(good, "b@5")
    vandal.change("objects", vandal.pack_key(number), lambda row: flip(row, len(row) - 2))
    report = checked(good)
    assert report.hits == ("b@5",)
    done = repaired(good)
    assert done.moved_heads == (("b", 5, 2),)
    with Repository.open(good) as repo:
        assert repo.resolve("b").id == repo.resolve("b@2").id
        assert repo.commit("b", {"on": "again"}).sequence == 7
        assert repo.resolve("b~1").id == repo.resolve("b@2").id
        assert [found.sequence for found in repo.log("b")] == [7, 6, 4, 3, 2, 1]


def test_everything_comes_back_from_a_copy(good: Path) -> None:
    want = left(good)
    spare = good.with_name("spare")
    with Repository.open(good) as repo:
        repo.backup(spare)
    vandal = Vandal(objects(good))
    for key, row in vandal.rows("objects").items():
        if row and key[-1] == 0 and key[-2] == 0:
            vandal.put("objects", key, flip(row, len(row) // 2, 3))
    report = checked(good)
    assert len(report.hits) >= 31
    done = repaired(good, spare)
    assert done.dropped == ()
    assert done.objects > 20
    assert left(good) == want
    with Repository.open(good) as repo:
        assert repo.resolve("tag:gold").sequence == 5
        assert repo.pins()[0].checkpoint.sequence == 7


@pytest.mark.parametrize(
    ("table", "dropped"),
    [
        ("runs", ()),
        ("checkpoints", ()),
        ("tags", ()),
        ("pins", ()),
        ("numbers", ()),
        ("keys", ()),
        ("pending", ("a row of pending",) * 3),
        ("effects", ("a row of effects",)),
    ],
)
def test_a_row_that_proves_itself_is_written_again(
    good: Path, table: str, dropped: tuple[str, ...]
) -> None:
    """Its checksum is what was damaged: id and record number still fit together."""
    want = left(good)
    vandal = Vandal(objects(good))
    for key, row in vandal.rows(table).items():
        vandal.put(table, key, flip(flip(row, 0), 1))
    report = checked(good)
    assert {damage.kind for damage in report.damage} <= {"row", "run"}
    assert {damage.table for damage in report.damage} >= {table}
    assert repaired(good).dropped == dropped
    assert left(good) == want


def test_a_codec_with_one_bit_turned_over_is_put_right(good: Path) -> None:
    want, vandal = left(good), Vandal(objects(good))
    for place, bit in (("a@20", 3), ("b@2", 7)):
        key = vandal.pack_key(record_of(good, place))
        vandal.change("objects", key, partial(flip, at=0, bit=bit))
    report = checked(good)
    assert {"a@20", "b@2"} < set(report.hits)
    assert {damage.kind for damage in report.damage} == {"pack"}
    done = repaired(good)
    assert done.dropped == ()
    assert "one bit was turned over" in done.fixed[0]
    assert left(good) == want


@pytest.mark.parametrize("what", ["codec", "manifest"])
def test_what_a_later_version_wrote_is_not_repaired_away(
    good: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vandal = Vandal(objects(good))
    if what == "codec":
        key = vandal.pack_key(record_of(good, "a@20"))
        vandal.change("objects", key, lambda row: b"\xff" + row[1:])
    else:
        with Repository.open(good) as repo, monkeypatch.context() as patched:
            patched.setattr("manifests.manifest.MANIFEST_FORMAT", MANIFEST_FORMAT + 1)
            repo.commit("later", {"n": 1})
    # Damage of the usual kind beside it, which would be put right.
    vandal.change("pins", next(iter(vandal.rows("pins"))), lambda row: flip(row, 0))
    before = all_rows(good)
    report = checked(good)
    assert {damage.kind for damage in report.damage} == {"newer", "row"}
    assert ("a@20" if what == "codec" else "later@1") in report.hits
    for read_only, dry_run in ((True, True), (False, True), (False, False)):
        with Repository.open(good, create=False, read_only=read_only) as repo:
            with pytest.raises(UnsupportedFormatError, match="upgrade Hive"):
                repo.repair(dry_run=dry_run)
    assert all_rows(good) == before


@pytest.mark.parametrize("part", ["key", "value"])
@pytest.mark.parametrize(
    "table", ["runs", "checkpoints", "tags", "pins", "keys", "pending", "effects"]
)
def test_a_row_with_one_bit_turned_over_is_put_right(
    good: Path, table: str, part: str, seed: int
) -> None:
    """Its checksum tells which bit it was; no other damage fits it."""
    want, before = left(good), all_rows(good)[table.encode()]
    chooser, vandal = random.Random(seed), Vandal(objects(good))
    for key, row in before[:: 1 + (len(before) > 4)]:
        vandal.delete(table, key)
        if part == "key":
            places = [flip(key, at, bit) for at in range(len(key)) for bit in range(8)]
            taken = vandal.rows(table).keys() | dict(before).keys()
            key = chooser.choice([place for place in places if place not in taken])
        else:
            row = flip(row, chooser.randrange(len(row)), chooser.randrange(8))
        vandal.put(table, key, row)
    done = repaired(good)
    assert done.dropped == ()
    assert "one bit was turned over" in done.fixed[0]
    assert all_rows(good)[table.encode()] == before
    assert left(good) == want


@pytest.mark.parametrize("table", ["root-log", "leases", "repairs"])
def test_rows_that_only_save_work_are_removed(good: Path, table: str) -> None:
    vandal = Vandal(objects(good))
    vandal.put(table, b"12345678", b"no checksum at all")
    assert [damage.kind for damage in checked(good).damage] == ["row"]
    assert repaired(good).dropped == ()


def test_the_index_and_the_counters_are_made_right(good: Path) -> None:
    vandal = Vandal(objects(good))
    keys = sorted(vandal.rows("index"))
    vandal.delete("index", keys[0])
    vandal.change("index", keys[1], lambda row: (999_999).to_bytes(6, "big") + row)
    vandal.put("index", b"x" * 8, b"odd")
    kinds = [damage.kind for damage in checked(good).damage]
    assert kinds == ["index"] * 3
    assert repaired(good).dropped == ()
    assert checked(good).ok


def test_counters_that_are_wrong_are_found(good: Path) -> None:
    vandal = Vandal(objects(good))
    row = vandal.row("store", b"counters")[4:]
    vandal.put_checked("store", b"counters", row[:31] + bytes([row[31] ^ 1]) + row[32:])
    (damage,) = checked(good).damage
    assert (damage.kind, "objects" in damage.text) == ("counters", True)
    assert repaired(good).fixed == ("the counters of what is stored",)


@pytest.mark.parametrize("number", [3, 1 << 40, (1 << 64) - 1])
def test_no_record_gets_a_number_that_it_cannot_have(good: Path, number: int) -> None:
    """Behind those that are there, and not so far that marking them would take all memory."""
    vandal = Vandal(objects(good))
    row = vandal.row("store", b"counters")[4:]
    vandal.put_checked("store", b"counters", number.to_bytes(8, "big") + row[8:])
    vandal.put_checked("store", b"collected", b"\xff" * 24)
    (damage,) = checked(good).damage
    assert (damage.kind, str(number) in damage.text) == ("counters", True)
    with Repository.open(good) as repo:
        for attempt in (repo.gc, repo.compact):
            with pytest.raises(CorruptStoreError, match="--repair"):
                attempt()
        if number != 1 << 40:
            with pytest.raises(CorruptStoreError, match="--repair"):
                repo.commit("b", {"n": number})
    assert repaired(good).fixed == ("the counters of what is stored",)
    with Repository.open(good) as repo:
        repo.commit("b", {"n": number})
        repo.gc()
        assert repo.restore("b") == {"n": number}
        assert repo.check().ok


def test_a_run_that_counts_wrong_is_found(good: Path) -> None:
    vandal = Vandal(objects(good))
    fields = cbor2.loads(vandal.row("runs", b"a")[4:])
    fields[2], fields[4] = 99, 77
    vandal.put_checked("runs", b"a", cbor2.dumps(fields))
    assert [damage.kind for damage in checked(good).damage] == ["run", "run"]
    assert repaired(good).dropped == ()
    with Repository.open(good) as repo:
        assert (repo.runs()[0].checkpoints, repo.runs()[0].head.sequence) == (23, 25)
        assert repo.resolve("a").id == repo.resolve("a@24").id


def test_a_damaged_structure_is_not_touched(good: Path) -> None:
    """It is damaged while the store is open: opening would notice by itself."""
    file = data_file(objects(good))
    page = file.stat().st_size // PAGE_BYTES - 1

    def work() -> str:
        with Repository.open(good, create=False) as repo:
            assert repo.check().ok
            with open(file, "r+b") as damaged:
                # The mark of a page that is being written, which LMDB does not look at to read.
                damaged.seek(page * PAGE_BYTES + 10)
                flags = damaged.read(1)[0]
                damaged.seek(page * PAGE_BYTES + 10)
                damaged.write(bytes([flags ^ 0x10]))
            kinds = {damage.kind for damage in repo.check().damage}
            with pytest.raises(CorruptStoreError, match="takes what is whole into a new store"):
                repo.repair()
            return " ".join(kinds)

    assert in_child(work) == "+structure"


def test_nothing_to_repair_from_is_said(good: Path) -> None:
    with Repository.open(good) as repo, pytest.raises(NotFoundError, match="nothing at"):
        repo.repair(source=good / "nowhere")


def test_a_damaged_tag_is_not_believed_to_have_another_name(good: Path) -> None:
    """No object proves what a tag is called, so neither does a repair."""
    vandal = Vandal(objects(good))
    row = vandal.row("tags", b"gold")
    vandal.put("tags", b"gold", row.replace(b"gold", b"bold"))
    with Repository.open(good) as repo:
        report = repo.repair()
        assert report.dropped == ("a row of tags",)
        assert not repo.tags()
        assert repo.check().ok


def test_how_deep_damage_reaches_does_not_matter(home: Path) -> None:
    with ObjectStore.open(home / "objects") as store:
        below: tuple[Digest, ...] = ()
        chain: list[Object] = []
        for number in range(3_000):
            chain.append(Object(below, b"%d" % number))
            below = (chain[-1].address(),)

        def work(writer: RecordWriter) -> list[bool]:
            numbers = [writer.put(each.address(), each) for each in chain]
            writer.flush()
            broken = BrokenRecords()
            for number in numbers:
                broken.add(number, {numbers[0]})
            healer = Healer(writer, broken, None, ())
            return [healer.is_whole(numbers[-1]), healer.is_whole(numbers[0])]

        assert store.write(work) == [True, True]
