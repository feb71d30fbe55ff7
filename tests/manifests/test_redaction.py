"""What is redacted reaches no object, whatever it is a part of."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import InvalidInputError
from manifests.parameters import TreeParameters
from manifests.paths import Field, Redaction, path_text
from manifests.pieces import PieceSink
from manifests.redacting import RedactingEncoder
from manifests.registry import Registry
from tests.manifests.classes import (
    Colour,
    Document,
    Message,
    Money,
    Open,
    Point,
    Right,
    Secretive,
    Span,
    Step,
    registry,
)
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same

SECRET = "sk-0123456789-secret"


def document(title: Any, body: Any, tags: Any, given: set[str] | None = None) -> Document:
    names = {"title", "body", "tags"} if given is None else given
    return Document.model_construct(names, title=title, body=body, tags=tags)


def redacted_open() -> Open:
    model = Open.model_validate({"a": "***"})
    model.__dict__["number"] = "***"
    return model


def redaction(*patterns: str) -> Redaction:
    return Redaction(patterns, lambda _path, _value: "***")


def saved(value: Any, *patterns: str, state: bool = True) -> tuple[Memory, Any]:
    memory = Memory(registry())
    root = memory.save(value, state=state, redaction=redaction(*patterns))
    return memory, memory.read(root)


def secretive() -> Secretive:
    model = Secretive(number=1)
    model._token = SECRET
    return model


CASES: dict[str, tuple[Any, str]] = {
    "a key": ({"token": SECRET}, "token"),
    "a key of a key": ({"config": {"token": SECRET}}, "config.token"),
    "a key of any item": ({"messages": [{"key": SECRET}, {"key": SECRET}]}, "messages.*.key"),
    "a whole item": ({"messages": [1, SECRET]}, "messages.1"),
    "a whole list": ({"messages": [SECRET] * 100}, "messages"),
    "anywhere": ({"a": [{"b": ({"password": SECRET},)}]}, "**.password"),
    "at the root as well": ({"password": SECRET}, "**.password"),
    "everything below": ({"secrets": {"a": SECRET, "b": [SECRET]}}, "secrets.**"),
    "part of a name": ({"API_KEY_1": SECRET, "API_KEY_2": SECRET}, "API_KEY_?"),
    "a wildcard in a name": ({"x": {"github_token": SECRET}}, "**.*_token"),
    "an integer key": ({7: SECRET}, "7"),
    "a field of a dataclass": (Step("s", notes=[SECRET]), "notes.*"),
    "a field of a model": ({"m": Document(title=SECRET)}, "m.title"),
    "a field of a model with unset fields": ({"m": Document(title="t", body=SECRET)}, "m.body"),
    "an extra attribute": (Open.model_validate({"token": SECRET}), "token"),
    "a private attribute": ({"m": secretive()}, "m._token"),
    "a field of a key": ({Point(SECRET, 1): 1}, "**.x"),
    "fields that are a list": ({"m": Money(1, SECRET)}, "m.1"),
    "in a large dict": ({"d": {f"k{n}": SECRET for n in range(300)}}, "d.*"),
    "in a large list": ({"d": [{"t": SECRET, "n": n} for n in range(300)]}, "d.*.t"),
    "a member": ({"s": {SECRET, 1}}, "s.*"),
    "a member anywhere": ({"s": [frozenset({SECRET})]}, "**.#*"),
    "part of a member": ({"s": {("a", SECRET)}}, "s.*.1"),
    "a field of a member": ({"s": {Point(SECRET, 1)}}, "s.*.x"),
    "a field of a member, without its step": ({"s": {Point(SECRET, 1)}}, "s.x"),
    "a member of a member": ({"s": {frozenset({SECRET})}}, "s.*.*"),
    "a field of a named tuple": ({"n": Message("user", SECRET)}, "n.content"),
    "long": ({"d": SECRET * 2_000}, "d"),
    "in an array's place": ({"d": SECRET.encode()}, "d"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("state", [True, False], ids=["state", "value"])
def test_the_secret_is_in_no_object(name: str, state: bool) -> None:
    value, pattern = CASES[name]
    plain = Memory(registry())
    plain.save(value, state=state)
    assert any(SECRET.encode() in item.payload for item in plain.objects.values())
    memory, _ = saved(value, pattern, state=state)
    for item in memory.objects.values():
        assert SECRET.encode() not in item.payload


def slowly(pattern: list[str], names: list[str]) -> bool:
    """What fits a pattern, as the words about it say."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(slowly(pattern[1:], names[at:]) for at in range(len(names) + 1))
    return bool(names) and pattern[0] in ("*", names[0]) and slowly(pattern[1:], names[1:])


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=5),
    st.lists(st.sampled_from("ab"), max_size=6),
)
def test_a_rule_fits_what_it_says(pattern: list[str], names: list[str]) -> None:
    rule = redaction(".".join(pattern))
    assert rule.matches(names) == slowly(pattern, names)


def test_many_wildcards_in_a_rule_cost_little() -> None:
    """Each ``**`` more took a hundred times as long: this would never end."""
    rule = redaction("**.a." * 12 + "**.b", "**." * 30 + "c")
    assert not rule.matches(["a"] * 100)
    assert rule.matches([*"a" * 99, "b"])
    assert rule.matches([*"a" * 99, "c"])


def test_the_rest_stays() -> None:
    _, restored = saved({"token": SECRET, "tokens": 5, "a": {"token": 1}}, "token")
    assert restored == {"token": "***", "tokens": 5, "a": {"token": 1}}


FORMS: dict[str, tuple[Any, Any]] = {
    "list": ([1, 2], ["***", "***"]),
    "tuple": ((1, 2), ("***", "***")),
    "dict": ({"a": 1, 2: 3}, {"a": "***", 2: "***"}),
    "set": ({1, 2}, {"***"}),
    "frozenset": (frozenset({1, 2}), frozenset({"***"})),
    "named tuple": (Message("user", 1), Message("***", "***")),
    "dataclass": (Point(1, 2), Point("***", "***")),
    "slots": (Span(1, 2), Span("***", "***")),
    "model": (Document(title="t", body=1, tags=["a"]), document("***", "***", "***")),
    "model with unset fields": (Document(title="t"), document("***", "***", "***", {"title"})),
    "model with more": (Open.model_validate({"a": 1}), redacted_open()),
    "flags": (Right.READ | Right.RUN, Right.READ | Right.RUN),
    "member": (Colour.RED, Colour.RED),
    "array": (np.arange(4), np.arange(4)),
    "scalar": (dt.datetime(2030, 1, 1, tzinfo=dt.UTC), dt.datetime(2030, 1, 1, tzinfo=dt.UTC)),
    "bytes": (bytearray(b"abc"), bytearray(b"abc")),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_redacted_inside_keeps_its_form(name: str) -> None:
    """A rule reaches the parts that people see, and nothing of how they are stored."""
    value, expected = FORMS[name]
    for pattern in ("n.*", "n.**.*"):
        assert_same(saved({"n": value}, pattern)[1], {"n": expected})
        # Of a class that this reader does not know it is the same.
        memory = Memory(registry())
        root = memory.save({"n": value})
        memory.registry = Registry()
        stranger = memory.read(root)
        root = memory.save(stranger, redaction=redaction(pattern))
        memory.registry = registry()
        if name != "flags":  # unknown, they are a list like any other
            assert_same(memory.read(root), {"n": expected})


@pytest.mark.parametrize("value", [{"s": {1, 2}}, {"s": {Point(1, 2): 3}}])
def test_a_replacement_in_a_set_or_key_can_be_one(value: Any) -> None:
    hook = Redaction(["s.*", "s.x"], lambda _path, value: [value])
    with pytest.raises(InvalidInputError, match="has to be hashable"):
        Memory(registry()).save(value, redaction=hook)


def test_the_callable_sees_path_and_value() -> None:
    seen: list[tuple[str, Any]] = []

    def replace(path: str, value: Any) -> Any:
        seen.append((path, value))
        return len(value)

    memory = Memory(registry())
    hook = Redaction(["**.token"], replace)
    value = {"a": [{"token": SECRET}], "s": Step("n", notes=[{"token": "xy"}])}
    restored = memory.read(memory.save(value, state=True, redaction=hook))
    assert seen == [("state['a'][0]['token']", SECRET), ("state['s'].notes[0]['token']", "xy")]
    assert restored["a"] == [{"token": len(SECRET)}]


def test_a_replacement_is_encoded_like_any_value() -> None:
    hook = Redaction(["a"], lambda _path, value: {"hash": value})
    memory = Memory()
    assert memory.read(memory.save({"a": [1]}, redaction=hook)) == {"a": {"hash": [1]}}
    bad = Redaction(["a"], lambda _path, _value: object())
    with pytest.raises(InvalidInputError) as caught:
        memory.save({"a": 1}, redaction=bad)
    assert caught.value.path == "state['a']"


def test_a_failing_callable_is_an_error_without_the_secret() -> None:
    def fail(_path: str, value: Any) -> Any:
        raise RuntimeError(value)

    with pytest.raises(InvalidInputError) as caught:
        Memory().save({"a": SECRET}, redaction=Redaction(["a"], fail))
    assert caught.value.path == "state['a']"
    assert SECRET not in str(caught.value)


def test_a_key_that_cannot_be_printed_stops_no_redaction() -> None:
    memory = Memory()
    value = {10**5_000: {"token": SECRET}}
    restored = memory.read(memory.save(value, redaction=redaction("*.token")))
    assert restored == {10**5_000: {"token": "***"}}


@pytest.mark.parametrize("pattern", ["", ".", "a..b", ".a", "a."])
def test_a_pattern_without_a_step_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match="no redaction pattern"):
        redaction("fine", pattern)


def matches(pattern: str, path: list[str]) -> bool:
    return redaction(pattern).matches(path)


def reference(pattern: list[str], path: list[str]) -> bool:
    """Whether a pattern of plain names, ``*`` and ``**`` matches, by trying everything."""
    if not pattern or not path:
        return all(step == "**" for step in pattern) and not path
    if pattern[0] == "**":
        return reference(pattern[1:], path) or reference(pattern, path[1:])
    return pattern[0] in ("*", path[0]) and reference(pattern[1:], path[1:])


@given(
    st.lists(st.sampled_from(("a", "b", "*", "**")), min_size=1, max_size=5),
    st.lists(st.sampled_from(("a", "b", "c")), max_size=6),
)
def test_patterns_match_as_described(pattern: list[str], path: list[str]) -> None:
    assert matches(".".join(pattern), path) is reference(pattern, path)


def test_paths_read_as_people_write_them() -> None:
    assert path_text(["messages", 3, Field("tool")]) == "state['messages'][3].tool"
    assert path_text([]) == "state"
    assert path_text(["a"], "execution") == "execution['a']"
    assert path_text([b"k", None, (1, 2)], "") == "[b'k'][None][(1, 2)]"
    assert path_text(["k" * 100]) == f"state['{'k' * 59}...]"


def test_a_value_that_could_not_be_encoded_lets_no_secret_through() -> None:
    sink = PieceSink()
    encoder = RedactingEncoder(registry(), TreeParameters(), sink, redaction("secret"))
    with pytest.raises(InvalidInputError):
        encoder.state({"members": {object()}})
    sink.seal(encoder.state({"secret": SECRET}))
    assert not any(SECRET.encode() in found.payload for found in sink.objects.values())


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [
        ("messages[*].key", "messages.*.key"),
        ("a[0][-1]", "a.0.-1"),
        ("state['config'].token", "config.token"),
    ],
)
def test_a_pattern_written_like_a_path_is_refused(pattern: str, steps: str) -> None:
    """It matched nothing, so the secret was stored."""
    with pytest.raises(InvalidInputError, match=re.escape(f"as in {steps!r}")):
        Redaction([pattern], lambda _path, value: value)


def test_brackets_may_stand_for_characters() -> None:
    assert Redaction(["k[ab]"], lambda _path, value: value).matches(["ka"])
