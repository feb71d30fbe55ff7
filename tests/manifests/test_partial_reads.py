"""Reading one key must not cost what the rest of a state costs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import manifests.decoder
from cas.errors import CorruptObjectError, LimitError
from manifests.cbor import array_head, tag_head
from manifests.forms import Form, Forms, LinkForm
from tests.manifests.classes import Document, Open, Point, Secretive, Step, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same, portrait, same
from tests.manifests.strategies import keys, values

EXAMPLES = settings().max_examples
MOST_READS = 20


def get(memory: Memory, root: Any, *path: Any) -> Any:
    """Read what is under keys, one below the other, counting loads from zero."""
    memory.loads = 0
    forms = memory.forms()
    form: Form = LinkForm(root)
    for key in path:
        form = forms.field(form, key)
    return forms.value(form)


def test_one_key_beside_a_value_of_200_mb(seed: int) -> None:
    memory = Memory()
    block = random.Random(seed).randbytes(1_000_003)
    state = {
        "weights": block * 200,
        "plan": ["a", {"b": 1}],
        "messages": [{"n": number, "text": "t" * 100} for number in range(2_000)],
    }
    root = memory.save(state, state=True)
    assert sum(len(item.payload) for item in memory.objects.values()) > 1_000_000
    assert get(memory, root, "plan") == state["plan"]
    assert memory.loads <= MOST_READS
    assert len(get(memory, root, "messages")) == 2_000


@pytest.mark.parametrize("kind", ["text", "number", "tuple", "dataclass"])
@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "shuffled"])
def test_one_key_of_a_dict_of_10_000(kind: str, ordered: bool, seed: int) -> None:
    dice = random.Random(seed)
    makers: dict[str, Callable[[int], Any]] = {
        "text": lambda number: f"key {number:05}",
        "number": lambda number: number,
        "tuple": lambda number: (number, "x"),
        "dataclass": lambda number: Point(number, None),
    }
    make = makers[kind]
    numbers = list(range(10_000)) if ordered else dice.sample(range(10_000), 10_000)
    memory = Memory(registry())
    root = memory.save({make(number): [number, "v" * 90] for number in numbers})
    for number in (0, 9_999, *dice.sample(range(10_000), 20)):
        assert get(memory, root, make(number)) == [number, "v" * 90]
        assert memory.loads <= MOST_READS
    for missing in (make(-1), make(10_001), "", None):
        with pytest.raises(KeyError):
            get(memory, root, missing)
        assert memory.loads <= MOST_READS


def test_one_field_of_a_registered_state() -> None:
    memory = Memory(registry())
    states = {
        "dataclass": Step("large", 3, [f"note {number}" * 20 for number in range(3_000)]),
        "model": Document(title="t" * 100, body=["b" * 100] * 3_000),
        "extra": Open.model_validate({"number": 5, "more": list(range(9_000))}),
        "private": Secretive(number=7),
    }
    for state in states.values():
        root = memory.save(state, state=True)
        for name in vars(state):
            assert_same(get(memory, root, name), getattr(state, name))
            if name in ("attempts", "title", "number", "name"):
                assert memory.loads <= 3
        with pytest.raises(KeyError):
            get(memory, root, "absent")


@settings(max_examples=EXAMPLES // 2)
@given(
    st.lists(st.tuples(keys(), values()), max_size=8).map(dict),
    st.integers(0, 60),
    st.booleans(),
)
def test_every_key_is_found(items: dict[Any, Any], more: int, state: bool) -> None:
    items.update((f"more {number}", number) for number in range(more))
    assume(len({repr(portrait(key)) for key in items}) == len(items))  # two NaNs are one key
    memory = Memory(registry())
    root = memory.save(items, state=state)
    forms = memory.forms()
    names = forms.names(LinkForm(root))
    assert same(names, list(items))
    for key, value in items.items():
        assert same(forms.value(forms.field(LinkForm(root), key)), value)


@pytest.mark.parametrize("more", [0, 100], ids=["small", "large"])
def test_keys_are_the_same_if_their_types_are(more: int) -> None:
    memory = Memory()
    nan = float("nan")
    root = memory.save(
        {1: "integer", nan: "nan", (2, nan): "tuple", **dict.fromkeys(range(9, 9 + more))}
    )
    assert get(memory, root, 1) == "integer"
    assert get(memory, root, float("nan")) == "nan"
    assert get(memory, root, (2, float("nan"))) == "tuple"
    for key in (True, 1.0, (2.0, nan)):
        with pytest.raises(KeyError):
            get(memory, root, key)


def test_the_names_of_other_values_are_none() -> None:
    memory = Memory()
    for value in (None, 5, "text", [1], (1,), {1}, b"x" * 20_000):
        assert memory.forms().names(LinkForm(memory.save(value))) == []
        with pytest.raises(KeyError):
            get(memory, memory.save(value), "a")


def test_leaves_are_read_one_at_a_time() -> None:
    memory = Memory()
    root = memory.save(list(range(5_000)))
    leaves = memory.forms().leaves(LinkForm(root))
    assert next(leaves)[0] == 0
    assert memory.loads < 10
    assert [0, *[item for leaf in memory.forms().leaves(LinkForm(root)) for item in leaf]][
        1:
    ] == list(range(5_000))


# Forms of objects that no encoder wrote


def chain(levels: int, *, level: int) -> tuple[Memory, LinkForm]:
    memory = Memory()
    link = tag_head(6) + b"\x00"
    root = memory.put(array_head(1) + b"\x01")
    for _ in range(levels):
        counts = array_head(1) + b"\x01"
        head = tag_head(13) + array_head(4) + b"\x00" + bytes([level])
        root = memory.put(head + counts + array_head(1) + link, root)
    return memory, LinkForm(root)


@pytest.mark.parametrize("level", [2, 0, 23])
def test_an_endless_path_of_nodes_is_refused(level: int) -> None:
    memory, form = chain(3_000, level=level)
    with pytest.raises(CorruptObjectError):
        list(memory.forms().leaf_links(form))
    assert memory.loads < 10


def test_a_value_too_deep_is_refused_whatever_part_is_asked_for() -> None:
    memory = Memory()
    deep = array_head(1) * 100 + b"\x01"
    root = memory.put(b"\xa1\x61a" + deep)
    forms = memory.forms()
    assert forms.value(forms.field(LinkForm(root), "a")) is not None
    with pytest.raises(LimitError):
        forms.value(forms.open(memory.objects[root]))
    with pytest.raises(LimitError):
        forms.value(LinkForm(root))


def test_what_is_repeated_is_counted_for_each_value_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests.decoder, "MAX_VALUE_BYTES", 4_000_000)
    memory = Memory(registry())
    forms: Forms = memory.forms()
    large = memory.save([["x" * 100] * 50] * 50)
    for _ in range(3):
        assert len(forms.value(LinkForm(large))) == 50
