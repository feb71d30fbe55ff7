"""Commits that wait at the same time share a transaction, and fail alone."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from cas.errors import ConflictError, HiveError, StoreFullError
from cas.records import RecordReader
from manifests import Checkpoint, Repository
from manifests.commits import PreparedCommit
from manifests.group import _Waiting
from manifests.rows import CHECKPOINTS
from tests.cas.children import in_child
from tests.interrupting import interrupt_at


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """An empty repository."""
    with Repository.open(home) as opened:
        yield opened


def transactions(repo: Repository) -> int:
    """Return how many transactions the store has seen."""
    counted: int = repo._store.environment.read(
        lambda view: view._transaction.id()  # type: ignore[union-attr]
    )
    return counted


class Gathering:
    """Holds the first transaction until others wait, so that they must share the next."""

    def __init__(self, repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = threading.Event()
        self.go_on = threading.Event()
        write = repo._store.write

        def slow_write(work: object) -> object:
            self.held.set()
            assert self.go_on.wait(30)
            return write(work)  # type: ignore[arg-type]

        monkeypatch.setattr(repo._store, "write", slow_write)


def wait_for_queue(repo: Repository, length: int) -> None:
    """Wait until so many commits are in the queue."""
    pause = threading.Event()
    for _ in range(3_000):
        if len(repo._committer._queue) == length:
            return
        pause.wait(0.01)
    raise AssertionError(f"{len(repo._committer._queue)} commits wait, not {length}")


def test_waiting_commits_share_one_transaction(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 runs commit while the first transaction is held: two transactions in all."""
    repo.commit("first", {"n": 0})
    before = transactions(repo)
    gathering = Gathering(repo, monkeypatch)
    saved: list[Checkpoint] = []

    def commit(run: str) -> None:
        saved.append(repo.commit(run, {"run": run}))

    threads = [threading.Thread(target=commit, args=(f"run-{at}",)) for at in range(64)]
    threads[0].start()
    assert gathering.held.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_for_queue(repo, 63)
    gathering.go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(saved) == 64
    assert transactions(repo) == before + 2
    for checkpoint in saved:
        assert repo.restore(checkpoint.id) == {"run": checkpoint.run}


def test_one_conflict_fails_alone(
    repo: Repository, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member whose run moved meanwhile fails; the others of its group are stored."""
    repo.commit("moved", {"n": 0})
    repo.commit("still", {"n": 0})
    stale = repo.prepare("moved", {"n": 1})
    with Repository.open(home) as other:
        other.commit("moved", {"n": "other"})
    prepared = [stale, repo.prepare("still", {"n": 1}), repo.prepare("still", {"n": 2})]
    gathering = Gathering(repo, monkeypatch)
    futures = [repo.submit(repo.prepare("leads", {"n": 0}))]
    assert gathering.held.wait(30)
    futures += [repo.submit(commit) for commit in prepared]
    gathering.go_on.set()
    with pytest.raises(ConflictError):
        futures[1].result(30)
    assert [futures[at].result(30).sequence for at in (0, 2, 3)] == [1, 2, 3]
    assert repo.restore("moved") == {"n": "other"}
    assert repo.restore("still") == {"n": 2}


def test_a_failed_transaction_is_tried_commit_by_commit(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a group does not fit, its members are stored or refused one by one."""
    write = repo._store.write
    sizes: list[int] = []

    def full_for_groups(work: object) -> object:
        before = repo._store.environment.read(lambda view: view.count(CHECKPOINTS))

        def measured(writer: RecordReader) -> object:
            result = work(writer)  # type: ignore[operator]
            sizes.append(writer.transaction.count(CHECKPOINTS) - before)
            if sizes[-1] > 1:
                raise StoreFullError("no room for so many")
            return result

        return write(measured)

    monkeypatch.setattr(repo._store, "write", full_for_groups)
    gathering = Gathering(repo, monkeypatch)
    futures = [repo.submit(repo.prepare("leads", {"n": 0}))]
    assert gathering.held.wait(30)
    futures += [repo.submit(repo.prepare(f"run-{at}", {"n": at})) for at in range(3)]
    gathering.go_on.set()
    assert [future.result(30).sequence for future in futures] == [1, 1, 1, 1]
    assert sizes == [1, 3, 1, 1, 1]


def test_commits_written_at_once_share_a_transaction_and_fail_alone(
    repo: Repository, home: Path
) -> None:
    """Each has an outcome of its own; those of one run are stored in their order."""
    repo.commit("moved", {"n": 0})
    stale = repo.prepare("moved", {"n": 1})
    with Repository.open(home) as other:
        other.commit("moved", {"n": "other"})
    prepared = [
        stale,
        *(repo.prepare(f"run-{at}", {"n": at}) for at in range(3)),
        *(repo.prepare("chain", {"n": at}) for at in range(3)),
    ]
    before = transactions(repo)
    outcomes = repo.write_all(prepared)
    assert transactions(repo) == before + 1
    assert isinstance(outcomes[0], ConflictError)
    stored = [each for each in outcomes if isinstance(each, Checkpoint)]
    assert [each.id for each in stored] == [each.id for each in prepared[1:]]
    assert [repo.restore(each) for each in stored[3:]] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert repo.commit("moved", {"n": 2}, parent="moved").sequence == 3
    assert repo.write_all([]) == []


def test_commits_written_at_once_wait_for_whoever_leads(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They queue behind a transaction that goes on, together with others that wait."""
    before = transactions(repo)
    gathering = Gathering(repo, monkeypatch)
    first = repo.submit(repo.prepare("leads", {"n": 0}))
    assert gathering.held.wait(30)
    outcomes: list[Checkpoint | HiveError] = []
    prepared = [repo.prepare(f"run-{at}", {"n": at}) for at in range(5)]
    thread = threading.Thread(target=lambda: outcomes.extend(repo.write_all(prepared)))
    thread.start()
    wait_for_queue(repo, 5)
    last = repo.submit(repo.prepare("waits", {"n": 0}))
    gathering.go_on.set()
    thread.join(30)
    assert first.result(30).sequence == last.result(30).sequence == 1
    assert [each.run for each in outcomes if isinstance(each, Checkpoint)] == [
        each.run for each in prepared
    ]
    assert transactions(repo) == before + 2
    assert repo.commit("after", {"n": 0}).sequence == 1


def test_an_interrupt_while_commits_wait_leaves_the_lead_to_others(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as their group is taken: none of them stays in the queue, and others go on."""
    committer = repo._committer
    take = committer._take

    def interrupted(_group: list[_Waiting]) -> None:
        monkeypatch.setattr(committer, "_take", take)
        raise KeyboardInterrupt

    monkeypatch.setattr(committer, "_take", interrupted)
    prepared = [repo.prepare(f"run-{at}", {"n": at}) for at in range(3)]
    with pytest.raises(KeyboardInterrupt):
        repo.write_all(prepared)
    assert committer._queue == []
    assert repo.submit(repo.prepare("after", {"n": 1})).result(30).sequence == 1
    assert [run.name for run in repo.runs()] == ["after"]


def test_submitted_commits_of_a_run_stay_in_order(repo: Repository) -> None:
    """Prepared one behind the other, written in that order, in few transactions."""
    futures = [repo.submit(repo.prepare("run", {"n": at})) for at in range(200)]
    assert [future.result(30).sequence for future in futures] == list(range(1, 201))
    assert [repo.restore(("run", at + 1)) for at in range(200)] == [{"n": at} for at in range(200)]


def test_an_interrupted_waiter_leaves_the_queue(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit whose caller gave up is not stored later, and the others go on."""
    gathering = Gathering(repo, monkeypatch)
    first = repo.submit(repo.prepare("leads", {"n": 0}))
    assert gathering.held.wait(30)
    entry = _Waiting(repo.prepare("gone", {"n": 0}), None)
    assert not repo._committer._join(entry)
    repo._committer._leave(entry)
    gathering.go_on.set()
    assert first.result(30).sequence == 1
    assert repo.commit("after", {"n": 1}).sequence == 1
    assert "gone" not in [run.name for run in repo.runs()]


@pytest.mark.parametrize("when", ["_join", "_take"])
def test_an_interrupted_leader_leaves_the_lead_to_others(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Ctrl-C between joining the queue and writing: the next commit does not wait for ever."""
    committer = repo._committer
    step = getattr(committer, when)

    def interrupted(*arguments: object) -> object:
        monkeypatch.setattr(committer, when, step)
        if when == "_join":
            step(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(committer, when, interrupted)
    with pytest.raises(KeyboardInterrupt):
        repo.commit("gone", {"n": 0})
    assert repo.submit(repo.prepare("after", {"n": 1})).result(30).sequence == 1
    assert [run.name for run in repo.runs()] == ["after"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("stored", [True, False])
def test_after_an_interrupt_the_run_goes_on_where_it_stands(
    repo: Repository,
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,
    error: type[BaseException],
) -> None:
    """Ctrl-C, or a lack of memory, before or behind the transaction: no other moved the run."""
    repo.commit("r", {"n": 1})
    write = repo._committer.write

    def interrupted(job: PreparedCommit) -> Checkpoint:
        monkeypatch.setattr(repo._committer, "write", write)
        if stored:
            write(job)
        raise error

    monkeypatch.setattr(repo._committer, "write", interrupted)
    with pytest.raises(error):
        repo.commit("r", {"n": 2})
    assert repo.commit("r", {"n": 3}).sequence == (3 if stored else 2)
    assert repo.restore("r") == {"n": 3}


def test_after_an_interrupt_anywhere_the_next_commit_follows_what_is_stored(
    repo: Repository,
) -> None:
    """Ctrl-C may come where a commit is prepared and nobody has it yet, or behind its storing."""
    for place in itertools.count():
        run = f"run {place}"
        repo.commit(run, {"n": 0})
        came = interrupt_at(place, partial(repo.commit, run, {"n": 1}))
        stored = len(repo.log(run))
        assert stored == 2 or came
        assert repo.commit(run, {"n": 2}).sequence == stored + 1, f"interrupted at call {place}"
        states = [repo.restore(checkpoint)["n"] for checkpoint in repo.log(run)]
        assert states == ([2, 1, 0] if stored == 2 else [2, 0])
        if not came:
            break
    assert place > 100


@pytest.mark.parametrize("taken", [True, False])
def test_an_interrupted_leader_loses_nobody_who_waits(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """Ctrl-C as the group is taken: those in it are told so, those still in the queue go on."""
    committer = repo._committer
    join, take = committer._join, committer._take
    others: list[Future[Checkpoint]] = []

    def joined(waiting: _Waiting) -> bool:
        monkeypatch.setattr(committer, "_join", join)
        leads = join(waiting)
        others.append(repo.submit(repo.prepare("waits", {"n": 0})))
        return leads

    def interrupted(group: list[_Waiting]) -> None:
        monkeypatch.setattr(committer, "_take", take)
        if taken:
            take(group)
        raise KeyboardInterrupt

    monkeypatch.setattr(committer, "_join", joined)
    monkeypatch.setattr(committer, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        repo.commit("gone", {"n": 0})
    if taken:
        with pytest.raises(HiveError, match="interrupted"):
            others[0].result(30)
    else:
        assert others[0].result(30).sequence == 1
    assert repo.submit(repo.prepare("after", {"n": 1})).result(30).sequence == 1
    assert "gone" not in [run.name for run in repo.runs()]


@pytest.mark.parametrize("when", ["before", "within", "behind"])
def test_an_interrupt_behind_a_transaction_loses_nobody_who_waits(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Ctrl-C as the leader tells the others and passes the lead on: they know, and go on."""
    committer = repo._committer
    join, finish, tell = committer._join, committer._finish, _Waiting.tell
    others: list[Future[Checkpoint]] = []

    def joined(waiting: _Waiting) -> bool:
        monkeypatch.setattr(committer, "_join", join)
        leads = join(waiting)
        others.append(repo.submit(repo.prepare("waits", {"n": 0})))
        return leads

    def told(waiting: _Waiting) -> None:
        if waiting.future is not None:
            monkeypatch.setattr(_Waiting, "tell", tell)
            raise KeyboardInterrupt
        tell(waiting)

    def interrupted(group: list[_Waiting], leader: _Waiting) -> None:
        monkeypatch.setattr(committer, "_finish", finish)
        if when == "behind":
            finish(group, leader)
        raise KeyboardInterrupt

    monkeypatch.setattr(committer, "_join", joined)
    if when == "within":
        monkeypatch.setattr(_Waiting, "tell", told)
    else:
        monkeypatch.setattr(committer, "_finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        repo.commit("leads", {"n": 0})
    assert others[0].result(30).sequence == 1
    assert repo.submit(repo.prepare("after", {"n": 1})).result(30).sequence == 1
    assert repo.commit("leads", {"n": 1}).sequence == 2


def test_an_interrupt_waits_for_the_transaction_under_way(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while another thread writes the commit: the next one of the run builds on it."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def child() -> str:
        signal.signal(signal.SIGUSR1, interrupt)
        gathering = Gathering(repo, monkeypatch)
        held, main = repo._store.write, threading.get_ident()
        groups: list[object] = []

        def write(work: object) -> object:
            groups.append(work)
            if len(groups) == 2:
                signal.pthread_kill(main, signal.SIGUSR1)
                threading.Event().wait(0.2)
            return held(work)  # type: ignore[arg-type]

        def go_on() -> None:
            wait_for_queue(repo, 2)
            gathering.go_on.set()

        monkeypatch.setattr(repo._store, "write", write)
        repo.submit(repo.prepare("first", {"n": 0}))
        assert gathering.held.wait(30)
        repo.submit(repo.prepare("leads", {"n": 0}))
        threading.Thread(target=go_on).start()
        with pytest.raises(KeyboardInterrupt):
            repo.commit("run", {"n": 0})
        return str(repo.commit("run", {"n": 1}).sequence)

    assert in_child(child) == "+2"


def test_a_queued_commit_cannot_be_cancelled(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others share its transaction; asyncio cancels the futures that it waits for."""
    gathering = Gathering(repo, monkeypatch)
    first = repo.submit(repo.prepare("leads", {"n": 0}))
    assert gathering.held.wait(30)
    queued = [repo.submit(repo.prepare(f"run-{at}", {"n": at})) for at in range(3)]
    assert not any([first.cancel(), queued[0].cancel()])
    gathering.go_on.set()
    assert [future.result(30).sequence for future in (first, *queued)] == [1] * 4


def test_where_no_thread_can_be_started_the_caller_leads(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both for what it submits and for what was submitted while it wrote."""

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert repo.submit(repo.prepare("first", {"n": 0})).result(30).sequence == 1
    write = repo._store.write
    others: list[Future[Checkpoint]] = []

    def busy_write(work: object) -> object:
        monkeypatch.setattr(repo._store, "write", write)
        others.append(repo.submit(repo.prepare("waits", {"n": 0})))
        return write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(repo._store, "write", busy_write)
    assert repo.commit("second", {"n": 0}).sequence == 1
    assert others[0].result(30).sequence == 1


def test_a_forked_child_has_a_queue_of_its_own(repo: Repository) -> None:
    """The parent's queue may be led by a thread that the child does not have."""
    repo.commit("run", {"n": 0})
    committer = repo._committer
    # As if another thread were writing at the moment of the fork.
    committer._leader = _Waiting(repo.prepare("other", {"n": 0}), None)
    assert in_child(lambda: str(repo.commit("child", {"n": 1}).sequence)) == "+1"
    committer._leader = None
    assert repo.restore("child") == {"n": 1}
