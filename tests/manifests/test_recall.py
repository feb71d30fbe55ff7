"""The first commit after a restore takes over what is stored, and must not take over too much."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.digest import Digest
from cas.errors import MissingObjectError
from manifests import Registry, Repository
from manifests.bare import BareObjects
from manifests.likeness import Likeness
from manifests.pieces import Linked
from manifests.recall import recalled
from manifests.segments import Segment
from tests.manifests.test_change_detection import (
    STATES,
    VALUES,
    encoded_anew,
    mutate,
    registry,
)


@pytest.fixture(scope="module", autouse=True)
def _small_states_too() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manifests.recall._LEAST_BYTES", 0)
        yield


LARGE = st.one_of(
    st.lists(VALUES, min_size=33, max_size=60),
    st.lists(VALUES, min_size=4, max_size=40).map(tuple),
    st.dictionaries(st.text(max_size=3), VALUES, min_size=33, max_size=50),
    st.lists(st.text(min_size=60, max_size=90), min_size=33, max_size=80),
)


@given(data=st.data(), state=STATES, large=LARGE)
def test_a_commit_after_a_restore_is_what_a_full_encoding_is(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, state: Any, large: Any
) -> None:
    """Whatever is done to a restored state, and whichever handle commits it."""
    home = tmp_path_factory.mktemp("home")
    with Repository.open(home, registry=registry()) as repo:
        repo.commit("run", {**state, "large": large})
    for _ in range(data.draw(st.integers(1, 3))):
        with Repository.open(home, registry=registry()) as repo:
            state = repo.restore("run")
            for _ in range(data.draw(st.integers(1, 3))):
                for _ in range(data.draw(st.integers(0, 3))):
                    mutate(state, data.draw)
                prepared = repo.prepare("run", state)
                assert prepared.id == encoded_anew(repo, prepared, state).id
                repo.write(prepared)
            assert repo.check().ok


def chat(count: int) -> dict[str, Any]:
    """Return a state with lists of all sizes, large and small items in them."""
    dice = random.Random(count)
    texts = [f"{dice.random()} " * dice.choice((1, 2, 20)) for _ in range(count)]
    return {
        "messages": [{"n": at, "text": text, "parts": (text,)} for at, text in enumerate(texts)],
        "numbers": list(range(count)),
        "pairs": tuple(texts),
        "files": {f"file {at}": text * 5 for at, text in enumerate(texts)},
        "few": [{"text": texts[0] * 9}, texts[0], 1, 1.0, True],
        "note": texts[0] * 50,
        "when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    }


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda _state: None,
    "one more": lambda state: state["messages"].append({"n": -1}),
    "one less": lambda state: state["messages"].pop(),
    "the first one less": lambda state: state["messages"].pop(0),
    "one between": lambda state: state["messages"].insert(len(state["messages"]) // 2, "x"),
    "one inside": lambda state: state["messages"][7].update(text="other"),
    "two inside": lambda state: [state["messages"][at].update(text="other") for at in (3, -3)],
    "another type": lambda state: state["numbers"].__setitem__(slice(2), [False, True]),
    "another zero": lambda state: state["few"].__setitem__(3, -0.0),
    "a list for a tuple": lambda state: state.update(pairs=list(state["pairs"])),
    "a list inside for a tuple": lambda state: state["messages"][2].update(parts=["x"]),
    "another order of keys": lambda state: state["files"].update(
        {"file 3": state["files"].pop("file 3")}
    ),
    "one file": lambda state: state["files"].update({"file 3": "other"}),
    "most files gone": lambda state: [state["files"].pop(key) for key in [*state["files"]][5:]],
    "few small files": lambda state: state.update(
        files={key: text[:20] for key, text in [*state["files"].items()][:3]}
    ),
    "a field gone": lambda state: state.pop("note"),
    "fields in another order": lambda state: state.update(messages=state.pop("messages")),
    "a new field": lambda state: state.update(fresh=[*state["messages"]]),
    "fields exchanged": lambda state: state.update(
        messages=state["pairs"], pairs=state["messages"]
    ),
}


@pytest.mark.parametrize("count", [5, 40, 3_000])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_every_edit_of_a_restored_state_is_seen(
    home: Path, count: int, edit: Callable[[Any], object]
) -> None:
    """Also by the commits after the first one."""
    if count < 10:
        count = 10
    with Repository.open(home) as repo:
        repo.commit("run", chat(count))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        edit(state)
        for _ in range(2):
            prepared = repo.prepare("run", state)
            assert prepared.id == encoded_anew(repo, prepared, state).id
            repo.write(prepared)
            state["messages"] = [*state["messages"], {"more": 1}]
        assert repo.check().ok


def test_a_commit_after_a_restore_makes_only_what_is_new(home: Path) -> None:
    """One more message of 3,000, in a new process: a few objects, not all again."""
    with Repository.open(home) as repo:
        repo.commit("run", chat(3_000))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        state["messages"].append({"text": "more " * 20})
        assert len(repo.prepare("run", state).objects) < 200
        state = repo.restore("run")
        state["numbers"].append(1)
        repo.fork("run", "other")
        assert len(repo.prepare("other", state).objects) < 200


@pytest.mark.parametrize(
    ("count", "edit", "most"),
    [
        (10, "nothing", 3),
        (10, "one more", 3),
        (10, "another zero", 3),
        (400, "nothing", 3),
        (400, "one more", 4),
        (400, "one between", 14),
        (400, "another type", 4),
        (400, "one file", 5),
        (400, "fields in another order", 3),
        (3_000, "nothing", 2),
        (3_000, "one more", 4),
        (3_000, "two inside", 7),
        (3_000, "one file", 4),
    ],
)
def test_what_did_not_change_is_not_encoded_again(
    home: Path, count: int, edit: str, most: int
) -> None:
    """Of some 24, 892 and 6,508 objects: what changed, and what leads there."""
    with Repository.open(home) as repo:
        repo.commit("run", chat(count))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        EDITS[edit](state)
        assert len(repo.prepare("run", state).objects) <= most


@pytest.mark.parametrize("edit", ["one inside", "another type", "a list inside for a tuple"])
def test_a_broken_comparison_would_be_noticed(
    home: Path, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    """Negative control: were everything taken over, the tests above would fail."""
    monkeypatch.setattr(Likeness, "of", lambda _self, _value, _old: Segment())
    with Repository.open(home) as repo:
        repo.commit("run", chat(40))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        EDITS[edit](state)
        prepared = repo.prepare("run", state)
        assert prepared.id != encoded_anew(repo, prepared, state).id


def other_size(self: BareObjects, number: int) -> Linked:
    """Return a link that counts for one byte more."""
    link = BareObjects.link(self, number)
    return Linked(link.parts, link.size, link.logical + 1, link.height)


def other_digest(self: BareObjects, number: int) -> Digest:
    """Return the digest of another object."""
    return Digest(self._records[min(self._records)].digest)


@pytest.mark.parametrize(("name", "broken"), [("link", other_size), ("digest", other_digest)])
def test_a_broken_memory_would_be_noticed(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: Any
) -> None:
    """Negative control: with wrong sizes or digests, the tests above would fail."""
    with Repository.open(home) as repo:
        repo.commit("run", chat(400))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        state["messages"].append("more")
        made = type("Broken", (BareObjects,), {name: broken})
        monkeypatch.setattr("manifests.recall.BareObjects", made)
        prepared = repo.prepare("run", state)
        assert prepared.id != encoded_anew(repo, prepared, state).id


@dataclass
class First:
    """A task, as an application had it."""

    title: str


@dataclass
class Second:
    """The same, with a field that older ones have not."""

    title: str
    notes: list[str] = field(default_factory=list)


def classes(cls: type[Any], **more: Any) -> Registry:
    """Return a registry that stores a class under one name."""
    known = Registry()
    known.register(cls, name="Task", **more)
    return known


@pytest.mark.parametrize(
    "later",
    [
        classes(Second),
        classes(Second, version=2, migrations={1: lambda fields: {**fields, "notes": ["old"]}}),
        classes(First, version=2, migrations={1: dict}),
        classes(
            First,
            to_fields=lambda task: {"title": task.title.upper()},
            from_fields=lambda fields: First(fields["title"]),
            content="attributes",
        ),
        Registry(),
    ],
    ids=["a field more", "another version", "the version alone", "another codec", "no class"],
)
def test_classes_that_changed_are_stored_as_they_are_now(home: Path, later: Registry) -> None:
    """What a class would store now counts, not what it once stored."""
    tasks = [First(f"task {at} " * 20) for at in range(100)]
    with Repository.open(home, registry=classes(First)) as repo:
        repo.commit("run", {"tasks": tasks, "first": tasks[0]})
    with Repository.open(home, registry=later) as repo:
        state = repo.restore("run")
        prepared = repo.prepare("run", state)
        assert prepared.id == encoded_anew(repo, prepared, state).id


def test_a_changed_class_as_the_state_itself(home: Path) -> None:
    """Its fields are compared one by one; name and version are written anew."""

    @dataclass
    class State:
        messages: list[str]
        count: int = 0

    messages = [f"message {at} " * 20 for at in range(100)]
    with Repository.open(home, registry=classes(State)) as repo:
        repo.commit("run", State(messages))
    with Repository.open(home, registry=classes(State, version=2, migrations={1: dict})) as repo:
        state = repo.restore("run")
        state.count += 1
        prepared = repo.prepare("run", state)
        assert prepared.id == encoded_anew(repo, prepared, state).id
        assert len(prepared.objects) <= 3


def test_nothing_is_taken_over_from_where_it_may_not_be_listed(home: Path) -> None:
    """Small, gone, or of another run: then there is nothing to compare with."""
    with Repository.open(home) as repo:
        first = repo.commit("run", chat(40))
        place = repo.prepare("run", chat(40)).place
        assert recalled(repo._store, repo._encoder._encoding.parameters, place) is not None
        repo.write(repo.prepare("new", chat(40), parent=first.id))
        repo.delete_run("run", force=True)
        assert recalled(repo._store, repo._encoder._encoding.parameters, place) is None


def test_what_is_named_as_changed_is_not_believed_of_a_restored_state(home: Path) -> None:
    """The promise is about what the caller committed; what it restored is compared."""
    with Repository.open(home) as repo:
        repo.commit("run", chat(40))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        state["note"] = "other"
        state["messages"].append("other")
        repo.commit("run", state, changed=["numbers"], trust_identity=True)
        assert repo.restore("run") == state


def test_damage_that_only_writing_finds_is_healed_by_a_full_encoding(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read from memory may be damaged on disk; the second attempt takes nothing over."""
    with Repository.open(home) as repo:
        repo.commit("run", chat(100))
    with Repository.open(home) as repo:
        state = repo.restore("run")
        write, tries = repo._committer.write, []

        def failing(job: Any) -> Any:
            tries.append(len(job.objects))
            if len(tries) == 1:
                raise MissingObjectError("damaged")
            return write(job)

        monkeypatch.setattr(repo._committer, "write", failing)
        repo.commit("run", state)
        assert tries[0] < 20 < 100 < tries[1]
