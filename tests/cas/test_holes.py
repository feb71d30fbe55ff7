"""Holes that overlap, touch or contain one another cover just the keys that one of them covers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cas.holes import Hole, Holes

KEYS = st.sampled_from([b"", b"a", b"ab", b"b", b"c", b"cc", b"d", b"e", b"f"])
HOLES = st.builds(Hole, st.sampled_from(["one", "two"]), KEYS, st.none() | KEYS)


@given(st.lists(HOLES.filter(lambda hole: hole.high is None or hole.low < hole.high), max_size=6))
def test_a_key_is_covered_if_one_hole_covers_it(given: list[Hole]) -> None:
    holes = Holes(given)
    assert bool(holes) is bool(given)
    for table in ("one", "two", "none"):
        own = [hole for hole in given if hole.table == table]
        for key in (b"", b"a", b"aa", b"ab", b"b", b"c", b"ca", b"cc", b"d", b"e", b"f", b"g"):
            assert holes.covers(table, key) is any(
                hole.low <= key and (hole.high is None or key < hole.high) for hole in own
            )
        ranges = holes.of(table)
        for (_low, high), (low, _high) in pairwise(ranges):
            assert high is not None
            assert high < low  # what overlaps or touches is one
