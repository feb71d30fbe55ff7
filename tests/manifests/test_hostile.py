"""Objects that no encoder wrote: an error of this project comes out, soon, and nothing else."""

from __future__ import annotations

import random
import re
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cbor2
import numpy as np
import pytest

import manifests.decoder
import manifests.encoder
import manifests.forms
from cas.digest import Digest
from cas.errors import CorruptObjectError, HiveError, LimitError
from cas.objects import Object
from cas.records import GenerationChangedError
from manifests.cbor import (
    ARRAY,
    LINK,
    SCALAR,
    TREE_DICT,
    array_head,
    bytes_head,
    encode_int,
    encode_text,
    tag_head,
)
from manifests.decoder import Decoder
from manifests.diff import changes, touched
from manifests.excerpt import first_difference
from manifests.forms import LinkForm
from manifests.outline import outline
from manifests.pieces import MAX_VALUE_BYTES
from manifests.places import Places
from manifests.search import _Searcher
from tests.golden import samples
from tests.manifests.classes import registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import same

OWN_TAGS = (*range(6, 17), 20)
BIG_INTEGERS = (2, 3)


def tag(number: int, content: bytes) -> bytes:
    """Return a tag of any size with its content."""
    return cbor2.dumps(cbor2.CBORTag(number, 0))[:-1] + content


def array(dtype: Any, shape: Any, data: bytes, *, fortran: bool = False) -> bytes:
    parts = [cbor2.dumps(part) for part in (dtype, shape, fortran, data)]
    return tag(ARRAY, array_head(4) + b"".join(parts))


def scalar(code: int, *content: Any) -> bytes:
    return tag(SCALAR, cbor2.dumps([code, *content]))


def node(kind: Any, level: Any, counts: Any, *rest: Any) -> bytes:
    return tag(13, cbor2.dumps([kind, level, counts, *rest]))


PAYLOADS: dict[str, bytes] = {
    "nothing": b"",
    "two values": b"\x01\x01",
    "a value and a break": b"\x01\xff",
    "a break": b"\xff",
    "half a head": b"\x19\x01",
    "half a text": b"\x65abc",
    "half an array": b"\x83\x01\x02",
    "bytes of 4 EB": b"\x5b\x40" + bytes(7),
    "text of 4 EB": b"\x7b\x40" + bytes(7),
    "array of 4 E": b"\x9b\x40" + bytes(7),
    "map of 4 E": b"\xbb\x40" + bytes(7),
    "array of 1 M nothing": b"\x9a\x00\x10\x00\x00",
    "reserved length": b"\x1c\x01",
    "indefinite array": b"\x9f\x01\xff",
    "indefinite map": b"\xbf\x61a\x01\xff",
    "indefinite text": b"\x7f\x61a\xff",
    "indefinite bytes": b"\x5f\x41a\xff",
    "key twice": b"\xa2\x61a\x01\x61a\x02",
    "key that is an integer": b"\xa1\x01\x01",
    "key that is null": b"\xa1\xf6\x01",
    "key that is an array": b"\xa1\x80\x01",
    "key that is a map": b"\xa1\xa0\x01",
    "key that is a tuple": b"\xa1\xc7\x80\x01",
    "key that is a float": b"\xa1\xf9\x3c\x00\x01",
    "undefined": b"\xf7",
    "undefined in an array": b"\x82\x01\xf7",
    "undefined in a map": b"\xa1\x61a\xf7",
    "undefined behind a long text": b"\x82" + encode_text("x" * 5_000) + b"\xf7",
    "undefined behind snow": b"\x82" + encode_text("\N{SNOWMAN}" * 50) + b"\xf7",
    "undefined behind floats": b"\x83" + b"\xfb\xe0\xf7\xf8" + bytes(5) + b"\xf6\xf7",
    "undefined in a set": b"\xc8\x81\xf7",
    "undefined in a frozenset in a map": b"\xa1\x61a\xc9\x82\x01\xf7",
    "undefined in a tuple in an array": b"\x82\x01\xc7\x82\x80\xf7",
    "undefined for a key of pairs": b"\xca\x82\xf7\x01",
    "undefined in a key of pairs": b"\xca\x82\xc7\x81\xf7\x01",
    "undefined beside a registered value": b"\x82\xcc\x83\x61q\x01\xa0\xf7",
    "undefined in a registered value": b"\xcc\x83\x61q\x01\xa1\x61a\xf7",
    "simple value for a key of pairs": b"\xca\x82\xe5\x01",
    "simple value in ten arrays": b"\x81" * 10 + b"\xe5",
    "simple value 0": b"\xe0",
    "simple value 19": b"\x81\xf3",
    "simple value 255": b"\x81\xf8\xff",
    "simple value 20, long": b"\xf8\x14",
    "text that is no UTF-8": b"\x62\xff\xfe",
    "text with a surrogate": b"\x63\xed\xa0\x80",
    "big integer of a text": b"\xc2\x61a",
    "link without links": b"\xc6\x00",
    "link below zero": b"\xc6\x20",
    "link of a text": b"\xc6\x61a",
    "link of truth": b"\xc6\xf5",
    "link of a link": b"\xc6\xc6\x00",
    "tuple of a text": b"\xc7\x63abc",
    "tuple of a map": b"\xc7\xa1\x61a\x01",
    "set of a text": b"\xc8\x63abc",
    "set of lists": b"\xc8\x81\x80",
    "set with a member twice": b"\xc8\x82\x01\x01",
    "set with equal members": b"\xc8\x82\x01\xf5",
    "frozenset of a number": b"\xc9\x05",
    "pairs of three": b"\xca\x83\x01\x02\x03",
    "pairs with a key twice": b"\xca\x84\x01\x02\x01\x02",
    "pairs with equal keys": b"\xca\x84\x01\x02\xf5\x02",
    "pairs with a list for a key": b"\xca\x82\x80\x01",
    "pairs of a text": b"\xca\x62ab",
    "bytearray of a number": b"\xcb\x1b\x00\x00\x00\x01\x00\x00\x00\x00",
    "bytearray of a small number": b"\xcb\x19\x10\x00",
    "bytearray of numbers": b"\xcb\x82\x01\x02",
    "registered text": b"\xcc\x63abc",
    "registered pair": b"\xcc\x82\x61a\x01",
    "registered without a name": b"\xcc\x83\x01\x01\xa0",
    "registered with a list for a name": b"\xcc\x83\x80\x01\xa0",
    "registered with a text for a version": b"\xcc\x83\x61a\x61b\xa0",
    "registered version 0": b"\xcc\x83\x61a\x00\xa0",
    "registered version below 0": b"\xcc\x83\x64Step\x3b" + bytes(7) + b"\xff\xa0",
    "registered version true": b"\xcc\x83\x61a\xf5\xa0",
    "registered with other fields": b"\xcc\x83\x64Step\x01\xa1\x61q\x01",
    "registered with a text for fields": b"\xcc\x83\x64Step\x01\x61a",
    "model with a bad detail": b"\xcc\x83\x68Document\x01\xa2\x60\x01\x65title\x61t",
    "model with detail of missing names": tag(
        12, cbor2.dumps(["Open", 1, {"": [[], ["x"], []], "number": 1}])
    ),
    "model with a set field of bytes": tag(
        12, cbor2.dumps(["Document", 1, {"": [[b"x"], [], []], "title": "t"}])
    ),
    "member without a name": b"\xcc\x83\x66Colour\x01\x80",
    "member of another name": b"\xcc\x83\x66Colour\x01\x61x",
    "flag of a text": b"\xcc\x83\x65Right\x01\x81\x61a",
    "node of a number": b"\xcd\x01",
    "node of nothing": b"\xcd\x80",
    "node of an unknown kind": node(7, 1, [], []),
    "node whose children are texts": node(0, 1, [3], ["abc"]),
    "node whose children are numbers": node(0, 1, [1], [1]),
    "node with another count": node(0, 1, [2], [[1]]),
    "node with counts that add up": node(0, 1, [0, 2], [[1], [1]]),
    "node without counts": node(0, 1, [], [[1]]),
    "bytes node of lists": node(1, 1, [1], [[1]]),
    "bytes node of texts": node(1, 1, [1], ["a"]),
    "list node in a large dict": tag(TREE_DICT, array_head(2) + node(0, 1, [1], [[1]]) + b"\xf6"),
    "large dict of a number": tag(TREE_DICT, b"\x01"),
    "large dict with order of other keys": tag(TREE_DICT, cbor2.dumps([["a", 1], ["b"]])),
    "large dict with a short order": tag(TREE_DICT, cbor2.dumps([["a", 1], []])),
    "large dict with an order twice": tag(TREE_DICT, cbor2.dumps([["a", 1, "b", 2], ["a", "a"]])),
    "scalar without a code": tag(SCALAR, b"\x80"),
    "scalar text": tag(SCALAR, b"\x61a"),
    "scalar of an unknown code": scalar(99),
    "scalar of a list": scalar([]),  # type: ignore[arg-type]
    "long text of a text": scalar(0, "abc"),
    "long text that is no UTF-8": scalar(0, b"\xff"),
    "complex of texts": scalar(1, "1j", "2j"),
    "complex of a list": scalar(1, []),
    "decimal of a float": scalar(2, 1.5),
    "decimal of words": scalar(2, "one"),
    "decimal with an endless exponent": scalar(2, "1E+" + "9" * 40),
    "UUID of 3 bytes": scalar(3, b"abc"),
    "UUID of a text": scalar(3, "0123456789abcdef"),
    "UUID of a number": scalar(3, 5),
    "month 13": scalar(4, 2024, 13, 1, 0, 0, 0, 0, 0, None),
    "datetime of texts": scalar(4, "a", "b", "c"),
    "fold 2": scalar(4, 2024, 1, 1, 0, 0, 0, 0, 2, None),
    "year 0": scalar(5, 0, 1, 1),
    "hour 24": scalar(6, 24, 0, 0, 0, 0, None),
    "timedelta without end": scalar(7, 2**63, 0, 0),
    "path of another kind": scalar(8, 9, "a"),
    "path of a number": scalar(8, 0, 5),
    "offset of a year": scalar(9, 10**14),
    "zone of another place": scalar(10, "../../etc/passwd"),
    "zone of a folder": scalar(10, "America"),
    "zone with a zero": scalar(10, "Europe/Berlin\0"),
    "zone of a number": scalar(10, 5),
    "zone of 100,000 letters": scalar(10, "x" * 100_000),
    "array without bytes": array("<f8", [1 << 40], b""),
    "array of 64 GB": array("<f8", [1 << 33], b"x"),
    "array of too few bytes": array("<f8", [2], bytes(8)),
    "array of objects": array("O", [1], bytes(8)),
    "array of structured objects": array([["a", "O"]], [1], bytes(8)),
    "array below zero": array("<f8", [-1], bytes(8)),
    "array twice below zero": array("<f8", [-1, -1], bytes(8)),
    "array of a fraction": array("<f8", [1.0], bytes(8)),
    "array of truth": array("<f8", [True], bytes(8)),
    "array of code": array("<f8,[0][0]", [1], bytes(8)),
    "array of a comma": array(",", [1], bytes(8)),
    "array of parentheses": array("(" * 5_000 + "1" + ")" * 5_000 + "f8", [1], bytes(8)),
    "array of a field of parentheses": array([["a", "(" * 5_000 + "f8"]], [1], bytes(8)),
    "array of an unknown dtype": array("<q99", [1], bytes(8)),
    "array of a number for a dtype": array(5, [1], bytes(8)),
    "array with a number for a shape": array("<f8", 1, bytes(8)),
    "array of a text": array("<f8", [1], "abcdefgh"),  # type: ignore[arg-type]
    "array of 70 dimensions": array("<f8", [1] * 70, bytes(8)),
    "array of no characters": array("<U1", [1], b"\x00\x00\x11\x00"),
    "text of no characters": array(">U1", None, b"\x00\x11\x00\x00"),
    "array of nothing": tag(ARRAY, b"\x80"),
    "manifest": b"\xd4\x80",
}
READERS: dict[str, Callable[[Memory, Digest], Any]] = {
    "decoder": Memory.read,
    "link": Memory.read_by_link,
    "forms": Memory.read_by_forms,
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("reader", READERS)
def test_it_is_refused(name: str, reader: str) -> None:
    memory = Memory(registry())
    inside = memory.put(array_head(1) + tag_head(LINK) + b"\x00", memory.put(PAYLOADS[name]))
    for root in (memory.put(PAYLOADS[name]), inside):
        with pytest.raises(HiveError) as caught:
            READERS[reader](memory, root)
        assert type(caught.value).__name__ in ("CorruptObjectError", "InvalidInputError")


@pytest.mark.parametrize("content", [b"\x00", b"\x80", b"\x61a", b"\x41a", b"\xa0", b"\x82\0\0"])
def test_all_other_tags_are_refused(content: bytes) -> None:
    memory = Memory()
    for number in (*range(1_200), 1_004, 43_000, 55_799, 55_800, 2**32 - 1, 2**64 - 1):
        if number not in (*OWN_TAGS, *BIG_INTEGERS):
            root = memory.put(tag(number, content))
            with pytest.raises(CorruptObjectError):
                memory.read(root)
            with pytest.raises(CorruptObjectError):
                memory.open(root)


def test_big_integers_are_no_other_tags() -> None:
    memory = Memory()
    assert memory.read(memory.put(b"\xc2\x42\x01\x00")) == 256
    assert memory.read(memory.put(b"\xc3\x42\x01\x00")) == -257


def test_a_link_does_not_reach_the_links_of_another_object() -> None:
    """Objects without links are decoded together, so one could see what its parent links to."""
    memory = Memory()
    secret = memory.put(encode_text("of another object"))
    thief, other = memory.put(tag_head(LINK) + b"\x00"), memory.put(b"\x02")
    links = b"".join(tag_head(LINK) + encode_int(number) for number in range(3))
    inner = memory.put(array_head(2) + links[:4], thief, other)
    for root in (
        memory.put(array_head(3) + links, secret, thief, other),
        memory.put(array_head(2) + links[:4], secret, inner),
    ):
        with pytest.raises(CorruptObjectError, match="a link that its object does not have"):
            memory.read(root)


def test_what_is_no_string_is_refused_behind_any_string() -> None:
    """The search for simple values must skip strings of every length, and nothing else."""
    memory = Memory()
    heads = (b"\xf7", b"\xe3", b"\xf8\x20")
    for size in (0, 1, 22, 23, 24, 255, 256, 1_023, 1_024, 1_025, 65_535, 65_536):
        for string in (encode_text("\xf7" * (size // 2)), bytes_head(size) + b"\xf7" * size):
            good = array_head(2) + string + b"\xf6"
            assert memory.read(memory.put(good))[1] is None
            for head in heads:
                for bad in (array_head(2) + string + head, array_head(2) + head + string):
                    with pytest.raises(CorruptObjectError):
                        memory.read(memory.put(bad))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, GenerationChangedError])
def test_what_the_loader_raises_is_no_damage(error: type[BaseException]) -> None:
    """A link that occurs twice is loaded again from inside the library, which wraps errors."""
    memory = Memory()
    inner = memory.put(array_head(1) + tag_head(LINK) + b"\x00", memory.put(b"\x01"))
    root = memory.put(array_head(2) + (tag_head(LINK) + b"\x00") * 2, inner)
    assert memory.read(root) == [[1], [1]]
    loads = iter(range(100))

    def load(links: Sequence[Digest]) -> list[Object]:
        if next(loads) == 2:
            raise error
        return memory.load(links)

    with pytest.raises(error):
        Decoder(memory.registry, load).value(memory.objects[root])


# Bombs


def doubling(memory: Memory, levels: int, text: str = "x") -> Digest:
    """Each object links twice to the one below."""
    root = memory.put(encode_text(text))
    for _ in range(levels):
        root = memory.put(array_head(2) + (tag_head(LINK) + b"\x00") * 2, root)
    return root


def doubling_by_two(memory: Memory, levels: int) -> Digest:
    """Two different objects link to the one below, and no object links twice to another."""
    root = memory.put(encode_text("x"))
    link = tag_head(LINK)
    for _ in range(levels):
        sides = [memory.put(array_head(2) + encode_int(n) + link + b"\x00", root) for n in (1, 2)]
        root = memory.put(array_head(2) + link + b"\x00" + link + b"\x01", *sides)
    return root


def repeated_chunks(memory: Memory, levels: int) -> Digest:
    """A byte string of 64 KB repeated 1,000 times, and that again, and again."""
    size = 65_536
    root = memory.put(bytes_head(size) + bytes(size))
    for level in range(1, levels + 1):
        counts = array_head(1_000) + encode_int(size * 1_000 ** (level - 1)) * 1_000
        links = array_head(1_000) + (tag_head(LINK) + b"\x00") * 1_000
        head = tag_head(13) + array_head(4) + encode_int(1) + encode_int(level)
        root = memory.put(head + counts + links, root)
    return root


@pytest.mark.parametrize("make", [doubling, doubling_by_two, repeated_chunks])
def test_a_few_objects_cannot_stand_for_a_value_without_end(
    make: Callable[[Memory, int], Digest], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    monkeypatch.setattr(manifests.decoder, "MAX_VALUE_BYTES", 32 * 1024 * 1024)
    root = make(memory, 60 if make is not repeated_chunks else 4)
    assert len(memory.objects) < 200
    for read in (memory.read, memory.read_by_link, memory.read_by_forms):
        started = time.thread_time()
        with pytest.raises(LimitError, match="repeats itself"):
            read(root)
        assert time.thread_time() - started < 20


def nested_nodes(memory: Memory, leaf: bytes, kind: int, levels: int) -> Digest:
    """A tree of ever so many items, in which every node has four times the same child."""
    root, link = memory.put(leaf), tag_head(LINK) + b"\x00"
    for level in range(1, levels + 1):
        head = tag_head(13) + array_head(4 + (kind == 2)) + encode_int(kind) + encode_int(level)
        counts = array_head(4) + encode_int(4 ** (level - 1)) * 4
        firsts = array_head(4) + (bytes_head(2) + b"\x61k") * 4 if kind == 2 else b""
        root = memory.put(head + counts + array_head(4) + link * 4 + firsts, root)
    if kind == 2:
        root = memory.put(tag_head(TREE_DICT) + array_head(2) + link + b"\xf6", root)
    return root


def test_a_walk_through_a_value_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What builds no value has a limit as well: a log or a comparison must not go on for ever."""
    monkeypatch.setattr(manifests.forms, "MOST_AGAIN", 1024 * 1024)
    memory, texts = Memory(), ("one", "other")
    lists = [doubling(memory, 60, text) for text in texts]
    trees = [nested_nodes(memory, array_head(1) + encode_text(text), 0, 30) for text in texts]
    dicts = [nested_nodes(memory, array_head(0), 2, 30)]
    strings = [nested_nodes(memory, bytes_head(1) + text.encode()[:1], 1, 30) for text in texts]
    forms = memory.forms()
    walks: list[Callable[[], Any]] = [
        lambda: touched(forms, LinkForm(lists[0]), LinkForm(lists[1])),
        lambda: list(changes(forms, LinkForm(trees[0]), LinkForm(trees[1]))),
        lambda: list(changes(forms, LinkForm(trees[0]), [1, 2])),
        lambda: list(
            _Searcher(forms, re.compile("one")).new_lines(("run", None), LinkForm(lists[0]))
        ),
        lambda: list(
            _Searcher(forms, re.compile("one")).new_lines(("run", None), LinkForm(trees[0]))
        ),
        lambda: forms.names(LinkForm(dicts[0])),
        lambda: Places(forms).value(LinkForm(dicts[0]), ["k"]),
        lambda: Places(forms).value(LinkForm(trees[0]), [slice(None)]),
        lambda: Places(forms).value(LinkForm(strings[0]), [slice(None)]),
        lambda: first_difference(forms, LinkForm(strings[0]), LinkForm(strings[0])),
    ]
    for walk in walks:
        with pytest.raises(LimitError):
            walk()
    forms.names(LinkForm(memory.save({str(n): n for n in range(1_000)})))
    for root in (*lists, *trees, *dicts, *strings):
        assert outline(forms, LinkForm(root), (), 0, 100).length
    start = 4**29 + 1
    assert Places(forms).value(LinkForm(trees[0]), [slice(start, start + 3)]) == ["one"] * 3


@pytest.mark.parametrize("key", [b"\x80", b"\xa0", b"\xc7\x81\x80", b"\xc8\x81\x01", b"\xcb\x41a"])
def test_a_key_that_can_be_none_is_damage_to_comparisons_too(key: bytes) -> None:
    memory = Memory()
    odd, even = memory.put(tag(10, b"\x82" + key + b"\x01")), memory.save({1: 2})
    for one, other in ((odd, even), (even, odd)):
        with pytest.raises(CorruptObjectError):
            touched(memory.forms(), LinkForm(one), LinkForm(other))


@pytest.mark.parametrize("counts", [[-1, 1], ["a", 1], [None, 1], [1.0, 1], [True, 1]])
def test_a_node_counts_with_whole_numbers(counts: list[Any]) -> None:
    memory = Memory()
    child = memory.put(b"\x81\x01")
    links = cbor2.dumps([cbor2.CBORTag(LINK, 0)] * 2)
    root = memory.put(tag(13, b"\x84\x00\x01" + cbor2.dumps(counts) + links), child)
    for read in (lambda f: list(f.runs(LinkForm(root))), lambda f: f.node(LinkForm(root))):
        with pytest.raises(CorruptObjectError):
            read(memory.forms())


def test_what_repeats_itself_within_reason_is_read() -> None:
    memory = Memory()
    row = {"text": "the same again " * 10}
    value = [[row] * 300] * 30
    assert memory.read(memory.save(value)) == value
    zeros = bytes(20_000_000)
    assert memory.read(memory.save(zeros)) == zeros
    assert len(memory.objects) < 30


def test_the_limit_of_a_value_is_the_same_when_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_VALUE_BYTES == 4 * 1024**3
    monkeypatch.setattr(manifests.encoder, "MAX_VALUE_BYTES", 1_000_000)
    memory = Memory()
    memory.save({"a": [b"x" * 10_000] * 90})
    with pytest.raises(LimitError, match="larger than 1000000 bytes"):
        memory.save({"a": [b"x" * 10_000] * 110})


# Mutations of good payloads


HEADS = [bytes([head]) for head in range(256)]
PIECES = [
    *PAYLOADS.values(),
    b"\xc6\x00",
    b"\xc6\x01",
    b"\x9b" + bytes(8),
    b"\x5b" + b"\xff" * 8,
    b"\xf6",
    b"\x80",
    b"\xa0",
    node(0, 1, [1], [[1]]),
]


def mutated(dice: random.Random, payload: bytes, others: list[bytes]) -> bytes:
    """Return a payload with a few changes, some of which keep it well-formed."""
    data = bytearray(payload)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((0, 1, 1, 2, 8)))
        what = dice.randrange(6)
        if what == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif what == 1:
            data[at:end] = dice.choice(HEADS)
        elif what == 2:
            data[at:end] = dice.choice(PIECES)
        elif what == 3:
            del data[at:end]
        elif what == 4:
            other = dice.choice(others)
            start = dice.randrange(len(other) + 1)
            data[at:end] = other[start : start + dice.randrange(40)]
        else:
            data[at:at] = data[at:end] * dice.randrange(1, 4)
    return bytes(data[:100_000])


def using(memory: Memory, root: Digest, other: Digest) -> Iterator[Callable[[], Any]]:
    """Everything that reads an object."""
    forms = memory.forms()
    yield lambda: memory.read(root)
    yield lambda: memory.read_by_link(root)
    yield lambda: memory.read_by_forms(root)
    yield lambda: forms.names(LinkForm(root))
    yield lambda: forms.field(LinkForm(root), "a")
    yield lambda: forms.field(LinkForm(root), 7)
    yield lambda: list(forms.leaves(LinkForm(root)))
    yield lambda: list(changes(forms, LinkForm(root), LinkForm(other)))
    yield lambda: list(changes(forms, LinkForm(other), LinkForm(root)))


def corpus() -> Memory:
    """Return objects of all kinds."""
    memory = Memory(registry())
    for value in samples.values().values():
        memory.save(value)
    memory.save({f"key {number}": number for number in range(400)})
    memory.save({(number * 7_919) % 1_009: [number] for number in range(400)})
    memory.save(list(range(900)))
    memory.save({str(number) for number in range(200)})
    memory.save("text " * 4_000)
    memory.save(np.arange(5_000))
    return memory


@pytest.mark.torture
def test_mutated_objects_give_errors_of_this_project(
    seed: int, rounds: Callable[[int, int], int]
) -> None:
    dice = random.Random(seed)
    memory = corpus()
    addresses = list(memory.objects)
    payloads = [memory.objects[address].payload[:5_000] for address in addresses]
    refused = survived = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(rounds(6_000, 400_000)):
        original = dice.choice(addresses)
        item = memory.objects[original]
        root = memory.put(mutated(dice, item.payload, payloads), *item.links)
        started = time.thread_time()
        for use in using(memory, root, original):
            try:
                use()
                survived += 1
            except HiveError:
                refused += 1
            except KeyError as error:
                if error.args not in (("a",), (7,)):
                    raise
        assert time.thread_time() - started < 5
        if root not in addresses:
            del memory.objects[root]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 256 * 1024, f"{grown} KiB more memory"
    assert refused > survived / 10
    assert survived > refused / 100


@pytest.mark.torture
def test_what_survives_a_mutation_has_types_that_can_be_saved(
    seed: int, rounds: Callable[[int, int], int]
) -> None:
    dice = random.Random(seed)
    memory = corpus()
    addresses = list(memory.objects)
    payloads = [memory.objects[address].payload[:5_000] for address in addresses]
    read = 0
    for _ in range(rounds(5_000, 200_000)):
        item = memory.objects[dice.choice(addresses)]
        root = memory.put(mutated(dice, item.payload, payloads), *item.links)
        try:
            value = memory.read(root)
        except HiveError:
            continue
        assert same(memory.read(memory.save(value)), value)
        read += 1
    assert read > 20
