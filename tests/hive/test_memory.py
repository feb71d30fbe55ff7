"""Shared memory: copies in and out, permissions, staging."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive import InvalidInputError
from hive.graph import SharedMemory


def test_a_read_value_is_a_copy() -> None:
    memory = SharedMemory({"items": [[1]]})
    memory.read("items")[0].append(2)
    memory.read_all()["items"][0].append(3)
    assert memory.read("items") == [[1]]


def test_a_written_value_is_a_copy() -> None:
    items = [[1]]
    memory = SharedMemory({"a": items})
    memory.write("b", items)
    items[0].append(2)
    assert memory.read_all() == {"a": [[1]], "b": [[1]]}


def test_a_missing_key_reads_as_the_default() -> None:
    memory = SharedMemory({"none": None})
    assert memory.read("missing") is None
    assert memory.read("missing", 3) == 3
    assert memory.read("none", 3) is None
    assert "none" in memory
    assert "missing" not in memory


def test_a_view_keeps_to_its_keys_and_shares_the_values() -> None:
    memory = SharedMemory({"in": 1, "other": 2})
    view = memory.with_permissions(read_keys=["in"], write_keys=["out"])
    view.write("out", 5)
    assert memory.read("out") == 5
    assert view.read("in") == 1
    assert view.read_all() == {"in": 1}
    with pytest.raises(InvalidInputError, match="'other' is not among the declared keys"):
        view.read("other")
    with pytest.raises(InvalidInputError, match="output_keys"):
        view.write("in", 2)


def test_no_keys_means_none_and_none_means_all() -> None:
    memory = SharedMemory({"a": 1})
    with pytest.raises(InvalidInputError):
        memory.with_permissions([], []).read("a")
    everything = memory.with_permissions(None, None)
    everything.write("b", 2)
    assert everything.read_all() == {"a": 1, "b": 2}


def test_staged_writes_are_not_seen_below() -> None:
    memory = SharedMemory({"a": 1})
    staged = memory.staged()
    view = staged.with_permissions(["a"], ["a"])
    view.write("a", 2)
    assert view.read("a") == 2
    assert memory.read("a") == 1
    memory.adopt(staged.written())
    assert memory.read("a") == 2


def test_stages_nest() -> None:
    memory = SharedMemory({"a": 1})
    branch = memory.staged()
    attempt = branch.staged()
    attempt.write("a", 3)
    assert (branch.read("a"), attempt.lend()) == (1, {"a": 3})
    branch.adopt(attempt.written())
    assert (memory.read("a"), branch.read("a")) == (1, 3)


def test_a_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="text, not int"):
        SharedMemory().write(3, 1)  # type: ignore[arg-type]


def test_a_live_object_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidInputError) as caught:
        SharedMemory({"client": {"lock": threading.Lock()}})
    assert caught.value.path == "memory['client']"


KEYS = st.sampled_from("abc")


@given(st.lists(st.tuples(st.sampled_from(["write", "stage", "apply"]), KEYS, st.integers())))
def test_layers_behave_as_a_stack_of_dicts(steps: list[tuple[str, str, int]]) -> None:
    memory, model = [SharedMemory()], [dict[str, int]()]
    for step, key, number in steps:
        if step == "write":
            memory[-1].write(key, number)
            model[-1][key] = number
        elif step == "stage":
            memory.append(memory[-1].staged())
            model.append(dict(model[-1]))
        elif len(memory) > 1:
            written = memory.pop().written()
            memory[-1].adopt(written)
            top = model.pop()
            model[-1] = top
        assert [layer.read_all() for layer in memory] == model
