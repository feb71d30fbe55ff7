"""Every value comes back as it was saved, types included, whatever way it is read."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifests.classes import registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same
from tests.manifests.strategies import large_containers, values

EXAMPLES = settings().max_examples


def round_trip(value: Any) -> None:
    memory = Memory(registry())
    root = memory.save(value)
    assert_same(memory.read(root), value)
    assert_same(memory.read_by_link(root), value)
    assert_same(memory.read_by_forms(root), value)
    assert memory.save(memory.read(root)) == root
    state = memory.save(value, state=True)
    assert_same(memory.read(state), value)
    assert memory.save(memory.read_by_link(state), state=True) == state


@settings(max_examples=EXAMPLES * 2)
@given(values())
def test_values_come_back(value: Any) -> None:
    round_trip(value)


@settings(max_examples=EXAMPLES // 2)
@given(large_containers())
def test_large_values_come_back(value: Any) -> None:
    round_trip(value)


@settings(max_examples=EXAMPLES // 4)
@given(st.lists(large_containers(), min_size=1, max_size=3), values())
def test_large_values_inside_others_come_back(large: list[Any], value: Any) -> None:
    round_trip({"large": large, "other": value, "again": (value, large)})
