"""The parts of pages: commands, lines of a timeline, the picture of bytes, compared texts."""

from __future__ import annotations

import itertools
import random
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive.ui.chart import MOST_BARS, chart_of
from hive.ui.lanes import MOST_LANES, lanes_of
from hive.ui.links import Commands, link
from hive.ui.textdiff import lines_of
from manifests import Footprint, Repository
from tests.hive.ui.sites import HOSTILE


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_copied_command_means_that_run_to_a_shell(name: str, home: Path) -> None:
    with Repository.open(home) as repository:
        checkpoint = repository.commit(name, {})
    command = Commands("/home/o'neil/hive").fork(checkpoint)
    assert command.isprintable()
    script = f"hive() {{ printf '%s\\0' \"$@\"; }}; {command}"
    told = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    words = told.decode().split("\0")[:-1]
    dashes = ["--"] if name.startswith("-") else []
    assert words == ["fork", "--home", "/home/o'neil/hive", *dashes, f"{name}@1", f"{name}-fork"]


def test_commands_name_the_home_only_if_it_is_another(home: Path) -> None:
    with Repository.open(home) as repository:
        checkpoint = repository.commit("run", {})
    assert Commands(None).resume("run") == "hive resume run"
    assert Commands("/x y").resume("a b") == "hive resume --home '/x y' 'a b'"
    assert Commands(None).diff(checkpoint, checkpoint) == "hive diff run@1 run@1"
    command = Commands(None).show(checkpoint, ["a b", 3])
    assert shlex.split(command) == ["hive", "show", "run@1", "['a b'][3]"]


def test_links_leave_out_what_is_not_given() -> None:
    assert link("run", name="../x", below=None) == "/run?name=..%2Fx"
    assert link("", q="", page=2) == "/?page=2"
    assert link("step") == "/step"


# Lanes


def prints(*pairs: tuple[int, int]) -> list[Footprint]:
    return [Footprint(sequence, parent, 1, 100) for sequence, parent in pairs]


def test_a_run_without_forks_is_one_line() -> None:
    drawn = lanes_of(prints((3, 2), (2, 1), (1, 0)))
    assert [(each.own, each.above, each.below) for each in drawn] == [
        (0, (), ((0, 0),)),
        (0, ((0, 0),), ((0, 0),)),
        (0, ((0, 0),), ()),
    ]


def test_branches_join_where_they_were_made() -> None:
    drawn = lanes_of(prints((5, 2), (4, 3), (3, 2), (2, 1), (1, 0)))
    assert [each.own for each in drawn] == [0, 1, 1, 0, 0]
    assert drawn[3].above == ((0, 0), (1, 0))
    assert drawn[3].below == ((0, 0),)


def test_a_line_to_a_forgotten_step_ends() -> None:
    drawn = lanes_of(prints((9, 8), (5, 4), (4, 3), (3, 0)))
    assert [each.own for each in drawn] == [0, 0, 0, 0]
    assert drawn[1].above == ()
    assert drawn[3].above == ((0, 0),)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_every_step_is_drawn_and_lines_meet(parents: list[int]) -> None:
    pairs = [(at, min(parent, at - 1)) for at, parent in enumerate(parents, 1)][::-1]
    drawn = lanes_of(prints(*pairs))
    assert len(drawn) == len(pairs)
    for upper, lower in itertools.pairwise(drawn):
        ends, starts = {low for _, low in upper.below}, {high for high, _ in lower.above}
        assert ends == starts
    assert all(0 <= each.own <= each.rightmost < MOST_LANES for each in drawn)
    for each, (_, parent) in zip(drawn, pairs, strict=True):
        assert not parent or any(low == each.own for _, low in each.below)


# The picture


def test_small_runs_have_a_bar_for_each_step() -> None:
    found = chart_of(prints((3, 2), (2, 1), (1, 0)), lambda sequence: 1_000 * sequence)
    assert found is not None
    assert [bar.last for bar in found.bars] == [1, 2, 3]
    assert found.bars[0].text == "step 1: 100 B added, 1.0 kB as a full copy"
    assert found.text == "3 steps added 300 B in all. A full copy of the last state has 3.0 kB."
    heights = [y for _, y in found.line]
    assert heights == sorted(heights, reverse=True)
    assert {text for _, text in found.marks} == {"100 B", "1.0 kB"}


@pytest.mark.parametrize("steps", [1, 119, 120, 121, 10_000])
def test_long_runs_have_bars_for_several(steps: int) -> None:
    asked: list[int] = []

    def full_bytes(sequence: int) -> int:
        asked.append(sequence)
        return sequence

    found = chart_of(prints(*((at, at - 1) for at in range(steps, 0, -1))), full_bytes)
    assert found is not None
    assert len(asked) == len(found.bars) <= MOST_BARS
    assert found.bars[-1].last == steps
    assert len(found.bars) * found.steps >= steps
    assert all(0 <= bar.height <= 100 and 0 <= bar.left <= 100 for bar in found.bars)


def test_pictures_of_nothing() -> None:
    assert chart_of([], lambda _sequence: 0) is None
    found = chart_of([Footprint(1, 0, 0, 0)], lambda _sequence: 0)
    assert found is not None
    assert found.bars[0].height == 0


# Texts


def shown(before: str, after: str) -> list[str]:
    signs = {"same": " ", "removed": "-", "added": "+", "gap": "~"}
    return [
        signs[line.kind]
        + "".join(f"[{span.text}]" if span.marked else span.text for span in line.spans)
        for line in lines_of(before, after)
    ]


def test_lines_and_words_that_differ() -> None:
    assert shown("a\nthe old word\nz", "a\nthe new word\nz") == [
        *(" a", "-the [old] word", "+the [new] word", " z")
    ]
    assert shown("a\nb", "a\nb\nc") == [" a", " b", "+c"]
    assert shown("same", "same") == []


def test_distant_changes_are_shown_apart() -> None:
    lines = [f"line {n}" for n in range(50)]
    other = [*lines]
    other[5], other[40] = "five", "forty"
    found = shown("\n".join(lines), "\n".join(other))
    assert found.count("~") == 1
    assert len(found) == 13


def test_a_long_line_is_shown_around_the_change(seed: int) -> None:
    text = " ".join(f"w{n}" for n in random.Random(seed).sample(range(10_000), 3_000))
    before, after = shown(text, text[:9_000] + " INSERTED " + text[9_000:])
    assert "INSERTED" in after
    assert len(before) < 700
    assert before.startswith("-…")
    assert after.endswith("…")


@given(st.text(max_size=80), st.text(max_size=80))
def test_comparing_shows_no_character_that_cannot_be_seen(before: str, after: str) -> None:
    for line in lines_of(before, after):
        for span in line.spans:
            assert all(c.isprintable() or c.isspace() for c in span.text)


def test_comparing_large_texts_stays_small(seed: int) -> None:
    dice = random.Random(seed)
    texts: list[Any] = [
        "\n".join(str(dice.random()) for _ in range(3_000)),
        "\n".join(str(dice.random()) for _ in range(3_000)),
    ]
    assert len(lines_of(*texts)) < 200


def test_very_many_lines_that_are_all_alike_are_not_aligned() -> None:
    before, after = "a\n" * 900, "b\na\n" * 450
    *shown, last = lines_of(before, after)
    assert {line.kind for line in shown} == {"removed"}
    assert last.kind == "gap"
    few = lines_of(before[:100], after[:100])
    assert {line.kind for line in few} == {"same", "removed", "added"}
