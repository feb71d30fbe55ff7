"""What a configuration keeps of a run."""

from __future__ import annotations

import datetime as dt
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cas.digest import Digest
from cas.errors import ConflictError, StoreFullError
from cas.upkeep import Progress
from hive.graph.checkpoint_manager import CheckpointManager, CheckpointWarning
from hive.graph.retention import policy_of
from hive.schemas.checkpoint import CheckpointConfig
from manifests import Checkpoint, ForgetPlan, Repository
from manifests.retention import Candidate, plan

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def checkpoint(sequence: int, *, minutes: int = 0, graph: str | None = "g") -> Checkpoint:
    """A checkpoint of which only the place, the moment and the graph matter."""
    return Checkpoint(
        id=Digest(bytes([sequence]) * 32),
        run="r",
        sequence=sequence,
        parent=None,
        kind="node_complete",
        node="n",
        next_nodes=(),
        created_at=NOON + dt.timedelta(minutes=minutes),
        graph=graph,
        labels={},
        logical_bytes=0,
        new_bytes=0,
        new_objects=0,
        origin_run="r",
        origin_sequence=sequence,
    )


def dropped(config: CheckpointConfig, run: list[Checkpoint], *tagged: int) -> list[int]:
    """The sequences that a configuration drops of a run given oldest first."""
    policy = policy_of(config)
    if policy is None or not run:
        return []
    candidates = [
        Candidate(
            checkpoint=cp,
            is_head=cp is run[-1],
            tags=("tag",) if cp.sequence in tagged else (),
        )
        for cp in run
    ]
    made = plan(candidates, policy, run[-1].created_at)
    return sorted(cp.sequence for cp in made.dropped)


RUN = [checkpoint(number, minutes=number) for number in range(1, 7)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"retention": "all"}, []),
        ({"retention": "latest_only"}, [1, 2, 4, 5]),
        ({"retention": "prune_old", "keep_last": 2}, [1, 2, 4]),
        ({"retention": "prune_old", "keep_last": 99}, []),
        ({"retention": "prune_old", "max_age": dt.timedelta(minutes=2)}, [1, 2]),
        ({"retention": "prune_old", "max_age": dt.timedelta(0)}, [1, 2, 4, 5]),
        ({"retention": "prune_old", "keep_last": 3, "max_age": dt.timedelta(minutes=1)}, [1, 2]),
    ],
)
def test_each_mode_drops_what_it_says_and_no_tagged_one(
    config: dict[str, Any], expected: list[int]
) -> None:
    assert dropped(CheckpointConfig(**config), RUN, 3) == expected


def test_the_newest_resumable_checkpoint_stays() -> None:
    run = [checkpoint(1), checkpoint(2), checkpoint(3, graph=None), checkpoint(4, graph=None)]
    assert dropped(CheckpointConfig(retention="latest_only"), run) == [1, 3]


@given(
    st.lists(st.tuples(st.integers(-99, 99), st.booleans()), max_size=12),
    st.sets(st.integers(1, 12)),
    st.one_of(st.none(), st.integers(1, 5)),
    st.one_of(st.none(), st.integers(0, 60)),
)
def test_whatever_is_configured_head_resumable_and_tagged_stay(
    points: list[tuple[int, bool]], tagged: set[int], keep_last: int | None, minutes: int | None
) -> None:
    run = [
        checkpoint(number, minutes=offset, graph="g" if resumable else None)
        for number, (offset, resumable) in enumerate(points, start=1)
    ]
    config = (
        CheckpointConfig(retention="latest_only")
        if keep_last is None and minutes is None
        else CheckpointConfig(
            retention="prune_old",
            keep_last=keep_last,
            max_age=None if minutes is None else dt.timedelta(minutes=minutes),
        )
    )
    gone = dropped(config, run, *tagged)
    kept = [cp.sequence for cp in run if cp.sequence not in gone]
    assert not set(gone) & tagged
    assert kept[-1:] == [cp.sequence for cp in run][-1:]
    resumable = [cp.sequence for cp in run if cp.graph is not None]
    assert set(resumable[-1:]) <= set(kept)
    if keep_last is not None:
        assert {cp.sequence for cp in run[-keep_last:]} <= set(kept)


@pytest.mark.parametrize(
    "fields",
    [
        {"retention": "prune_old"},
        {"retention": "latest_only", "keep_last": 3},
        {"keep_kinds": frozenset({"final"})},
        {"gc_seconds": 0},
        {"max_checkpoints": 0},
        {"max_age": dt.timedelta(days=1)},
        {"retention": "prune_old", "keep_last": 0},
        {"durability": "never"},
        {"max_pending": 0},
        {"typo": 1},
    ],
)
def test_numbers_that_would_be_ignored_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CheckpointConfig(**fields)


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_manager_drops_old_checkpoints_and_keeps_tagged_ones(home: Path, durability: Any) -> None:
    config = CheckpointConfig(retention="prune_old", keep_last=2, durability=durability)
    with CheckpointManager(home, config) as manager:
        for number in range(1, 4):
            manager.save("r", {"n": number})
        manager.flush()
        manager.repository.tag("keep", "r@2")
        for number in range(4, 8):
            manager.save("r", {"n": number})
        manager.flush()
        assert [cp.sequence for cp in manager.history("r")] == [7, 6, 2]
        assert manager.restore("tag:keep") == {"n": 2}
        manager.save("other", {})
        assert len(manager.history("r")) == 3


# What is done beside the saves


class Forgets:
    """Counts what is forgotten by a policy, and holds it up while ``gate`` is not set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0
        self.error: Exception | None = None
        forget = Repository.forget

        def counted(repo: Repository, *arguments: Any, **options: Any) -> ForgetPlan:
            self.calls += 1
            self.gate.wait()
            if self.error is not None:
                raise self.error
            return forget(repo, *arguments, **options)

        monkeypatch.setattr(Repository, "forget", counted)


@pytest.fixture
def forgets(monkeypatch: pytest.MonkeyPatch) -> Forgets:
    return Forgets(monkeypatch)


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_no_save_waits_while_old_checkpoints_are_dropped(
    home: Path, durability: Any, forgets: Forgets
) -> None:
    config = CheckpointConfig(retention="latest_only", durability=durability, max_checkpoints=90)
    forgets.gate.clear()
    with CheckpointManager(home, config) as manager:
        for number in range(1, 100):
            manager.save("r", {"n": number})
        assert len(manager.history("r")) == 99
        forgets.gate.set()
        manager.flush()
        assert [cp.sequence for cp in manager.history("r")] == [99]


def test_looking_is_amortized_over_the_saves(home: Path, forgets: Forgets) -> None:
    config = CheckpointConfig(retention="prune_old", keep_last=50)
    with CheckpointManager(home, config) as manager:
        most = 0
        for number in range(200):
            manager.save("r", {"n": number})
            if number % 16 == 0:
                manager._housekeeper.join(manager._writers["r"]._retention)
                most = max(most, len(manager.history("r")))
        assert most <= 50 + 25 + 16
        assert forgets.calls <= 4 + 150 // 25


def test_limits_of_the_store_hold_for_all_its_runs(home: Path) -> None:
    with CheckpointManager(home) as manager:
        for number in range(40):
            manager.save("old", {"n": number})
    config = CheckpointConfig(max_checkpoints=25)
    with CheckpointManager(home, config) as manager:
        for number in range(20):
            manager.save("new", {"n": number})
    with Repository.open(home) as repo:
        kept = {info.name: info.checkpoints for info in repo.runs()}
    assert kept["new"] == 20
    # It looks after the 16th save, while others go on.
    assert 25 - 20 <= kept["old"] <= 25 - 16


def test_space_is_freed_in_the_background(home: Path) -> None:
    config = CheckpointConfig(retention="latest_only", gc_seconds=30)
    with CheckpointManager(home, config) as manager:
        for number in range(200):
            manager.save("r", {"n": f"{number} of its own " * 50})
        manager.flush()
        manager._housekeeper.join(manager._housekeeper)
        # A run of that size is not worth more than one collection before the end.
        assert manager.repository.stats().objects < 150
    with Repository.open(home) as repo:
        assert repo.gc(whole=True).objects_removed == 0
        assert repo.check().ok


def test_closing_gives_up_a_collection_that_takes_too_long(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = []

    def endless(_repo: Repository, *, progress: Any, **_options: Any) -> None:
        while True:
            marked.append(1)
            progress(Progress("mark", 0, 1))

    monkeypatch.setattr(Repository, "gc", endless)
    config = CheckpointConfig(retention="latest_only", gc_seconds=0.001)
    with CheckpointManager(home, config) as manager:
        manager.save("r", {"n": 1})
        manager.save("r", {"n": 2})
    assert marked


def test_somebody_elses_collection_is_none_of_its_business(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_arguments: Any, **_options: Any) -> None:
        raise ConflictError("another gc or compact is at work")

    monkeypatch.setattr(Repository, "gc", busy)
    config = CheckpointConfig(retention="latest_only", gc_seconds=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with CheckpointManager(home, config) as manager:
            manager.save("r", {"n": 1})
            manager.save("r", {"n": 2})


def test_what_was_not_dropped_is_said_and_the_run_goes_on(home: Path, forgets: Forgets) -> None:
    config = CheckpointConfig(retention="latest_only")
    with CheckpointManager(home, config) as manager:
        manager.save("r", {"n": 1})
        forgets.error = StoreFullError("the disk is full")
        with pytest.warns(CheckpointWarning, match="of run 'r' were not dropped: the disk is full"):
            manager.flush()
        forgets.error = None
        manager.save("r", {"n": 2})
        manager.flush()
        assert [cp.sequence for cp in manager.history("r")] == [2]
        forgets.error = ZeroDivisionError("a bug")
        manager.save("r", {"n": 3})
        with pytest.raises(ZeroDivisionError):
            manager.flush()


def test_an_age_without_a_unit_is_refused() -> None:
    """It was taken for seconds: a checkpoint of ten seconds ago went."""
    with pytest.raises(ValidationError, match="a number has no unit"):
        CheckpointConfig(retention="prune_old", max_age=7)  # type: ignore[arg-type]
