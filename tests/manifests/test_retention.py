"""Retention policies: what must stay stays, and there is a reason for everything."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cas.digest import Digest
from cas.errors import InvalidInputError
from manifests import Checkpoint, KeepEvery, RetentionPolicy
from manifests.retention import Candidate, Plan, plan
from tests.manifests.policies import UNLIMITED, policies

NOON = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def candidate(sequence: int, *, run: str = "r", hours: float = 0, **fields: Any) -> Candidate:
    """A candidate created that many hours before noon."""
    checkpoint = Checkpoint(
        id=Digest.of(f"{run}@{sequence}".encode()),
        run=run,
        sequence=sequence,
        parent=None,
        kind=fields.pop("kind", "node_complete"),
        node=None,
        next_nodes=(),
        created_at=NOON - hours * HOUR,
        graph=fields.pop("graph", None),
        labels={},
        logical_bytes=0,
        new_bytes=0,
        new_objects=0,
        origin_run=run,
        origin_sequence=sequence,
    )
    return Candidate(checkpoint=checkpoint, **fields)


def chain(count: int, *, run: str = "r", rank: int = 0) -> list[Candidate]:
    """A run of so many checkpoints, an hour apart; the last is its head."""
    return [
        candidate(n, run=run, hours=count - n, is_head=n == count, rank=rank)
        for n in range(1, count + 1)
    ]


def kept(candidates: list[Candidate], weigh: Any = None, /, **fields: Any) -> list[int]:
    made = plan(candidates, RetentionPolicy(**fields), NOON, weigh=weigh)
    return sorted(checkpoint.sequence for checkpoint in made.kept)


def rules(made: Plan) -> dict[int, list[str]]:
    return {v.checkpoint.sequence: [r.rule for r in v.reasons] for v in made.verdicts}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"mode": "all"}, [1, 2, 3, 4, 5, 6]),
        ({"mode": "latest_only"}, [6]),
        ({"keep_last": 2}, [5, 6]),
        ({"keep_within": 2 * HOUR}, [4, 5, 6]),
        ({"keep_within": dt.timedelta(0)}, [6]),
        ({"keep_last": 2, "keep_within": 3 * HOUR}, [3, 4, 5, 6]),
        ({"keep_tagged": True}, [6]),
        ({"max_checkpoints": 2}, [5, 6]),
        ({"max_checkpoints_per_run": 3}, [4, 5, 6]),
        ({"keep_last": 4, "max_checkpoints": 2}, [5, 6]),
        ({"keep_every": (KeepEvery(unit="hour", count=3),)}, [4, 5, 6]),
        ({"keep_every": (KeepEvery(unit="day"),)}, [6]),
        ({"keep_every": (KeepEvery(unit="week"),), "keep_last": 2}, [5, 6]),
    ],
)
def test_rules_combine_and_limits_cut(fields: dict[str, Any], expected: list[int]) -> None:
    assert kept(chain(6), **fields) == expected


def test_thinning_counts_spans_that_have_a_checkpoint() -> None:
    # Two days of work, a rest of three weeks, one more day. Sequences order them, moments do not.
    run = [candidate(n, hours=h) for n, h in enumerate([530, 529, 510, 509, 8, 3], start=1)]
    run.append(candidate(7, hours=2, is_head=True))
    assert kept(run, keep_every=(KeepEvery(unit="day", count=2),)) == [4, 7]
    assert kept(run, keep_every=(KeepEvery(unit="day", count=3),)) == [2, 4, 7]
    assert kept(run, keep_every=(KeepEvery(unit="week"),)) == [4, 7]


def test_what_protects_a_checkpoint_is_said() -> None:
    run = [
        candidate(1, tags=("gold", "old")),
        candidate(2, pin=""),
        candidate(3, is_pending=True),
        candidate(4, is_tip=True),
        candidate(5, kind="paused"),
        candidate(6, graph="g"),
        candidate(7),
        candidate(8, needs=7),
        candidate(9, needs=8, is_head=True),
    ]
    made = plan(run, RetentionPolicy(mode="latest_only"), NOON)
    assert rules(made) == {
        1: ["tag", "tag"],
        2: ["pin"],
        3: ["pending"],
        4: ["tip"],
        5: ["latest_only"],
        6: ["resumable"],
        7: ["needed"],
        8: ["needed"],
        9: ["head"],
    }
    texts = [reason.text for verdict in made.verdicts for reason in verdict.reasons]
    assert "has the tag 'gold'" in texts
    assert "needed by r@9" in texts
    assert kept(run, mode="latest_only", keep_tips=False) == [1, 2, 3, 6, 7, 8, 9]
    assert kept(run, keep_kinds=frozenset({"paused"})) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_the_run_extended_longest_ago_gives_way_first() -> None:
    stale, fresh = chain(4, run="stale", rank=10), chain(4, run="fresh", rank=90)
    made = plan([*fresh, *stale], RetentionPolicy(max_checkpoints=5), NOON)
    assert sorted((c.run, c.sequence) for c in made.kept) == [
        *(("fresh", n) for n in (1, 2, 3, 4)),
        ("stale", 4),
    ]


def test_bytes_count_what_each_adds_to_more_important_ones() -> None:
    run = chain(5)
    orders = []

    def weigh(order: Any) -> list[int]:
        orders.append([item.checkpoint.sequence for item in order])
        return [100, *[10] * (len(order) - 1)]

    assert kept(run, weigh, max_bytes=121) == [3, 4, 5]
    assert orders == [[5, 4, 3, 2, 1]]
    assert kept(run, weigh, max_bytes=0) == [5]
    assert kept(run, weigh, max_bytes_per_run=110) == [4, 5]
    with pytest.raises(InvalidInputError, match="weigh"):
        kept(run, max_bytes=1)


def test_a_limit_never_parts_a_checkpoint_from_what_it_needs() -> None:
    run = [candidate(1), candidate(2, needs=1), candidate(3, needs=2), candidate(4, is_head=True)]
    assert kept(run, max_checkpoints=4) == [1, 2, 3, 4]
    assert kept(run, max_checkpoints=3) == [4]


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "prune_old"},
        {"mode": "latest_only", "keep_last": 1},
        {"mode": "all", "keep_tagged": True},
        {"keep_last": 0},
        {"max_checkpoints": 0},
        {"keep_every": ({"unit": "year"},)},
        {"keep_evrey": 1},
    ],
)
def test_a_policy_that_would_not_do_what_it_says_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RetentionPolicy(**fields)


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for run in "abc"[: draw(st.integers(0, 3))]:
        count = draw(st.integers(1, 8))
        rank = draw(st.integers(0, 9))
        for n in range(1, count + 1):
            found.append(
                candidate(
                    n,
                    run=run,
                    rank=rank,
                    hours=draw(st.integers(-5, 400)),
                    kind=draw(st.sampled_from(["node_complete", "paused", "final"])),
                    graph=draw(st.sampled_from([None, "g"])),
                    is_head=n == count,
                    is_tip=draw(st.booleans()) and n < count,
                    tags=("t",) if draw(st.integers(0, 5)) == 0 else (),
                    pin="" if draw(st.integers(0, 5)) == 0 else None,
                    is_pending=draw(st.integers(0, 7)) == 0,
                    needs=draw(st.sampled_from([0, 0, n - 1])),
                )
            )
    return draw(st.permutations(found))


def weigh(order: Any) -> list[int]:
    """Each adds something of its own, and something it shares with its neighbour of even number."""
    seen: set[tuple[str, int]] = set()
    weights = []
    for item in order:
        pieces = {(item.checkpoint.run, item.checkpoint.sequence)}
        pieces.add((item.checkpoint.run, -(item.checkpoint.sequence // 2)))
        weights.append(7 * len(pieces - seen))
        seen |= pieces
    return weights


@given(histories(), policies(120))
def test_each_checkpoint_gets_one_verdict_and_the_protected_stay(
    found: list[Candidate], policy: RetentionPolicy
) -> None:
    made = plan(found, policy, NOON, weigh=weigh)
    places = [(v.checkpoint.run, v.checkpoint.sequence) for v in made.verdicts]
    assert sorted(places) == sorted(item.place for item in found)
    assert all(verdict.reasons for verdict in made.verdicts)
    left = {(checkpoint.run, checkpoint.sequence) for checkpoint in made.kept}
    for item in found:
        protected = item.is_head or item.tags or item.pin is not None or item.is_pending
        if protected or (item.is_tip and policy.keep_tips):
            assert item.place in left
        if item.place in left and item.needs:
            assert (item.checkpoint.run, item.needs) in left
    for run in {item.checkpoint.run for item in found}:
        resumable = [i.place for i in found if i.checkpoint.run == run and i.checkpoint.graph]
        assert not resumable or max(resumable) in left


@given(histories(), policies(120))
def test_applying_a_policy_again_drops_nothing_more(
    found: list[Candidate], policy: RetentionPolicy
) -> None:
    once = plan(found, policy, NOON, weigh=weigh)
    left = {(checkpoint.run, checkpoint.sequence) for checkpoint in once.kept}
    again = plan([item for item in found if item.place in left], policy, NOON, weigh=weigh)
    assert not again.dropped


@given(histories(), policies(120))
def test_limits_leave_no_more_than_they_say_but_what_must_stay(
    found: list[Candidate], policy: RetentionPolicy
) -> None:
    made = plan(found, policy, NOON, weigh=weigh)
    rules = {"head", "resumable", "tag", "pin", "pending", "tip"}
    whole = policy.max_checkpoints
    for run in [None, *{item.checkpoint.run for item in found}]:
        most = whole if run is None else policy.max_checkpoints_per_run
        kept = [v for v in made.verdicts if v.keep and run in (None, v.checkpoint.run)]
        if most is not None and len(kept) > most:
            firm = [v for v in kept if rules & {reason.rule for reason in v.reasons}]
            needed = [v for v in kept if v not in firm]
            assert all("needed" in {reason.rule for reason in v.reasons} for v in needed)


@given(histories(), UNLIMITED, UNLIMITED)
def test_one_rule_more_never_drops_more(
    found: list[Candidate], some: dict[str, Any], more: dict[str, Any]
) -> None:
    if "mode" in some or "mode" in more:
        return
    both = {**some, "keep_tips": False}
    wider = {**more, **both}
    few = plan(found, RetentionPolicy(**both), NOON)
    many = plan(found, RetentionPolicy(**wider), NOON)
    assert {c.id for c in few.kept} <= {c.id for c in many.kept}


@given(histories(), st.integers(1, 9), st.integers(0, 9))
def test_a_larger_number_never_drops_more(found: list[Candidate], last: int, more: int) -> None:
    few = plan(found, RetentionPolicy(keep_last=last), NOON)
    many = plan(found, RetentionPolicy(keep_last=last + more), NOON)
    assert {c.id for c in few.kept} <= {c.id for c in many.kept}


@pytest.mark.parametrize("span", [7, 0.5, True])
def test_a_span_without_a_unit_is_refused(span: Any) -> None:
    """It was taken for seconds, and nearly everything went."""
    with pytest.raises(ValidationError, match="a number has no unit"):
        RetentionPolicy(keep_within=span)
    with pytest.raises(ValidationError, match="a number has no unit"):
        RetentionPolicy.model_validate_json(f'{{"keep_within": {json.dumps(span)}}}')
    week = RetentionPolicy(keep_within=dt.timedelta(days=7))
    assert RetentionPolicy.model_validate_json(week.model_dump_json()) == week
    assert RetentionPolicy.model_validate({"keep_within": "P7D"}) == week
