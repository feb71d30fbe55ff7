"""docs/format.md is enough to write another reader: one that was reads what Hive does."""

from __future__ import annotations

import ast
import random
import struct
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import CorruptObjectError
from cas.packs import Pack
from manifests import PendingWrite, Repository, UnregisteredValue
from tests.damage import Vandal, flip
from tests.golden.regenerate import STORE
from tests.manifests import another_reader
from tests.manifests.another_reader import (
    Bundle,
    DamagedError,
    NewerError,
    Object,
    Objects,
    Store,
    Values,
    everything_below,
    number_key,
    open_store,
    records_in,
)
from tests.manifests.classes import registry
from tests.manifests.sameness import assert_same
from tests.manifests.strategies import large_containers, values

EXAMPLES = settings().max_examples


def array(dtype: Any, shape: tuple[int, ...] | None, fortran: bool, data: bytes) -> Any:
    """Build an array as the page says, which is not how ``manifests.arrays`` does."""
    form = dtype if isinstance(dtype, str) else [field(*each) for each in dtype]
    made: Any = np.ndarray(shape or (), form, data or None, order="F" if fortran else "C")
    return made[()] if shape is None else made


def field(name: Any, dtype: Any, *shape: Any) -> Any:
    form = dtype if isinstance(dtype, str) else [field(*each) for each in dtype]
    return name if isinstance(name, str) else tuple(name), form, *map(tuple, shape)


def values_of(objects: Objects) -> Values:
    return Values(objects, UnregisteredValue, array)


class Told:
    """What Hive says is in a store, without knowing any class."""

    def __init__(self, home: Path) -> None:
        with Repository.open(home, create=False) as repo:
            self.tags = {name: bytes(point.id) for name, point in repo.tags().items()}
            self.pins = {bytes(pin.checkpoint.id): pin.reason or "" for pin in repo.pins()}
            self.claims = {claim.run: claim.at for claim in repo.claims()}
            self.runs = {info.name: info.head.sequence for info in repo.runs()}
            self.points = {run: list(reversed(repo.log(run))) for run in self.runs}
            self.states = {
                point.id: (repo.restore(point), repo.execution(point))
                for points in self.points.values()
                for point in points
            }
            self.effects = {
                run: {each.name: (each.value, each.after) for each in repo.recorded_effects(run)}
                for run in self.runs
            }
            self.pending = {
                (run, point.sequence): repo.pending(run, point.key or point.sequence)
                for run, points in self.points.items()
                for point in points
            }


def check_point(read: Values, link: Any, point: Any, told: Told) -> None:
    manifest = read.manifest(link, bytes(point.id))
    state, execution = told.states[point.id]
    assert_same(manifest.state, state)
    assert_same(manifest.execution or {}, execution)
    graph = manifest.graph
    assert [
        *(manifest.run, manifest.sequence, manifest.kind, manifest.node),
        *(tuple(manifest.next_nodes), manifest.labels, manifest.logical_bytes),
        *(manifest.parent, graph.hex() if isinstance(graph, bytes) else graph),
    ] == [
        *(point.origin_run, point.origin_sequence, point.kind, point.node),
        *(point.next_nodes, point.labels, point.logical_bytes),
        *(point.parent and bytes(point.parent), point.graph),
    ]
    assert manifest.created == round(point.created_at.timestamp() * 1_000_000)


def check_store(home: Path) -> None:
    """Compare what both readers say of everything in a store."""
    told = Told(home)
    with open_store(home) as store:
        read = values_of(store)
        assert {run.name: run.head for run in store.runs() if run.head} == told.runs
        for run in store.runs():
            listed = {n: row for n, row in store.checkpoints(run) if not row.flags & 4}
            assert len(listed) == run.kept
            for point in told.points.get(run.name, []):
                row = listed.pop(point.sequence)
                assert store.find(row.id) == row.record
                assert (row.new_objects, row.new_bytes) == (point.new_objects, point.new_bytes)
                assert row.key == point.key
                assert not row.key or store.keys(run)[row.key] == point.sequence
                assert everything_below(store, row.record)
                check_point(read, row.record, point, told)
            assert not listed
            check_beside(store, run, told)
        assert {name: address for name, _, address, *_ in store.arrays("tags")} == told.tags
        assert {address: why for _, address, _, _, why in store.arrays("pins")} == told.pins
        assert {name: sequence for name, sequence, *_ in store.arrays("claims")} == told.claims
        for _, record, address, *_ in store.arrays("tags"):
            assert store.get(record).digest == address
        check_counters(store)


def check_beside(store: Store, run: another_reader.Run, told: Told) -> None:
    read = values_of(store)
    effects = {
        name: (read.body(body), at)
        for name, at, body in store.arrays("effects", number_key(run.number))
    }
    assert_same(effects, told.effects.get(run.name, {}))
    found: dict[Any, list[PendingWrite]] = {}
    for each in store.pending(run):
        at = store.keys(run).get(each.at, each.at) if isinstance(each.at, str) else each.at
        found.setdefault((run.name, at), []).extend(
            PendingWrite(each.task, index, name, read.body(body), each.path)
            for index, name, body in triples(each.writes)
        )
    for place, writes in told.pending.items():
        if place[0] == run.name:
            assert_same(by_place(found.pop(place, [])), writes)
    assert not found or run.name == "future"


def triples(flat: list[Any]) -> zip[Any]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)


def by_place(writes: list[PendingWrite]) -> list[PendingWrite]:
    return sorted(writes, key=lambda write: (write.path, write.task, write.index))


def check_counters(store: Store) -> None:
    packs = list(store.packs())
    records = [item for base, pack in packs for item in records_in(base, pack).values()]
    fields = struct.unpack(">7Q", store.row("store", b"counters") or b"")
    repairs = sum(len(row) for _, row in store.rows("repairs"))
    assert fields[3:6] == (
        len(records),
        sum(len(item.payload) for item in records),
        sum(len(pack) for _, pack in packs) + repairs,
    )


def check_bundle(file: Path, told: Told, left_out: dict[bytes, Object] | None = None) -> None:
    """Compare a bundle with its store, where what was left out of it is still to be had."""
    bundle = Bundle(file.read_bytes())
    read = values_of(bundle)
    seen = set(left_out or ())
    for address, item in bundle.objects.items():
        assert seen.issuperset(item.links), "children come before parents"
        seen.add(address)
    bundle.objects.update(left_out or {})
    known = {(p.run, p.sequence): p for points in told.points.values() for p in points}
    for each in bundle.checkpoints:
        point = known.get((each.run, each.sequence))
        assert point is not None or each.flags & 4
        if point is not None:
            assert (each.id, each.key) == (bytes(point.id), point.key)
            check_point(read, each.id, point, told)
    runs = {each.run for each in bundle.checkpoints}
    effects = {(run, name) for kind, run, name, *_ in bundle.notes if kind == 1}
    assert effects == {(run, name) for run in runs for name in told.effects[run]}
    pending: dict[Any, list[PendingWrite]] = {}
    for kind, run, *rest in bundle.notes:
        if kind == 0:
            sequence, path, task, flat = rest
            pending.setdefault((run, sequence), []).extend(
                PendingWrite(task, index, name, read.body(body), path)
                for index, name, body in triples(flat)
            )
        else:
            name, at, body = rest
            assert_same((read.body(body), at), told.effects[run][name])
    for each in bundle.checkpoints:
        place = each.run, each.sequence
        assert_same(by_place(pending.pop(place, [])), told.pending.get(place, []))
    assert not pending


def test_it_imports_nothing_of_hive() -> None:
    tree = ast.parse(Path(another_reader.__file__).read_text())
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level
            modules.add(str(node.module).partition(".")[0])
    assert modules - sys.stdlib_module_names == {"blake3", "cbor2", "lmdb", "zstandard"}
    assert not modules & {"importlib", "runpy"}


def test_it_reads_the_golden_store_as_it_lies() -> None:
    """No file of it may change, and none is needed besides those that are checked in."""
    before = {path: path.stat().st_mtime_ns for path in STORE.rglob("*")}
    with open_store(STORE) as store:
        heads = {run.name: run.head for run in store.runs()}
        assert heads == {"first": 12, "second": 3, "values": 1}
        for run in store.runs():
            for _, row in store.checkpoints(run):
                assert Values(store).manifest(row.record, row.id).state
    assert {path: path.stat().st_mtime_ns for path in STORE.rglob("*")} == before


def test_it_reads_the_golden_store_as_hive_does(golden_home: Path) -> None:
    check_store(golden_home)
    with Repository.open(golden_home, registry=registry()) as repo:
        repo.compact()
        repo.export(["first", "second", "values"], golden_home / "bundle", history=True)
    check_store(golden_home)
    check_bundle(golden_home / "bundle", Told(golden_home))


@given(st.lists(st.one_of(values(), large_containers()), min_size=1, max_size=3))
@settings(max_examples=EXAMPLES // 10)
def test_it_reads_every_value(states: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with Repository.open(home, registry=registry()) as repo:
            roots = [*states, {"state": states[0], "all": states, 1: "x" * 100}]
            repo.write_all(
                [
                    repo.prepare("run", root, execution={"number": number, "state": states[0]})
                    for number, root in enumerate(roots)
                ]
            )
            repo.record_effect("run", "effect", states[-1])
            writes = [
                PendingWrite("task", number, "key", state) for number, state in enumerate(states)
            ]
            repo.put_pending("run", repo.resolve("run").sequence, writes)
            repo.export(["run"], home / "bundle", history=True)
        check_store(home)
        check_bundle(home / "bundle", Told(home))
        with Repository.open(home, registry=registry()) as repo:
            repo.compact()
        check_store(home)


def grow(repo: Repository, dice: random.Random) -> None:
    """Write a history with something of everything that a store can hold."""
    chat = "chat " * dice.choice((1, 150))
    messages: list[Any] = []
    for turn in range(40):
        messages.append({"role": "user", "content": f"question {turn} " * dice.randrange(12)})
        repo.commit(
            chat,
            {"messages": messages, "turn": turn},
            node=f"node {turn}",
            next_nodes=["next " * dice.choice((1, 200))],
            labels={"label": "x" * dice.randrange(400)},
            # The newest that can be resumed is never forgotten, so it is none that `prune` names.
            graph=dice.choice((None, "a graph", "0123456789abcdef" * 4)) if turn < 39 else "last",
        )
    repo.fork(f"{chat}@3", "fork")
    repo.commit("fork", {"messages": messages[:3]})
    repo.commit("fork", {"messages": messages[:4]}, parent="fork@1")
    repo.tag("tag " * dice.choice((1, 150)), f"{chat}@2")
    repo.pin(f"{chat}@4", dice.choice((None, "because")))
    for run, form in (("keyed", "key {:03}"), ("uuids", "1f0a7c1e-0000-6000-8000-{:012x}")):
        for number in range(6):
            repo.commit(
                run,
                {"number": number},
                key=form.format(number),
                parent=(run, form.format(number - 1)) if number else None,
                needs_parent=number in (3, 5),
            )
        repo.withdraw(run, [form.format(2), form.format(1)])
        task = form.format(77)
        writes = [PendingWrite(task, number, "key", [number], "a/b") for number in (-1, 0, 3)]
        repo.put_pending(run, form.format(5), [*writes, PendingWrite("t", 0, "text", "long " * 60)])
        repo.record_effect(run, "effect " * dice.choice((1, 100)), {"sent": "text " * 90})
    repo.put_pending(chat, 40, [PendingWrite("task", 0, "key", messages)])
    repo.put_pending("future", 1, [PendingWrite("task", 0, "key", 1)])
    repo.end_claim(repo.claim("fork", repo.resolve("fork")))
    repo.claim(chat, repo.resolve(chat))


def prune(repo: Repository) -> None:
    """Free records in the middle of packs."""
    chat = next(info.name for info in repo.runs() if info.name.startswith("chat"))
    repo.forget([(chat, number) for number in range(5, 40, 3)])
    assert repo.gc().objects_removed


def go_on(repo: Repository) -> None:
    """Write packs behind those of a compaction, some of them in place of smaller ones."""
    notes = {f"note {number}": "text " * 20 for number in range(40)}
    for number in range(12):
        notes[f"note {number}"] = f"changed {number}"
        repo.commit("notes", {"notes": notes})


def test_it_reads_a_history(home: Path, seed: int) -> None:
    dice = random.Random(seed)
    for step in (lambda repo: grow(repo, dice), prune, Repository.compact, go_on):
        with Repository.open(home) as repo:
            step(repo)
        if step is prune:
            assert any(len(meta_of(pack)) > 3 for _, pack in packs_of(home)), "numbers with gaps"
        check_store(home)
    told = Told(home)
    with Repository.open(home) as repo:
        heads = [info.name for info in repo.runs()]
        repo.export(heads, home / "all", history=True)
        repo.export(heads, home / "heads")
        repo.export(heads, home / "rest", history=True, have=["fork", "notes@3"])
    check_bundle(home / "all", told)
    check_bundle(home / "heads", told)
    with open_store(home) as store:
        known = [
            everything_below(store, store.find(address))
            for address in Bundle((home / "rest").read_bytes()).left_out
        ]
    assert len(known) == 2
    left_out = {
        item.digest: item._replace(links=[found[link].digest for link in item.links])
        for found in known
        for item in found.values()
    }
    check_bundle(home / "rest", told, left_out)


def test_it_knows_every_codec(home: Path) -> None:
    with Repository.open(home) as repo:
        noise = random.Random(1).randbytes
        messages: list[str] = []
        for turn in range(40):
            messages.append(noise(40).hex())
            repo.commit("run", {"messages": messages, "number": turn})
        repo.commit("texts", [f"text {number} " * 50 for number in range(200)])
        repo.commit("noise", noise(30_000))
    before = packs_of(home)
    with Repository.open(home) as repo:
        repo.compact()
    check_store(home)
    after = packs_of(home)
    assert {pack[0] for _, pack in before} == {0, 1, 4}
    assert {pack[0] for _, pack in after} == {0, 2, 4}
    # None writes codec 3 any more.
    base, pack = next((base, pack) for base, pack in after if pack[0] == 4)
    older = with_whole_links(pack)
    assert records_in(base, older) == records_in(base, pack)
    links = [Pack(base, older).links(index) for index in range(pack[1])]
    assert links == [item.links for item in records_in(base, pack).values()]


def packs_of(home: Path) -> list[tuple[int, bytes]]:
    with open_store(home) as store:
        return list(store.packs())


def meta_of(pack: bytes) -> list[Any]:
    at = 6 + 32 * pack[1]
    meta = pack[at : at + int.from_bytes(pack[4:6], "big")]
    return list(cbor2.loads(another_reader.inflated(meta, 0xFFFF) if pack[0] > 1 else meta))


def with_whole_links(pack: bytes) -> bytes:
    """Return a pack of codec 4 as one of codec 3, whose links are no steps."""
    body_bytes, sizes, steps = meta_of(pack)
    links = [list(accumulate(each)) for each in steps]
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=0
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    meta = compressor.compress(cbor2.dumps([body_bytes, sizes, links]))
    head = struct.pack(">BBHH", 3, pack[1], 1, len(meta))
    return head + pack[6 : 6 + 32 * pack[1]] + meta + pack[-body_bytes:]


def test_it_reads_what_stands_in_for_a_damaged_record(home: Path) -> None:
    state = {"data": random.Random(1).randbytes(900)}
    with Repository.open(home) as repo:
        repo.commit("run", state)
    vandal = Vandal(home / "objects")
    vandal.change("objects", vandal.pack_key(1), lambda row: flip(row, len(row) // 2))
    with pytest.raises(DamagedError), open_store(home) as store:
        everything_below(store, 1)
    with Repository.open(home) as repo:
        with pytest.raises(CorruptObjectError):
            repo.restore("run")
        repo.commit("again", state)
        assert repo.restore("run") == state
    with open_store(home) as store:
        assert [*store.rows("repairs")]
    check_store(home)


def test_a_flipped_bit_is_found_or_harmless(golden_home: Path, seed: int) -> None:
    """Of a pack, all but the size of zstd's window and bits that mean nothing is covered."""
    dice = random.Random(seed)
    vandal = Vandal(golden_home / "objects")
    with open_store(golden_home) as store:
        heads = [row.record for run in store.runs() for _, row in store.checkpoints(run)]
        whole = [everything_below(store, record) for record in heads]
    found = 0
    rows = vandal.rows("objects")
    for _ in range(30):
        key = dice.choice([*rows])
        at, bit = dice.randrange(len(rows[key])), dice.randrange(8)
        vandal.put("objects", key, flip(rows[key], at, bit))
        with open_store(golden_home) as store:
            try:
                assert [everything_below(store, record) for record in heads] == whole
            except (DamagedError, NewerError):
                found += 1
        vandal.put("objects", key, rows[key])
    assert found > 20


@pytest.mark.parametrize("table", ["runs", "checkpoints", "tags", "store"])
def test_a_flipped_bit_in_a_row_is_found(golden_home: Path, table: str, seed: int) -> None:
    dice = random.Random(seed)
    vandal = Vandal(golden_home / "objects")
    for key, row in vandal.rows(table).items():
        vandal.put(table, key, flip(row, dice.randrange(len(row)), dice.randrange(8)))
    with pytest.raises(DamagedError), open_store(golden_home) as store:
        list(store.rows(table))


def test_a_flipped_bit_in_a_bundle_is_found(golden_home: Path, seed: int) -> None:
    dice = random.Random(seed)
    with Repository.open(golden_home, registry=registry()) as repo:
        repo.export(["first"], golden_home / "bundle")
    data = (golden_home / "bundle").read_bytes()
    for _ in range(50):
        with pytest.raises(DamagedError):
            Bundle(flip(data, dice.randrange(len(data)), dice.randrange(8)))


def test_another_value_is_noticed(golden_home: Path) -> None:
    """The comparison is none of nothing: with one more message in Hive's answer, it fails."""
    told = Told(golden_home)
    point = told.points["first"][-1]
    told.states[point.id][0]["messages"].append("more")
    with open_store(golden_home) as store:
        row = dict(store.checkpoints(store.run("first")))[12]
        with pytest.raises(AssertionError):
            check_point(values_of(store), row.record, point, told)
