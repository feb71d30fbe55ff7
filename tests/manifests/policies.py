"""Retention policies to draw."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from manifests import KeepEvery, RetentionPolicy

__all__ = ["UNLIMITED", "policies"]

HOUR = dt.timedelta(hours=1)

KEEP_RULES: dict[str, st.SearchStrategy[Any]] = {
    "keep_last": st.integers(1, 9),
    "keep_within": st.integers(0, 400).map(lambda hours: hours * HOUR),
    "keep_every": st.lists(
        st.builds(
            KeepEvery,
            unit=st.sampled_from(["hour", "day", "week"]),
            count=st.none() | st.integers(1, 5),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    "keep_kinds": st.sets(st.sampled_from(["paused", "final"]), min_size=1).map(frozenset),
    "keep_tagged": st.just(True),
}
UNLIMITED = st.one_of(
    st.just({"mode": "all"}),
    st.just({"mode": "latest_only"}),
    st.fixed_dictionaries({}, optional=KEEP_RULES).filter(bool),
).flatmap(lambda fields: st.booleans().map(lambda tips: {**fields, "keep_tips": tips}))
"""The fields of a policy without limits."""


def policies(most_bytes: int) -> st.SearchStrategy[RetentionPolicy]:
    """Any policy: a mode or rules, with limits or without, up to so many bytes."""
    limits: dict[str, st.SearchStrategy[Any]] = {
        "max_checkpoints": st.integers(1, 12),
        "max_checkpoints_per_run": st.integers(1, 5),
        "max_bytes": st.integers(0, most_bytes),
        "max_bytes_per_run": st.integers(0, most_bytes // 2),
    }
    return st.tuples(UNLIMITED, st.fixed_dictionaries({}, optional=limits)).map(
        lambda pair: RetentionPolicy(**pair[0], **pair[1])
    )
