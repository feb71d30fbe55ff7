"""Bundles and backups: what arrives is what was sent, and nothing of a hostile file gets a name."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import cbor2
import pytest
import zstandard
from blake3 import blake3

import manifests.bundle_reader
import manifests.importing
import manifests.salvaging
from cas.digest import Digest
from cas.environment import Environment
from cas.errors import (
    ConflictError,
    CorruptionError,
    HiveError,
    InvalidInputError,
    LimitError,
    MissingObjectError,
    NotFoundError,
    StoreFullError,
    UnsupportedFormatError,
)
from cas.leases import LEASES, Lease
from cas.objects import Object
from manifests import Checkpoint, ImportReport, PendingWrite, Repository, salvage
from manifests.bundle import BundleEntry, BundleHeader
from manifests.bundle_reader import BundleReader
from manifests.bundle_writer import write_bundle
from manifests.importing import import_as_new
from tests.cas.children import ChildFailedError, finish, in_child, start_child

MAGIC = b"\x89hive bundle\r\n\x1a\n"


def fill(repo: Repository, run: str, count: int) -> list[Checkpoint]:
    rows = [{"n": number, "text": f"{run} {number} " * 40} for number in range(count)]
    return [repo.commit(run, {"rows": rows[: number + 1]}) for number in range(count)]


def same_run(one: Repository, other: Repository, run: str) -> bool:
    """Whether both list the same checkpoints of a run, and restore the same from them."""
    return [(c.sequence, c.id) for c in one.log(run)] == [
        (c.sequence, c.id) for c in other.log(run)
    ] and all(one.restore(c) == other.restore(c) for c in one.log(run))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Repository]:
    """Where bundles come from: the runs ``a`` of six checkpoints and ``b`` of four."""
    with Repository.open(tmp_path / "here") as opened:
        fill(opened, "a", 6)
        fill(opened, "b", 4)
        yield opened


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Repository]:
    """Where bundles go: nothing yet."""
    with Repository.open(tmp_path / "there") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.hive"


# -- round trips -------------------------------------------------------------------------------


def test_one_checkpoint_takes_along_what_it_needs_and_no_more(
    here: Repository, there: Repository, file: Path
) -> None:
    whole = here.export(["a"], file.with_name("whole"), history=True)
    sent = here.export(["a@3"], file)
    assert sent.checkpoints == 1
    assert sent.objects < whole.objects
    assert sent.file_bytes == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    got = there.import_bundle(file)
    assert got.checkpoints == (("a", 3),)
    assert (got.objects, got.new_objects) == (sent.objects, sent.objects)
    assert there.stats().objects == sent.objects
    assert there.restore("a@3") == here.restore("a@3")
    assert there.resolve("a").id == here.resolve("a@3").id
    assert there.commit("a", {"goes": "on"}).sequence == 4
    assert there.check().ok
    assert os.listdir(file.parent).count(file.name) == 1


def test_importing_twice_changes_nothing(here: Repository, there: Repository, file: Path) -> None:
    here.export(["a", "b"], file, history=True)
    assert len(there.import_bundle(file).checkpoints) == 10
    before = there.stats().model_dump(exclude={"disk_bytes"})
    again = there.import_bundle(file)
    assert (again.checkpoints, again.known, again.new_objects) == ((), 10, 0)
    assert there.stats().model_dump(exclude={"disk_bytes"}) == before
    assert same_run(here, there, "a")
    assert same_run(here, there, "b")


def test_a_bundle_is_the_same_wherever_it_is_made(
    here: Repository, there: Repository, file: Path
) -> None:
    here.export(["a", "b"], file, history=True)
    there.import_bundle(file)
    there.export(["a", "b"], file.with_name("again"), history=True)
    assert file.with_name("again").read_bytes() == file.read_bytes()


def test_runs_with_keys_and_without_go_in_one_bundle(
    here: Repository, there: Repository, file: Path
) -> None:
    for number in range(3):
        here.commit("keyed", {"n": number}, key=f"key {number}")
    here.export(["a", "keyed"], file, history=True)
    there.import_bundle(file)
    assert there.keys("keyed") == ["key 2", "key 1", "key 0"]
    assert same_run(here, there, "a")
    assert same_run(here, there, "keyed")


def test_a_bundle_is_on_the_disk_before_it_has_its_name(
    here: Repository, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power loss could leave a part of one in place of the one before."""
    synced: list[int] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    def replacing(draft: Path, path: Path) -> None:
        assert synced[-1] == draft.stat().st_size > 0
        replace(draft, path)
        synced.append(0)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    here.export(["a"], file)
    assert 0 in synced


def test_a_run_goes_on_and_gets_back_what_it_forgot(
    here: Repository, there: Repository, file: Path
) -> None:
    here.export(["a@3"], file, history=True)
    there.import_bundle(file)
    there.forget(["a@2"])
    here.export(["a"], file, history=True)
    got = there.import_bundle(file)
    assert got.checkpoints == (("a", 2), ("a", 4), ("a", 5), ("a", 6))
    assert same_run(here, there, "a")
    assert there.check().ok


def test_another_run_of_that_name_is_a_conflict(
    here: Repository, there: Repository, file: Path
) -> None:
    here.export(["a@2", "a@4"], file)
    there.commit("a", {"another": True})
    with pytest.raises(ConflictError, match="as another run"):
        there.import_bundle(file)
    assert there.stats().objects == 1
    got = there.import_bundle(file, name="a from here")
    assert got.checkpoints == (("a from here", 2), ("a from here", 4))
    assert there.restore("a from here@2") == here.restore("a@2")
    here.export(["a", "b"], file)
    with pytest.raises(InvalidInputError, match="single run"):
        there.import_bundle(file, name="x")


def test_a_run_that_parted_ways_is_a_conflict(
    here: Repository, there: Repository, file: Path
) -> None:
    here.export(["a@4"], file, history=True)
    there.import_bundle(file)
    there.commit("a", {"their": "own"})
    here.export(["a"], file, history=True)
    with pytest.raises(ConflictError, match="another checkpoint here"):
        there.import_bundle(file)
    assert there.resolve("a").sequence == 5


def test_what_the_receiver_holds_is_left_out(
    here: Repository, there: Repository, file: Path
) -> None:
    here.export(["a@5"], file)
    there.import_bundle(file)
    whole = here.export(["a@6"], file)
    part = here.export(["a@6"], file, have=["a@5", "0" * 64])
    assert part.objects < whole.objects / 2
    with Repository.open(file.with_name("empty")) as empty:
        with pytest.raises(MissingObjectError, match="builds on"):
            empty.import_bundle(file)
        assert empty.stats().objects == 0
    there.import_bundle(file)
    assert there.restore("a@6") == here.restore("a@6")
    assert there.check().ok


def test_devices_pipes_and_links_are_neither_replaced_nor_misread(
    here: Repository, file: Path
) -> None:
    """Replacing is a rename: as root, /dev/null would be a bundle from then on."""
    pipe, link = file.with_name("pipe"), file.with_name("link")
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (pipe, link):
        with pytest.raises(InvalidInputError, match="is no plain file: name the file to write"):
            here.export(["a"], place)
    assert pipe.is_fifo()
    assert link.is_symlink()
    here.export(["a"], file)
    reader, writer = os.pipe()
    os.write(writer, file.read_bytes())
    os.close(writer)
    try:
        with pytest.raises(InvalidInputError, match="make a file of it"):
            here.import_bundle(Path(f"/dev/fd/{reader}"))
    finally:
        os.close(reader)


def test_what_cannot_be_exported_leaves_no_file(here: Repository, file: Path) -> None:
    with pytest.raises(NotFoundError):
        here.export(["nothing"], file)
    with pytest.raises(NotFoundError, match=r"there is no folder '.*nowhere'"):
        here.export(["a"], file.parent / "nowhere" / file.name)
    wrong: tuple[str | list[str], ...] = ("a", [])
    for refs in wrong:
        with pytest.raises(InvalidInputError):
            here.export(refs, file)
    with pytest.raises(HiveError):
        here.export(["a"], file / "below" / "nothing")
    with pytest.raises(InvalidInputError, match="File name too long"):
        here.export(["a"], file.with_name("x" * 250))
    assert sorted(os.listdir(file.parent)) == ["here"]


# -- recorded runs -----------------------------------------------------------------------------


@pytest.mark.torture
def test_what_a_killed_export_left_goes_with_the_next(here: Repository, file: Path) -> None:
    def half_an_export() -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _descriptor: os._exit(9))
            here.export(["b"], file)
        return "not killed"

    with pytest.raises(ChildFailedError):
        in_child(half_an_export)
    (left,) = file.parent.glob(f".{file.name}.*")
    others = [
        left.with_name(f"{left.name}.txt"),
        left.with_name(left.name.replace("file", "life", 1)),
    ]
    for other in others:
        other.touch()
    at_work = left.with_name(f".{file.name}.1.0123abcd")
    with open(at_work, "wb") as draft:
        fcntl.flock(draft, fcntl.LOCK_SH)
        here.export(["b"], file)
        assert not left.exists()
        assert at_work.exists()
        assert all(other.exists() for other in others)
    here.export(["b"], file)
    assert not at_work.exists()


def test_a_recorded_run_adds_only_what_is_new(
    data_dir: Path,
    tmp_path: Path,
    rounds: Callable[[int, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of the recorded runs, into a store that holds others: in full all of the 199."""
    with gzip.open(data_dir / "airline_runs.jsonl.gz", "rt", encoding="utf-8") as lines:
        runs = [json.loads(line) for line in lines][: rounds(30, 200)]
    one = str(runs[0]["run"])

    def record(repo: Repository, run: dict[str, Any]) -> None:
        waiting: list[Future[Checkpoint]] = []
        for count in range(1, len(run["messages"]) + 1):
            state = {"messages": run["messages"][:count]}
            waiting.append(repo.submit(repo.prepare(str(run["run"]), state)))
        for future in waiting:
            future.result()

    file = tmp_path / "bundle"
    with (
        Repository.open(tmp_path / "one") as source,
        Repository.open(tmp_path / "others") as others,
        Repository.open(tmp_path / "empty") as empty,
    ):
        record(source, runs[0])
        for run in runs[1:]:
            record(others, run)
        sent = source.export([one], file, history=True)
        assert sent.checkpoints == len(runs[0]["messages"])
        got = empty.import_bundle(file)
        assert got.new_objects == sent.objects == empty.stats().objects
        assert same_run(source, empty, one)
        before = others.stats()
        got = others.import_bundle(file)
        after = others.stats()
        with capsys.disabled():
            print(
                f"\na bundle of {sent.checkpoints} checkpoints, {file.stat().st_size} bytes, "
                f"{sent.objects} objects: {got.new_objects} new beside {len(runs) - 1} runs"
            )
        # The system prompt and whatever else the other runs hold is not stored again.
        assert got.new_objects == after.objects - before.objects < sent.objects
        assert after.stored_bytes - before.stored_bytes < 2 * file.stat().st_size
        assert same_run(source, others, one)
        assert others.import_bundle(file).new_objects == 0
        assert others.check().ok


# -- staging -----------------------------------------------------------------------------------


def leases(repo: Repository) -> int:
    return repo._store.environment.read(lambda transaction: transaction.count(LEASES))


def test_a_large_import_is_staged_and_survives_gc_in_between(
    here: Repository, there: Repository, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.importing, "_STAGE_OBJECTS", 4)
    here.export(["a", "b"], file, history=True)
    with Repository.open(there.home) as other:
        stage = Lease.stage
        removed = []

        def stage_and_collect(lease: Any, items: Any) -> None:
            stage(lease, items)
            assert other.runs() == []
            assert leases(other) > 1
            removed.append(other.gc().objects_removed)

        monkeypatch.setattr(Lease, "stage", stage_and_collect)
        got = there.import_bundle(file)
    assert len(removed) > 2
    assert set(removed) == {0}
    assert got.new_objects == got.objects
    assert leases(there) == 0
    assert same_run(here, there, "a")
    assert there.gc().objects_removed == 0
    assert there.check().ok


def test_a_lease_that_was_taken_for_dead_ends_the_import(
    here: Repository, there: Repository, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.importing, "_STAGE_OBJECTS", 4)
    monkeypatch.setattr("cas.owner.Owner.is_alive", lambda self: False)
    here.export(["a"], file, history=True)
    with Repository.open(there.home) as other:
        stage = Lease.stage

        def stage_and_collect(lease: Any, items: Any) -> None:
            stage(lease, items)
            other.gc()

        monkeypatch.setattr(Lease, "stage", stage_and_collect)
        with pytest.raises((ConflictError, MissingObjectError)):
            there.import_bundle(file)
    assert there.runs() == []
    assert there.check().ok


@pytest.mark.torture
def test_killed_while_importing(
    here: Repository,
    file: Path,
    tmp_path: Path,
    rounds: Callable[[int, int], int],
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manifests.importing, "_STAGE_OBJECTS", 3)
    chooser = random.Random(seed)
    here.export(["a", "b"], file, history=True)
    home = tmp_path / "target"
    Repository.open(home).close()

    def work() -> str:
        with Repository.open(home) as target:
            return str(len(target.import_bundle(file).checkpoints))

    for _ in range(rounds(6, 100)):
        child = start_child(work)
        time.sleep(chooser.uniform(0.005, 0.06))
        os.kill(child[0], signal.SIGKILL)
        with suppress(ChildFailedError):
            finish(child)
        with Repository.open(home) as target:
            listed = sum(info.checkpoints for info in target.runs())
            assert listed in (0, 10)
            assert target.check().ok
            target.gc()
            assert leases(target) == 0
            assert target.stats().objects == (0 if not listed else here.stats().objects)
            for info in target.runs():
                target.delete_run(info.name)


# -- hostile bundles ---------------------------------------------------------------------------


def packed(*items: bytes, version: int = 1) -> bytes:
    """A bundle of these items, with all that makes it look right."""
    stream = b"".join(len(item).to_bytes(4, "big") + item for item in items)
    return sealed(zstandard.ZstdCompressor().compress(stream), version=version)


def sealed(stream: bytes, version: int = 1) -> bytes:
    body = MAGIC + version.to_bytes(2, "big") + stream
    return body + blake3(body).digest()


def parts(file: Path) -> list[bytes]:
    """The items of a bundle's stream."""
    stream = zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes()[18:-32])
    items = []
    while stream:
        size = int.from_bytes(stream[:4], "big")
        items.append(stream[4 : 4 + size])
        stream = stream[4 + size :]
    return items


def refused(there: Repository, file: Path, data: bytes, kind: type[HiveError], **how: Any) -> None:
    """An import fails with one error, and leaves no name and no lease."""
    file.write_bytes(data)
    with pytest.raises(kind) as caught:
        there.import_bundle(file, **how)
    assert type(caught.value) is not HiveError
    assert there.runs() == []
    assert leases(there) == 0
    assert there.check().ok


def test_a_bundle_that_was_damaged_or_cut_off_on_its_way(
    here: Repository, there: Repository, file: Path, seed: int
) -> None:
    here.export(["b"], file)
    data = file.read_bytes()
    chooser = random.Random(seed)
    for _ in range(20):
        at = chooser.randrange(len(MAGIC) + 2, len(data))
        changed = data[:at] + bytes([data[at] ^ 1 << chooser.randrange(8)]) + data[at + 1 :]
        refused(there, file, changed, CorruptionError)
        refused(there, file, data[:at], CorruptionError)
    refused(there, file, data + b"x", CorruptionError)
    refused(there, file, b"", InvalidInputError)
    refused(there, file, b"PK" + data, InvalidInputError)
    with pytest.raises(NotFoundError, match=r"there is no file '.*nowhere'"):
        there.import_bundle(file.with_name("nowhere"))


def test_a_new_store_appears_with_all_of_a_bundle_or_not_at_all(
    here: Repository, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new" / "home"
    here.export(["b@1", "b@2"], file)
    good = file.read_bytes()
    file.write_bytes(packed(*parts(file)[:-1]))  # sealed, so that only the last object tells it
    with pytest.raises(CorruptionError):
        import_as_new(new, file, name=None, max_bytes=None)
    file.write_bytes(good)
    with monkeypatch.context() as patch:
        patch.setattr(manifests.importing, "_list", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_as_new(new, file, name=None, max_bytes=None)
    assert not new.parent.exists()
    report = import_as_new(new, file, name="x", max_bytes=None)
    assert report is not None
    assert report.checkpoints == (("x", 1), ("x", 2))
    assert import_as_new(new, file, name="y", max_bytes=None) is None
    with Repository.open(new) as repo:
        assert [info.name for info in repo.runs()] == ["x"]
        assert repo.restore("x") == here.restore("b@2")
        assert repo.check().ok
        assert leases(repo) == 0


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_is_sealed_right_and_lies_inside(
    here: Repository, there: Repository, file: Path
) -> None:
    here.export(["b@1", "b@2"], file)
    header, first, second, *frames = parts(file)
    count, size = len(frames), sum(map(len, frames))
    assert cbor2.loads(header) == [2, count, size, []]

    def entry(**changes: Any) -> bytes:
        fields = dict(
            zip(["run", "sequence", "id", "back", "flags"], cbor2.loads(first), strict=True)
        )
        return cbor2.dumps(list({**fields, **changes}.values()))

    def head(*fields: Any) -> bytes:
        return cbor2.dumps(list(fields))

    refused(there, file, packed(header, first, second, *frames, version=3), UnsupportedFormatError)
    # Objects that are missing, changed, in the wrong order, twice, or of no use.
    refused(there, file, packed(header, first, second, *frames[:-1]), CorruptionError)
    changed = frames[0][:-1] + bytes([frames[0][-1] ^ 1])
    refused(there, file, packed(header, first, second, changed, *frames[1:]), CorruptionError)
    refused(there, file, packed(header, first, second, *frames[::-1]), CorruptionError)
    less = head(2, count - 1, size - len(frames[0]), [])
    refused(there, file, packed(less, first, second, *frames[1:]), CorruptionError)
    more = head(2, count + 1, size + len(frames[0]), [])
    refused(there, file, packed(more, first, second, frames[0], *frames), CorruptionError)
    stray = Object((), b"of no use").frame()
    more = head(2, count + 1, size + len(stray), [])
    refused(there, file, packed(more, first, second, stray, *frames), CorruptionError)
    refused(there, file, packed(header, first, second, *frames, b"rest"), CorruptionError)
    # Numbers that cannot be.
    for fields in ([2**60, count, size, []], [2, 2**60, size, []], [-1, count, size, []], [2, []]):
        data = packed(cbor2.dumps(fields), first, second, *frames)
        refused(there, file, data, CorruptionError, max_bytes=1 << 30)
    refused(
        there, file, packed(head(2, count, size + 1, []), first, second, *frames), CorruptionError
    )
    refused(there, file, packed(head(2, count, 2**62, []), first, second, *frames), LimitError)
    refused(there, file, sealed(zstandard.compress(b"\xff\xff\xff\xff")), CorruptionError)
    refused(there, file, sealed(b"no zstd at all"), CorruptionError)
    refused(there, file, packed(cbor2.dumps(cbor2.CBORTag(28, []))), CorruptionError)
    # Checkpoints that cannot be.
    leaf = Digest.of(frames[0])
    for lie in (
        {"sequence": 0},
        {"sequence": 2**40},
        {"back": 9},
        {"flags": 99},
        {"id": b"short"},
        {"id": bytes(leaf)},
        {"run": 7},
        {"flags": 1},
    ):
        items = packed(header, entry(**lie), second, *frames)
        refused(there, file, items, HiveError)
    refused(there, file, packed(header, first, first, *frames), CorruptionError)


LIES: dict[int, list[Any]] = {
    1: [7, "", "evil\x1b[2J", "x" * 1_025, None, ["a"]],
    2: [0, -1, 1 << 32, "1", True, 1.0, None],
    3: [b"short", "0" * 64, 7, []],
    4: ["", None, 7, "evil\nlines"],
    5: ["", 7, b"node", "evil\x9b2J"],
    6: ["next", [7], [None], [""], ["evil\x07"], {"a": "b"}, 7],
    7: [1 << 63, -(1 << 63), "now", True, 1.5, None],
    8: [7, ["ab"], {}, "", b"\x1b"],
    9: [[], {"a": 7}, {"a": None}, {"a": "x" * 600}, "labels", None],
    10: [-1, "many", True, 1.5, None],
}
"""What a field of a manifest cannot be, by its index."""


def test_a_manifest_that_lies(here: Repository, there: Repository, file: Path) -> None:
    """Its address is right, and it says what no commit could have said."""
    here.commit("one", {"a": 1}, node="n", next_nodes=["m"], labels={"a": "b"}, graph="g")
    here.export(["one"], file)
    _header, entry, frame = parts(file)
    own = Object.from_frame(frame)
    fields = cbor2.loads(own.payload).value
    for place, lie in ((place, lie) for place, lies in LIES.items() for lie in lies):
        told = [*fields[:place], lie, *fields[place + 1 :]]
        manifest = Object(own.links, cbor2.dumps(cbor2.CBORTag(20, told)))
        row = cbor2.loads(entry)
        row[2] = bytes(manifest.address())
        head = [1, 1, len(manifest.frame()), []]
        items = cbor2.dumps(head), cbor2.dumps(row), manifest.frame()
        file.write_bytes(packed(*items))
        with pytest.raises((CorruptionError, InvalidInputError, LimitError)):
            there.import_bundle(file)
        assert there.runs() == []
    assert leases(there) == 0
    assert there.check().ok


@pytest.mark.parametrize(
    "name",
    ["../up", "/etc/passwd", "~root", "a/../b", "a\\b", "./x", "evil\x1b[2J", "", "x" * 1025],
)
def test_names_that_no_run_should_have(
    here: Repository, there: Repository, file: Path, name: str
) -> None:
    here.export(["b"], file)
    header, entry, *frames = parts(file)
    fields = cbor2.loads(entry)
    fields[0] = name
    refused(there, file, packed(header, cbor2.dumps(fields), *frames), InvalidInputError)


def test_a_bomb_is_refused_before_it_goes_off(there: Repository, file: Path) -> None:
    payload = bytes(16 << 20)
    frames = [Object((), payload[: len(payload) - n]).frame() for n in range(3)]
    size = sum(map(len, frames))
    data = packed(cbor2.dumps([0, 3, size, []]), *frames)
    assert len(data) < size / 1_000
    refused(there, file, data, LimitError, max_bytes=size - 1)
    data = packed(cbor2.dumps([0, 3, (256 << 20) + 1, []]), *frames)
    refused(there, file, data, LimitError)
    # The same, but lying about its size.
    data = packed(cbor2.dumps([0, 3, 1_000, []]), *frames)
    refused(there, file, data, CorruptionError)
    wide = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj().compress(payload)
    refused(there, file, sealed(stream), CorruptionError)


def test_what_stands_beside_states_is_not_believed_either(
    here: Repository, there: Repository, file: Path
) -> None:
    here.put_pending("b", 4, [PendingWrite("task", 0, "channel", "value " * 500)])
    here.record_effect("b", "sent", 1)
    here.export(["b"], file)
    header, entry, writes, effect, *frames = parts(file)
    assert cbor2.loads(header)[-1] == 2

    def changed(item: bytes, place: int, value: Any) -> bytes:
        fields = cbor2.loads(item)
        fields[place] = value
        return cbor2.dumps(fields)

    flat = cbor2.loads(writes)[-1]
    for lie in (
        changed(writes, 0, 7),
        changed(writes, 1, "other"),
        changed(writes, 2, 3),
        changed(writes, 2, 2**40),
        changed(writes, 4, "evil\0"),
        changed(writes, 5, flat * 2),
        changed(writes, 5, flat[:2]),
        changed(writes, 5, [2**40, *flat[1:]]),
        changed(writes, 5, [*flat[:2], [b"short"]]),
        changed(writes, 5, [*flat[:2], [bytes(32)]]),
        changed(writes, 5, [*flat[:2], "text"]),
    ):
        items = packed(header, entry, lie, effect, *frames, version=2)
        refused(there, file, items, HiveError)
    for lie in (
        changed(effect, 0, 0),
        changed(effect, 1, "other"),
        changed(effect, 2, ""),
        changed(effect, 3, -1),
        changed(effect, 4, [bytes(32)]),
    ):
        items = packed(header, entry, writes, lie, *frames, version=2)
        refused(there, file, items, HiveError)
    for count in (1, 3, 2**60, -1):
        items = packed(changed(header, 4, count), entry, writes, effect, *frames, version=2)
        refused(there, file, items, HiveError)
    file.write_bytes(packed(header, entry, writes, effect, *frames, version=2))
    assert there.import_bundle(file).checkpoints == (("b", 4),)
    assert there.pending("b", 4) == here.pending("b", 4)


def test_a_bomb_beside_the_objects_is_refused(there: Repository, file: Path) -> None:
    note = cbor2.dumps([1, "run", "name", 0, bytes(1 << 20)])
    data = packed(cbor2.dumps([0, 0, 0, [], 4]), *[note] * 4, version=2)
    assert len(data) < 1_000
    refused(there, file, data, LimitError, max_bytes=3 << 20)
    entry = cbor2.dumps(["x" * 1_000, 1, bytes(32), 0, 0])
    data = packed(cbor2.dumps([9, 0, 0, []]), *[entry] * 9)
    refused(there, file, data, LimitError, max_bytes=1_000)


def test_very_many_small_things_are_a_bomb_too(
    there: Repository, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nine bytes in a file that compresses well, half a kilobyte is made in memory."""
    monkeypatch.setattr(manifests.bundle_reader, "_LEAST_LIMIT_BYTES", 100_000)
    monkeypatch.setattr(manifests.bundle_reader, "_LIMIT_RATIO", 1)
    flat = [field for index in range(1_000) for field in (index, "n", b"")]
    note = cbor2.dumps([0, "run", 1, "", "task", flat])
    for items in (
        (cbor2.dumps([0, 1_000, 9_000, [], 0]),),
        (cbor2.dumps([1_000, 0, 0, [], 0]),),
        (cbor2.dumps([0, 0, 0, [], 1]), note),
    ):
        data = packed(*items, version=2)
        refused(there, file, data, LimitError)
        refused(there, file, data, CorruptionError, max_bytes=100_000)


def test_limits_can_be_chosen(here: Repository, there: Repository, file: Path) -> None:
    here.export(["a"], file, history=True)
    refused(there, file, file.read_bytes(), LimitError, max_bytes=100)
    assert there.import_bundle(file, max_bytes=1 << 30).new_objects > 0


def test_a_bundle_reads_as_it_was_written(file: Path) -> None:
    leaf = Object((), b"leaf")
    top = Object((leaf.address(),), b"top")
    frames = [leaf.frame(), top.frame()]
    header = BundleHeader(1, 2, sum(map(len, frames)), (leaf.address(),))
    entry = BundleEntry("run", 7, top.address(), 3, True, True)
    write_bundle(file, header, [entry], [], frames)
    with BundleReader.open(file) as bundle:
        assert bundle.header == header
        assert bundle.entries() == [entry]
        assert [found[:2] for found in bundle.objects()] == [
            (leaf.address(), leaf),
            (top.address(), top),
        ]


# -- backups -----------------------------------------------------------------------------------


def test_a_backup_beside_a_writer_is_one_moment(here: Repository, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            here.commit("busy", {"n": len(here.runs()), "text": "x" * 5_000})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [here.backup(tmp_path / f"copy {number}") for number in range(3)]
    finally:
        stop.set()
        thread.join()
    counts = []
    for copy in copies:
        with Repository.open(copy, create=False) as repo:
            assert repo.check().ok
            assert same_run(here, repo, "a")
            counts.append(repo.stats().checkpoints)
            repo.commit("a", {"goes": "on"})
            assert repo.restore("a") == {"goes": "on"}
        for folder, _folders, files in os.walk(copy / "objects"):
            assert os.stat(folder).st_mode & 0o777 == 0o700
            for name in files:
                assert os.stat(Path(folder, name)).st_mode & 0o777 == 0o600
    assert counts == sorted(counts)


def test_a_backup_needs_a_place_of_its_own(here: Repository, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="new place"):
        here.backup(here.home)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(HiveError):
        here.backup(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "a file"
    copy = here.backup(tmp_path / "deep" / "down")
    shutil.rmtree(copy)
    assert isinstance(here._store.environment, Environment)


def test_a_failed_copy_leaves_no_folders(
    here: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a backup nor of a salvaged store; what was there before stays."""

    def full(*_arguments: Any, **_options: Any) -> None:
        raise StoreFullError("no room left")

    monkeypatch.setattr(Environment, "copy", full)
    monkeypatch.setattr(manifests.salvaging, "_take_rows", full)
    (tmp_path / "there").mkdir()
    before = {*tmp_path.iterdir()}
    for place in ("there", "there/new", "deep/down"):
        with pytest.raises(StoreFullError):
            here.backup(tmp_path / place)
        with pytest.raises(StoreFullError):
            salvage(here.home, tmp_path / place)
        assert {*tmp_path.iterdir()} == before
        assert [*(tmp_path / "there").iterdir()] == []


def test_a_backup_has_nothing_that_was_deleted(tmp_path: Path) -> None:
    secret = "a secret that was deleted " * 100
    with Repository.open(tmp_path / "home") as repo:
        repo.commit("secret", {"secret": secret, "noise": random.Random(1).randbytes(9_000).hex()})
        repo.commit("other", {})
        repo.delete_run("secret")
        repo.gc()
        copy = repo.backup(tmp_path / "copy")
        here = (tmp_path / "home" / "objects" / "g1" / "data.mdb").read_bytes()
    noise = b"secret"
    assert noise not in (copy / "objects" / "g1" / "data.mdb").read_bytes()
    assert here


def test_the_report_counts_what_came(here: Repository, there: Repository, file: Path) -> None:
    here.export(["a"], file)
    got = there.import_bundle(file)
    assert isinstance(got, ImportReport)
    assert got.new_bytes == there.stats().unique_bytes
