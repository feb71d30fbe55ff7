"""Slices of long texts, byte strings and arrays, and how little of them is read."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import NotFoundError
from manifests.places import Places
from tests.manifests.memory import Memory

BOUNDS = st.none() | st.integers(-45_000, 45_000)
TEXT = "".join(random.Random(3).choices("aé€🙂\n", k=40_000))
"""Characters of 1 to 4 bytes, 100 KB in all: chunks begin in the middle of some."""


def taken(memory: Memory, root: Any, path: str) -> Any:
    """What stands at a place; ``memory.loads`` counts from here."""
    memory.loads = 0
    places = Places(memory.forms())
    return places.value(root, places.steps(root, path))


def saved(state: dict[str, Any]) -> tuple[Memory, Any]:
    memory = Memory()
    digest = memory.save(state, state=True)
    return memory, memory.open(digest)


@pytest.fixture(scope="module")
def stored() -> tuple[Memory, Any]:
    """Values of 40,000 characters, bytes or rows."""
    numbers = np.arange(80_000, dtype="<i4").reshape(40_000, 2)
    data = random.Random(4).randbytes(40_000)
    return saved(
        {
            "text": TEXT,
            "bytes": data,
            "bytearray": bytearray(data),
            "rows": numbers,
            "columns": np.asfortranarray(numbers),
            "vector": numbers.ravel(order="C"),
            "short": "short",
            "few": np.arange(4),
            "scalar": np.float32(1.5),
            "list": [1, 2],
        }
    )


WHOLE = ["text", "bytes", "bytearray", "rows", "columns", "vector", "short", "few"]


@given(st.data())
def test_slices_are_those_of_python(stored: tuple[Memory, Any], data: st.DataObject) -> None:
    memory, root = stored
    name = data.draw(st.sampled_from(WHOLE))
    start, stop = data.draw(BOUNDS), data.draw(BOUNDS)
    path = f"{name}[{'' if start is None else start}:{'' if stop is None else stop}]"
    found, whole = taken(memory, root, path), taken(memory, root, name)
    expected = whole[start:stop]
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
        assert found.flags.owndata or found.base.flags.writeable
    else:
        assert found == expected


@pytest.mark.parametrize("path", ["scalar[0:1]", "bytes[0:4].x", "few[1:2][0]"])
def test_what_cannot_be_sliced_is_refused(stored: tuple[Memory, Any], path: str) -> None:
    with pytest.raises(NotFoundError, match="is no list"):
        taken(*stored, path)


def test_only_the_chunks_in_question_are_read(seed: int) -> None:
    dice = random.Random(seed)
    data = dice.randbytes(1_500_000)
    array = np.frombuffer(dice.randbytes(1_600_000), dtype="<u4").reshape(-1, 4)
    text = data.hex()
    memory, root = saved({"bytes": data, "array": array, "text": text, "other": [text] * 2})
    assert len(memory.objects) > 200
    for path, expected in (
        ("bytes[700000:700100]", data[700_000:700_100]),
        ("bytes[-10:]", data[-10:]),
        ("text[:100]", text[:100]),
        ("text[-100:-50]", text[-100:-50]),
        ("other[1][:8]", text[:8]),
    ):
        assert taken(memory, root, path) == expected
        assert memory.loads <= 12, path
    assert np.array_equal(taken(memory, root, "array[90000:90010]"), array[90_000:90_010])
    assert memory.loads <= 12
