"""The workloads: the same every time, as compressible as text is, and what their steps claim."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cbor2
import numpy as np
import pytest
import zstandard

from benchmarks.peers.plain import to_plain
from benchmarks.same import WrongStateError, check_same
from benchmarks.text import TextSource
from benchmarks.workloads import NAMES, Workload, data_folder, make_workload
from benchmarks.workloads.chat import Chat
from benchmarks.workloads.deep_agent import DeepAgent
from benchmarks.workloads.shared_context import SharedContext
from benchmarks.workloads.wide import Wide

PROJECT = Path(__file__).resolve().parents[2]


def tiny(name: str) -> Workload:
    """A workload in the size of tests; skips where its recorded data is missing."""
    if name == "airline" and data_folder() is None:
        pytest.skip("no airline_runs.jsonl.gz: name its folder with HIVE_DATA")
    return make_workload(name, tiny=True)


@pytest.mark.parametrize(
    "workload",
    [Chat(100), DeepAgent(60, files=20), SharedContext(20, context=300_000), Wide(4_000)],
    ids=lambda workload: workload.name,
)
def test_new_text_is_as_compressible_as_text_is(workload: Workload) -> None:
    novel = b"".join(turn.novel for turn in workload.turns())
    ratio = len(novel) / len(zstandard.ZstdCompressor(level=3).compress(novel))
    print(f"{workload.title}: zstd-3 shrinks {len(novel):,} bytes {ratio:.2f} times")
    least, most = (2.3, 2.9) if isinstance(workload, Wide) else (2.25, 2.65)
    assert least <= ratio <= most


def test_text_has_letters_beyond_ascii_and_does_not_repeat_itself() -> None:
    text = TextSource("any").prose(20_000)
    assert any(ord(letter) > 0x2000 for letter in text)
    sentences = text.split(". ")
    assert len(set(sentences)) == len(sentences)


def test_workloads_are_the_same_in_every_process() -> None:
    names = [name for name in NAMES if name != "airline"]
    mine = [_print_of(tiny(name)) for name in names]
    program = (
        "from benchmarks.workloads import make_workload\n"
        "from tests.benchmarks.test_workloads import _print_of\n"
        f"for name in {names!r}: print(_print_of(make_workload(name, tiny=True)))"
    )
    command = [sys.executable, "-c", program]
    theirs = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert theirs.stdout.splitlines() == mine


def _print_of(workload: Workload) -> str:
    """A fingerprint of all turns."""
    names = repr([(turn.run, sorted(turn.writes)) for turn in workload.turns()])
    data = names.encode() + b"".join(turn.novel for turn in workload.turns())
    return f"{len(data)} {zstandard.ZstdCompressor(level=3).compress(data)[-16:].hex()}"


@pytest.mark.parametrize("name", NAMES)
def test_only_what_a_step_names_has_changed(name: str) -> None:
    before: dict[str, dict[str, bytes]] = {}
    for step in tiny(name).steps():
        encoded = {key: cbor2.dumps(to_plain({key: step.state[key]})) for key in step.state}
        old = before.get(step.run, {})
        assert {key for key in encoded if encoded[key] != old.get(key)} == set(step.changed)
        before[step.run] = encoded


@pytest.mark.parametrize("name", NAMES)
def test_the_state_at_a_step_is_what_the_step_had(name: str) -> None:
    workload = tiny(name)
    runs = workload.runs()
    for step in workload.steps():
        if step.index in {1, (runs[step.run] + 1) // 2, runs[step.run]}:
            check_same(workload.state_at(step.run, step.index), step.state, step.run)


def test_unchanged_items_stay_the_same_objects() -> None:
    seen: list[object] = []
    for step in Chat(5).steps():
        messages = step.state["messages"]
        assert all(new is old for new, old in zip(messages, seen, strict=False))
        seen = list(messages)
    assert len(seen) == 12  # 5 users, 5 models, 2 tools


@pytest.mark.parametrize(
    ("loaded", "saved"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"a": (1,)}, {"a": [1]}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": np.zeros(3, "f4")}, {"a": np.zeros(3, "f8")}),
        ({"a": {"b": ["x"]}}, {"a": {"b": ["y"]}}),
    ],
)
def test_a_state_that_differs_is_told(loaded: object, saved: object) -> None:
    check_same(saved, saved, "state")
    with pytest.raises(WrongStateError, match="state"):
        check_same(loaded, saved, "state")
