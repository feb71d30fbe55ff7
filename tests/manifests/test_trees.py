"""Trees: content decides their shape, an edit rewrites one path, hostile content stays bounded."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.digest import Digest
from cas.errors import UnsupportedFormatError
from cas.objects import MAX_LINKS, Object
from manifests.encoder import MAX_KEY_BYTES
from manifests.parameters import TreeParameters
from manifests.pieces import PieceSink
from manifests.trees import TreeBuilder
from tests.manifests.memory import Memory, root_of

EXAMPLES = settings().max_examples
SIZE = 10_000
MOST_NEW = 12
PARAMETERS = TreeParameters()

# No object of a list, a set, a dict or a text is larger. The top node of a large dict holds up to
# 32 first keys, a leaf up to 4 keys over 8 KiB; everything else is smaller.
LARGEST_PAYLOAD = 32 * (MAX_KEY_BYTES + 16)


def a_list(dice: random.Random) -> list[Any]:
    return [dice.getrandbits(40) for _ in range(SIZE)]


def a_list_of_messages(dice: random.Random) -> list[Any]:
    return [{"n": dice.getrandbits(30), "text": "t" * dice.randrange(200)} for _ in range(SIZE)]


def a_list_of_one_value(_dice: random.Random) -> list[Any]:
    return [0] * SIZE


def sorted_texts(_dice: random.Random) -> dict[Any, Any]:
    return {f"key {2 * number:05}": number for number in range(SIZE)}


def unsorted_texts(dice: random.Random) -> dict[Any, Any]:
    return {f"key {number}": number for number in dice.sample(range(SIZE), SIZE)}


def sorted_numbers(_dice: random.Random) -> dict[Any, Any]:
    return {number * 2 + 70_000: str(number) for number in range(SIZE)}


def unsorted_numbers(dice: random.Random) -> dict[Any, Any]:
    return {number: [number] for number in dice.sample(range(SIZE), SIZE)}


def insert_key(items: dict[Any, Any], at: int, key: Any, value: Any) -> dict[Any, Any]:
    pairs = list(items.items())
    return dict([*pairs[:at], (key, value), *pairs[at:]])


def new_key(items: dict[Any, Any], number: int) -> Any:
    return number if isinstance(next(iter(items)), int) else f"key {number:05}"


def between(items: dict[Any, Any], at: int, number: int) -> Any:
    """Return a new key that, in a dict in the order of its keys, belongs at a place."""
    before = list(items)[at - 1] if at else None
    if isinstance(next(iter(items)), int):
        new = 69_999 if before is None else before + 1
        return number if new in items else new
    new = "key" if before is None else f"key {int(before[4:]) + 1:05}"
    return f"key {number:05}" if new in items else new


@pytest.mark.parametrize("make", [a_list, a_list_of_messages, a_list_of_one_value])
def test_an_edit_of_a_list_writes_few_objects(
    make: Callable[[random.Random], list[Any]], seed: int
) -> None:
    dice = random.Random(seed)
    memory = Memory()
    items = make(dice)
    memory.save(items)
    assert len(memory.objects) > (1 if make is a_list_of_one_value else 200)
    for _ in range(1 if make is a_list_of_messages else 3):
        at = dice.randrange(SIZE)
        new = {"new": dice.getrandbits(40), "text": "x" * 100}
        for edited in (
            [*items, new],
            [*items[:at], new, *items[at:]],
            [*items[:at], *items[at + 1 :]],
            [*items[:at], new, *items[at + 1 :]],
            [new, *items],
            items[1:],
            items[:-1],
        ):
            assert len(memory.new_objects(edited)) <= MOST_NEW
    assert memory.read(memory.save(items)) == items


@pytest.mark.parametrize("make", [sorted_texts, unsorted_texts, sorted_numbers, unsorted_numbers])
def test_an_edit_of_a_dict_writes_few_objects(
    make: Callable[[random.Random], dict[Any, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    memory = Memory()
    items = make(dice)
    memory.save(items)
    assert len(memory.objects) > 200
    ascending = make in (sorted_texts, sorted_numbers)
    at = dice.randrange(1, SIZE)
    key = list(items)[at]
    number = 90_000 + dice.randrange(SIZE)
    edits = {
        "append": {**items, new_key(items, number): "new"},
        "insert": insert_key(items, at, between(items, at, number), "new"),
        "insert first": insert_key(items, 0, between(items, 0, number), "new"),
        "delete": {k: value for k, value in items.items() if k != key},
        "change": {**items, key: {"changed": "x" * 100}},
    }
    if not ascending:
        rest = {k: value for k, value in items.items() if k != key}
        edits["move to the end"] = {**rest, key: items[key]}
    for name, edited in edits.items():
        new = memory.new_objects(edited)
        assert len(new) <= MOST_NEW, name
        if name in ("insert", "move to the end"):
            assert list(memory.read(memory.save(edited)).items()) == list(edited.items())


def test_keys_out_of_order_cost_the_order_once(seed: int) -> None:
    """A dict in the order of its keys keeps no order. The first key elsewhere makes one."""
    memory = Memory()
    items = sorted_texts(random.Random(seed))
    memory.save(items)
    items["key 00501"] = "new"
    first = memory.new_objects(items)
    assert MOST_NEW < len(first) < 600
    items["key 00701"] = "new"
    assert len(memory.new_objects(items)) <= MOST_NEW
    assert list(memory.read(memory.save(items))) == list(items)


def test_a_changed_value_moves_no_boundary_of_a_dict() -> None:
    """Two leaves, the inner nodes above them and the top, however many values have changed."""
    memory = Memory()
    items = sorted_texts(random.Random(0))
    memory.save(items)
    for number in range(50, 60):
        items[f"key {2 * number:05}"] = "changed"
    assert len(memory.new_objects(items)) <= 5


@pytest.mark.parametrize("kind", ["text", "bytes"])
@pytest.mark.parametrize("size", [40_000, 400_000, 3_000_000])
def test_an_edit_of_a_long_string_stores_little(kind: str, size: int, seed: int) -> None:
    dice = random.Random(seed)
    memory = Memory()
    words = [f"word{dice.getrandbits(20)}" for _ in range(3_000)]
    text = " ".join(dice.choice(words) for _ in range(size // 10))[:size]

    def stored(edited: str) -> Any:
        return edited if kind == "text" else edited.encode()

    memory.save(stored(text))
    chunk = PARAMETERS.chunks(size).maximum
    at = dice.randrange(size)
    for edited in (
        text + " and more",
        text[:at] + "inserted" + text[at:],
        text[:at] + text[at + 20 :],
        "begin " + text,
    ):
        new = memory.new_objects(stored(edited))
        assert sum(len(item.payload) for item in new) <= 3 * chunk
        assert len(new) <= 8
    if size == 40_000:
        typical = memory.new_objects(stored(text[:at] + "typical" + text[at:]))
        assert sum(len(item.payload) for item in typical) < 16_000


# The same content by any way


@st.composite
def edit_script(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    kinds = st.sampled_from(("append", "insert", "delete", "change", "chop", "double"))
    return draw(st.lists(st.tuples(kinds, st.integers(0, 10**6), st.integers(0, 99)), max_size=25))


def play(items: list[Any], script: Sequence[tuple[str, int, int]]) -> None:
    for kind, place, value in script:
        at = place % (len(items) + 1)
        if kind == "append":
            items.append(value)
        elif kind == "insert":
            items.insert(at, {"v": value, "pad": "p" * value})
        elif kind == "delete":
            del items[at : at + 1]
        elif kind == "change" and items:
            items[at % len(items)] = [value]
        elif kind == "chop":
            del items[at : at + value]
        elif kind == "double":
            items.extend(items[at : at + value])


@settings(max_examples=EXAMPLES // 2)
@given(st.integers(0, 400), edit_script())
def test_equal_lists_have_equal_trees(size: int, script: list[tuple[str, int, int]]) -> None:
    """Saved after every edit or only in the end, into one store or another: the same objects."""
    memory = Memory()
    items: list[Any] = list(range(size))
    for step in range(0, len(script) + 1, 5):
        play(items, script[step : step + 5])
        memory.save(items)
    fresh = Memory()
    root = fresh.save(list(items))
    assert memory.save(items) == root
    assert fresh.read(root) == items
    assert set(fresh.objects) <= set(memory.objects)


@settings(max_examples=EXAMPLES // 2)
@given(st.integers(0, 300), st.lists(st.integers(0, 400), max_size=40), st.randoms())
def test_equal_dicts_have_equal_trees(size: int, touched: list[int], dice: Any) -> None:
    items: dict[Any, Any] = {f"k{number}": number for number in range(size)}
    for number in touched:
        if f"k{number}" in items and number % 3:
            del items[f"k{number}"]
        else:
            items[f"k{number}"] = -number
    memory = Memory()
    root = memory.save(items)
    assert root_of(dict(items)) == root
    assert list(memory.read(root).items()) == list(items.items())
    # In another order only what says so differs; the tree of the entries is the same.
    pairs = list(items.items())
    dice.shuffle(pairs)
    if len(items) > PARAMETERS.short_items:
        tree = memory.open(root).content[0]
        assert memory.open(memory.save(dict(pairs))).content[0] == tree


# Hostile content


def boundary_of(token: bytes, level: int) -> bool:
    """Whether a token ends a run, as the format says: 32 bits, others for each level."""
    word = int.from_bytes(token[4 * level : 4 * level + 4], "big")
    return word < (1 << 32) // PARAMETERS.run_target


TOKEN_BYTES = (b"\x00", b"\xff", b"\x07", b"\x08")


def runs_of(tokens: Sequence[bytes], sizes: Sequence[int], level: int = 0) -> list[tuple[int, int]]:
    return list(TreeBuilder(PARAMETERS, PieceSink()).runs(tokens, sizes, level))


@given(
    st.lists(
        st.tuples(st.sampled_from((b"\x00", b"\xff", b"\x07", b"\x08")), st.integers(0, 9_000))
    )
)
def test_runs_follow_their_rules(items: list[tuple[bytes, int]]) -> None:
    tokens, sizes = [byte * 32 for byte, _ in items], [size for _, size in items]
    found = runs_of(tokens, sizes)
    assert [at for run in found for at in range(*run)] == list(range(len(items)))
    for start, stop in found[:-1]:
        assert PARAMETERS.run_least <= stop - start <= PARAMETERS.run_most
        assert (
            boundary_of(tokens[stop - 1], 0)
            or stop - start == PARAMETERS.run_most
            or sum(sizes[start:stop]) >= PARAMETERS.run_bytes
        )
    for start, stop in found:
        for end in range(start + PARAMETERS.run_least, stop):
            assert not boundary_of(tokens[end - 1], 0)
            assert sum(sizes[start:end]) < PARAMETERS.run_bytes


@pytest.mark.parametrize("level", [0, 1, 5, 7, 8, 30])
@pytest.mark.parametrize("byte", [b"\x00", b"\xff"], ids=["all boundaries", "no boundaries"])
@pytest.mark.parametrize("size", [0, 67, 8_192, 65_536])
def test_every_level_shrinks_whatever_the_tokens(byte: bytes, level: int, size: int) -> None:
    count = 50_000
    found = runs_of([byte * 32] * count, [size] * count, level)
    assert len(found) <= -(-count // PARAMETERS.run_least)
    assert max(stop - start for start, stop in found) <= PARAMETERS.run_most
    assert max((stop - start - PARAMETERS.run_least) * size for start, stop in found) < 8_192


def test_levels_look_at_other_bits() -> None:
    """Else an item that ends a run on one level would end one on all levels above."""
    dice = random.Random(5)
    tokens = [dice.randbytes(32) for _ in range(20_000)]
    sizes = [10] * len(tokens)
    ends = [{stop for _, stop in runs_of(tokens, sizes, level)} for level in range(8)]
    for level in range(1, 8):
        assert len(ends[0] & ends[level]) < len(ends[0]) / 5
    assert runs_of(tokens, sizes, 8) == runs_of(tokens, sizes, 7)


def found_items(wanted: Callable[[bytes], bool], count: int) -> list[int]:
    """Return numbers whose tokens are as wanted, found by search."""
    from manifests.cbor import encode_int

    items: list[int] = []
    number = 0
    while len(items) < count:
        if wanted(Digest.of(encode_int(number))):
            items.append(number)
        number += 1
    return items


@pytest.mark.parametrize("boundaries", [True, False], ids=["all boundaries", "no boundaries"])
def test_hostile_items_make_no_tree_without_end(boundaries: bool) -> None:
    items = found_items(lambda token: boundary_of(token, 0) is boundaries, 2_000)
    for value in (items, {str(number): 1 for number in items}, set(items), items * 5):
        memory = Memory()
        root = memory.save(value)
        assert memory.read(root) == value
        check_bounds(memory)
        assert len(memory.objects) < len(value)


def check_bounds(memory: Memory) -> None:
    for item in memory.objects.values():
        assert len(item.links) <= MAX_LINKS
        assert len(item.payload) <= LARGEST_PAYLOAD


def most_links(memory: Memory) -> int:
    return max(len(item.links) for item in memory.objects.values())


def unique_links(count: int, kind: str) -> Callable[[], Any]:
    """Return a maker of small items full of links to objects of their own."""
    numbers = iter(range(10**9))

    def make() -> Any:
        texts = [f"{next(numbers):080}" for _ in range(count)]
        return tuple(texts) if kind == "tuple" else texts

    return make


@pytest.mark.parametrize("kind", ["list", "tuple"])
@pytest.mark.parametrize("width", [1, 20, 21])
@pytest.mark.parametrize("outer", ["list", "dict", "set", "dict of lists"])
def test_no_object_has_too_many_links(kind: str, width: int, outer: str) -> None:
    """The worst are items just small enough to stay inside their leaf, made of links only."""
    make = unique_links(width, kind)
    items = [make() for _ in range(600)]
    value: Any = items
    if outer == "dict":
        value = {number: item for number, item in enumerate(items)}
    elif outer == "set":
        value = {tuple(item) for item in items}
    elif outer == "dict of lists":
        value = {f"k{number}": [items[number]] * 3 for number in range(600)}
    memory = Memory()
    root = memory.save({"value": value, "again": [value]}, state=True)
    assert memory.read(root)["value"] == value
    assert most_links(memory) <= MAX_LINKS
    check_bounds(memory)


@settings(max_examples=EXAMPLES // 2)
@given(st.data())
def test_no_object_is_too_large(data: st.DataObject) -> None:
    key_sizes = st.sampled_from((1, 50, 2_000, 9_000, MAX_KEY_BYTES - 9))
    value_sizes = st.sampled_from((0, 30, 60, 64, 70, 4_000, 9_000))
    entries = data.draw(
        st.lists(st.tuples(key_sizes, value_sizes), min_size=1, max_size=20), label="entries"
    )
    copies = data.draw(st.sampled_from((1, 3, 12)), label="copies")
    kind = data.draw(st.sampled_from(("dict", "list", "set")), label="kind")
    value: Any = {
        f"{number:06}" + "k" * key_size: "v" * value_size
        for number, (key_size, value_size) in enumerate(entries * copies)
    }
    if kind == "list":
        value = [list(pair) for pair in value.items()]
    elif kind == "set":
        value = set(value)
    memory = Memory()
    root = memory.save(value)
    assert memory.read(root) == value
    check_bounds(memory)


def test_the_largest_keys_stay_within_bounds() -> None:
    value = {f"{number:06}" + "k" * (MAX_KEY_BYTES - 9): number for number in range(60)}
    memory = Memory()
    assert memory.read(memory.save(value)) == value
    check_bounds(memory)
    assert max(len(item.payload) for item in memory.objects.values()) > LARGEST_PAYLOAD / 4


def test_a_long_string_of_one_byte_is_a_few_objects() -> None:
    memory = Memory()
    value = b"\x00" * 5_000_000
    assert memory.read(memory.save(value)) == value
    assert len(memory.objects) < 10
    check_bounds(memory)


def test_payloads_of_chunks_are_bounded(seed: int) -> None:
    memory = Memory()
    memory.save(random.Random(seed).randbytes(3_000_000))
    leaves: list[Object] = [item for item in memory.objects.values() if not item.links]
    assert max(len(leaf.payload) for leaf in leaves) <= PARAMETERS.long_chunk_most + 5
    assert len(leaves) > 3_000_000 / PARAMETERS.long_chunk_most


# Shapes on both sides of a limit


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 34, 127, 128, 129, 1_056, 1_057, 5_000])
def test_containers_of_any_size_come_back(count: int) -> None:
    memory = Memory()
    for value in (
        list(range(count)),
        tuple(str(number) * 20 for number in range(count)),
        {number * 3 for number in range(count)},
        {f"k{number}": number for number in reversed(range(count))},
        {number: None for number in range(count)},
    ):
        root = memory.save(value)
        assert memory.read(root) == memory.read_by_forms(root) == value
        assert root_of(value) == root


@pytest.mark.parametrize("limit", [8_192, 1_048_576])
@pytest.mark.parametrize("off", [-6, -5, -4, -3, -2, -1, 0, 1, 2])
def test_strings_of_any_size_come_back(limit: int, off: int) -> None:
    memory = Memory()
    for value in ("x" * (limit + off), b"x" * (limit + off), bytearray(b"x" * (limit + off))):
        root = memory.save(value)
        restored = memory.read(root)
        assert type(restored) is type(value)
        assert restored == value


CHARACTERS = "e\N{SNOWMAN}\N{GRINNING FACE}\N{COMBINING ACUTE ACCENT}"


def test_a_character_cut_by_a_chunk_comes_back(seed: int) -> None:
    dice = random.Random(seed)
    text = "".join(
        dice.choices("\N{SNOWMAN}\N{GRINNING FACE}e\N{COMBINING ACUTE ACCENT}", k=30_000)
    )
    memory = Memory()
    assert memory.read(memory.save(text)) == text


def test_header_and_parameters_are_the_same() -> None:
    changed = TreeParameters(inline_item=100, run_target=8)
    assert TreeParameters.from_header(changed.to_header()) == changed
    assert root_of(list(range(500))) != Memory().save(list(range(500)), parameters=changed)


def test_a_header_from_before_dicts_had_sizes_of_their_own_has_those_of_lists() -> None:
    header = TreeParameters(inline_item=50, run_target=16).to_header()
    del header["inline_entry"], header["entry_target"]
    old = TreeParameters.from_header(header)
    assert (old.inline_entry, old.entry_target) == (50, 16)
    assert old.to_header() == {**header, "inline_entry": 50, "entry_target": 16}
    for changed in ({**header, "later": 1}, {k: v for k, v in header.items() if k != "run_target"}):
        with pytest.raises(UnsupportedFormatError):
            TreeParameters.from_header(changed)
