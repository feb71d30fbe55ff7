"""`Repository.gc` and `compact`: reports, roots of every kind, and a model beside the store."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cas.errors import InvalidInputError, NotFoundError, ReadOnlyStoreError
from cas.leases import Lease
from cas.objects import Object
from cas.upkeep import Progress
from manifests import Repository, RetentionPolicy


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        yield opened


def fill(repo: Repository, run: str, steps: int) -> None:
    """Commit a growing conversation."""
    messages: list[str] = [f"the same beginning for all {n} " * 20 for n in range(5)]
    for step in range(steps):
        messages.append(f"{run} says {step} " * 30)
        repo.commit(run, {"messages": messages, "step": step})


def states(repo: Repository) -> dict[tuple[str, int], Any]:
    return {
        (info.name, found.sequence): repo.restore((info.name, found.sequence))
        for info in repo.runs()
        for found in repo.log(info.name)
    }


def test_a_report_says_what_was_freed_and_why_the_rest_stays(repo: Repository) -> None:
    fill(repo, "a", 20)
    fill(repo, "b", 20)
    repo.tag("best", "b@3")
    repo.pin("b@4", "looks good")
    repo.delete_run("a")
    before = repo.stats()
    plan = repo.gc(dry_run=True)
    assert repo.stats() == before
    done = repo.gc()
    after = repo.stats()
    assert done.roots == {
        "checkpoints": 20,
        "tags": 1,
        "pins": 1,
        "pending writes": 0,
        "effects": 0,
        "leases": 0,
    }
    assert done.objects_removed == plan.objects_removed == before.objects - after.objects > 20
    assert done.objects_kept == after.objects == repo.check().records
    assert done.payload_bytes_removed == before.unique_bytes - after.unique_bytes
    assert done.bytes_freed_inside == before.stored_bytes - after.stored_bytes > 0
    assert (done.bytes_returned_to_disk, done.complete, done.dry_run) == (0, True, False)
    assert (plan.dry_run, plan.batches) == (True, 0)
    shrunk = repo.compact()
    assert shrunk.bytes_returned_to_disk == shrunk.bytes_before - shrunk.bytes_after > 0
    assert shrunk.objects_kept == after.objects
    assert repo.stats().disk_bytes == shrunk.bytes_after


@pytest.mark.parametrize("work", ["gc", "compact"])
def test_every_kind_of_root_keeps(repo: Repository, work: str) -> None:
    fill(repo, "a", 6)
    repo.fork("a@2", "fork")
    expected = {name: repo.restore(name) for name in ("a@3", "a@5", "fork")}
    repo.tag("third", "a@3")
    repo.pin("a@5")
    repo.forget(["a@1", "a@2", "a@4"])
    staged = Object((), b"staged " * 50)
    lease = Lease(repo._store)
    lease.stage({staged.address(): staged})
    getattr(repo, work)()
    assert repo.restore("tag:third") == expected["a@3"]
    assert repo.restore("a@5") == expected["a@5"]
    assert repo.restore("fork") == expected["fork"]
    assert repo._store.get(staged.address()) == staged
    assert repo.tags()["third"].sequence == 3
    assert [pin.checkpoint.sequence for pin in repo.pins()] == [5]
    lease.abandon()
    getattr(repo, work)()
    assert not repo._store.has(staged.address())
    assert repo.check().ok


def test_a_forgotten_checkpoint_is_gone_by_id_too(repo: Repository) -> None:
    fill(repo, "a", 4)
    second = repo.resolve("a@2")
    repo.forget(["a@2"])
    for _ in range(2):
        with pytest.raises(NotFoundError):
            repo.restore(second.id)
        repo.gc()
    repo.compact()
    with pytest.raises(NotFoundError):
        repo.restore(second)
    assert repo.resolve("a~1").sequence == 3


def test_commits_go_on_with_what_they_remember(repo: Repository) -> None:
    """A handle that encodes only changes, and knows what is stored, across gc and compact."""
    state: dict[str, Any] = {"messages": [{"n": n, "text": "x" * 300} for n in range(100)]}
    for step in range(12):
        state["messages"].append({"n": step, "text": f"{step}" * 300})
        repo.commit("a", state)
        if step % 3 == 0:
            repo.gc()
        if step % 4 == 3:
            repo.forget([("a", step)])
            repo.compact()
    assert repo.restore("a") == state
    assert repo.check().ok


def test_progress_is_told_and_others_may_write_in_it(repo: Repository) -> None:
    fill(repo, "a", 5)
    fill(repo, "b", 5)
    repo.delete_run("b")
    phases: list[str] = []

    def told(progress: Progress) -> None:
        phases.append(progress.phase)
        assert 0 <= progress.done <= progress.total
        if len(phases) < 6:
            repo.commit("a", {"phase": len(phases)})

    repo.gc(progress=told)
    repo.compact(progress=told)
    assert {"mark", "sweep", "copy", "verify"} <= set(phases)
    assert repo.check().ok


def test_a_plan_that_is_not_executed_goes_with_a_dry_run(repo: Repository) -> None:
    plan = repo.forget(RetentionPolicy(mode="latest_only"), dry_run=True)
    with pytest.raises(InvalidInputError, match="dry_run"):
        repo.gc(after=plan)


def test_a_store_open_for_reading_is_not_changed(repo: Repository, home: Path) -> None:
    fill(repo, "a", 2)
    with Repository.open(home, read_only=True) as reader:
        for work in (reader.gc, reader.compact):
            with pytest.raises(ReadOnlyStoreError):
                work()
        lock = home / "objects" / "upkeep"
        lock.unlink(missing_ok=True)
        plan = reader.forget(RetentionPolicy(mode="latest_only"), dry_run=True)
        told = reader.gc(dry_run=True, after=plan)
        assert not lock.exists()
    repo.forget(plan)
    with Repository.open(home, read_only=True) as reader:
        again = reader.gc(dry_run=True)
    done = repo.gc()
    for figure in ("objects_removed", "payload_bytes_removed", "objects_kept", "roots"):
        assert getattr(told, figure) == getattr(again, figure) == getattr(done, figure)
    assert done.objects_removed
    with Repository.open(home, read_only=True) as reader:
        assert reader.gc(dry_run=True).objects_removed == 0  # the file of the lock is there now


def test_airline_runs_take_little_room(
    data_dir: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first 40 of the recorded runs, a checkpoint for each message; then every third alone."""
    with gzip.open(data_dir / "airline_runs.jsonl.gz") as lines:
        runs = [json.loads(line) for line, _ in zip(lines, range(40), strict=False)]
    survivors = runs[::3]
    with Repository.open(home) as repo:
        for run in runs:
            record(repo, run)
        before = repo.stats()
        done = repo.compact()
        # All 200 runs take 2.05 MB, a hundredth of a megabyte each.
        assert done.bytes_after < 0.7 * before.disk_bytes
        assert done.bytes_after < 700_000
        for run in runs:
            assert repo.restore(run["run"]) == {"messages": run["messages"]}
            assert repo.restore((run["run"], 2)) == {"messages": run["messages"][:2]}
        for run in runs:
            if run not in survivors:
                repo.delete_run(run["run"])
        left = repo.compact().bytes_after
    with Repository.open(tmp_path / "only") as only:
        for run in survivors:
            record(only, run)
        saved, least = only.stats().disk_bytes, only.compact().bytes_after
    with capsys.disabled():
        print(
            f"\ncompact after deleting {len(runs) - len(survivors)} of {len(runs)} runs: "
            f"{left / least:.3f} of a compacted store that only ever held the others, "
            f"{left / saved:.3f} of one as it was saved"
        )
    assert left <= 1.05 * least


def record(repo: Repository, run: dict[str, Any]) -> None:
    """Save a checkpoint for each message of a recorded run."""
    waiting = []
    for count in range(1, len(run["messages"]) + 1):
        state = {"messages": run["messages"][:count]}
        waiting.append(repo.submit(repo.prepare(run["run"], state)))
    for future in waiting:
        future.result()
