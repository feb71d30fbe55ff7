"""Copies made of a template are what was copied, and have nothing in common that can change."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.registry import Registry
from manifests.template import Template
from manifests.unregistered import UnregisteredValue
from tests.manifests import classes
from tests.manifests.classes import Document, Message, Open, Point, Secretive, Span, Step
from tests.manifests.sameness import assert_same, portrait
from tests.manifests.strategies import values


def mutable_parts(value: Any) -> dict[int, Any]:
    """Return everything below a value that could be changed in place, by identity."""
    found: dict[int, Any] = {}
    path = [value]
    while path:
        part = path.pop()
        if isinstance(part, dict):
            path += [*part, *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            path += part
        elif isinstance(part, UnregisteredValue):
            path.append(part.fields)
        elif isinstance(part, pydantic.BaseModel):
            path += [part.__dict__, part.__pydantic_fields_set__]
            path += [part.__pydantic_extra__, part.__pydantic_private__]
        elif dataclasses.is_dataclass(part) and hasattr(part, "__dict__"):
            path.append(vars(part))
        if isinstance(part, dict | list | set | bytearray) or (
            hasattr(part, "__dict__") and type(part).__module__ == classes.__name__
        ):
            found[id(part)] = part
    return {
        name: part
        for name, part in found.items()
        if not isinstance(part, classes.Colour | classes.Word | classes.Level | classes.Right)
    }


@given(st.lists(values(), max_size=4))
def test_copies_are_the_same_and_independent(value: Any) -> None:
    before = portrait(value)
    template = Template.of(value, classes.registry())
    if template is None:
        return
    one, other = template.copy(), template.copy()
    assert portrait(one) == portrait(other) == before
    held, of_one, of_other = map(mutable_parts, (value, one, other))
    assert len(held) == len(of_one) == len(of_other)
    assert not held.keys() & of_one.keys()
    assert not of_one.keys() & of_other.keys()


PLAIN = [
    {"role": "user", "content": "hello", "tags": ["a", {"b": [1, 2.0, None]}], "n": {}},
    [[[]], {}, (1, [2]), ("a", "b"), {1, 2}, frozenset("ab"), bytearray(b"x")],
    Document(title="t", body={"deep": [Document(title="u")]}),
    Step("s", notes=[Step("below", parent=Step("last"))]),
    Point([1], {"a": 2}),
    Message("user", [1]),
    UnregisteredValue("gone", 2, {"a": [1]}),
    {(1, "a"): 1, classes.Colour.RED: [classes.Level.LOW]},
]


@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_what_is_changed_in_a_copy_shows_nowhere_else(value: Any) -> None:
    template = Template.of([value, copy.deepcopy(value)], classes.registry())
    assert template is not None
    first = template.copy()
    expected = portrait(copy.deepcopy(first))
    for part in mutable_parts(first).values():
        if isinstance(part, list | bytearray):
            part.append(0)
        elif isinstance(part, dict):
            part["changed"] = 1
        elif isinstance(part, set):
            part.add("changed")
    assert portrait(first) != expected
    assert portrait(template.copy()) == expected
    assert_same(template.copy(), [value, value])


class Slotted(pydantic.BaseModel):
    """A model that sees to its own state."""

    name: str

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)


class Known(pydantic.BaseModel):
    """A model whose instances are made by itself."""

    name: str

    def __new__(cls, *_args: Any, **_fields: Any) -> Known:
        return super().__new__(cls)


@dataclasses.dataclass(frozen=True)
class Holder:
    """Has a hash, and something inside that can change."""

    items: list[Any] = dataclasses.field(default_factory=list, hash=False)


UNKNOWN = [
    Span(1, 2),
    Open.model_validate({"number": 1, "more": [1]}),
    Secretive(number=1),
    Slotted(name="a"),
    Known(name="a"),
    {Holder(): 1},
    {UnregisteredValue("gone", 1, [1])},
    {(1, Holder()): 1},
    memoryview(b"x"),
]


@pytest.mark.parametrize("value", UNKNOWN, ids=range(len(UNKNOWN)))
def test_what_may_be_more_than_its_fields_is_not_copied(value: Any) -> None:
    registry = Registry()
    for cls in (Span, Open, Slotted, Known, Holder):
        registry.register(cls)
    registry.register(Secretive)

    if isinstance(value, Secretive):
        value._token = "token"
    assert Template.of([value], registry) is None
    assert Template.of({"below": [1, (value,)]}, registry) is None
