"""Types that a reader does not know come back as data that is saved to the same address."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from manifests.registry import Registry, UnregisteredValue
from tests.manifests.classes import (
    Colour,
    Document,
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
    one = UnregisteredValue("T", 1, {"a": [1, {"b": {2}}], "c": 2})
    other = UnregisteredValue("T", 1, {"c": 2.0, "a": [True, {"b": {2}}]})
    assert one == other
    assert hash(one) == hash(other)
    assert len({hash(UnregisteredValue("T", 1, {"n": number})) for number in range(1_000)}) > 900


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
