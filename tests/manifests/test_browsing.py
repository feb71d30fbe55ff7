"""Looking around: windows of values, texts and runs, which read only what they show."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import manifests.forms
from cas.errors import InvalidInputError, NotFoundError
from manifests import Branch, Repository
from manifests.diff import Touched
from manifests.excerpt import excerpt, first_difference
from manifests.forms import LinkForm
from manifests.outline import outline
from manifests.parameters import TreeParameters
from manifests.paths import Entry, Field, Step
from manifests.places import PathLike, Places, parse_path, path_of, step_to
from tests.manifests.classes import Point, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import same
from tests.manifests.strategies import keys, values

SMALL = TreeParameters(
    whole_text=64, chunk_least=64, chunk_average=256, chunk_most=1_024, long_text=1 << 20
)


# Steps that can be written down


@given(st.lists(st.one_of(st.text(min_size=1), st.integers(), keys()), max_size=5))
def test_every_row_of_steps_has_a_text(names: list[Any]) -> None:
    steps: list[Step] = [step_to(name, at) for at, name in enumerate(names)]
    assert same([*map(repr, parse_path(path_of(steps)))], [*map(repr, map(plain, steps))])


def plain(step: Step) -> Step:
    """A text key reads back as a name where it looks like one."""
    again = parse_path(path_of([step]))[0]
    return again if isinstance(step, str) and str(again) == step else step


@given(values())
def test_every_part_is_found_by_the_step_to_it(value: Any) -> None:
    memory = Memory(registry())
    places = Places(memory.forms())
    root = LinkForm(memory.save(value))
    for at, (step, form) in enumerate(places.window(root, 0, 1_000)):
        steps = [step if isinstance(step, Field) else step_to(step, at)]
        for path in (steps, parse_path(path_of(steps)), [Entry(at)]):
            assert same(places.value(root, path), memory.forms().value(form))


def test_members_of_sets_and_keys_that_are_instances_are_found_by_position() -> None:
    memory = Memory(registry())
    root = LinkForm(memory.save({"set": {(1, "a"), (2, "b")}, "keys": {Point(1, None): "one"}}))
    places = Places(memory.forms())
    assert {places.value(root, parse_path(f"set[#{at}][1]")) for at in (0, 1)} == {"a", "b"}
    assert places.value(root, parse_path("keys[#0]")) == "one"
    for path in ("set[#2]", "keys[#1]", "set[0]", "[#9]", "keys[#0][#0]"):
        with pytest.raises(NotFoundError):
            places.value(root, parse_path(path))


@pytest.mark.parametrize("count", [0, 5, 3_000])
@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "shuffled"])
def test_windows_of_containers(count: int, ordered: bool, seed: int) -> None:
    dice = random.Random(seed)
    numbers = list(range(count)) if ordered else dice.sample(range(count), count)
    memory = Memory()
    texts = {f"{number:05}": number for number in numbers}
    for value in (numbers, tuple(numbers), texts, dict.fromkeys(numbers, "v")):
        root = LinkForm(memory.save(value))
        everything = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        for start, stop in ((0, 3), (count // 2, count // 2 + 200), (count, count + 9), (7, 2)):
            memory.loads = 0
            found = Places(memory.forms()).window(root, start, stop)
            forms = memory.forms()
            assert [(step, forms.value(form)) for step, form in found] == everything[start:stop]
    members = outline(memory.forms(), LinkForm(memory.save(set(numbers))), (), 0, count)
    assert sorted(part.outline.value for part in members.parts) == sorted(numbers)


def test_the_end_of_a_large_dict_costs_no_more_than_its_beginning(seed: int) -> None:
    keys = [f"key {number}" for number in range(20_000)]
    memory = Memory()
    for names in (sorted(keys), random.Random(seed).sample(keys, len(keys))):
        root = LinkForm(memory.save(dict.fromkeys(names, 1)))
        memory.loads = 0
        found = outline(memory.forms(), root, (), 19_990, 19_995)
        assert [part.step for part in found.parts] == names[19_990:19_995]
        assert memory.loads < 60


# Texts


@given(
    st.text(st.characters(codec="utf-8"), max_size=900),
    st.integers(4, 300),
    st.booleans(),
)
def test_excerpts_one_behind_the_other_are_the_text(text: str, most: int, split: bool) -> None:
    memory = Memory()
    root = LinkForm(memory.save(text, parameters=SMALL if split else None))
    forms, parts, start = memory.forms(), [], 0
    while True:
        found = excerpt(forms, root, start, most)
        assert found is not None
        assert found.is_text
        assert found.start == start
        assert found.total == len(text.encode())
        parts.append(found.text)
        start = found.stop
        if start == found.total:
            break
    assert "".join(parts) == text


@given(st.text(min_size=1, max_size=300), st.integers(0, 1_300))
def test_an_excerpt_from_anywhere_begins_with_a_whole_character(text: str, start: int) -> None:
    memory = Memory()
    found = excerpt(memory.forms(), LinkForm(memory.save(text, parameters=SMALL)), start, 50)
    assert found is not None
    assert found.start <= start
    assert found.text in text
    assert "\ufffd" in text or "\ufffd" not in found.text


def test_byte_strings_have_excerpts_and_nothing_else_has() -> None:
    memory = Memory()
    data = random.Random(5).randbytes(50_000)
    for value in (data, bytearray(data), data[:9]):
        found = excerpt(memory.forms(), LinkForm(memory.save(value)), 5, 20_000)
        assert found is not None
        assert (found.data, found.is_text) == (value[5:20_005], False)
    for other in (None, 5, [b"x"], {"a": "b"}, {1}):
        assert excerpt(memory.forms(), LinkForm(memory.save(other)), 0) is None


def test_long_texts_are_compared_from_where_they_differ(seed: int) -> None:
    text = random.Random(seed).randbytes(400_000).hex()
    memory = Memory()
    before = LinkForm(memory.save(text))
    after = LinkForm(memory.save(text[:700_000] + "!" + text[700_000:]))
    memory.loads = 0
    at = first_difference(memory.forms(), before, after)
    assert 700_000 - 66_000 < at <= 700_000
    assert memory.loads < 40
    assert first_difference(memory.forms(), LinkForm(memory.save("a")), after) == 0


# Runs


@pytest.fixture
def repo(home: Path) -> Any:
    with Repository.open(home) as opened:
        yield opened


def test_footprints_are_the_rows_of_a_run(repo: Repository) -> None:
    for number in range(5):
        repo.commit("run", {"n": number, "text": "t" * 300})
    repo.commit("run", {"n": 9}, parent="run@2")
    found = repo.footprints("run")
    assert [(each.sequence, each.parent) for each in found] == [
        *((6, 2), (5, 4), (4, 3), (3, 2), (2, 1), (1, 0))
    ]
    assert [(each.new_bytes, each.new_objects) for each in found] == [
        (each.new_bytes, each.new_objects) for each in repo.log("run")
    ]
    with pytest.raises(NotFoundError):
        repo.footprints("absent")


def test_footprints_of_a_long_run_take_several_transactions(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manifests.browsing._ROWS", 4)
    for number in range(9):
        repo.commit("run", number)
    assert [each.sequence for each in repo.footprints("run")] == list(range(9, 0, -1))


def test_tags_of_checkpoints(repo: Repository) -> None:
    found = repo.commit("run", 1)
    other = repo.commit("run", 2)
    for name in ("b", "a"):
        repo.tag(name, found)
    repo.tag("c", other)
    assert repo.tagged() == {found.id: ["a", "b"], other.id: ["c"]}


def test_branches_say_where_runs_were_forked(repo: Repository) -> None:
    for number in range(4):
        repo.commit("run", number)
    repo.commit("other", 1)
    repo.fork("run@2", "b")
    repo.fork("run@4", "a")
    repo.commit("b", "on")
    repo.fork("b", "c")
    repo.fork("run@1", "first")
    assert repo.branches("run") == [Branch("a", 4), Branch("b", 2), Branch("first", 1)]
    assert repo.branches("b") == [Branch("c", 2)]
    assert repo.branches("other") == repo.branches("first") == []


def test_what_differs_is_told_in_a_few_words(repo: Repository) -> None:
    long = "line\n" * 40_000
    repo.commit("run", {"n": 1, "text": long, "gone": [1] * 9_000, "same": list(range(9_000))})
    repo.commit("run", {"n": 2, "text": long + "end", "new": {"a": 1}, "same": list(range(9_000))})
    found = {path_of(each.steps): each for each in repo.compare("run@1", "run@2")}
    assert {path: each.kind for path, each in found.items()} == {
        "n": "changed",
        "text": "changed",
        "new": "added",
        "gone": "removed",
    }
    assert (found["n"].before.value, found["n"].after.value) == (1, 2)  # type: ignore[union-attr]
    assert found["gone"].before.length == 9_000  # type: ignore[union-attr]
    assert found["gone"].after is None
    assert found["new"].before is None
    old, new = found["text"].excerpts or pytest.fail("no texts")
    assert (new.start, new.total) == (old.start, old.total + 3)
    assert new.text == old.text + "end"
    assert len(repo.compare("run@1", "run@2", limit=2)) == 2
    rest = repo.compare("run@1", "run@2", start=3)
    assert [path_of(each.steps) for each in rest] == ["gone"]


def test_what_cannot_be_counted_changed_as_a_whole(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in ("one", "other"):
        repo.commit("run", {"rows": [{"text": word * 40, "n": n % 2} for n in range(20)]})
    assert [part.changed for part in repo.touched(["run"])[0] or []] == [20]
    monkeypatch.setattr(manifests.forms, "MOST_AGAIN", 2_000)
    assert repo.touched(["run"]) == [[Touched("changed", "")]]


def test_the_parts_of_an_execution_record(repo: Repository) -> None:
    repo.commit("run", {}, execution={"path": ["a", "b"], "error": "x" * 900})
    repo.commit("run", {})
    found = repo.execution_outline("run@1")
    assert [part.step for part in found.parts] == ["path", "error"]
    assert repo.execution_outline("run@1", ["path"]).value == ["a", "b"]
    assert repo.execution_outline("run@2").length is None


def test_an_excerpt_of_a_state(repo: Repository) -> None:
    repo.commit("run", {"a": {"text": "é" * 10_000, "n": 5}})
    found = repo.excerpt("run", parse_path("a.text"), start=101, most=7)
    assert (found.start, found.text, found.total) == (100, "é" * 4, 20_000)
    assert repo.excerpt("run", "a.text", start=101, most=7) == found
    with pytest.raises(NotFoundError, match="no text"):
        repo.excerpt("run", parse_path("a.n"))


@pytest.mark.parametrize("path", ["a[5:2]", "[:]", [["a"]], ["a", {}]], ids=str)
def test_a_path_that_leads_to_no_one_place_is_not_taken_for_damage(
    repo: Repository, path: PathLike
) -> None:
    repo.commit("run", {"a": {"text": "é"}}, execution={"a": {"text": "é"}})
    for look in (repo.outline, repo.excerpt, repo.execution_outline):
        with pytest.raises(InvalidInputError, match=r"a slice leads to several|a step of a path"):
            look("run", path)
