"""`Repository.gc` and `compact`: reports, roots of every kind, and a model beside the store."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cas.counters import Counters
from cas.environment import WriteTransaction
from cas.epochs import Moment, RootChanges, changes_since
from cas.errors import InvalidInputError, NotFoundError, ReadOnlyStoreError
from cas.leases import LEASES, Lease, is_part
from cas.objects import Object
from cas.records import RecordReader
from cas.upkeep import Progress
from manifests import PendingWrite, Repository, RetentionPolicy
from manifests.roots import LAYOUT
from manifests.strays import drop_strays


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


def test_what_is_staged_while_it_dies_is_kept(repo: Repository) -> None:
    dying = Object((), b"dying " * 50)
    repo._store.put(dying)
    lease = Lease(repo._store)

    def stage(told: Progress) -> None:
        if told.phase == "mark" and not lease.is_used:
            lease.stage({dying.address(): dying})

    assert repo.gc(progress=stage).objects_removed == 0
    assert lease.is_used
    assert repo._store.get(dying.address()) == dying
    lease.abandon()
    assert repo.gc().objects_removed == 1


def test_a_lease_of_which_a_part_is_gone_is_not_held(repo: Repository) -> None:
    lease = Lease(repo._store)
    for item in (Object((), b"first"), Object((), b"second")):
        lease.stage({item.address(): item})
    assert repo._store.read(lambda reader: lease.is_held(reader.transaction))

    def take_one_off(transaction: WriteTransaction) -> None:
        first = next(key for key, _row in transaction.items(LEASES) if is_part(key))
        transaction.delete(LEASES, first)

    repo._store.environment.write(take_one_off)
    assert not repo._store.read(lambda reader: lease.is_held(reader.transaction))


def roots(reader: RecordReader) -> tuple[Moment, Counter[int]]:
    """The moment, and how many names lead to which record."""
    transaction = reader.transaction
    named = Counter(
        number
        for root in LAYOUT.roots
        if root not in LAYOUT.transient
        for key, row in transaction.items(root.table)
        for number in root.numbers(key, row)
    )
    return Moment.of(Counters.load(transaction)), named


def write(text: str, **where: Any) -> PendingWrite:
    """A pending write that is large enough for an object of its own."""
    return PendingWrite("task", 0, "messages", f"{text} " * 200, **where)


def overtake(repo: Repository) -> None:
    """Let a run go on beyond a checkpoint that has writes and never came."""
    repo.put_pending("late", "b", [write("late")])
    for key in "ac":
        repo.commit("late", {}, key=key)


def drop_known_strays(repo: Repository) -> None:
    for _ in range(2):  # once to know them
        drop_strays(repo._store)


OLD: dict[str, Any] = {"messages": ["old " * 300, "older " * 300]}
CHANGES: dict[str, Callable[[Repository], object]] = {
    "commit": lambda repo: repo.commit("a", OLD),
    "commit under a key": lambda repo: repo.commit("keyed", OLD, key="d", parent=("keyed", "c")),
    "commit in the place of another": lambda repo: repo.commit("keyed", {"k": 1}, key="d"),
    "tag": lambda repo: repo.tag("tag", ("keyed", "b")),
    "pin": lambda repo: repo.pin("a@4"),
    "unpin": lambda repo: repo.unpin("a@4"),
    "withdraw what is tagged": lambda repo: repo.withdraw("keyed", ["b"]),
    "move a tag": lambda repo: repo.tag("tag", "a@3", force=True),
    "remove a tag": lambda repo: repo.untag("tag"),
    "pending": lambda repo: repo.put_pending("a", 7, [write("first"), write("x", path="p")]),
    "replace pending": lambda repo: repo.put_pending("a", 7, [write("new")], replace=True),
    "pending again": lambda repo: repo.put_pending("keyed", "c", [write("first")]),
    "effect": lambda repo: repo.record_effect("a", "effect", "done " * 300),
    "effect again": lambda repo: repo.record_effect("b", "effect", "done " * 300),
    "go on": lambda repo: repo.commit("a", {"n": 1}),
    "fork": lambda repo: repo.fork("a", "fork"),
    "fork an older one": lambda repo: repo.fork("a@7", "older"),
    "copy": lambda repo: repo.copy_runs({"keyed": "copy"}),
    "delete the copy": lambda repo: repo.delete_run("copy"),
    "export": lambda repo: repo.export(["a"], repo.home / "bundle", history=True),
    "withdraw": lambda repo: repo.withdraw("keyed", ["c"]),
    "forget": lambda repo: repo.forget(["a@1", "a@7"]),
    "forget by a policy": lambda repo: repo.forget(RetentionPolicy(keep_last=1)),
    "delete": lambda repo: repo.delete_run("a"),
    "import": lambda repo: repo.import_bundle(repo.home / "bundle"),
    "pending at a head": lambda repo: repo.put_pending("keyed", "d", [write("head")]),
    "withdraw all": lambda repo: repo.withdraw("keyed", repo.keys("keyed")),
    "pending without a run": lambda repo: repo.put_pending("no", 1, [write("no")]),
    "strays": drop_known_strays,
    "pending that is overtaken": overtake,
    "strays of a run": drop_known_strays,
    "delete with a tag": lambda repo: [repo.tag("t", "b"), repo.delete_run("b", force=True)],
}


def test_freed_is_never_less_than_nothing(repo: Repository) -> None:
    """Dropping a little of a dense pack makes it larger: it is compressed less hard then."""
    fill(repo, "a", 60)
    repo.compact()
    before = repo.stats().stored_bytes
    repo.forget(["a@30"])
    done = repo.gc()
    assert done.objects_removed
    assert repo.stats().stored_bytes > before
    assert done.bytes_freed_inside == 0


def test_every_change_of_roots_leaves_a_note(repo: Repository) -> None:
    """So a collection beside it, or of changes alone, knows what came back and what went."""
    fill(repo, "a", 6)
    fill(repo, "b", 2)
    for key in "abc":
        repo.commit("keyed", {"k": key, **OLD}, key=key)
    repo.delete_run("b")
    fill(repo, "b", 3)
    for name, change in CHANGES.items():
        before, old = repo._store.read(roots)
        change(repo)
        after, new = repo._store.read(roots)
        assert new != old or name == "export", f"{name} changed nothing"
        assert (after.root_epoch > before.root_epoch) == (new != old), name
        said = repo._store.read(partial(_changes, before=before, after=after))
        assert said.complete, f"{name} left too few notes, or too many"
        older = {number for number in new - old if number < before.next_record}
        assert older <= said.added, f"{name} says nothing of what it names"
        assert {*old} - {*new} <= said.dropped, f"{name} says nothing of what it dropped"


def _changes(reader: RecordReader, before: Moment, after: Moment) -> RootChanges:
    return changes_since(reader.transaction, before, after)


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
