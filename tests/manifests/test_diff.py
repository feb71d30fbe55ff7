"""Differences: all of them, at the right places, without reading what is equal."""

from __future__ import annotations

import copy
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.diff import Change, changes
from manifests.forms import LinkForm
from manifests.registry import Registry
from tests.manifests.classes import Document, Money, Point, Step, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import portrait, same
from tests.manifests.strategies import large_containers, values

EXAMPLES = settings().max_examples


def difference(before: Any, after: Any, memory: Memory | None = None) -> list[Change]:
    memory = memory or Memory(registry())
    old, new = memory.save(before, state=True), memory.save(after, state=True)
    memory.loads = 0
    return list(changes(memory.forms(), LinkForm(old), LinkForm(new)))


def summary(found: list[Change]) -> list[tuple[str, str, Any, Any]]:
    return [(change.kind, change.path, change.before, change.after) for change in found]


# Equal and unequal


@settings(max_examples=EXAMPLES)
@given(values(), values())
def test_there_is_a_difference_exactly_if_there_is_one(before: Any, after: Any) -> None:
    assert difference(before, copy.deepcopy(before)) == []
    found = difference({"state": before}, {"state": after})
    memory = Memory(registry())
    same_address = memory.save(_sorted_keys(before)) == memory.save(_sorted_keys(after))
    assert (not found) == same_address
    for change in found:
        assert change.kind in ("added", "removed", "changed")
        assert change.path.startswith("['state']")


def _sorted_keys(value: Any) -> Any:
    """The order of keys does not count as a difference, so it is taken away here."""
    if type(value) is dict:
        ordered = sorted(value.items(), key=lambda pair: repr(portrait(pair[0])))
        return {key: _sorted_keys(item) for key, item in ordered}
    if type(value) in (list, tuple):
        return type(value)(map(_sorted_keys, value))
    if isinstance(value, Step):
        return Step(value.name, value.attempts, _sorted_keys(value.notes), value.parent)
    return value


@settings(max_examples=EXAMPLES // 4)
@given(large_containers(), large_containers())
def test_large_values_are_compared(before: Any, after: Any) -> None:
    assert difference([before, after], [before, after]) == []
    if not same(before, after):
        assert difference({"x": before}, {"x": after})


def test_types_count_and_the_order_of_keys_does_not() -> None:
    assert difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []
    pairs = [(f"k{number}", number) for number in range(500)]
    assert difference(dict(pairs), dict(reversed(pairs))) == []
    for one, other in ((1, True), (1, 1.0), (0.0, -0.0), ([1], (1,)), ({1}, frozenset({1}))):
        (change,) = difference({"a": one}, {"a": other})
        assert (change.kind, change.path) == ("changed", "['a']")
        assert (portrait(change.before), portrait(change.after)) == (portrait(one), portrait(other))
    assert difference({"a": float("nan")}, {"a": float("nan")}) == []


# Against a naive comparison, for dicts of dicts


leaves = st.one_of(st.integers(0, 3), st.text("ab", max_size=2), st.just("long " * 40))
nested_dicts = st.recursive(
    st.dictionaries(st.sampled_from([f"k{n}" for n in range(9)]), leaves, max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from([f"k{n}" for n in range(9)]), st.one_of(leaves, inner), max_size=6
    ),
    max_leaves=20,
)


def naive(before: dict[str, Any], after: dict[str, Any], path: str = "") -> set[Any]:
    found = set()
    for key in {*before, *after}:
        place = f"{path}[{key!r}]"
        if key not in after:
            found.add(("removed", place, repr(before[key]), "None"))
        elif key not in before:
            found.add(("added", place, "None", repr(after[key])))
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            found |= naive(before[key], after[key], place)
        elif not same(before[key], after[key]):
            found.add(("changed", place, repr(before[key]), repr(after[key])))
    return found


def as_set(found: list[Change]) -> set[Any]:
    listed = [(c.kind, c.path, repr(c.before), repr(c.after)) for c in found]
    assert len(set(listed)) == len(listed)
    return set(listed)


@given(nested_dicts, nested_dicts, st.integers(0, 80))
def test_dicts_of_dicts(before: dict[str, Any], after: dict[str, Any], more: int) -> None:
    assert as_set(difference(before, after)) == naive(before, after)
    padding = {f"more {number}": number for number in range(more)}
    wide_before, wide_after = {**before, **padding}, {**padding, **after}
    assert as_set(difference(wide_before, wide_after)) == naive(wide_before, wide_after)


@given(
    st.integers(0, 1_500),
    st.lists(st.tuples(st.integers(0, 1_600), st.sampled_from(("set", "drop"))), max_size=12),
)
def test_edits_of_a_large_dict(size: int, edits: list[tuple[int, str]]) -> None:
    before = {f"k{number}": number for number in range(size)}
    after = dict(before)
    for number, kind in edits:
        if kind == "set":
            after[f"k{number}"] = -1
        else:
            after.pop(f"k{number}", None)
    assert as_set(difference(before, after)) == naive(before, after)


# Lists


@pytest.mark.parametrize("size", [0, 5, 31, 32, 33, 3_000])
def test_edits_of_a_list(size: int, seed: int) -> None:
    dice = random.Random(seed)
    before = [{"n": number, "text": f"text {number}"} for number in range(size)]
    new = {"n": -1, "text": "new"}
    assert summary(difference(before, [*before, new])) == [("added", f"[{size}]", None, new)]
    for _ in range(4 if size else 0):
        at = dice.randrange(size)
        inserted = [*before[:at], new, *before[at:]]
        assert summary(difference(before, inserted)) == [("added", f"[{at}]", None, new)]
        removed = [*before[:at], *before[at + 1 :]]
        assert summary(difference(before, removed)) == [("removed", f"[{at}]", before[at], None)]
        changed = [*before[:at], {**before[at], "text": "new"}, *before[at + 1 :]]
        expected = ("changed", f"[{at}]['text']", f"text {at}", "new")
        assert summary(difference(before, changed)) == [expected]


def test_several_edits_of_a_list_at_once() -> None:
    before = list("abcdefgh")
    after = list("abXdeghYZ")
    assert summary(difference(before, after)) == [
        ("changed", "[2]", "c", "X"),
        ("removed", "[5]", "f", None),
        ("added", "[7]", None, "Y"),
        ("added", "[8]", None, "Z"),
    ]


def rebuilt(before: list[Any], found: list[Change]) -> list[Any]:
    """Apply changes of a flat list: removals at old places first, then the others at new ones."""

    def place(change: Change) -> int:
        return int(change.path[1:-1])

    # A changed item has a place in the new list only; its old one is the next that is not kept.
    items: list[Any] = list(before)
    removed = {place(change) for change in found if change.kind == "removed"}
    items = [item for at, item in enumerate(items) if at not in removed]
    for change in sorted((c for c in found if c.kind != "removed"), key=place):
        if change.kind == "added":
            items.insert(place(change), change.after)
        else:
            assert items[place(change)] == change.before
            items[place(change)] = change.after
    return items


@settings(max_examples=EXAMPLES * 2)
@given(
    st.lists(st.integers(0, 5), max_size=60),
    st.lists(st.integers(0, 5), max_size=60),
)
def test_changes_of_a_list_lead_from_one_to_the_other(before: list[int], after: list[int]) -> None:
    assert rebuilt(before, difference(before, after)) == after


@settings(max_examples=EXAMPLES // 4)
@given(st.integers(0, 600), st.integers(0, 600), st.integers(0, 100), st.integers(0, 9))
def test_changes_of_a_long_list_lead_from_one_to_the_other(
    size: int, at: int, cut: int, new: int
) -> None:
    before: list[Any] = list(range(size))
    after = [*before[:at], *["new"] * new, *before[at + cut :]]
    found = difference(before, after)
    assert rebuilt(before, found) == after
    assert len(found) <= max(cut, new) + 2


def test_items_with_few_values_do_not_take_for_ever(seed: int) -> None:
    dice = random.Random(seed)
    before, after = ([dice.randrange(2) for _ in range(1_900)] for _ in range(2))
    started = time.thread_time()  # not what others of this machine took
    assert rebuilt(before, difference(before, after)) == after
    assert time.thread_time() - started < 20


def test_lists_without_anything_in_common_are_compared_by_position() -> None:
    before, after = list(range(3_000)), [str(number) for number in range(2_500)]
    found = difference(before, after)
    assert [change.kind for change in found] == ["changed"] * 2_500 + ["removed"] * 500
    assert found[7] == Change("changed", "[7]", 7, "7")


# Other values


def test_fields_of_registered_values() -> None:
    before = {"s": Step("a", 1, ["x"]), "d": Document(title="t", body={"k": 1})}
    after = {"s": Step("a", 2, ["x", "y"]), "d": Document(title="t", body={"k": 2})}
    assert summary(difference(before, after)) == [
        ("changed", "['s'].attempts", 1, 2),
        ("added", "['s'].notes[1]", None, "y"),
        ("changed", "['d'].body['k']", 1, 2),
    ]
    (change,) = difference({"m": Money(1, "EUR")}, {"m": Money(2, "EUR")})
    assert (change.path, change.before, change.after) == ("['m']", Money(1, "EUR"), Money(2, "EUR"))
    (change,) = difference({"p": Point(1, 2)}, {"p": Step("a")})
    assert change.path == "['p']"


def test_types_need_not_be_known() -> None:
    memory = Memory(registry())
    before, after = Step("a", 1, ["x" * 50] * 99), Step("a", 2, ["x" * 50] * 99)
    old, new = memory.save(before, state=True), memory.save(after, state=True)
    memory.registry = Registry()
    found = list(changes(memory.forms(), LinkForm(old), LinkForm(new)))
    assert summary(found) == [("changed", ".attempts", 1, 2)]


def test_tuples_are_compared_item_by_item_and_sets_as_a_whole() -> None:
    found = difference({"t": (1, {"a": 2}), "s": {1}}, {"t": (1, {"a": 3}), "s": {1, 2}})
    assert summary(found) == [("changed", "['t'][1]['a']", 2, 3), ("changed", "['s']", {1}, {1, 2})]


def test_keys_of_any_type() -> None:
    nan = float("nan")
    before = {1: "a", (1, nan): "b", None: "c", Point(1, 2): "d"}
    after = {True: "a", (1, nan): "B", Point(1, 2): "D", b"k": "e"}
    found = {(change.kind, change.path) for change in difference(before, after)}
    assert found == {
        ("removed", "[1]"),
        ("added", "[True]"),
        ("changed", "[(1, nan)]"),
        ("removed", "[None]"),
        ("changed", "[Point(x=1, y=2)]"),
        ("added", "[b'k']"),
    }


def test_values_on_both_sides_of_a_limit() -> None:
    for small, large in ((30, 40), (32, 33), (100, 600)):
        before, after = list(range(small)), list(range(large))
        assert [change.kind for change in difference(before, after)] == ["added"] * (large - small)
        assert [change.kind for change in difference(after, before)] == ["removed"] * (
            large - small
        )
        one = {f"k{number}": number for number in range(small)}
        other = {f"k{number}": number for number in range(large)}
        assert as_set(difference(one, other)) == naive(one, other)
        assert as_set(difference(other, one)) == naive(other, one)
    text = "word " * 2_000
    (change,) = difference({"t": text[:8_000]}, {"t": text})
    assert (change.before, change.after) == (text[:8_000], text)
    before_dict = {"a": "x" * 2_000, "b": [1, 2]}
    after_dict = {**before_dict, "c": "y" * 4_000, "b": [1, 3]}
    assert summary(difference(before_dict, after_dict)) == [
        ("changed", "['b'][1]", 2, 3),
        ("added", "['c']", None, "y" * 4_000),
    ]


# What is read


def test_equal_parts_are_not_read(seed: int) -> None:
    dice = random.Random(seed)
    memory = Memory()
    state: dict[str, Any] = {
        "messages": [{"n": number, "text": "t" * 100} for number in range(10_000)],
        "index": {f"term {number}": [number] for number in range(10_000)},
        "blob": dice.randbytes(1_000_000),
        "other": {"a": ["x" * 100] * 50},
    }
    assert difference(state, copy.deepcopy(state), memory) == []
    assert memory.loads == 0
    appended = {**state, "messages": [*state["messages"], {"n": -1, "text": "new"}]}
    assert len(difference(state, appended, memory)) == 1
    assert memory.loads < 60
    changed = {**state, "index": {**state["index"], "term 77": "changed"}}
    assert summary(difference(state, changed, memory)) == [
        ("changed", "['index']['term 77']", [77], "changed")
    ]
    assert memory.loads < 60
    assert len(memory.objects) > 10_000


def test_lists_of_few_different_items_are_compared_by_position() -> None:
    before, after = [0] * 900, [1, 0] * 450
    assert summary(difference(before, after)) == [
        ("changed", f"[{place}]", 0, 1) for place in range(0, 900, 2)
    ]
    # But not what both end with.
    assert summary(difference(before, [1, *before])) == [("added", "[0]", None, 1)]
