"""Strategies for everything a state may hold."""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

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
)
from tests.manifests.sameness import portrait

__all__ = ["keys", "large_containers", "values"]

texts = st.text(st.characters(codec="utf-8"), max_size=40)
floats = st.floats(width=64)
integers = st.one_of(
    st.integers(-300, 300),
    st.integers(),
    st.builds(
        lambda bits, sign: sign * (1 << bits), st.integers(60, 5_000), st.sampled_from((1, -1))
    ),
)
offsets = st.integers(-86_399_999_999, 86_399_999_999).map(lambda n: dt.timedelta(microseconds=n))
timezones: st.SearchStrategy[dt.timezone] = st.one_of(
    st.just(dt.UTC),
    st.builds(dt.timezone, offsets),
    st.builds(dt.timezone, offsets, texts),
)
zones = st.one_of(st.none(), timezones, st.timezones())
folds = st.integers(0, 1)
datetimes = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds
)
times = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.times(), zones, folds
)
path_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
paths = st.builds(
    lambda cls, text: cls(text),
    st.sampled_from((pathlib.Path, pathlib.PurePosixPath, pathlib.PureWindowsPath)),
    path_texts,
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    floats,
    texts,
    st.binary(max_size=40),
    st.complex_numbers(),
    st.decimals(),
    st.sampled_from(("sNaN", "-NaN12", "0E-17", "-0", "1E+9999")).map(decimal.Decimal),
    st.uuids(),
    datetimes,
    times,
    st.dates(),
    st.timedeltas(),
    timezones,
    st.timezones(),
    paths,
)
dtypes = st.one_of(
    nps.scalar_dtypes(),
    nps.unicode_string_dtypes(),
    nps.byte_string_dtypes(),
    nps.array_dtypes(allow_subarrays=True),
)


def _with_order(array: Any, order: str) -> Any:
    return np.asfortranarray(array) if order == "F" and array.ndim else array


arrays = st.builds(
    _with_order,
    dtypes.flatmap(
        lambda dtype: nps.arrays(dtype, nps.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    st.sampled_from("CF"),
)
numpy_scalars = nps.scalar_dtypes().flatmap(
    lambda dtype: nps.arrays(dtype, ()).map(lambda a: a[()])
)
enums = st.sampled_from(
    (*Colour, *Word, *Level, *Right, Right(0), Right.READ | Right.RUN, Right(7))
)
leaves = st.one_of(scalars, enums, st.binary(max_size=40).map(bytearray), arrays, numpy_scalars)


def _hashable(value: Any) -> Any:
    """A signalling NaN is the one scalar that cannot be a key."""
    return None if "sNaN" in str(value) else value


# Lists that are made distinct take the place of unique ones, and maps that of filters: Hypothesis
# prints what it filters, and strategies as large as these take long to print.


def _members(items: list[Any]) -> list[Any]:
    """Keep one of those that are the same (two NaNs are, though Python tells them apart)."""
    return list({repr(portrait(item)): item for item in items}.values())


def _entries(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return dict({repr(portrait(key)): (key, value) for key, value in pairs}.values())


hashable_leaves = st.one_of(
    scalars.map(_hashable),
    enums,
    st.builds(Money, st.integers(), texts),
)
_keys = st.recursive(
    hashable_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(_members).map(frozenset),
        st.builds(Point, inner, inner),
        st.builds(Span, inner),
        st.builds(Handle, inner),
        st.builds(Message, texts, inner),
    ),
    max_leaves=4,
)


@st.composite
def keys(draw: st.DrawFn) -> Any:
    """Return anything that may be a key of a dict or a member of a set."""
    return draw(_keys)


def dicts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    return st.lists(st.tuples(st.one_of(texts, keys()), inner), max_size=5).map(_entries)


def secretive(number: int, token: Any) -> Secretive:
    model = Secretive(number=number)
    model._token = token
    return model


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Everything that holds other values."""
    items = st.lists(inner, max_size=5)
    members = st.lists(keys(), max_size=5).map(_members)
    attributes = st.tuples(inner, inner).map(lambda pair: dict(zip("ab", pair, strict=True)))
    return st.one_of(
        items,
        items.map(tuple),
        dicts(inner),
        members.map(set),
        members.map(frozenset),
        st.builds(Step, texts, st.integers(), items),
        st.builds(Point, inner, inner),
        st.builds(Span, inner, inner),
        st.builds(Message, texts, inner),
        st.builds(Document, title=texts, body=inner),
        st.builds(Document, title=texts, body=inner, tags=st.lists(texts, max_size=2)),
        attributes.map(lambda extra: Open(**extra)),
        st.builds(secretive, st.integers(), inner),
    )


_values = st.recursive(leaves, containers, max_leaves=12)


@st.composite
def values(draw: st.DrawFn) -> Any:
    """Return anything that a state may hold. (Composed, so that failures print a short name.)"""
    return draw(_values)


def _large(kind: str, seed: int, samples: list[Any]) -> Any:
    """Return a container over the limits of one object, filled from a few samples."""
    dice = random.Random(seed)
    count = dice.choice((33, 40, 150, 300))
    items = [
        dice.choice(samples) if dice.random() < 0.3 else dice.getrandbits(40) for _ in range(count)
    ]
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    if kind == "dict":
        return {f"key {dice.getrandbits(30)}": item for item in items}
    if kind == "dict of few":
        return {
            f"field {index}": [item, "x" * dice.randrange(400)]
            for index, item in enumerate(items[:20])
        }
    if kind == "dict of numbers":
        return {dice.getrandbits(70): item for item in items}
    if kind == "set":
        return {dice.getrandbits(70) for _ in items} | {"s" * dice.randrange(200) for _ in range(9)}
    if kind == "frozenset":
        return frozenset(dice.randbytes(dice.randrange(90)) for _ in items)
    if kind == "text":
        return "".join(dice.choices("abc \n\N{SNOWMAN}\N{GRINNING FACE}", k=count * 30))
    if kind == "bytes":
        return dice.randbytes(count * 70)
    if kind == "bytearray":
        return bytearray(dice.randbytes(count * 70))
    if kind == "array":
        return np.arange(count * 20, dtype=np.int32).reshape((20, count))
    return Step("large", count, items, Step("x" * count))


_KINDS = (
    *("list", "tuple", "dict", "dict of few", "dict of numbers", "set", "frozenset"),
    *("text", "bytes", "bytearray", "array", "dataclass"),
)


@st.composite
def large_containers(draw: st.DrawFn) -> Any:
    """Return a container over the limits of one object."""
    kind, seed = draw(st.sampled_from(_KINDS)), draw(st.integers(0, 2**32))
    return _large(kind, seed, draw(st.lists(_values, min_size=1, max_size=3)))
