"""Every store under measurement, on every workload in its smallest size."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from benchmarks.extrapolate import extrapolate
from benchmarks.floor import tenths
from benchmarks.harness import Trial, measure_peer
from benchmarks.measure import MemoryPeak, allocated_bytes, anonymous_bytes, percentile
from benchmarks.peers import NAMES, CheckpointName, Peer, find_peer
from benchmarks.peers.files import CborFiles
from benchmarks.peers.hive_store import Hive, HiveAsync
from benchmarks.race import race
from benchmarks.same import WrongStateError
from benchmarks.workloads import NAMES as WORKLOADS
from benchmarks.workloads import Step
from benchmarks.workloads.chat import Chat
from tests.benchmarks.test_workloads import tiny

TINY = Trial(repeats=1, watch_memory=False)


def peer(name: str) -> type[Peer]:
    """A store; skips if the package it needs is not installed."""
    try:
        return find_peer(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("workload_name", WORKLOADS)
@pytest.mark.parametrize("name", NAMES)
def test_a_store_returns_what_it_was_given(name: str, workload_name: str, tmp_path: Path) -> None:
    kind, workload = peer(name), tiny(workload_name)
    reason = kind.unsuited(workload)
    if reason is not None:
        pytest.skip(reason)
    # Verifies every state it loads.
    found = measure_peer(kind, workload, tmp_path / "store", TINY)
    assert found.steps == len(workload.turns())
    assert found.saved_bytes > 0
    assert 0 < found.early_p50 <= found.early_p95
    assert 0 < found.late_p50 <= found.late_p95
    assert found.load_latest > 0
    assert found.load_middle > 0
    assert not (tmp_path / "store").exists()


def test_a_store_that_returns_another_state_is_found_out(tmp_path: Path) -> None:
    class Forgetful(Hive):
        def load(self, name: CheckpointName) -> object:
            state = super().load(name)
            state["messages"].pop()
            return state

    with pytest.raises(WrongStateError):
        measure_peer(Forgetful, Chat(4), tmp_path / "store", TINY)


def test_the_ballast_of_a_store_is_reported_apart(tmp_path: Path) -> None:
    found = measure_peer(Hive, Chat(4), tmp_path / "store", TINY)
    assert found.ballast_bytes == 2**20
    assert found.saved_bytes < 2**20


def test_a_limited_store_is_reckoned_near_what_it_would_take(tmp_path: Path) -> None:
    workload = Chat(60)
    whole = measure_peer(CborFiles, workload, tmp_path / "whole", TINY)
    limited = Trial(limit_copies=30, repeats=1, watch_memory=False)
    reckoned = measure_peer(CborFiles, workload, tmp_path / "limited", limited)
    assert whole.limited_to is None
    assert (reckoned.limited_to, reckoned.steps) == (30, 60)
    assert reckoned.saved_bytes == pytest.approx(whole.saved_bytes, rel=0.1)


def test_only_stores_that_copy_everything_are_limited(tmp_path: Path) -> None:
    limited = Trial(limit_copies=2, repeats=1, watch_memory=False)
    found = measure_peer(Hive, Chat(4), tmp_path / "store", limited)
    assert (found.limited_to, found.steps) == (None, 4)


def test_reckoning_scales_bytes_by_all_states_and_times_by_the_last(tmp_path: Path) -> None:
    workload = Chat(20)
    found = measure_peer(CborFiles, workload, tmp_path / "store", TINY)
    found.steps, found.saved_bytes, found.late_p50 = 10, 1_000.0, 1.0
    extrapolate(found, workload)
    assert found.saved_bytes == pytest.approx(3_800, rel=0.2)  # 210 / 55 turns of equal size
    assert found.late_p50 == pytest.approx(2, rel=0.2)


def test_steps_are_saved_in_order_and_flushed_before_anything_is_loaded(tmp_path: Path) -> None:
    calls: list[str] = []

    class Noting(Hive):
        def save(self, step: Step) -> None:
            calls.append(str(step.index))
            super().save(step)

        def flush(self) -> None:
            calls.append("flush")

        def load(self, name: CheckpointName) -> object:
            calls.append("load")
            return super().load(name)

    measure_peer(Noting, Chat(3), tmp_path / "store", TINY)
    assert calls[:5] == ["1", "2", "3", "flush", "load"]


@pytest.mark.parametrize("workload_name", WORKLOADS)
def test_a_race_times_the_stores_and_the_floor(workload_name: str, tmp_path: Path) -> None:
    workload = tiny(workload_name)
    trial = Trial(round=2, repeats=1, series=True)
    floor, found = race([Hive, HiveAsync], workload, tmp_path / "race", trial)
    assert 0 < floor.zstd_bytes < floor.unique_bytes
    assert floor.state_bytes > 0
    times = [floor.commit_early_ms, floor.commit_late_ms, floor.dumps_early_ms]
    times += [floor.dumps_late_ms, floor.loads_latest_ms, floor.loads_middle_ms]
    assert all(time > 0 for time in times)
    assert [steps for steps, _ in floor.series] == list(range(1, len(workload.turns()) + 1))
    assert [(item.peer, item.round) for item in found] == [("hive", 2), ("hive-async", 2)]
    for item in found:
        times = [item.early_p50, item.late_p50, item.late_cpu, item.load_latest, item.load_middle]
        assert all(time > 0 for time in times)
    assert not (tmp_path / "race").exists()


def test_a_race_finds_out_a_store_that_returns_another_state(tmp_path: Path) -> None:
    class Forgetful(Hive):
        def load(self, name: CheckpointName) -> object:
            return {**super().load(name), "turn": None}

    with pytest.raises(WrongStateError):
        race([Forgetful], Chat(4), tmp_path / "race", TINY)


@pytest.mark.parametrize(
    ("count", "early", "late"),
    [
        (1_000, range(100), range(900, 1_000)),
        (20, range(3), range(17, 20)),
        (2, range(2), range(2)),
    ],
)
def test_tenths(count: int, early: range, late: range) -> None:
    assert tenths(count) == (early, late)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1.0], 0.5, 1), ([3.0, 1.0, 2.0], 0.5, 2), ([4.0, 1.0, 3.0, 2.0], 0.5, 2)]
    + [([float(n) for n in range(1, 101)], share, 100 * share) for share in (0.5, 0.95, 1.0)],
)
def test_percentiles(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_no_values_have_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_allocated_bytes_are_those_of_the_disk(tmp_path: Path) -> None:
    empty = allocated_bytes(tmp_path)
    (tmp_path / "full").write_bytes(bytes([1]) * 100_000)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10_000_000)
    assert 100_000 <= allocated_bytes(tmp_path) - empty < 200_000


def test_the_peak_of_memory_is_seen_after_it_has_gone() -> None:
    if anonymous_bytes() == 0:
        pytest.skip("this system does not tell a process's anonymous memory")
    before = seen = anonymous_bytes()
    for seconds in (0.2, 1.0, 5.0):  # who looks is another process, which may have to wait
        with MemoryPeak() as peak:
            block = b"1" * (64 * 2**20)
            time.sleep(seconds)
            del block
        seen = peak.bytes
        if seen >= before + 60 * 2**20:
            break
    assert seen >= before + 60 * 2**20
