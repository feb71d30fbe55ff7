"""Types that a reader does not know come back as data that is saved to the same address."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from cas.errors import InvalidInputError
from manifests.registry import Registry
from manifests.unregistered import UnregisteredValue
from tests.manifests.classes import (
    Colour,
    Document,
    Handle,
    Level,
    Message,
    Money,
    Open,
    Point,
    Right,
    Secretive,
    Span,
    Step,
    Word,
    registry,
)
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same
from tests.manifests.strategies import large_containers, values

EXAMPLES = settings().max_examples

SAMPLES: dict[str, Any] = {
    "member": Colour.RED,
    "text member": Word.YES,
    "number member": Level.HIGH,
    "flags": Right.READ | Right.RUN,
    "dataclass": Step("a", 1, ["n"], Step("b")),
    "large dataclass": Step("a", 1, ["n" * 70] * 100),
    "slots": Span(1, 2),
    "named tuple": Message("user", ["x"]),
    "model": Document(title="t", body={"a": 1}),
    "model of one field": Document(title="t" * 5_000),
    "extra": Open.model_validate({"number": 1, "more": [2]}),
    "private": Secretive(),
    "custom": Money(1, "EUR"),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("state", [False, True], ids=["value", "state"])
def test_it_has_the_same_address_again(name: str, state: bool) -> None:
    memory = Memory(registry())
    root = memory.save(SAMPLES[name], state=state)
    memory.registry = Registry()
    stranger = memory.read(root)
    assert type(stranger) is UnregisteredValue
    assert stranger.name == type(SAMPLES[name]).__qualname__
    assert memory.save(stranger, state=state) == root
    memory.registry = registry()
    assert_same(memory.read(memory.save(stranger, state=state)), SAMPLES[name])


@settings(max_examples=EXAMPLES)
@given(values())
def test_it_has_the_same_address_anywhere_in_a_value(value: Any) -> None:
    memory = Memory(registry())
    roots = [memory.save(value), memory.save(value, state=True)]
    memory.registry = Registry()
    strangers = [memory.read(roots[0]), memory.read_by_forms(roots[1])]
    assert [memory.save(strangers[0]), memory.save(strangers[1], state=True)] == roots


@settings(max_examples=EXAMPLES // 4)
@given(large_containers())
def test_it_has_the_same_address_in_a_large_value(value: Any) -> None:
    memory = Memory(registry())
    root = memory.save({"large": value})
    memory.registry = Registry()
    assert memory.save(memory.read(root)) == root


def test_it_can_be_a_key_and_a_member() -> None:
    value: dict[Any, Any] = {
        Colour.RED: {Word.YES, Word.NO, Point(1, 2), Point(1, (2,))},
        Money(1, "EUR"): frozenset({Right(5)}),
        (Span(1), Message("a")): None,
        **{Money(number, "EUR"): number for number in range(300)},
    }
    memory = Memory(registry())
    root = memory.save(value)
    memory.registry = Registry()
    strangers = memory.read(root)
    assert len(strangers) == len(value)
    assert memory.save(strangers) == root
    key = UnregisteredValue("Money", 1, [7, "EUR"])
    assert strangers[key] == 7


def test_equal_strangers_have_equal_hashes() -> None:
    one, other = (UnregisteredValue("T", 1, {"a": [1, {"b": {2}}], "c": 2}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != {"a": [1, {"b": {2}}], "c": 2}
    assert len({hash(UnregisteredValue("T", 1, {"n": number})) for number in range(1_000)}) > 900


APART: dict[str, list[Any]] = {
    "types": [0, False, 0.0, -0.0, "0", b"0", bytearray(b"0"), None, decimal.Decimal(0), 0j, [0]],
    "items": [[0], [False], (0,), {0}, {False}, frozenset({0}), {0: 0}, {0: False}, {False: 0}],
    "order": [{"a": 0, "b": 1}, {"b": 1, "a": 0}],
    "digits": [decimal.Decimal("1.0"), decimal.Decimal("1.00")],
    "arrays": [np.zeros(2), np.zeros(2, "f4"), np.zeros((2, 1)), np.float64(0), np.float32(0)],
    "folds": [dt.datetime(2030, 1, 1), dt.datetime(2030, 1, 1, fold=1)],
    "names of zones": [dt.timezone(dt.timedelta(0), name) for name in "ab"],
    "classes": [Point(0, 0), Point(0, False), Span(0, 0), Colour.RED, "RED", Handle(0)],
}


@pytest.mark.parametrize("labels", APART.values(), ids=APART.keys())
@pytest.mark.parametrize("more", [0, 300], ids=["few", "many"])
def test_keys_and_members_that_were_apart_stay_apart(labels: list[Any], more: int) -> None:
    """An object is a key by what it is; without its class only what it holds is left."""
    handles = [Handle(label) for label in [*labels, *range(1_000, 1_000 + more)]]
    value = {"keys": dict.fromkeys(handles, 1), "tuples": {(h, 1): 1 for h in handles}}
    value["members"] = {*handles}
    memory = Memory(registry())
    root = memory.save(value)
    assert_same(memory.read(root), value)
    memory.registry = Registry()
    strangers = memory.read(root)
    assert [*map(len, strangers.values())] == [len(handles)] * 3
    assert memory.save(strangers) == root


@dataclasses.dataclass(frozen=True)
class Compared:
    """Compared by what it holds."""

    label: Any


@dataclasses.dataclass
class Unhashable:
    """Can be no key."""

    label: Any


@pytest.mark.parametrize("cls", [Compared, Unhashable])
@pytest.mark.parametrize("count", [2, 300])
@pytest.mark.parametrize(
    "contain", [dict.fromkeys, set, frozenset, lambda items: {(item,) for item in items}]
)
def test_a_class_that_compares_in_another_way_now_is_no_damage(
    cls: type, count: int, contain: Callable[[Any], Any]
) -> None:
    """What was apart is equal now, or can be no key. The store is as it was."""
    memory = Memory(registry())
    labels = [True, 1, *range(1_000, 1_000 + count)]
    root = memory.save(contain([Handle(label) for label in labels]))
    memory.registry = Registry()
    memory.registry.register(cls, name="Handle")
    with pytest.raises(InvalidInputError, match="as the registered classes compare"):
        memory.read(root)


@pytest.mark.parametrize(
    "stranger",
    [
        UnregisteredValue("T", 0, {}),
        UnregisteredValue("T", True, {}),
        UnregisteredValue(1, 1, {}),  # type: ignore[arg-type]
    ],
)
def test_one_made_by_hand_is_refused_if_it_could_not_be_read(stranger: Any) -> None:
    with pytest.raises(InvalidInputError, match="a version of 1 or more"):
        Memory().save([stranger])


@pytest.mark.parametrize("state", [False, True], ids=["value", "state"])
def test_a_newer_version_is_kept_as_it_is(state: bool) -> None:
    writer = Registry()
    writer.register(Step, version=2)
    memory = Memory(writer)
    value = Step("new", 5, ["x" * 100], Step("inner"))
    root = memory.save(value, state=state)
    memory.registry = registry()
    stranger = memory.read(root)
    assert isinstance(stranger, UnregisteredValue)
    assert (stranger.name, stranger.version) == ("Step", 2)
    assert memory.save(stranger, state=state) == root


def test_partial_reads_need_no_class() -> None:
    memory = Memory(registry())
    root = memory.save(Step("a", 3, ["n" * 100] * 50), state=True)
    memory.registry = Registry()
    forms = memory.forms()
    assert forms.names(memory.open(root)) == ["name", "attempts", "notes", "parent"]
    assert forms.value(forms.field(memory.open(root), "attempts")) == 3
