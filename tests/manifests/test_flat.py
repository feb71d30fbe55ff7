"""Dicts of plain values are encoded at once, to the very bytes and objects of one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cas.digest import Digest
from cas.errors import InvalidInputError
from cas.objects import Object
from manifests import Registry, TreeParameters, flat
from manifests.encoder import Encoder
from manifests.pieces import PieceSink
from tests.manifests.strategies import floats, integers, texts

PARAMETERS = {
    "default": TreeParameters(),
    "dense": TreeParameters(whole_dict=120, whole_text=40, short_items=6, run_bytes=90),
}
plain = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    floats,
    texts,
    st.binary(max_size=60),
    st.integers(0, 9_000).map("x".__mul__),
)
dicts = st.dictionaries(texts, plain, max_size=40)


class OneByOne(Encoder):
    def _flat(self, items: dict[str, Any]) -> bytes | None:
        return None


def objects_of(
    cls: type[Encoder], value: Any, parameters: TreeParameters
) -> Mapping[Digest, Object]:
    sink = PieceSink()
    sink.seal(cls(Registry(), parameters, sink).state(value))
    return sink.objects


@pytest.mark.parametrize("name", PARAMETERS)
@given(st.lists(st.one_of(dicts, dicts.map(lambda items: {"inner": items, "n": 1})), max_size=4))
@example([{"": ""}, {}, {"a": "é" * 2_000}, {"k": 2**64, "l": -(2**64) - 1, "m": float("nan")}])
def test_they_make_the_same_objects(name: str, values: list[Any]) -> None:
    parameters = PARAMETERS[name]
    at_once = objects_of(Encoder, {"values": values}, parameters)
    assert at_once == objects_of(OneByOne, {"values": values}, parameters)


@pytest.mark.parametrize("size", [4_000, 4_090, 4_096, 4_097, 8_192, 8_193, 50_000])
def test_they_are_split_at_the_same_size(size: int) -> None:
    for value in ({"t": "x" * size}, {"x" * size: 1}, {"a": "x" * (size // 2), "b": b"y" * size}):
        found = objects_of(Encoder, {"inner": value}, TreeParameters())
        assert found == objects_of(OneByOne, {"inner": value}, TreeParameters())


def test_most_dicts_are_encoded_at_once_and_large_ones_never_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []

    def counted(value: Any) -> bytes:
        calls.append(value)
        return dumps(value)

    dumps = cbor2.dumps
    monkeypatch.setattr(cbor2, "dumps", counted)
    small, large = {"role": "user", "content": "text " * 40}, {"content": "x" * 1_000_000}
    assert flat.flat_dict(small, 4_096) == dumps(small)
    assert flat.flat_dict(large, 4_096) is None
    assert calls == [small]


class Number(int):
    pass


@pytest.mark.parametrize("value", [Number(1), [1], (1,), {"a": 1}, bytearray(b"a"), 1j])
def test_others_are_left_to_who_knows_them(value: Any) -> None:
    assert flat.flat_dict({"a": 1, "b": value}, 4_096) is None


def test_a_text_that_cannot_be_encoded_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"^state\['a'\]\['b'\]: the text has a lone"):
        objects_of(Encoder, {"a": {"b": "\ud800"}}, TreeParameters())
