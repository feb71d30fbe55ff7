"""What a configuration keeps of a run."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cas.digest import Digest
from hive.graph.checkpoint_manager import CheckpointManager
from hive.graph.retention import policy_of
from hive.schemas.checkpoint import CheckpointConfig
from manifests import Checkpoint
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
