"""Registered types: how they are read again, also after their classes have changed."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import pydantic
import pytest

from cas.errors import InvalidInputError
from manifests.registry import Registry
from manifests.unregistered import UnregisteredValue
from tests.manifests.classes import Document, Message, Money, Point, Secretive, Step, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same


def reread(value: Any, writer: Registry, reader: Registry) -> Any:
    """Save with one registry and read with another."""
    memory = Memory(writer)
    root = memory.save(value)
    memory.registry = reader
    return memory.read(root)


def only(cls: type, **options: Any) -> Registry:
    """Return a registry of one class."""
    known = Registry()
    known.register(cls, **options)
    return known


# Classes that changed


def test_a_field_added_later_has_its_default() -> None:
    @dataclasses.dataclass
    class Old:
        name: str

    @dataclasses.dataclass
    class New:
        name: str
        count: int = 7
        notes: list[str] = dataclasses.field(default_factory=list)

    value = reread(Old("a"), only(Old, name="Note"), only(New, name="Note"))
    assert_same(value, New("a", 7, []))


def test_a_field_added_to_a_model_has_its_default() -> None:
    class Old(pydantic.BaseModel):
        name: str
        extra_note: str = "x"

    class New(pydantic.BaseModel):
        name: str
        extra_note: str = "x"
        notes: list[str] = pydantic.Field(default_factory=list)
        _cache: list[int] = pydantic.PrivateAttr(default_factory=list)

    value = reread(Old(name="a"), only(Old, name="Note"), only(New, name="Note"))
    assert value == New(name="a")
    assert value.model_fields_set == {"name"}
    assert value._cache == []


def test_a_field_added_to_a_named_tuple_has_its_default() -> None:
    Old = namedtuple("Old", "name")

    class New(NamedTuple):
        name: str
        size: int = 3

    assert_same(reread(Old("a"), only(Old, name="T"), only(New, name="T")), New("a", 3))


@pytest.mark.parametrize("kind", ["dataclass", "model", "named tuple"])
@pytest.mark.parametrize("change", ["removed", "required"])
def test_fields_that_do_not_fit_are_an_error_that_says_what_to_do(kind: str, change: str) -> None:
    old, new = ("a", "b"), ("a",) if change == "removed" else ("a", "b", "c")

    def make(fields: tuple[str, ...]) -> Any:
        if kind == "dataclass":
            return dataclasses.make_dataclass("Kind", fields)
        if kind == "model":
            return pydantic.create_model("Kind", **dict.fromkeys(fields, (str, ...)))  # type: ignore[call-overload]
        return namedtuple("Kind", fields)

    writer, reader = make(old), make(new)
    with pytest.raises(InvalidInputError, match=r"'Kind' do not fit .* version and a migration"):
        reread(writer(a="1", b="2"), only(writer, name="Kind"), only(reader, name="Kind"))


def test_a_member_that_is_gone_is_an_error_that_says_what_to_do() -> None:
    class Old(enum.Enum):
        GOOD = 1
        BAD = 2

    class New(enum.Enum):
        GOOD = 1

    with pytest.raises(InvalidInputError, match="'Mood' do not fit"):
        reread(Old.BAD, only(Old, name="Mood"), only(New, name="Mood"))


def test_the_value_of_a_member_may_change() -> None:
    class Old(enum.Enum):
        GOOD = 1

    class New(enum.Enum):
        GOOD = "good"

    assert reread(Old.GOOD, only(Old, name="Mood"), only(New, name="Mood")) is New.GOOD


def test_migrations_run_one_version_at_a_time() -> None:
    class Old(NamedTuple):
        full: str

    class New(NamedTuple):
        first: str
        last: str
        age: int

    def split(fields: Any) -> Any:
        first, last = fields["full"].split()
        return {"first": first, "last": last}

    migrations = {1: split, 2: lambda fields: {**fields, "age": 0}}
    reader = only(New, name="Person", version=3, migrations=migrations)
    writer = only(Old, name="Person")
    assert_same(reread([Old("Ada Byron")], writer, reader), [New("Ada", "Byron", 0)])


def test_a_missing_migration_is_named() -> None:
    reader = only(Point, version=3, migrations={1: dict})
    with pytest.raises(InvalidInputError, match="no migration from 2"):
        reread(Point(1, 2), only(Point), reader)


def test_a_migration_that_forgets_to_return_is_named() -> None:
    reader = only(Point, version=2, migrations={1: lambda fields: None})
    with pytest.raises(InvalidInputError, match="of 'Point' from version 1 returned None"):
        reread(Point(1, 2), only(Point), reader)


@pytest.mark.parametrize("error", [KeyError, RuntimeError, ZeroDivisionError, RecursionError])
def test_code_of_the_application_that_fails_is_not_taken_for_damage(
    error: type[Exception],
) -> None:
    def fail(_fields: Any) -> Any:
        raise error("secret")

    reader = only(Point, version=2, migrations={1: fail})
    with pytest.raises(InvalidInputError, match="migration of 'Point' from version 1") as caught:
        reread([Point(1, 2)] * 40, only(Point), reader)
    assert isinstance(caught.value.__cause__, error)
    assert "secret" not in str(caught.value)
    reader = only(Point, to_fields=vars, from_fields=fail)
    with pytest.raises(InvalidInputError, match="'Point' do not fit") as caught:
        reread(Point(1, 2), only(Point), reader)
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupts_pass_through_the_decoder(error: type[BaseException]) -> None:
    def interrupt(_fields: Any) -> Any:
        raise error

    reader = only(Point, to_fields=vars, from_fields=interrupt)
    with pytest.raises(error):
        reread([Point(1, 2)], only(Point), reader)


# What a class holds besides its fields


def test_an_attribute_that_is_no_field_is_refused() -> None:
    point = Step("a")
    vars(point)["cache"] = 1
    with pytest.raises(InvalidInputError, match=r"state\[0\]: the attribute 'cache' of Step is no"):
        Memory(registry()).save([point])

    class Marked(Message):
        pass

    message = Marked("user")
    message.mark = 1  # type: ignore[attr-defined]
    with pytest.raises(InvalidInputError, match=r"attribute 'mark' of .*Marked is no field"):
        Memory(only(Marked)).save(message)


def test_a_cached_property_is_computed_again() -> None:
    @dataclasses.dataclass
    class Square:
        side: int

        @functools.cached_property
        def area(self) -> int:
            return self.side**2

    class Cube(pydantic.BaseModel):
        side: int

        @functools.cached_property
        def volume(self) -> int:
            return self.side**3

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def half(self) -> float:
            return self.side / 2

    known = Registry()
    known.register(Square)
    known.register(Cube)
    square, cube = Square(3), Cube(side=2)
    fresh = Memory(known).save([square, cube])
    assert (square.area, cube.volume) == (9, 8)
    memory = Memory(known)
    assert memory.save([square, cube]) == fresh
    other_square, other_cube = memory.read(fresh)
    assert vars(other_square) == {"side": 3}
    assert (other_square.area, other_cube.volume, other_cube.half) == (9, 8, 1.0)


def test_a_dataclass_over_a_builtin_type_needs_functions() -> None:
    @dataclasses.dataclass
    class Table(dict[str, int]):
        title: str = ""

    @dataclasses.dataclass
    class FailureError(Exception):
        reason: str = ""

    for cls in (Table, FailureError):
        with pytest.raises(InvalidInputError, match="extends a built-in type"):
            Registry().register(cls)
    known = only(
        FailureError,
        to_fields=lambda failure: [failure.reason],
        from_fields=lambda f: FailureError(*f),
    )
    assert reread(FailureError("x"), known, known).reason == "x"


def test_a_named_tuple_is_read_without_its_constructor() -> None:
    class Doubled(namedtuple("Doubled", "number")):
        def __new__(cls, half: int) -> Any:
            return super().__new__(cls, 2 * half)

    known = only(Doubled)
    assert reread(Doubled(4), known, known) == (8,)


def test_a_dataclass_is_read_without_its_constructor() -> None:
    made = []

    @dataclasses.dataclass
    class Noisy:
        number: int

        def __post_init__(self) -> None:
            made.append(self.number)

    known = only(Noisy)
    assert reread(Noisy(1), known, known) == Noisy(1)
    assert made == [1, 1], "only the two made here ran the constructor"


def test_a_model_without_a_value_for_a_field_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"no value for its fields \['title'\]"):
        Memory(registry()).save(Document.model_construct(body=1))  # type: ignore[call-arg]


def test_an_extra_attribute_cannot_hide_a_private_one() -> None:
    class Both(pydantic.BaseModel, extra="allow"):
        _token: int = 1

    model = Both()
    assert model.__pydantic_extra__ is not None
    model.__pydantic_extra__["_token"] = 2
    with pytest.raises(InvalidInputError, match="has the name of another one"):
        Memory(only(Both)).save(model)


def test_models_of_models_come_back() -> None:
    class Inner(pydantic.BaseModel):
        number: int = 1

    class Outer(pydantic.RootModel[list[Inner]]):
        pass

    known = only(Inner)
    known.register(Outer)
    value = Outer([Inner(), Inner(number=2)])
    assert_same(reread(value, known, known), value)


def test_a_private_attribute_survives() -> None:
    model = Secretive(number=1)
    model._token = {"a": [1]}
    other = reread(model, registry(), registry())
    assert other._token == {"a": [1]}
    assert_same(other, model)


def test_a_private_attribute_that_would_change_is_refused() -> None:
    """The class says what a model gets that has none, and a class without any drops them all."""
    deleted = Secretive(number=1)
    del deleted._token
    never_set = Secretive(number=1)
    object.__setattr__(never_set, "__pydantic_private__", None)
    for model in (deleted, never_set):
        with pytest.raises(InvalidInputError, match="'_token' of Secretive was deleted"):
            Memory(registry()).save(model)
    undeclared = Document(title="a")
    object.__setattr__(undeclared, "__pydantic_private__", {"_token": 1})
    with pytest.raises(InvalidInputError, match="'_token' of Document is no field"):
        Memory(registry()).save(undeclared)


def test_a_slot_beside_the_fields_is_refused_once_it_is_set() -> None:
    class Base:
        __slots__ = ("__hidden",)

        def hide(self) -> None:
            self.__hidden = 1

    @dataclasses.dataclass(slots=True)
    class Slotted(Base):
        number: int

    @dataclasses.dataclass
    class Plain(Base):
        number: int

    for cls in (Slotted, Plain):
        value = cls(1)
        assert reread(value, only(cls), only(cls)) == value
        value.hide()
        with pytest.raises(InvalidInputError, match=r"'_Base__hidden' of .* is no field"):
            Memory(only(cls)).save([value])

    class Model(pydantic.BaseModel):
        __slots__ = ("mark",)
        number: int = 1

    model = Model()
    assert_same(reread(model, only(Model), only(Model)), model)
    object.__setattr__(model, "mark", 1)
    with pytest.raises(InvalidInputError, match=r"'mark' of .* is no field"):
        Memory(only(Model)).save([model])


def test_a_structured_scalar_is_refused_as_a_key() -> None:
    """The one that is read can be written to, and has no hash."""
    array = np.zeros(1, [("a", "i4")])
    array.setflags(write=False)
    assert_same(reread([array[0]], Registry(), Registry()), [array[0]])
    for value in ({array[0]: 1}, {array[0]}, {(array[0], 1): 1}):
        with pytest.raises(InvalidInputError, match="structured numpy scalar"):
            Memory().save(value)


# Names


def test_names_belong_to_one_class() -> None:
    known = only(Point)
    known.register(Point)
    with pytest.raises(InvalidInputError, match="registered for another class"):
        known.register(Money, name="Point", to_fields=vars, from_fields=lambda f: Money(**f))


def test_an_older_name_is_still_read() -> None:
    known = only(Point, name="old.Point")
    known.register(Point, name="geometry.Point")
    assert reread(Point(1, 2), only(Point, name="old.Point"), known) == Point(1, 2)
    written = reread(Point(1, 2), known, Registry())
    assert isinstance(written, UnregisteredValue)
    assert written.name == "geometry.Point"


def test_register_serves_as_a_decorator() -> None:
    known = Registry()

    @known.register
    @dataclasses.dataclass
    class Kept:
        number: int

    assert reread(Kept(1), known, known) == Kept(1)


def test_the_name_has_no_module_and_no_other_version_is_guessed() -> None:
    stored = reread(Point(1, 2), registry(), Registry())
    assert (stored.name, stored.version) == ("Point", 1)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"version": 0},
        {"to_fields": vars},
        {"from_fields": vars},
    ],
    ids=["empty name", "version 0", "only to_fields", "only from_fields"],
)
def test_registrations_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Registry().register(Point, **options)


def test_a_class_that_nothing_is_known_about_needs_functions() -> None:
    with pytest.raises(InvalidInputError, match="to_fields and from_fields"):
        Registry().register(Money)
