"""What cannot be stored is refused with the place of the value, and never with the value."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import pathlib
import sys
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pydantic
import pytest

from cas.errors import HiveError, InvalidInputError, LimitError
from manifests.encoder import MAX_KEY_BYTES
from manifests.registry import Registry
from manifests.unregistered import UnregisteredValue
from tests.manifests.classes import Document, Point, Step, registry
from tests.manifests.memory import Memory

CANARY = "sk-canary-5e1f"


class Text(str):
    """A subclass of a type that can be stored."""


class Number(int):
    """Another one."""


class Mode(enum.Enum):
    """An enumeration nobody registered."""

    FAST = 1


class Zone(dt.tzinfo):
    """A time zone as pytz makes them: a class of its own."""

    def utcoffset(self, _moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def dst(self, _moment: dt.datetime | None) -> None:
        return None

    def tzname(self, _moment: dt.datetime | None) -> str:
        return CANARY


class Unknown:
    """A class of the application's."""


def zone_from_file() -> zoneinfo.ZoneInfo:
    """Return a zone that has no name by which to find it again."""
    import importlib.resources

    with importlib.resources.files("tzdata.zoneinfo").joinpath("UTC").open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file)


REFUSED: dict[str, Any] = {
    "object": object(),
    "function": lambda: CANARY,
    "class": dict,
    "module": sys,
    "generator": (number for number in (1, 2)),
    "subclass of str": Text(CANARY),
    "subclass of int": Number(5),
    "subclass of dict": collections.OrderedDict(secret=CANARY),
    "defaultdict": collections.defaultdict(list),
    "counter": collections.Counter(CANARY),
    "deque": collections.deque([CANARY]),
    "unregistered member": Mode.FAST,
    "unregistered class": Unknown(),
    "range": range(3),
    "memoryview": memoryview(b"abc"),
    "exception": ValueError(CANARY),
    "own time zone": dt.datetime(2024, 1, 1, tzinfo=Zone()),
    "own time zone of a time": dt.time(1, tzinfo=Zone()),
    "zone from a file": zone_from_file(),
    "array of objects": np.array([CANARY, None], dtype=object),
    "structured objects": np.zeros(1, dtype=[("a", object)]),
    "masked array": np.ma.masked_array([1], [True]),
    "records": np.rec.array([(1,)], dtype=[("a", "i4")]),
    "padded structure": np.zeros(1, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "dtype with metadata": np.zeros(1, dtype=np.dtype("i4", metadata={"unit": "m"})),
    "numpy text with zeros behind": np.str_("a\0"),
    "lone surrogate": CANARY + "\ud800",
    "surrogate in a key": {CANARY + "\udfff": 1},
    "surrogate in bytes path": pathlib.PurePosixPath("a\udcff"),
    "member of a set that cannot be stored": {Unknown()},
    "key that cannot be stored": {Unknown(): 1},
    "tuple in a key": {(1, (Unknown(),)): 1},
    "two keys that encode alike": {float("nan"): 1, float("nan"): 2},
    "two members that encode alike": {float("nan"), float("nan")},
    "two tuples that encode alike": {(float("nan"), number - number): number for number in (1, 2)},
}
PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "the root": (lambda value: value, "state"),
    "a list": (lambda value: {"messages": [0, value]}, "state['messages'][1]"),
    "a tuple": (lambda value: ["x" * 9_000, (value,)], "state[1][0]"),
    "an integer key": (lambda value: {7: value}, "state[7]"),
    "a field": (lambda value: {"step": Step("a", notes=[value])}, "state['step'].notes[0]"),
    "a model": (lambda value: [Document(title="t", body={"k": value})], "state[0].body['k']"),
    "a large list": (lambda value: [*range(300), value], "state[300]"),
    "a large dict": (
        lambda value: {**{f"k{n}": n for n in range(300)}, "last": value},
        "state['last']",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_refused_with_its_place(name: str, place: str) -> None:
    wrap, path = PLACES[place]
    for state in (False, True):
        with pytest.raises(InvalidInputError) as caught:
            Memory(registry()).save(wrap(REFUSED[name]), state=state)
        assert caught.value.path == path
        assert str(caught.value).startswith(f"{path}: ")
        if name != "surrogate in a key":
            assert CANARY not in str(caught.value)


def test_an_unregistered_class_is_an_error_that_says_how_to_register_it() -> None:
    with pytest.raises(InvalidInputError, match=r"test_refusals\.Unknown are .*Registry\.register"):
        Memory().save([Unknown()])


def recursive_dict() -> Any:
    inner: dict[str, Any] = {}
    inner["again"] = {"deeper": [inner]}
    return {"a": inner}


def recursive_list() -> Any:
    items: list[Any] = []
    items.append((items,))
    return {"a": items}


def recursive_field() -> Any:
    step = Step("a")
    step.notes.append({"step": step})
    return {"a": step}


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (recursive_dict, "state['a']['again']['deeper'][0]"),
        (recursive_list, "state['a'][0][0]"),
        (recursive_field, "state['a'].notes[0]['step']"),
    ],
    ids=["dict", "list", "dataclass"],
)
def test_a_value_that_contains_itself_is_refused_with_its_place(
    make: Callable[[], Any], path: str
) -> None:
    with pytest.raises(InvalidInputError, match="contains itself") as caught:
        Memory(registry()).save(make())
    assert caught.value.path == path


def test_one_object_at_several_places_is_no_cycle() -> None:
    shared = ["x"] * 50
    memory = Memory()
    restored = memory.read(memory.save({"a": shared, "b": [shared, shared]}))
    assert restored == {"a": shared, "b": [shared, shared]}
    assert restored["b"][0] is not restored["b"][1]


@pytest.mark.parametrize("size", [30, 3_000], ids=["small", "large"])
def test_what_occurs_twice_comes_back_as_two(size: int) -> None:
    shared = [{"n": number} for number in range(size)]
    memory = Memory()
    restored = memory.read(memory.save([shared, shared, {"again": shared}]))
    restored[0][0]["n"] = "changed"
    restored[0].append("more")
    assert restored[1] == restored[2]["again"] == shared


@pytest.mark.parametrize(
    "fails",
    [ValueError, KeyError, RuntimeError, ZeroDivisionError, AssertionError, RecursionError],
)
def test_a_failing_to_fields_is_refused_with_its_place(fails: type[Exception]) -> None:
    def to_fields(_value: Any) -> Any:
        raise fails(CANARY)

    known = Registry()
    known.register(Unknown, to_fields=to_fields, from_fields=lambda _fields: Unknown())
    with pytest.raises(InvalidInputError) as caught:
        Memory(known).save({"a": [Unknown()]})
    assert caught.value.path == "state['a'][0]"
    assert fails.__name__ in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_property_that_fails_is_refused_with_its_place() -> None:
    class Broken(pydantic.BaseModel):
        number: int

    known = Registry()
    known.register(Broken)
    model = Broken(number=1)
    vars(model).clear()
    with pytest.raises(InvalidInputError) as caught:
        Memory(known).save([model])
    assert caught.value.path == "state[0]"


# Keys


@pytest.mark.parametrize("kind", ["text", "bytes", "field", "member", "tuple"])
def test_keys_have_a_limit(kind: str) -> None:
    def make(size: int) -> Any:
        key: Any = "k" * size if kind in ("text", "field") else b"k" * size
        if kind == "member":
            return {key}
        if kind == "field":
            return UnregisteredValue("T", 1, {key: 1})
        return {(key,): 1} if kind == "tuple" else {key: 1}

    memory = Memory()
    allowed = MAX_KEY_BYTES - 3 - (2 if kind == "tuple" else 0)
    assert memory.read(memory.save(make(allowed))) == make(allowed)
    for size in (allowed + 1, 10 * MAX_KEY_BYTES):
        with pytest.raises(LimitError, match="key is longer") as caught:
            Memory().save([make(size)])
        assert caught.value.path == "state[0]"


def test_keys_that_cannot_be_printed_hide_no_error() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError(CANARY)

    known = Registry()
    known.register(Silent, to_fields=lambda _silent: 0, from_fields=lambda _zero: Silent())
    for key in (10**5_000, Silent()):
        with pytest.raises(
            InvalidInputError, match=r"once the type is registered .*keep plain data"
        ):
            Memory(known).save({key: Unknown()})
    memory = Memory()
    assert memory.read(memory.save({10**5_000: 1})) == {10**5_000: 1}


def test_long_keys_are_cut_in_paths() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Memory().save({"k" * 500: {Point(1, 2): 1}})
    assert len(str(caught.value)) < 300


def test_the_encoder_works_again_after_an_error() -> None:
    from manifests.encoder import Encoder
    from manifests.parameters import TreeParameters
    from manifests.pieces import PieceSink

    encoder = Encoder(Registry(), TreeParameters(), PieceSink())
    value = {"a": [1, "x" * 100]}
    before = encoder.value(value)
    for bad in ({Unknown(): 1}, [{Unknown()}], {"a": {"b": Unknown()}}):
        with pytest.raises(HiveError):
            encoder.value(bad)
    after = encoder.value(value)
    assert getattr(after, "parts", after) == getattr(before, "parts", before)
