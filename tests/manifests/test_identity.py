"""Objects are the same where their addresses are, however these are found out."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import identity
from manifests.identity import addresses, differing, same_end, same_objects, same_start

POOL = [object() for _ in range(3)]
READ = identity._addresses, identity._SIZE
ASKED = identity._asked, 1
WAYS = pytest.mark.parametrize("way", [READ, ASKED], ids=["read", "asked"])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """Return a sequence and one that differs from it in few places, or in length."""
    size = draw(st.one_of(st.integers(0, 130), st.integers(500, 1_100)))
    old: list[Any] = [POOL[at % 3] if at % 5 else object() for at in range(size)]
    new = list(old)
    for at in draw(st.lists(st.integers(0, max(size - 1, 0)), max_size=4)):
        new[at : at + 1] = [draw(st.sampled_from(POOL))] * draw(st.sampled_from([1, 1, 1, 0, 2]))
    return old, new


def in_common(old: list[Any], new: list[Any]) -> int:
    """Return how many objects are the same at the beginning, looking at one after the other."""
    for at, (one, other) in enumerate(zip(old, new, strict=False)):
        if one is not other:
            return at
    return min(len(old), len(new))


@WAYS
@given(pairs())
def test_what_is_found_is_what_a_look_at_each_pair_finds(way: Any, pair: Any) -> None:
    old, new = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "_addresses", way[0])
        patch.setattr(identity, "_SIZE", way[1])
        assert same_start(old, new) == in_common(old, new)
        assert same_end(old, new) == in_common(old[::-1], new[::-1])
        assert same_objects(new, old) == (in_common(old, new) == len(old) == len(new))
        assert same_objects(dict.fromkeys(map(id, new)).keys(), old) == (not old and not new)
        if len(old) == len(new):
            expected = [at for at in range(len(old)) if old[at] is not new[at]]
            assert list(differing(old, new)) == expected


@WAYS
def test_equal_objects_are_others(way: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "_addresses", way[0])
        patch.setattr(identity, "_SIZE", way[1])
        numbers = [float(n) for n in range(100)]
        for other in (50, float(50)):
            changed = [*numbers[:50], other, *numbers[51:]]
            assert changed == numbers
            assert not same_objects(changed, numbers)
            assert same_start(changed, numbers) == 50
            assert same_end(changed, numbers) == 49
            assert list(differing(changed, numbers)) == [50]


def test_addresses_are_read_here() -> None:
    """Where this project is tested they are; asking for each would be right, and slow."""
    assert sys.implementation.name == "cpython"
    assert identity._SIZE == tuple.__itemsize__
    assert addresses(()) == b""
    assert len(addresses(iter(POOL))) == 3 * identity._SIZE


def test_addresses_are_those_of_what_is_iterated() -> None:
    class Turned(tuple[Any, ...]):
        def __iter__(self) -> Iterator[Any]:
            return iter([*super().__iter__()][::-1])

    assert addresses(Turned(POOL)) == addresses(POOL[::-1])


@pytest.mark.parametrize(
    ("target", "name", "value"),
    [
        (sys.modules, "ctypes", None),
        (sys.implementation, "name", "another"),
        (ctypes, "string_at", lambda _address, size: bytes(size)),
    ],
    ids=["no ctypes", "another Python", "addresses are elsewhere"],
)
def test_addresses_are_asked_for_where_they_cannot_be_read(
    target: Any, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_it = monkeypatch.setitem if isinstance(target, dict) else monkeypatch.setattr
    set_it(target, name, value)
    assert identity._reader() == ASKED
