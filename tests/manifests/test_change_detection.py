"""Commits encode only what changed, and must never miss a change, in place or not."""

from __future__ import annotations

import copy
import datetime as dt
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import InvalidInputError
from manifests import Registry, Repository
from manifests.commit_encoder import CommitEncoder
from manifests.commits import PreparedCommit
from manifests.encoder import Encoder
from manifests.incremental import Memory
from manifests.likeness import Likeness
from manifests.segments import Segment
from manifests.unregistered import UnregisteredValue
from manifests.watch import Watch
from tests.manifests.classes import Described
from tests.manifests.sameness import assert_same


class Colour(enum.Enum):
    """An enum: a constant wherever it stands."""

    RED = 1


class Level(enum.IntEnum):
    """An enum whose member is equal to a number."""

    ONE = 1


@dataclass
class Task:
    """A mutable dataclass, watched by its attributes."""

    title: str
    notes: list[Any] = field(default_factory=list)


@dataclass
class Chore(Task):
    """What a task can become without being another object."""


class Message(pydantic.BaseModel):
    """A mutable model, watched by its attributes and its set of fields."""

    text: str
    extra: dict[str, Any] = {}


class Letter(Message):
    """What a message can become without being another object."""


class Annotated(pydantic.BaseModel, extra="allow"):
    """A model that takes attributes of any name, and one that is private and may be unset."""

    text: str
    _seen: int


@dataclass(eq=False)
class Agent:
    """A key that can change: only the object itself is equal to it."""

    name: str
    log: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    """A key that cannot change."""

    number: int


class Pair(NamedTuple):
    """A constant."""

    left: Any = None


class Labelled(Pair):
    """No constant: it may have attributes, which cannot be stored."""


def registry() -> Registry:
    """Return a registry with the classes of this module."""
    classes = Registry()
    for cls in (Colour, Level, Task, Chore, Message, Letter, Annotated):
        classes.register(cls)
    for other in (Agent, Frozen, Pair, Labelled, Described):
        classes.register(other)
    return classes


LEAVES = st.one_of(
    st.sampled_from([0, 1, 1.0, True, False, None, "", "a", -0.0, b"x", Colour.RED]),
    st.text(max_size=100),
    st.floats(allow_nan=False),
    st.integers(),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, min_size=16, max_size=40),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.sampled_from("abcdefgh"), inner, max_size=6),
        st.dictionaries(st.integers(0, 60), inner, min_size=16, max_size=40),
        st.sets(st.integers(0, 9), max_size=5),
        st.binary(max_size=5).map(bytearray),
        st.builds(Task, st.text(max_size=5), st.lists(inner, max_size=3)),
        st.builds(Message, text=st.text(max_size=5)),
    ),
    max_leaves=60,
)
STATES = st.dictionaries(st.sampled_from(["messages", "files", "plan", "n"]), VALUES, min_size=1)


def containers(value: Any) -> list[Any]:
    """Return every mutable container of a value, itself included."""
    found: list[Any] = []
    inner: list[Any] = []
    if isinstance(value, dict):
        found, inner = [value], list(value.values())
    elif isinstance(value, list):
        found, inner = [value], list(value)
    elif isinstance(value, tuple):
        inner = list(value)
    elif isinstance(value, set | bytearray):
        found = [value]
    elif isinstance(value, Task | Message):
        found, inner = [value], list(vars(value).values())
    return found + [below for item in inner for below in containers(item)]


def under_other_keys(target: dict[Any, Any]) -> None:
    """Put the same values in the same order under the same keys, which have another order."""
    keys, values = list(target), list(target.values())
    target.clear()
    target.update(zip([*keys[1:], keys[0]], values, strict=True))


def mutate_dict(target: dict[Any, Any], draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Change a dict in one of the ways that are easily missed."""
    keys = list(target)
    match draw(st.integers(0, 6)):
        case 0 if keys:
            target[draw(st.sampled_from(keys))] = draw(VALUES)
        case 1 if keys:  # the same entries in another order
            key = draw(st.sampled_from(keys))
            target[key] = target.pop(key)
        case 2 if len(keys) > 1:
            del target[draw(st.sampled_from(keys))]
        case 3 if keys:  # equal, and yet another value
            key = draw(st.sampled_from(keys))
            if type(target[key]) in (int, float, bool) and target[key] in (0, 1):
                target[key] = draw(st.sampled_from([int, float, bool]))(target[key])
        case 4 if keys:  # the same items in another container
            key = draw(st.sampled_from(keys))
            target[key] = copy.copy(target[key])
        case 5 if keys:
            under_other_keys(target)
        case _:
            target[draw(st.sampled_from(["messages", "n", "zz", 7, 7.5]))] = draw(VALUES)


def mutate_list(target: list[Any], draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Change a list: append, insert, delete, replace, extend, swap."""
    at = draw(st.integers(0, max(len(target) - 1, 0)))
    match draw(st.integers(0, 6)):
        case 0:
            target.append(draw(VALUES))
        case 1:
            target.insert(at, draw(VALUES))
        case 2 if target:
            del target[at]
        case 3 if target:
            target[at] = draw(VALUES)
        case 4:
            target.extend(draw(st.lists(LEAVES, max_size=40)))
        case 5 if target:
            target[at] = copy.copy(target[at])
        case _ if target:
            target[0], target[at] = target[at], target[0]
        case _:
            target[:] = list(target)


def mutate(state: dict[str, Any], draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    """Change something in a state, anywhere, in place."""
    target = draw(st.sampled_from(containers(state)))
    if isinstance(target, dict):
        mutate_dict(target, draw)
    elif isinstance(target, list):
        mutate_list(target, draw)
    elif isinstance(target, set):
        target.symmetric_difference_update({draw(st.integers(0, 9))})
    elif isinstance(target, bytearray):
        target.append(draw(st.integers(0, 255)))
    elif isinstance(target, Task):
        target.title = draw(st.text(max_size=5))
    else:
        target.text = draw(st.text(max_size=5))


def handed_over(
    state: dict[str, Any], draw: Callable[[st.SearchStrategy[Any]], Any]
) -> dict[str, Any]:
    """Return a state as a framework hands it over: the same one, or more or less of it copied."""
    match draw(st.integers(0, 3)):
        case 0:  # new containers with the old items in them
            return {
                key: list(value) if isinstance(value, list) else value
                for key, value in state.items()
            }
        case 1:  # loaded anew
            return copy.deepcopy(state)
        case 2:  # some items loaded anew
            return {
                key: [copy.deepcopy(item) if draw(st.booleans()) else item for item in value]
                if isinstance(value, list)
                else value
                for key, value in state.items()
            }
        case _:
            return state


def encoded_anew(repo: Repository, prepared: PreparedCommit, state: Any) -> PreparedCommit:
    """Return the same commit prepared by an encoder that remembers nothing."""
    fresh = CommitEncoder(repo._store, repo._encoder._encoding)
    manifest = prepared.manifest
    fresh.distrust(prepared.run)
    return fresh.prepare(
        prepared.place,
        state,
        kind=manifest.kind,
        node=None,
        next_nodes=(),
        execution=None,
        labels=None,
        graph=None,
        created_at=manifest.created_at,
    )


@given(data=st.data(), state=STATES)
def test_mutations_between_commits_are_never_missed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, state: dict[str, Any]
) -> None:
    """Any sequence of changes restores exactly, and has the address of a full encoding."""
    home = tmp_path_factory.mktemp("home")
    with Repository.open(home, registry=registry()) as repo:
        kept = []
        for _ in range(data.draw(st.integers(2, 6))):
            for _ in range(data.draw(st.integers(0, 3))):
                mutate(state, data.draw)
            state = handed_over(state, data.draw)
            prepared = repo.prepare("run", state)
            assert prepared.id == encoded_anew(repo, prepared, state).id
            repo.write(prepared)
            kept.append(copy.deepcopy(state))
        for sequence, expected in enumerate(kept, 1):
            assert_same(repo.restore(("run", sequence)), expected)


put = object.__setattr__
HIDDEN_CHANGES: dict[str, Callable[[list[Any]], None]] = {
    "a leaf": lambda items: items[20].update(text="other"),
    "an equal leaf of another type": lambda items: items[20].update(count=True),
    "the sign of a zero": lambda items: items[20].update(zero=-0.0),
    "an enum for its value": lambda items: items[20].update(count=Level.ONE),
    "a tuple for a list": lambda items: items[20].update(calls=tuple(items[20]["calls"])),
    "the order of keys": lambda items: items[20].update(text=items[20].pop("text")),
    "the same values under other keys": lambda items: under_other_keys(items[39]),
    "a key of its own type for an equal one": lambda items: items[37].update(
        {True: items[37].pop(1)}
    ),
    "the same values under other attributes": lambda items: under_other_keys(vars(items[38])),
    "a leaf two levels down": lambda items: items[20]["calls"][0].update(name="other"),
    "an item of an inner list": lambda items: items[20]["calls"].append({}),
    "an item of the last inner list": lambda items: items[-1]["calls"].append({}),
    "an item moved to the next inner list": lambda items: items[21]["calls"].insert(
        0, items[20]["calls"].pop()
    ),
    "an entry of the last dict": lambda items: items[-1].update(more=1),
    "an entry moved to the next dict": lambda items: items[21].update(last=items[20].pop("last")),
    "a set": lambda items: items[22].add(3),
    "a bytearray": lambda items: items[23].append(1),
    "an attribute": lambda items: setattr(items[24], "title", "other"),
    "a list below an attribute": lambda items: items[24].notes.append(1),
    "a field of a model": lambda items: setattr(items[25], "text", "other"),
    "a model's set of fields": lambda items: setattr(items[25], "extra", items[25].extra),
    "the first extra attribute": lambda items: items[26].model_extra.update(more=1),
    "the first private attribute": lambda items: setattr(items[26], "_seen", 1),
    "extra attributes as a whole": lambda items: put(items[26], "__pydantic_extra__", {"more": 1}),
    "the first extra attributes of a class without": lambda items: put(
        items[25], "__pydantic_extra__", {"more": 1}
    ),
    "private attributes as a whole": lambda items: put(
        items[26], "__pydantic_private__", {"_seen": 1}
    ),
    "a model's set of fields as a whole": lambda items: put(
        items[25], "__pydantic_fields_set__", {"text", "extra"}
    ),
    "the fields of a model as a whole": lambda items: put(
        items[25], "__dict__", {"text": "other", "extra": {}}
    ),
    "attributes as a whole": lambda items: put(items[24], "__dict__", {"title": "u", "notes": []}),
    "the class of a dataclass": lambda items: put(items[24], "__class__", Chore),
    "the class of a model": lambda items: put(items[25], "__class__", Letter),
    "what a descriptor keeps": lambda items: setattr(items[30], "text", "other"),
    "a key": lambda items: setattr(next(iter(items[27])), "name", "other"),
    "a list below a key": lambda items: next(iter(items[27])).log.append(1),
    "a key of a larger dict": lambda items: setattr(next(iter(items[28])), "name", "other"),
    "a list below a key of a larger dict": lambda items: next(iter(items[28])).log.append(1),
    "an equal number in a list": lambda items: items[33].insert(0, bool(items[33].pop(0))),
    "the first item of an empty list": lambda items: items[34].append(1),
    "the first entry of an empty dict": lambda items: items[35].update(a=1),
    "the first item of an empty list in a tuple": lambda items: items[36][0].append(1),
    "a date": lambda items: items[31].update(day=dt.date(2026, 1, 2)),
    "the digits of a number": lambda items: items[31].update(price=Decimal("1.00")),
    "a field of an unregistered value": lambda items: items[32].fields.update(a=[2]),
    "a list below an unregistered value": lambda items: items[32].fields["a"].append(2),
    "a key of a larger dict, in a tuple": lambda items: setattr(
        next(iter(items[29]))[0], "name", "other"
    ),
}


def long_list() -> list[Any]:
    """Return a list with a node of its own, holding one of each kind of container."""
    items: list[Any] = [
        {"text": str(at), "count": 1, "zero": 0.0, "calls": [{"name": "x"}, {}], "last": at}
        for at in range(42)
    ]
    items[22:26] = [{1, 2}, bytearray(b"ab"), Task("t"), Message(text="m")]
    numbered: dict[Any, Any] = {number: number for number in range(20)}
    turned = Task.__new__(Task)  # its attributes are made the other way round than others'
    turned.notes, turned.title = [], "turned"
    items[26:40] = [
        Annotated(text="a"),
        {Agent("small", [1, 2, 3, 4, 5]): 1},
        {Agent("large", [1, 2, 3, 4, 5]): 1, **numbered},
        {(Agent("pair"), 1): 1, **numbered},
        Described("text"),
        {"day": dt.date(2026, 1, 1), "price": Decimal("1.0")},
        UnregisteredValue("gone.Thing", 1, {"a": [1]}),
        [1, 2, 3],
        [],
        {},
        ([], 1),
        {"first": "one", 1: "two"},
        turned,
        {"left": "one", "right": "two"},
    ]
    return items


def list_for(hidden: Callable[[Any], None]) -> list[Any]:
    """Return a long list with nothing but plain dicts beside what a change concerns.

    Items are compared and watched together, and some kinds keep all beside them from that.
    """
    concerned: set[int] = set()

    class Touched(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            concerned.add(at)
            return super().__getitem__(at)

    hidden(Touched(long_list()))
    items = long_list()
    plain = [at for at, item in enumerate(items) if type(item) is dict and "calls" in item]
    return [
        item if at in concerned else copy.deepcopy(items[plain[0]]) for at, item in enumerate(items)
    ]


@pytest.mark.parametrize("hidden", HIDDEN_CHANGES.values(), ids=HIDDEN_CHANGES.keys())
def test_each_kind_of_hidden_change_is_seen(home: Path, hidden: Callable[[Any], None]) -> None:
    """Nothing outside the item tells that it changed."""
    with Repository.open(home, registry=registry()) as repo:
        items = long_list()
        repo.commit("run", {"items": items})
        hidden(items)
        repo.commit("run", {"items": items})
        assert_same(repo.restore("run")["items"], items)


@pytest.mark.parametrize("hidden", HIDDEN_CHANGES.values(), ids=HIDDEN_CHANGES.keys())
@pytest.mark.parametrize("kinds", [lambda _hidden: long_list(), list_for], ids=["all", "one"])
@pytest.mark.parametrize("block", [8, 1_000])
def test_each_kind_of_hidden_change_farther_down_is_seen(
    home: Path,
    hidden: Callable[[Any], None],
    kinds: Callable[[Any], list[Any]],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A long list inside an item says only whether anything in it changed."""
    monkeypatch.setattr("manifests.watch._BLOCK_CONTAINERS", block)
    with Repository.open(home, registry=registry()) as repo:
        items = kinds(hidden)
        state = {"outer": [{"inner": [f"{n} {m}" for m in range(9)]} for n in range(9)]}
        state["outer"][4]["inner"] = items
        repo.commit("run", state)
        hidden(items)
        prepared = repo.prepare("run", state)
        assert prepared.id == encoded_anew(repo, prepared, state).id


@pytest.mark.parametrize("hidden", HIDDEN_CHANGES.values(), ids=HIDDEN_CHANGES.keys())
def test_a_broken_detector_would_be_noticed(
    home: Path, hidden: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with detection switched off, the test above would fail."""
    monkeypatch.setattr(Watch, "stale", lambda _watch: set())
    with Repository.open(home, registry=registry()) as repo:
        items = long_list()
        repo.commit("run", {"items": items})
        hidden(items)
        repo.commit("run", {"items": items})
        with pytest.raises(AssertionError):
            assert_same(repo.restore("run")["items"], items)


@pytest.mark.parametrize("hidden", HIDDEN_CHANGES.values(), ids=HIDDEN_CHANGES.keys())
@pytest.mark.parametrize("trust_identity", [False, True])
@pytest.mark.parametrize("is_copied_first", [False, True])
def test_each_kind_of_change_to_a_copy_is_seen(
    home: Path, hidden: Callable[[Any], None], trust_identity: bool, is_copied_first: bool
) -> None:
    """Other objects are compared with those before, which nobody has promised anything about."""
    with Repository.open(home, registry=registry()) as repo:
        items = list_for(hidden)
        repo.commit("run", {"items": items})
        if is_copied_first:  # then what it is compared with is as it was committed
            items = copy.deepcopy(items)
            hidden(items)
        else:
            hidden(items)
            items = copy.deepcopy(items)
        prepared = repo.prepare("run", {"items": items}, trust_identity=trust_identity)
        assert prepared.id == encoded_anew(repo, prepared, {"items": items}).id


@pytest.mark.parametrize("hidden", HIDDEN_CHANGES.values(), ids=HIDDEN_CHANGES.keys())
def test_each_kind_of_change_inside_a_copy_is_seen(
    home: Path, hidden: Callable[[Any], None]
) -> None:
    """Copies that were taken for the same are watched from then on, many as one."""
    with Repository.open(home, registry=registry()) as repo:
        items = list_for(hidden)
        repo.commit("run", {"items": items})
        items = copy.deepcopy(items)
        repo.commit("run", {"items": items})
        for _ in range(2):
            hidden(items)
            prepared = repo.prepare("run", {"items": items})
            assert prepared.id == encoded_anew(repo, prepared, {"items": items}).id
            repo.write(prepared)
            hidden = HIDDEN_CHANGES["a leaf two levels down"]


@pytest.mark.parametrize("hidden", HIDDEN_CHANGES.values(), ids=HIDDEN_CHANGES.keys())
def test_a_broken_comparison_would_be_noticed(
    home: Path, hidden: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: were copies taken for the same unseen, the test above would fail."""
    monkeypatch.setattr(Likeness, "of", lambda _self, _value, _old: Segment())
    monkeypatch.setattr(Watch, "stale", lambda _watch: set())
    with Repository.open(home, registry=registry()) as repo:
        items = long_list()
        repo.commit("run", {"items": items})
        items = copy.deepcopy(items)
        hidden(items)
        prepared = repo.prepare("run", {"items": items})
        assert prepared.id != encoded_anew(repo, prepared, {"items": items}).id


@pytest.mark.parametrize("inner", [[f"{n}" for n in range(40)], {f"{n}": n for n in range(40)}])
def test_a_change_in_another_container_of_the_same_items_is_seen(home: Path, inner: Any) -> None:
    """What was encoded before is watched in the container that it stands in now."""
    with Repository.open(home) as repo:
        items = [{"inner": copy.copy(inner)} for _ in range(10)]
        repo.commit("run", {"items": items})
        other = items[3]["inner"] = copy.copy(inner)
        repo.commit("run", {"items": items})
        if isinstance(other, list):
            other.append("more")
        else:
            other["7"] = 8
        repo.commit("run", {"items": items})
        assert repo.restore("run") == {"items": items}


@pytest.mark.parametrize("is_large", [False, True])
def test_a_key_of_the_state_that_changed_is_seen(home: Path, is_large: bool) -> None:
    """Only the object itself is equal to it, so it is found in the dict whatever it holds."""
    with Repository.open(home, registry=registry()) as repo:
        state: dict[Any, Any] = {Agent("planner"): 1, 2: 3}
        if is_large:
            state |= {number: number for number in range(50)}
        repo.commit("run", state)
        next(iter(state)).name = "other"
        repo.commit("run", state)
        assert_same(repo.restore("run"), state)


def test_an_attribute_that_a_constant_got_is_refused(home: Path) -> None:
    """It would be lost; whether the value was committed before makes no difference."""
    with Repository.open(home, registry=registry()) as repo:
        items = [*long_list(), Labelled()]
        repo.commit("run", {"items": items})
        items[-1].label = "new"
        with pytest.raises(InvalidInputError, match="'label'"):
            repo.commit("run", {"items": items})


def test_keys_that_cannot_change_are_not_encoded_again(home: Path) -> None:
    """A frozen class is made to be a key."""
    with Repository.open(home, registry=registry()) as repo:
        keys = [(at, Colour.RED, frozenset((at,)), Pair(at), Frozen(at)) for at in range(1_000)]
        facts = dict.fromkeys(keys, "text " * 40)
        repo.commit("run", {"facts": facts})
        facts[keys[500]] = "other"
        encoded: list[Any] = []
        encode = Encoder.key_of_dict

        def noting(encoder: Encoder, key: Any) -> bytes:
            encoded.append(key)
            return encode(encoder, key)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Encoder, "key_of_dict", noting)
            repo.commit("run", {"facts": facts})
        assert not encoded
        assert_same(repo.restore("run")["facts"], facts)


def test_what_is_watched_does_not_grow_with_the_copies(home: Path) -> None:
    """Items that are watched as one are watched once."""
    with Repository.open(home, registry=registry()) as repo:
        items = [Task(f"task {at} " * 20, [{"n": at}]) for at in range(500)]
        for _ in range(4):
            items = copy.deepcopy(items)
            repo.commit("run", {"items": items})
            root = repo._encoder._memories._memories["run"].state
            assert root is not None
            (node,) = root.segments[0].nodes
            watched = [one for block in node.watch._blocks for one in block.segments]
            assert len(watched) == len(set(watched)) <= 500


def test_copies_of_unchanged_items_are_not_encoded_again(home: Path) -> None:
    """A framework that loads a state every turn pays for what the turn adds."""
    with Repository.open(home, registry=registry()) as repo:
        items = [Task(f"task {at} " * 20, [{"n": at}]) for at in range(500)]
        repo.commit("run", {"items": items, "map": dict(enumerate(items))})
        items = copy.deepcopy([*items, Task("one more " * 20)])
        prepared = repo.prepare("run", {"items": items, "map": dict(enumerate(items[:500]))})
        assert len(prepared.objects) <= 6


def test_an_unchanged_part_is_not_encoded_again(home: Path) -> None:
    """One new message costs its own object, the path above it and the manifest."""
    with Repository.open(home) as repo:
        messages = [{"role": "user", "text": f"message {at} " * 20} for at in range(5_000)]
        repo.commit("run", {"messages": messages, "n": 0})
        messages.append({"role": "user", "text": "one more " * 20})
        prepared = repo.prepare("run", {"messages": messages, "n": 1})
        assert len(prepared.objects) <= 6
        assert repo.write(prepared).new_objects <= 6


def test_named_keys_are_the_only_ones_looked_at(home: Path) -> None:
    """``changed`` is a promise: what it leaves out is taken from the last commit."""
    with Repository.open(home) as repo:
        state = {"messages": [{"text": str(at)} for at in range(40)], "n": 0, "m": 0}
        repo.commit("run", state)
        repo.commit("run", {**state, "n": 1, "m": 1}, changed=["n"])
        assert repo.restore("run") == {**state, "n": 1, "m": 0}
        del state["m"]
        repo.commit("run", {**state, "n": 2, "new": 3}, changed=["n"])
        assert repo.restore("run") == {**state, "n": 2, "new": 3}


def test_named_keys_may_come_from_an_iterator_and_not_from_a_text(home: Path) -> None:
    """An iterator is used up at the first look, and a text holds every part of itself."""
    with Repository.open(home) as repo:
        repo.commit("run", {"a": [1], "b": [1]})
        repo.commit("run", {"a": [2], "b": [2]}, changed=iter(["b", "a"]))  # type: ignore[arg-type]
        assert repo.restore("run") == {"a": [2], "b": [2]}
        with pytest.raises(InvalidInputError, match="changed is a list"):
            repo.commit("run", {"a": [3], "b": [2]}, changed="a")
        with pytest.raises(InvalidInputError, match="is a mapping"):
            repo.commit("run", {}, execution=[("a", 1)])  # type: ignore[arg-type]
        assert repo.log("run")[0].sequence == 2


def sparing(task: Task) -> dict[str, Any]:
    """Return the fields of a task, without those that are empty."""
    return {name: value for name, value in vars(task).items() if value}


def test_what_is_put_into_an_attribute_that_a_codec_left_out_is_seen(home: Path) -> None:
    """It was empty and not stored, so that only the attributes of its task lead to it."""
    known = Registry()
    known.register(
        Task,
        name="Task",
        to_fields=sparing,
        from_fields=lambda fields: Task(**fields),
        content="attributes",
    )
    tasks = [Task(f"task {at}") for at in range(40)]
    with Repository.open(home, registry=known) as repo:
        repo.commit("run", {"tasks": tasks})
        tasks[7].notes.append("put in place")
        repo.commit("run", {"tasks": tasks})
        assert repo.restore("run") == {"tasks": tasks}


def test_trusted_items_are_compared_by_identity(home: Path) -> None:
    """``trust_identity`` sees replaced and added items, and not what changed inside one."""
    with Repository.open(home) as repo:
        items = [{"n": at} for at in range(40)]
        repo.commit("run", {"items": items})
        items[3]["n"] = -1
        items[4] = {"n": -2}
        items.append({"n": -3})
        repo.commit("run", {"items": items}, trust_identity=True)
        restored = repo.restore("run")["items"]
        assert restored[3] == {"n": 3}
        assert (restored[4], restored[-1]) == ({"n": -2}, {"n": -3})


def test_memory_of_a_commit_that_was_not_written_is_not_used(home: Path) -> None:
    """After a failed or skipped write, the next commit encodes everything it needs."""
    with Repository.open(home) as repo:
        items = [{"text": f"{at} " * 40} for at in range(100)]
        first = repo.prepare("run", {"items": items})
        repo._seen.take_back(first.place)  # what a failed write does
        repo.commit("run", {"items": items})
        assert repo.restore("run") == {"items": items}


def test_memory_serves_one_value_only() -> None:
    """A new memory knows nothing, and its root appears once something was encoded."""
    assert Memory(likeness=Likeness(Registry())).root is None
