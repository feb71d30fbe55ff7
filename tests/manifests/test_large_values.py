"""Large states are stored piece by piece, under a lease, and leave nothing behind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import manifests.constructors
from cas.digest import Digest
from cas.errors import ConflictError, HiveError, InvalidInputError, StoreFullError
from cas.leases import LEASES, STAGE_BYTES
from cas.objects import Object
from manifests import Repository
from manifests.decoder import Decoder
from manifests.group import GroupCommitter
from manifests.scalars import decode_scalar
from tests.manifests.memory import Memory

MIB = 1024 * 1024


def leases(repo: Repository) -> int:
    """Return how many rows of leases there are."""
    return repo._store.environment.read(lambda view: view.count(LEASES))


def blob(seed: int, size: int) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def test_a_large_state_is_staged_and_restores(home: Path) -> None:
    """More than one staging transaction, then the name; no lease is left."""
    with Repository.open(home) as repo:
        state = {f"part-{at}": blob(at, 12 * MIB) for at in range(4)}
        prepared = repo.prepare("run", state)
        assert prepared.lease is not None
        assert prepared.object_bytes <= STAGE_BYTES
        assert leases(repo) > 1  # the owner, and what was staged
        checkpoint = repo.write(prepared)
        assert leases(repo) == 0
        assert checkpoint.new_bytes >= 48 * MIB
        assert checkpoint.new_objects == repo.stats().objects
        assert repo.restore("run") == state


def test_what_was_staged_survives_a_collection_before_it_is_named(home: Path) -> None:
    """Nothing but the lease reaches the staged objects while gc runs."""
    with Repository.open(home) as repo:
        state = {"data": blob(1, 40 * MIB)}
        prepared = repo.prepare("run", state)
        repo.gc()
        repo.write(prepared)
        assert repo.restore("run") == state


def test_a_large_commit_that_conflicts_gives_its_lease_back(home: Path) -> None:
    """It can never be written, so nothing of it may be kept for it."""
    with Repository.open(home) as repo, Repository.open(home) as other:
        repo.commit("run", {"n": 0})
        prepared = repo.prepare("run", {"data": blob(2, 20 * MIB)})
        other.commit("run", {"n": 1})
        with pytest.raises(ConflictError):
            repo.write(prepared)
        assert leases(repo) == 0
        assert repo.gc().bytes_freed_inside > 0


def test_a_large_commit_that_finds_no_room_gives_its_lease_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was staged would else keep the store full for as long as the process lives."""

    def no_room(_committer: GroupCommitter, jobs: Sequence[Any]) -> list[HiveError]:
        return [StoreFullError("no room") for _ in jobs]

    with Repository.open(home) as repo:
        with monkeypatch.context() as patch:
            patch.setattr(GroupCommitter, "write_all", no_room)
            with pytest.raises(StoreFullError):
                repo.commit("run", {"data": blob(2, 20 * MIB)})
        assert leases(repo) == 0
        assert repo.gc().bytes_freed_inside > 0


def test_a_large_effect_that_comes_second_gives_its_lease_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody records the effect between the look and the transaction."""
    with Repository.open(home) as repo:
        repo.record_effect("run", "paid", 1)
        monkeypatch.setattr("manifests.beside.has_effect", lambda *_: False)
        assert repo.record_effect("run", "paid", blob(3, 20 * MIB)) == 1
        assert leases(repo) == 0
        assert repo.gc().bytes_freed_inside > 0


def test_a_large_state_that_cannot_be_encoded_gives_its_lease_back(home: Path) -> None:
    """The error comes after much was staged."""
    with Repository.open(home) as repo:
        with pytest.raises(InvalidInputError, match=r"state\['z'\]"):
            repo.commit("run", {"data": blob(3, 20 * MIB), "z": object()})
        assert leases(repo) == 0


def test_one_of_several_large_values_changes(home: Path) -> None:
    """Only its chunks are new."""
    with Repository.open(home) as repo:
        state = {f"part-{at}": blob(at, 4 * MIB).hex() for at in range(4)}
        repo.commit("run", state)
        state["part-2"] = state["part-2"][:MIB] + "edited" + state["part-2"][MIB:]
        assert repo.commit("run", state).new_bytes < MIB
        assert repo.restore("run") == state


def test_long_texts_are_put_together_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of all of them at once would take as much memory as the state itself."""
    memory = Memory()
    texts = [blob(at, MIB + MIB // 2).hex() for at in range(3)]
    root = memory.objects[memory.save([*texts, texts[0]])]
    events: list[int] = []

    def load(links: Sequence[Digest]) -> list[Object]:
        items = memory.load(links)
        events.append(sum(len(item.payload) for item in items))
        return items

    def decode(content: list[Any]) -> Any:
        events.append(-len(content[1]))
        return decode_scalar(content)

    monkeypatch.setattr(manifests.constructors, "decode_scalar", decode)
    assert Decoder(memory.registry, load).value(root) == [*texts, texts[0]]
    held = list(accumulate(events))
    assert max(held) < 1.1 * len(texts[0])
    assert sum(event < 0 for event in events) == 4


@pytest.mark.parametrize("height", [300, 3_000])
def test_lists_that_pretend_to_be_strings_are_refused(height: int) -> None:
    memory = Memory()
    link = memory.put(b"\x80")
    for _ in range(height):
        # A list that links to a node of bytes that links to a list.
        link = memory.put(b"\xcd\x84\x01\x01\x81\x00\x81\xc6\x00", link)
        link = memory.put(b"\x81\xc6\x00", link)
    with pytest.raises(HiveError):
        memory.read(link)
