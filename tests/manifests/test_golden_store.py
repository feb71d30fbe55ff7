"""A store that an earlier version wrote is read whole by this one, and goes on being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cas.errors import MissingObjectError
from cas.store import ObjectStore
from manifests import PendingWrite, Repository, UnregisteredValue
from tests.golden import samples
from tests.golden.regenerate import STORE, build_store, expected_of
from tests.manifests.classes import registry
from tests.manifests.sameness import assert_same

FILES = {"expected.json", "objects/generation", "objects/g1/data.mdb"}


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads((STORE / "expected.json").read_text())


def test_it_is_small_and_holds_no_more_than_it_must() -> None:
    files = {path.relative_to(STORE).as_posix() for path in STORE.rglob("*") if path.is_file()}
    assert files == FILES, "no lock files, no ballast"
    assert (STORE / "objects" / "g1" / "data.mdb").stat().st_size < 200_000


def test_it_is_read_whole(golden_home: Path, expected: Any) -> None:
    assert expected_of(golden_home) == expected
    assert sum(map(len, expected["runs"].values())) == 16
    with Repository.open(golden_home, registry=registry()) as repository:
        assert_same(repository.restore("values"), samples.values())


def test_it_is_read_beside_no_writer(golden_home: Path, expected: Any) -> None:
    with Repository.open(golden_home, read_only=True, registry=registry()) as repository:
        head = expected["runs"]["first"][-1]["checkpoint"]
        assert repository.resolve("first").model_dump(mode="json", exclude={"key"}) == head


def test_it_is_read_without_its_classes(golden_home: Path) -> None:
    with Repository.open(golden_home) as repository:
        state = repository.restore("first@3")
        assert isinstance(state["goal"], UnregisteredValue)


def test_every_object_is_sound(golden_home: Path) -> None:
    with Repository.open(golden_home, registry=registry()) as repository:
        ids = [point.id for info in repository.runs() for point in repository.log(info.name)]
        count = repository.stats().objects
    with ObjectStore.open(golden_home / "objects") as store:
        seen = set()
        queue = list(ids)
        while queue:
            digest = queue.pop()
            if digest not in seen:
                seen.add(digest)
                queue.extend(store.get(digest).links)
        assert len(seen) == count
        with pytest.raises(MissingObjectError):
            store.get(type(ids[0])(bytes(32)))


def test_it_goes_on_being_written(golden_home: Path, expected: Any) -> None:
    with Repository.open(golden_home, registry=registry()) as repository:
        before = repository.stats()
        state = repository.restore("first")
        again = repository.commit("first", state)
        assert again.sequence == len(expected["runs"]["first"]) + 1
        assert again.new_objects <= 1, "its objects have the addresses they would have today"
        state["messages"].append({"role": "user", "content": "more"})
        repository.commit("first", state)
        assert repository.restore("first~1") != repository.restore("first")
        assert repository.stats().objects < before.objects + 12


def test_the_same_store_written_today_is_the_same(tmp_path: Path, expected: Any) -> None:
    build_store(tmp_path)
    today = expected_of(tmp_path)
    for name, points in expected["runs"].items():
        ids = [point["checkpoint"]["id"] for point in today["runs"][name]]
        assert ids == [point["checkpoint"]["id"] for point in points]
    assert today["tags"] == expected["tags"]


def test_tables_it_lacks_read_as_empty_and_are_made(golden_home: Path) -> None:
    """Pending writes, effects and keys came after it was written."""
    with Repository.open(golden_home, read_only=True, registry=registry()) as repository:
        assert repository.pending("first", 1) == []
        assert repository.effects("first") == {}
    with Repository.open(golden_home, registry=registry()) as repository:
        head = repository.resolve("first")
        assert head.key is None
        repository.put_pending("first", head.sequence, [PendingWrite("t", 0, "x", 1)])
        repository.record_effect("first", "paid", 1)
        repository.commit("keyed", {}, key="a", parent=None)
        assert repository.gc(whole=True).complete
        repository.compact()
        assert repository.pending("first", head.sequence) == [PendingWrite("t", 0, "x", 1)]
        assert repository.check().ok
