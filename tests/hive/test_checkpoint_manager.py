"""``CheckpointManager``: durability, order, errors, and finding checkpoints again."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lmdb
import pytest

import hive
from cas.leases import LEASES
from cas.store import ObjectStore
from hive import (
    AccessError,
    CheckpointConfig,
    CheckpointManager,
    ConflictError,
    InvalidInputError,
    LimitError,
    MissingObjectError,
    NotFoundError,
    Repository,
    StoreFullError,
)
from hive.graph.checkpoint_manager import CheckpointWarning
from hive.graph.transient import is_transient
from manifests import commit_encoder, commits
from tests.hive.crashing import in_child, memory_folder
from tests.interrupting import interrupt_at

PROJECT = Path(__file__).resolve().parents[2]
Durability = Literal["sync", "async", "exit"]
EVERY = pytest.mark.parametrize("durability", ["sync", "async", "exit"])


class Gate:
    """Stands before every transaction and delays it, or makes a checkpoint within it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.open.set()
        self.errors: list[Exception | None] = []
        self.written: list[int] = []
        write, write_commit = ObjectStore.write, commits.write_commit

        def delayed(store: ObjectStore, work: Callable[[Any], Any], **options: Any) -> Any:
            assert self.open.wait(20)
            return write(store, work, **options)

        def gated(writer: Any, prepared: Any) -> Any:
            error = self.errors.pop(0) if self.errors else None
            if error is not None:
                raise error
            checkpoint = write_commit(writer, prepared)
            self.written.append(checkpoint.sequence)
            return checkpoint

        monkeypatch.setattr(ObjectStore, "write", delayed)
        for module in list(sys.modules.values()):
            if getattr(module, "write_commit", None) is write_commit:
                monkeypatch.setattr(module, "write_commit", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def save_and_flush(manager: CheckpointManager, state: dict[str, Any]) -> None:
    """Save a state of the run and wait for it."""
    manager.save("r", state)
    manager.flush()


def full() -> StoreFullError:
    return StoreFullError("no room")


def states(manager: CheckpointManager, run: str = "r") -> list[Any]:
    """The states of a run, oldest first."""
    return [manager.restore(cp) for cp in reversed(manager.history(run))]


def test_the_classic_example_runs(home: Path) -> None:
    from hive.graph import Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.schemas.checkpoint import CheckpointConfig

    runtime, goal, input_data = Runtime(), Goal(id="g"), {"number": 21}
    node = NodeSpec(id="a", function=lambda number: {"number": 2 * number})
    graph = GraphSpec(id="g", entry_node="a", nodes=[node])

    async def main(storage: Repository) -> Any:
        checkpoint_manager = CheckpointManager(storage, CheckpointConfig())
        executor = GraphExecutor(runtime=runtime, checkpoint_manager=checkpoint_manager)
        return await executor.execute(graph, goal, input_data)

    with hive.open() as storage:
        result = asyncio.run(main(storage))
        assert result.output == {"number": 42}
        assert str(storage.resolve(result.run_id).id) == result.checkpoint_id
        assert [cp.kind for cp in storage.log(result.run_id)] == ["final", "input"]


def test_storage_is_a_repository_a_path_or_the_default_home(home: Path, tmp_path: Path) -> None:
    for storage in (None, str(home), home):
        with CheckpointManager(storage) as manager:
            manager.save(f"run of {storage!r}", {})
    with Repository.open(home) as repo:
        with CheckpointManager(repo) as manager:
            manager.save("another", {})
        assert len(repo.runs()) == 4  # and it is still open


@EVERY
def test_saves_are_a_chain_in_order(home: Path, durability: Durability) -> None:
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        ids = [manager.save("r", {"n": number}, node=f"n{number}") for number in range(30)]
    with CheckpointManager(home) as manager:
        history = manager.history("r")
        if durability == "exit":
            assert [cp.id for cp in history] == ids[-1:]
            assert manager.restore("r") == {"n": 29}
            return
        assert [cp.id for cp in reversed(history)] == ids
        assert [cp.parent for cp in history] == [*ids[-2::-1], None]
        assert [state["n"] for state in states(manager)] == list(range(30))


@EVERY
def test_the_state_may_change_as_soon_as_save_returns(home: Path, durability: Durability) -> None:
    state = {"items": [1]}
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        manager.save("r", state)
        state["items"].append(2)
        manager.flush()
        assert manager.restore("r") == {"items": [1]}


def test_async_does_not_wait_for_the_disk_but_keeps_the_order(home: Path, gate: Gate) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        gate.open.clear()
        for number in range(5):
            manager.save("a", {"n": number})
            manager.save("b", {"n": number})
        assert gate.written == []
        gate.open.set()
        assert [state["n"] for state in states(manager, "a")] == list(range(5))
        assert gate.written == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_async_waits_when_too_much_is_pending(home: Path, gate: Gate) -> None:
    config = CheckpointConfig(durability="async", max_pending=2)
    with CheckpointManager(home, config) as manager:
        gate.open.clear()
        for number in range(3):  # one is being written, two wait
            manager.save("r", {"n": number})

        async def save_one_more() -> None:
            save = asyncio.create_task(manager.asave("r", {"n": 3}))
            await asyncio.sleep(0.05)
            assert not save.done()  # and this loop went on
            gate.open.set()
            await save

        asyncio.run(save_one_more())
        assert len(states(manager)) == 4


def test_somebody_who_looks_at_the_run_does_not_break_the_chain(home: Path, gate: Gate) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        manager.save("r", {"n": 0})
        manager.flush()
        gate.open.clear()
        manager.save("r", {"n": 1})
        manager.save("r", {"n": 2})
        manager.repository.resolve("r")  # makes the handle see checkpoint 1 as the head
        threading.Timer(0.05, gate.open.set).start()
        manager.save("r", {"n": 3})
        assert [state["n"] for state in states(manager)] == [0, 1, 2, 3]


@pytest.mark.parametrize("where", ["save", "flush", "close"])
def test_a_failure_in_the_background_surfaces_once_and_leaves_no_gap(
    home: Path, gate: Gate, where: str
) -> None:
    manager = CheckpointManager(home, CheckpointConfig(durability="async"))
    manager.save("r", {"n": 0})
    manager.flush()
    gate.open.clear()
    gate.errors = [None, full()]
    for number in range(1, 5):
        manager.save("r", {"n": number})
    gate.open.set()
    calls: dict[str, Callable[[], object]] = {
        "save": lambda: manager.save("r", {"n": 9}),
        "flush": manager.flush,
        "close": manager.close,
    }
    manager._settle()
    with pytest.raises(StoreFullError):
        calls[where]()
    if where != "close":
        manager.save("r", {"n": 5})
        manager.close()
    with CheckpointManager(home) as again:
        # 2 failed; 3 and 4 were built on it and are not written either; 5 is built on 1.
        expected = [0, 1] if where == "close" else [0, 1, 5]
        assert [state["n"] for state in states(again)] == expected
        history = again.history("r")
        assert history[0].parent == history[1].id


def test_each_checkpoint_that_is_lost_behind_another_is_warned_of(home: Path, gate: Gate) -> None:
    config = CheckpointConfig(durability="async", on_save_error="warn")
    with CheckpointManager(home, config) as manager:
        gate.open.clear()
        gate.errors = [full()]
        for number in range(3):
            manager.save("r", {"n": number})
        gate.open.set()
        manager._settle()
        with pytest.warns(CheckpointWarning, match="no room") as caught:
            save_and_flush(manager, {"n": 3})
        assert len(caught) == 3
        assert states(manager) == [{"n": 3}]


def test_a_save_by_hand_waits_for_what_an_executor_has_not_encoded(home: Path, gate: Gate) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        save_and_flush(manager, {"n": 1})
        gate.open.clear()
        manager._writer("r").stage({"n": 2}, kind="node_complete", frozen=True)
        threading.Timer(0.05, gate.open.set).start()
        manager.save("r", {"n": 3})
        manager.flush()
        assert states(manager) == [{"n": 1}, {"n": 2}, {"n": 3}]


@EVERY
def test_warn_goes_on_without_the_checkpoint(
    home: Path, gate: Gate, durability: Durability
) -> None:
    config = CheckpointConfig(durability=durability, on_save_error="warn")
    with CheckpointManager(home, config) as manager:
        gate.errors = [full()]
        with pytest.warns(CheckpointWarning, match="no room"):
            save_and_flush(manager, {"n": 0})
        with pytest.warns(CheckpointWarning, match="only once the type is registered"):
            assert manager.save("r", {"n": object()}) is None
        assert manager.save("r", {"n": 2}) is not None
        manager.flush()
        assert states(manager) == [{"n": 2}]


@pytest.mark.parametrize("policy", ["raise", "warn"])
@EVERY
def test_a_moved_head_is_always_an_error(
    home: Path, durability: Durability, policy: Literal["raise", "warn"]
) -> None:
    config = CheckpointConfig(durability=durability, on_save_error=policy)
    with CheckpointManager(home) as other, CheckpointManager(home, config) as manager:
        manager.save("r", {"by": "manager"})
        manager.flush()
        other.save("r", {"by": "other"})
        with pytest.raises(ConflictError):
            save_and_flush(manager, {"by": "manager"})
        assert states(other) == [{"by": "manager"}, {"by": "other"}]


@EVERY
def test_a_large_state_that_is_not_written_keeps_no_room(
    home: Path, gate: Gate, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts are stored ahead of it, under a lease that ends with the process at the latest."""
    monkeypatch.setattr(commit_encoder, "STAGE_BYTES", 4096)
    config = CheckpointConfig(durability=durability, on_save_error="warn")
    with CheckpointManager(home, config) as manager:
        gate.errors = [full()]

        def save_all() -> None:
            for _ in range(3):
                manager.save("r", {"x": [os.urandom(1000) for _ in range(20)]})
                manager._settle()
            manager.flush()

        with pytest.warns(CheckpointWarning, match="no room"):
            save_all()
        manager.flush()
        assert len(manager.history("r")) == (1 if durability == "exit" else 2)
        store = manager.repository._store
        assert store.read(lambda reader: list(reader.transaction.items(LEASES))) == []


@EVERY
def test_two_managers_on_one_repository_do_not_interleave(
    home: Path, durability: Durability
) -> None:
    config = CheckpointConfig(durability=durability)
    with Repository.open(home) as repo:
        one, two = CheckpointManager(repo, config), CheckpointManager(repo, config)
        one.save("r", {"n": 1})
        one.flush()
        two.writer("r", one.latest("r"))
        one.save("r", {"n": 2})
        one.flush()
        with pytest.raises(ConflictError):
            save_and_flush(two, {"n": "two"})
        one.save("r", {"n": 3})
        one.close()
        two.close()
        assert [repo.restore(cp)["n"] for cp in repo.log("r")] == [3, 2, 1]


def test_what_may_pass_is_tried_again_with_growing_waits(home: Path, gate: Gate) -> None:
    busy = AccessError("busy")
    busy.__cause__ = OSError(errno.EAGAIN, "busy")
    waits: list[float] = []
    config = CheckpointConfig(write_attempts=4, retry_delay_seconds=1)
    with CheckpointManager(home, config, sleep=waits.append) as manager:
        gate.errors = [busy, busy, busy]
        manager.save("r", {"n": 1})
        assert waits == [1, 2, 4]
        gate.errors = [busy] * 4
        with pytest.raises(AccessError):
            manager.save("r", {"n": 2})
        manager.save("r", {"n": 3})
        assert states(manager) == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("policy", ["raise", "warn"])
@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("what", ["run", "checkpoint"])
def test_a_run_that_is_taken_away_is_always_a_conflict(
    home: Path,
    policy: Literal["raise", "warn"],
    durability: Literal["sync", "async"],
    what: str,
) -> None:
    """Going on without saving would repeat, some day, what was done since."""
    config = CheckpointConfig(durability=durability, on_save_error=policy)
    with CheckpointManager(home, config) as manager:
        manager.save("r", {"n": 1})
        manager.flush()
        if what == "run":
            manager.repository.delete_run("r")
        else:
            manager.repository.commit("r", {"n": 2})
            manager.repository.forget([("r", 1)])
        for number in (3, 4):
            with pytest.raises(ConflictError, match="deleted by somebody else, or went on"):
                manager.save("r", {"n": number})


@pytest.mark.parametrize("error", [full(), AccessError("denied"), ConflictError("moved")])
def test_what_stays_is_not_tried_again(home: Path, gate: Gate, error: Exception) -> None:
    waits: list[float] = []
    with CheckpointManager(home, sleep=waits.append) as manager:
        gate.errors = [error]
        with pytest.raises(type(error)):
            manager.save("r", {})
        assert waits == []


def test_too_many_readers_pass_but_a_value_that_is_too_large_stays() -> None:
    crowded = LimitError("too many readers")
    crowded.__cause__ = RuntimeError("MDB_READERS_FULL")
    assert is_transient(crowded)
    assert not is_transient(LimitError("too large"))
    deep = LimitError("state['x']: nested deeper than 100 containers")
    deep.__cause__ = LimitError("nested deeper than 100 containers")  # without the place
    assert not is_transient(deep)
    denied = AccessError("denied")
    denied.__cause__ = OSError(errno.EACCES, "denied")
    assert not is_transient(denied)


@pytest.mark.parametrize(("number", "passes"), [(errno.EMFILE, True), (errno.EACCES, False)])
def test_what_the_system_refuses_to_lmdb_passes_likewise(number: int, passes: bool) -> None:
    refused = lmdb.Error("cannot open")
    refused.code = number  # type: ignore[misc] # LMDB's binding sets it from within.
    error = AccessError("refused")
    error.__cause__ = refused
    assert is_transient(error) is passes


def test_a_damaged_object_is_healed_by_encoding_the_state_anew(home: Path, gate: Gate) -> None:
    with CheckpointManager(home) as manager:
        manager.save("r", {"n": 1})
        gate.errors = [MissingObjectError("something the last commit stored is gone")]
        manager.save("r", {"n": 2})
        assert states(manager) == [{"n": 1}, {"n": 2}]


def test_exit_keeps_what_could_not_be_written_for_the_next_flush(home: Path, gate: Gate) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="exit")) as manager:
        manager.save("r", {"n": 1})
        gate.errors = [full()]
        with pytest.raises(StoreFullError):
            manager.flush()
        manager.flush()
        assert states(manager) == [{"n": 1}]


def test_what_is_held_back_waits_for_a_flush_in_another_thread(home: Path, gate: Gate) -> None:
    """As where one task flushes all runs of a server, while another goes on with one of them."""
    config = CheckpointConfig(durability="exit")
    with CheckpointManager(home, config) as manager:
        manager.save("r", {"n": 1})
        gate.open.clear()
        flushing = threading.Thread(target=manager.flush)
        flushing.start()
        threading.Timer(0.05, gate.open.set).start()
        manager.save("r", {"n": 2})
        flushing.join()
        manager.flush()
        assert states(manager) == [{"n": 1}, {"n": 2}]


def test_a_storage_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not an int"):
        CheckpointManager(3)  # type: ignore[arg-type]


def test_exit_writes_only_at_the_end_and_at_stops(home: Path, gate: Gate) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="exit")) as manager:
        for number in range(3):
            manager.save("r", {"n": number})
        assert gate.written == []
        manager.save("r", {"n": 3}, kind="paused")
        assert gate.written == [1]
        manager.save("r", {"n": 4})
        manager.save("r", {"n": 5})
        manager.save("other", {"n": 6})
    assert gate.written == [1, 2, 1]
    with CheckpointManager(home) as manager:
        assert [state["n"] for state in states(manager)] == [3, 5]


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_a_forked_child_leaves_what_is_not_written_to_its_parent(
    home: Path, gate: Gate, durability: Durability
) -> None:
    manager = CheckpointManager(home, CheckpointConfig(durability=durability))
    gate.open.clear()
    for number in range(3):
        manager.save("r", {"n": number})

    def child() -> None:
        gate.open.set()
        manager.save("child", {"of": os.getpid()})
        manager.close()
        assert gate.written == [1]

    assert in_child(child) == 0
    gate.open.set()
    manager.close()
    with CheckpointManager(home) as again:
        assert [state["n"] for state in states(again)] == (
            [2] if durability == "exit" else [0, 1, 2]
        )
        assert len(states(again, "child")) == 1


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_a_program_that_forgets_to_close_loses_nothing(home: Path, durability: str) -> None:
    program = (
        "import sys, hive\n"
        "manager = hive.CheckpointManager(None, hive.CheckpointConfig(durability=sys.argv[1]))\n"
        "for number in range(20): manager.save('r', {'n': number})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, durability],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with CheckpointManager(home) as manager:
        assert manager.restore("r") == {"n": 19}


def test_a_manager_that_is_dropped_ends_its_thread(home: Path) -> None:
    def use() -> threading.Thread:
        manager = CheckpointManager(home, CheckpointConfig(durability="async"))
        manager.save("r", {})
        manager.flush()
        (thread,) = [item for item in threading.enumerate() if item.name == "hive-checkpoints"]
        return thread

    thread = use()
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_a_disabled_manager_saves_nothing_and_makes_no_store(home: Path) -> None:
    with CheckpointManager(home, CheckpointConfig(enabled=False)) as manager:
        assert manager.save("r", {}) is None
        assert asyncio.run(manager.asave("r", {})) is None
        manager.flush()
    assert not home.exists()


def test_a_closed_manager_says_so(home: Path) -> None:
    manager = CheckpointManager(home)
    manager.close()
    manager.close()
    for call in (lambda: manager.save("r", {}), lambda: manager.latest("r")):
        with pytest.raises(InvalidInputError, match="closed"):
            call()


def test_async_methods_do_the_same(home: Path) -> None:
    async def main() -> Any:
        async with CheckpointManager(home) as manager:
            first = await manager.asave("r", {"n": 1}, kind="input")
            await manager.aflush()
            assert manager.latest("r") is not None
            return first

    first = asyncio.run(main())
    with CheckpointManager(home) as manager:
        (checkpoint,) = manager.history("r")
        assert (checkpoint.id, checkpoint.kind) == (first, "input")


def test_a_cancelled_save_is_whole_and_the_canceller_waits_for_it(home: Path, gate: Gate) -> None:
    async def main(manager: CheckpointManager) -> None:
        gate.open.clear()
        save = asyncio.create_task(manager.asave("r", {"n": 1}))
        await asyncio.sleep(0.02)
        save.cancel()
        await asyncio.sleep(0.02)
        assert not save.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await save
        assert gate.written == [1]

    with CheckpointManager(home) as manager:
        asyncio.run(main(manager))
        manager.save("r", {"n": 2})
        assert states(manager) == [{"n": 1}, {"n": 2}]


@EVERY
def test_saves_of_one_run_may_wait_at_the_same_time(home: Path, durability: Durability) -> None:
    async def main(manager: CheckpointManager) -> None:
        await asyncio.gather(*(manager.asave("r", {"n": number}) for number in range(4)))
        waits = asyncio.create_task(manager.asave("r", {"n": 4}))
        await asyncio.sleep(0)
        manager.save("r", {"n": 5}, kind="final")
        await waits

    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        asyncio.run(main(manager))
        expected = range(5, 6) if durability == "exit" else range(6)
        assert states(manager) == [{"n": number} for number in expected]


def test_a_save_behind_one_that_fails_stands_on_what_is_durable(home: Path, gate: Gate) -> None:
    async def main(manager: CheckpointManager) -> list[Any]:
        saves = (manager.asave("r", {"n": number}) for number in range(3))
        return await asyncio.gather(*saves, return_exceptions=True)

    gate.errors = [full()]
    with CheckpointManager(home) as manager:
        first, second, third = asyncio.run(main(manager))
        assert isinstance(first, StoreFullError)
        assert [cp.id for cp in manager.history("r")] == [third, second]
        assert states(manager) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("fails", [True, False])
def test_a_save_behind_one_that_waits_stands_on_what_came_of_that(
    home: Path, gate: Gate, fails: bool
) -> None:
    async def main(manager: CheckpointManager) -> None:
        gate.open.clear()
        waits = asyncio.create_task(manager.asave("r", {"n": 1}))
        await asyncio.sleep(0)
        staged = manager._writer("r").stage({"n": 2}, kind="node_complete")
        gate.open.set()
        saved = staged.complete()
        (result,) = await asyncio.gather(waits, return_exceptions=True)
        assert isinstance(result, StoreFullError) is fails
        assert (saved == staged.id) is not fails
        assert manager.history("r")[0].id == saved

    gate.errors = [full()] if fails else []
    with CheckpointManager(home) as manager:
        asyncio.run(main(manager))
        assert [state["n"] for state in states(manager)] == ([2] if fails else [1, 2])


def test_saves_that_wait_together_are_warned_of_alike(home: Path, gate: Gate) -> None:
    async def main(manager: CheckpointManager) -> list[Any]:
        return await asyncio.gather(*(manager.asave("r", {"n": number}) for number in range(2)))

    gate.errors = [full()]
    with CheckpointManager(home, CheckpointConfig(on_save_error="warn")) as manager:
        with pytest.warns(CheckpointWarning, match="no room"):
            first, second = asyncio.run(main(manager))
        assert first is None
        assert [cp.id for cp in manager.history("r")] == [second]


def test_a_writer_is_let_go_of_when_nothing_is_left_to_write_or_to_tell(
    home: Path, gate: Gate
) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        writer = manager.writer("r", None)
        gate.open.clear()
        writer.stage({"n": 1}, kind="node_complete")
        manager.release(writer)
        threading.Timer(0.05, gate.open.set).start()
        assert states(manager) == [{"n": 1}]  # it was waited for
        gate.errors = [full()]
        writer.stage({"n": 2}, kind="node_complete")
        writer.settle()
        manager.release(writer)
        with pytest.raises(StoreFullError):
            manager.flush()
        manager.release(writer)
        assert manager._writers == {}


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_damage_met_behind_the_caller_is_named_as_such(
    home: Path, gate: Gate, durability: Durability
) -> None:
    """Nobody holds the state any more, so that it cannot be encoded anew."""
    with CheckpointManager(home, CheckpointConfig(durability=durability)) as manager:
        manager.save("r", {"n": 1})
        manager.flush()
        gate.errors = [MissingObjectError("something the last commit stored is gone")]
        with pytest.raises(MissingObjectError, match="is gone"):
            save_and_flush(manager, {"n": 2})


@pytest.mark.parametrize(
    "look",
    [
        lambda manager: manager.restore("r"),
        lambda manager: manager.restore(manager.fork("r")),
        lambda manager: manager.restore(manager.fork("r", "other")),
        lambda manager: manager.point_at("r").state,
    ],
    ids=["restore", "fork", "named fork", "resume"],
)
def test_what_was_saved_is_found_although_it_waits(
    home: Path, gate: Gate, look: Callable[[CheckpointManager], Any]
) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        save_and_flush(manager, {"n": 1})
        gate.open.clear()
        manager.save("r", {"n": 2})
        threading.Timer(0.05, gate.open.set).start()
        assert look(manager) == {"n": 2}


def test_a_flush_waits_for_all_runs_and_tells_of_the_one_that_failed(
    home: Path, gate: Gate
) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="exit")) as manager:
        for run in "ab":
            manager.save(run, {"n": 1})
        gate.errors = [full()]
        with pytest.raises(StoreFullError):
            asyncio.run(manager.aflush())
        assert [len(manager.history(run)) for run in "ab"] == [0, 1]
        asyncio.run(manager.aflush("a"))
        assert len(manager.history("a")) == 1


def test_a_new_writer_waits_for_the_one_before_it_and_is_not_let_go_of_with_it(
    home: Path, gate: Gate
) -> None:
    with CheckpointManager(home, CheckpointConfig(durability="async")) as manager:
        before = manager.writer("r", None)
        gate.errors = [full()]
        before.stage({"n": 1}, kind="node_complete")
        with pytest.raises(StoreFullError):
            manager.writer("r", None)
        writer = manager.writer("r", None)
        manager.release(before)
        gate.open.clear()
        writer.stage({"n": 2}, kind="node_complete")
        threading.Timer(0.05, gate.open.set).start()
        assert states(manager) == [{"n": 2}]


def test_saving_by_hand_claims_nothing(home: Path) -> None:
    with CheckpointManager(home) as manager:
        manager.save("r", {"n": 1})
        manager.save("r", {"n": 2})
        assert manager.repository.claims() == []


def test_a_new_manager_continues_a_run_at_its_head(home: Path) -> None:
    for number in range(3):
        with CheckpointManager(home) as manager:
            manager.save("r", {"n": number})
            assert len(states(manager)) == number + 1


def test_finding_what_is_not_there(home: Path) -> None:
    with CheckpointManager(home) as manager:
        manager.save("bob@3", {"n": 1}, graph="g")
        assert manager.latest("bob") is None
        assert manager.history("bob") == []
        assert manager.resume_point("bob") is None
        with pytest.raises(NotFoundError):
            manager.restore("bob")
        with pytest.raises(NotFoundError):
            manager.fork("bob")
        point = manager.resume_point("bob@3")
        assert point is not None
        assert (point.state, point.execution, point.is_head) == ({"n": 1}, {}, True)


def test_a_resume_point_is_the_newest_checkpoint_of_an_executor(home: Path) -> None:
    with CheckpointManager(home) as manager:
        manager.save("r", {"n": 1}, graph="g", execution={"x": 1})
        manager.save("r", {"n": 2}, graph="g", execution={"x": 2})
        manager.save("r", {"n": 3})
        point = manager.resume_point("r")
        assert point is not None
        assert (point.checkpoint.sequence, point.state, point.execution, point.is_head) == (
            2,
            {"n": 2},
            {"x": 2},
            False,
        )
        manager.save("by hand", {})
        assert manager.resume_point("by hand") is None


def test_forks_get_free_names(home: Path) -> None:
    with CheckpointManager(home) as manager:
        for number in range(2):
            manager.save("r", {"n": number})
        assert manager.fork("r@1").run == "r-fork-1"
        assert manager.fork("r@2").run == "r-fork-2"
        assert manager.fork("r", "mine").run == "mine"
        with pytest.raises(ConflictError):
            manager.fork("r", "mine")
        assert manager.restore("r-fork-1") == {"n": 0}
        manager.save("r-fork-1", {"n": 9})
        assert states(manager, "r-fork-1") == [{"n": 0}, {"n": 9}]
        assert states(manager) == [{"n": 0}, {"n": 1}]


def test_observers_hear_of_runs_and_saves(home: Path, gate: Gate) -> None:
    from hive.graph import Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime

    def flaky(ctx: Any) -> dict[str, Any]:
        if ctx.attempt == 1:
            raise ConnectionError("later")
        return {}

    graph = GraphSpec(
        id="g", entry_node="a", nodes=[NodeSpec(id="a", function=flaky, backoff_seconds=0)]
    )
    heard: list[str] = []
    said: list[str] = []

    def listen(event: Any) -> None:
        heard.append(type(event).__name__)
        said.append(str(event))

    with CheckpointManager(home, sleep=lambda seconds: None, on_event=listen) as manager:
        again = OSError(errno.EAGAIN, "later")
        failure = AccessError("busy")
        failure.__cause__ = again
        gate.errors = [failure]
        executor = GraphExecutor(Runtime(), manager)
        asyncio.run(executor.execute(graph, Goal(id="g"), run="r"))
        assert heard == [
            "RunBegan",
            "Failed",
            "SaveRetried",
            "Saved",
            "AttemptEnded",
            "Saved",
            "AttemptEnded",
            "Saved",
            "RunEnded",
        ]
        gate.errors = [full()]
        with pytest.raises(StoreFullError):
            manager.save("other", {"n": 1})
        assert said[-1] == "a save of run 'other' failed: StoreFullError"


def test_runs_that_go_on_at_once_share_transactions(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hive.graph import EdgeSpec, Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime

    async def work(n: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": n + 1}

    names = "abcdef"
    graph = GraphSpec(
        id="g",
        entry_node="a",
        nodes=[NodeSpec(id=name, input_keys=["n"], function=work) for name in names],
        edges=[
            EdgeSpec(id=f"{source}{target}", source=source, target=target)
            for source, target in itertools.pairwise(names)
        ],
    )
    transactions: list[int] = []
    write = ObjectStore.write

    def counted(store: ObjectStore, job: Callable[[Any], Any]) -> Any:
        transactions.append(1)
        return write(store, job)

    monkeypatch.setattr(ObjectStore, "write", counted)
    with CheckpointManager(home) as manager:
        executor = GraphExecutor(Runtime(), manager)

        async def main() -> None:
            await asyncio.gather(
                *(executor.execute(graph, Goal(id="g"), {"n": 0}, run=f"{i}") for i in range(64))
            )

        asyncio.run(main())
        saved = sum(info.checkpoints for info in manager.repository.runs())
    assert saved == 64 * 7
    print(f"{len(transactions)} transactions for {saved} checkpoints")
    assert len(transactions) * 4 <= saved


@pytest.mark.parametrize(("durability", "calls"), [("sync", 150), ("async", 100), ("exit", 150)])
def test_what_is_saved_behind_an_interrupt_anywhere_is_on_disk_when_the_manager_is_closed(
    home: Path, durability: Any, calls: int
) -> None:
    """Ctrl-C may come behind a transaction, in the functions of a lock, before a thread starts."""

    def saved(repository: Repository, run: str, place: int) -> bool:
        manager = CheckpointManager(repository, CheckpointConfig(durability=durability))
        manager.save(run, {"n": 0})

        def save() -> None:
            manager.save(run, {"n": 1})
            manager.flush()

        came = interrupt_at(place, save, also=threading.__file__)
        manager.save(run, {"n": 2})
        closing = threading.Thread(target=manager.close, daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive(), f"interrupted at call {place}"
        states = [repository.restore(each)["n"] for each in repository.log(run)]
        expected = ([2, 1], [2]) if durability == "exit" else ([2, 1, 0], [2, 0])
        assert states in expected, f"interrupted at call {place}"
        assert came or states == expected[0]
        return not came

    with memory_folder(home) as folder, hive.open(folder) as repository:
        for place in itertools.count():
            if saved(repository, f"run {place}", place):
                break
        assert place > calls
