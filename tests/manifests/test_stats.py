"""`stats`: against a naive recount of what the tables hold."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.records import RecordReader
from manifests import Repository, StoreStats
from manifests.catalogue import Catalogue
from manifests.statistics import _Measurement
from tests.damage import Vandal


def naive(repo: Repository) -> dict[str, Any]:
    """Count everything by walking from each checkpoint to all it reaches, again and again."""

    def walk(reader: RecordReader, root: int) -> dict[int, int]:
        sizes: dict[int, int] = {}
        level = [root]
        while level:
            record = reader.read(level.pop())
            sizes[record.number] = len(record.payload)
            level.extend(record.links)
        return sizes

    def count(reader: RecordReader) -> dict[str, Any]:
        catalogue = Catalogue(reader.transaction)
        reach: dict[str, dict[int, int]] = {}
        for run in catalogue.runs():
            reach[run.name] = {}
            for _, row in catalogue.newest(run.number):
                reach[run.name].update(walk(reader, row.record))
        listed = {row.record for run in catalogue.runs() for _, row in catalogue.newest(run.number)}
        tagged: dict[int, int] = {}
        for tag in catalogue.tags():
            if tag.record not in listed:
                tagged.update(walk(reader, tag.record))
        unique, shared = {}, {}
        for name, mine in reach.items():
            others = set(tagged).union(*(reach[other] for other in reach if other != name))
            unique[name] = sum(size for number, size in mine.items() if number not in others)
            shared[name] = sum(size for number, size in mine.items() if number in others)
        everything: dict[int, int] = dict(tagged)
        for mine in reach.values():
            everything.update(mine)
        return {"unique": unique, "shared": shared, "all": sum(everything.values())}

    return repo._store.read(count)


def check(repo: Repository) -> StoreStats:
    stats = repo.stats()
    recount = naive(repo)
    infos = {info.name: info for info in repo.runs()}
    assert set(stats.runs) == set(infos)
    for name, run in stats.runs.items():
        log = repo.log(name)
        assert run.checkpoints == infos[name].checkpoints == len(log)
        assert run.logical_bytes == sum(checkpoint.logical_bytes for checkpoint in log)
        assert run.unique_bytes == recount["unique"][name]
        assert run.shared_bytes == recount["shared"][name]
    assert stats.checkpoints == sum(run.checkpoints for run in stats.runs.values())
    assert stats.logical_bytes == sum(run.logical_bytes for run in stats.runs.values())
    assert stats.unique_bytes >= recount["all"], "garbage counts, and nothing is left out"
    return stats


def test_numbers_of_an_empty_store(repo: Repository) -> None:
    stats = check(repo)
    assert (stats.checkpoints, stats.objects, stats.logical_bytes) == (0, 0, 0)
    assert (stats.unique_bytes, stats.stored_bytes, stats.runs) == (0, 0, {})
    assert stats.disk_bytes > 0


def test_numbers_of_runs_that_share(repo: Repository) -> None:
    rng = random.Random(1)
    prompt = "system prompt " * 300
    for number in range(5):
        state: dict[str, Any] = {"messages": [{"role": "system", "content": prompt}]}
        for step in range(8):
            state["messages"].append({"role": "user", "content": rng.randbytes(80).hex()})
            repo.commit(f"run {number}", state, execution={"step": step})
    repo.fork("run 1@3", "fork")
    repo.commit("fork", {"messages": []})
    repo.tag("kept", "run 2@2")
    stats = check(repo)
    assert sum(run.unique_bytes for run in stats.runs.values()) < stats.unique_bytes
    assert stats.runs["fork"].shared_bytes > len(prompt)
    assert stats.runs["run 0"].shared_bytes >= len(prompt)
    assert stats.logical_bytes > 5 * 8 * len(prompt)
    assert stats.unique_bytes < stats.logical_bytes / 10
    assert stats.stored_bytes < stats.unique_bytes, "the prompt compresses"
    repo.close()
    vandal = Vandal(repo.home / "objects")
    assert stats.stored_bytes == sum(map(len, vandal.rows("objects").values()))
    with Repository.open(repo.home, read_only=True) as again:
        assert check(again) == again.stats()
        assert again.stats().model_copy(update={"disk_bytes": 0}) == stats.model_copy(
            update={"disk_bytes": 0}
        )


def test_numbers_after_forgetting(repo: Repository) -> None:
    state: dict[str, Any] = {"messages": []}
    for step in range(10):
        state["messages"].append("x" * 200 + str(step))
        repo.commit("r", state)
    repo.fork("r@4", "fork")
    before = check(repo)
    repo.forget([("r", sequence) for sequence in range(1, 9)])
    after = check(repo)
    assert after.runs["r"].checkpoints == 2
    assert after.runs["fork"].checkpoints == 1
    assert after.logical_bytes < before.logical_bytes
    assert after.objects == before.objects, "what gc has not freed counts"


def test_bytes_on_disk_are_those_of_the_file_system(repo: Repository) -> None:
    for number in range(20):
        repo.commit("r", random.Random(number).randbytes(10_000))
    files = [path for path in (repo.home / "objects").rglob("*") if path.name != "ballast"]
    allocated = sum(path.stat().st_blocks * 512 for path in [repo.home / "objects", *files])
    assert repo.stats().disk_bytes == allocated
    assert allocated > 200_000


def test_what_a_checkpoint_says_it_added_adds_up(repo: Repository) -> None:
    written = []
    state: dict[str, Any] = {"items": []}
    for number in range(30):
        state["items"].append({"n": number, "text": "t" * number * 10})
        written.append(repo.commit(f"run {number % 3}", copy.deepcopy(state)))
    stats = repo.stats()
    assert sum(checkpoint.new_bytes for checkpoint in written) == stats.stored_bytes
    assert sum(checkpoint.new_objects for checkpoint in written) == stats.objects


STATES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=200),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text("k", max_size=4), inner),
    max_leaves=60,
)


@settings(max_examples=30)
@given(
    commits=st.lists(st.tuples(st.sampled_from("abc"), STATES), max_size=12),
    forks=st.lists(st.integers(0, 11), max_size=3),
    forgets=st.lists(st.integers(0, 11), max_size=4),
)
def test_any_history_is_counted_right(
    tmp_path_factory: Any,
    commits: list[tuple[str, Any]],
    forks: list[int],
    forgets: list[int],
) -> None:
    place: Path = tmp_path_factory.mktemp("stats")
    with Repository.open(place) as repo:
        written = [repo.commit(run, state) for run, state in commits]
        for number, index in enumerate(forks):
            if index < len(written):
                repo.fork(written[index], f"fork {number}")
        heads = {info.head.id for info in repo.runs()}
        for index in set(forgets):
            if index < len(written) and written[index].id not in heads:
                repo.forget([written[index]])
        check(repo)


def test_what_runs_share_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for each of them: a store may have a thousand forks of one long conversation."""
    located: list[int] = []
    locate = RecordReader.locate

    def counting(reader: RecordReader, number: int) -> Any:
        located.append(number)
        return locate(reader, number)

    with Repository.open(tmp_path) as repo:
        repo.commit("base", {"m": [{"text": f"message {n} " * 10} for n in range(300)]})
        monkeypatch.setattr(RecordReader, "locate", counting)
        repo.stats()
        alone = len(located)
        for number in range(40):
            repo.fork("base", f"fork-{number}")
        located.clear()
        stats = repo.stats()
        assert 0 < len(located) <= alone
        assert {run.unique_bytes for run in stats.runs.values()} == {0}
        assert {run.shared_bytes for run in stats.runs.values()} == {stats.unique_bytes}


def test_what_is_forgotten_meanwhile_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as it may happen: measuring takes several transactions."""
    walk, left = _Measurement._walk, [3, 2, 1]

    def interfering(measurement: _Measurement, *arguments: Any) -> None:
        if len(left) > 1:
            repo.delete_run(f"run-{left.pop()}")
            repo.gc(whole=True)
        walk(measurement, *arguments)

    with Repository.open(tmp_path) as repo:
        for number in left:
            repo.commit(f"run-{number}", {"text": f"{number} " * 500})
        monkeypatch.setattr(_Measurement, "_walk", interfering)
        assert list(repo.stats().runs) == ["run-3"]
