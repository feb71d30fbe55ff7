"""Parts of a store that are gone or cut off, and stores of other versions."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import pytest

from cas.digest import Digest
from cas.errors import (
    CorruptObjectError,
    CorruptStoreError,
    HiveError,
    MissingObjectError,
    UnsupportedFormatError,
)
from cas.generation import LAYOUT, generation_line
from cas.records import RecordReader, record_key
from manifests import Repository
from manifests.manifest import MANIFEST_FORMAT
from tests.cas.children import in_child
from tests.damage import PAGE_BYTES, Vandal, data_file, flip


@pytest.fixture
def state() -> dict[str, Any]:
    return {
        "messages": [f"message {n} " * 20 for n in range(60)],
        "n": 1,
        "large": "x y z " * 5_000,
    }


@pytest.fixture
def home(home: Path, state: dict[str, Any]) -> Path:
    """A home with one run of three checkpoints."""
    with Repository.open(home) as repo:
        for n in (1, 2, 3):
            repo.commit("r", state | {"n": n})
    return home


def numbers_below(repo: Repository, ref: str) -> dict[int, Digest]:
    """The records that a checkpoint consists of, with their addresses."""

    def walk(reader: RecordReader) -> dict[int, Digest]:
        root = reader.find(repo.resolve(ref).id)
        assert root is not None
        found: dict[int, Digest] = {}
        level = [root]
        while level:
            record = reader.read(level.pop())
            found[record.number] = Digest(record.digest)
            level += record.links
        return found

    return repo._store.read(walk)


# -- truncation -------------------------------------------------------------------------------


def test_a_truncated_file_is_an_error_at_every_length(home: Path, state: dict[str, Any]) -> None:
    path = data_file(home / "objects")
    good = path.read_bytes()
    pages = len(good) // PAGE_BYTES

    def cut() -> str:
        outcomes = set()
        for page in range(pages):
            for size in (page * PAGE_BYTES - 1, page * PAGE_BYTES, page * PAGE_BYTES + 1):
                if size < 0:
                    continue
                path.write_bytes(good[:size])
                for read_only in (True, False):
                    try:
                        with Repository.open(home, create=False, read_only=read_only) as repo:
                            outcomes.add(f"opened at {size} of {len(good)}: {repo.runs()}")
                    except HiveError as error:
                        outcomes.add(f"{type(error).__name__} {error.code}")
        return repr(outcomes)

    assert in_child(cut) == "+{'CorruptStoreError corrupt-store'}"
    path.write_bytes(good)
    with Repository.open(home, create=False) as repo:
        assert repo.restore("r@3") == state | {"n": 3}
        assert repo.commit("r", {}).sequence == 4


def test_an_error_about_truncation_says_what_to_do(home: Path) -> None:
    path = data_file(home / "objects")
    path.write_bytes(path.read_bytes()[: 5 * PAGE_BYTES])
    with pytest.raises(CorruptStoreError, match="restore the store from a copy") as caught:
        Repository.open(home)
    assert caught.value.path == path


@pytest.mark.parametrize("part", ["generation", "g1", "g1/data.mdb"])
def test_a_store_that_lacks_a_part_is_damaged_and_never_made_anew(home: Path, part: str) -> None:
    lost, kept = home / "objects" / part, home / "kept"
    shutil.move(lost, kept)
    for read_only in (True, False):
        with pytest.raises(CorruptStoreError):
            Repository.open(home, read_only=read_only)
    assert not lost.exists()
    shutil.move(kept, lost)
    with Repository.open(home) as repo:
        assert repo.resolve("r").sequence == 3


@pytest.mark.parametrize("part", ["turnstile", "ballast", "g1/lock.mdb"])
def test_what_a_store_can_do_without_is_made_again(home: Path, part: str) -> None:
    (home / "objects" / part).unlink()
    with Repository.open(home) as repo:
        assert repo.commit("r", {"n": 4}).sequence == 4
    assert (home / "objects" / part).exists()


def test_a_damaged_generation_file_names_what_is_there(home: Path) -> None:
    path = home / "objects" / "generation"
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(flip(good, at, at % 8))
        with pytest.raises((CorruptStoreError, UnsupportedFormatError)):
            Repository.open(home)
    path.write_bytes(flip(good, 40))
    with pytest.raises(CorruptStoreError, match="present: g1"):
        Repository.open(home)
    path.write_bytes(good)
    with Repository.open(home) as repo:
        assert repo.resolve("r").sequence == 3


# -- missing objects ---------------------------------------------------------------------------


def test_a_missing_object_is_named(home: Path, state: dict[str, Any]) -> None:
    with Repository.open(home) as repo:
        numbers = numbers_below(repo, "r@1")
    vandal = Vandal(home / "objects")
    rows = vandal.rows("objects")
    packs = {key for key in rows if key[-2:] == b"\0\0"}
    for key in packs:
        vandal.delete("objects", key)
        with Repository.open(home) as repo:
            for ref in ("r@1", "r@2", "r@3"):
                with suppress(MissingObjectError, CorruptObjectError):
                    assert repo.restore(ref) == state | {"n": int(ref[-1])}
        vandal.put("objects", key, rows[key])
    assert len(numbers) > 5
    with Repository.open(home) as repo:
        assert repo.restore("r@1") == state | {"n": 1}


def test_committing_the_same_state_again_heals_what_is_missing(
    home: Path, state: dict[str, Any]
) -> None:
    with Repository.open(home) as repo:
        shared = sorted(set(numbers_below(repo, "r@1")) & set(numbers_below(repo, "r@3")))
    vandal = Vandal(home / "objects")
    vandal.change("objects", vandal.pack_key(shared[0]), lambda row: flip(row, -9))
    with Repository.open(home) as repo:
        with pytest.raises(CorruptObjectError):
            repo.restore("r@3")
        assert repo.commit("r", state | {"n": 4}).sequence == 4
        for n in (2, 3, 4):
            assert repo.restore(f"r@{n}") == state | {"n": n}
    with Repository.open(home, read_only=True) as repo:
        for n in (2, 3, 4):
            assert repo.restore(f"r@{n}") == state | {"n": n}


def test_a_handle_that_remembers_what_it_stored_heals_it_too(
    home: Path, state: dict[str, Any]
) -> None:
    with Repository.open(home) as repo:
        repo.commit("r", state)
        number = next(iter(sorted(numbers_below(repo, "r"))))
        key = record_key(number)

        def damage(tx: Any) -> None:
            found, row = tx.last_at_or_before(OBJECTS, key)
            tx.put(OBJECTS, found, flip(row, -9))

        from cas.records import OBJECTS

        repo._store.environment.write(damage)
        assert repo.restore("r") == state, "what is in memory is not read again"
        with pytest.raises(CorruptObjectError):
            repo.value("r", "large")
        # The state has not changed, so of itself this commit would encode next to nothing.
        state["n"] = 2
        after = repo.commit("r", state)
        assert repo.restore(after) == state
        assert repo.restore("r~1") == state | {"n": 1}


# -- other versions -----------------------------------------------------------------------------


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_layout_of_files_asks_for_an_upgrade(home: Path, read_only: bool) -> None:
    path = home / "objects" / "generation"
    path.write_bytes(generation_line(1, layout=LAYOUT + 1))
    with pytest.raises(UnsupportedFormatError, match="upgrade Hive"):
        Repository.open(home, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("change", ["format", "engine", "more parameters", "fewer parameters"])
def test_a_newer_header_asks_for_an_upgrade(home: Path, read_only: bool, change: str) -> None:
    vandal = Vandal(home / "objects")
    good = vandal.row("store", b"header")
    header = cbor2.loads(good[4:])
    if change == "format":
        header["format"] += 1
    elif change == "engine":
        header["engine"] = "another"
    elif change == "more parameters":
        header["parameters"]["new"] = 1
    else:
        del header["parameters"]["run_most"]
    vandal.put_checked("store", b"header", cbor2.dumps(header))
    before = data_file(home / "objects").read_bytes()
    with pytest.raises(UnsupportedFormatError, match="upgrade Hive"):
        Repository.open(home, read_only=read_only)
    assert data_file(home / "objects").read_bytes() == before, (
        "what is not understood is not touched"
    )
    vandal.put("store", b"header", good)
    with Repository.open(home) as repo:
        assert repo.resolve("r").sequence == 3


def test_a_newer_manifest_asks_for_an_upgrade(
    home: Path, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository.open(home) as repo, monkeypatch.context() as patched:
        patched.setattr("manifests.manifest.MANIFEST_FORMAT", MANIFEST_FORMAT + 1)
        repo.commit("r", state | {"n": 4})
    with Repository.open(home) as repo:
        for ask in (partial(repo.restore, "r"), repo.runs, partial(repo.log, "r")):
            with pytest.raises(UnsupportedFormatError, match="upgrade Hive"):
                ask()
        assert repo.restore("r@3") == state | {"n": 3}


def test_a_newer_codec_asks_for_an_upgrade(home: Path, state: dict[str, Any]) -> None:
    vandal = Vandal(home / "objects")
    with Repository.open(home) as repo:
        newest = max(numbers_below(repo, "r@3"))
    vandal.change("objects", vandal.pack_key(newest), lambda row: b"\7" + row[1:])
    with Repository.open(home) as repo:
        with pytest.raises(UnsupportedFormatError, match="upgrade Hive"):
            repo.restore("r@3")
        assert repo.restore("r@2") == state | {"n": 2}
