"""One limit of nesting: what can be saved can be read, from anywhere, and nothing deeper."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import CorruptObjectError, HiveError, LimitError
from manifests import Repository
from manifests.cbor import LINK, array_head, tag_head
from manifests.encoder import MAX_DEPTH
from manifests.pieces import MAX_HEIGHT
from manifests.unregistered import UnregisteredValue
from tests.manifests.classes import Document, Message, Point, Span, Step, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same, portrait

EXAMPLES = settings().max_examples
NO_TAGS: Any = ""
FILLER = "x" * 70  # over the inline limit: it stands in an object of its own

# Each adds exactly one container around a value.
WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "dict": lambda value: {"a": value},
    "dict of numbers": lambda value: {1: value},
    "dataclass": lambda value: Step("s", parent=value, notes=FILLER),  # type: ignore[arg-type]
    "frozen": lambda value: Point(1, value),
    "slots": Span,
    "named tuple": lambda value: Message("m", value),
    "model": lambda value: Document.model_construct(title="t", body=value, tags=NO_TAGS),
    "unregistered": lambda value: UnregisteredValue("T", 1, {"a": value}),
    "long list": lambda value: [*range(40), value, *[FILLER] * 3],
    "very long list": lambda value: [*range(500), value],
    "large dict": lambda value: {**{f"k{n}": FILLER for n in range(40)}, "z": value},
    "large dict of numbers": lambda value: {**dict.fromkeys(range(40), 0), 99: value},
    "wide dict": lambda value: {"text": "y" * 5_000, "z": value},
    "long tuple": lambda value: (value, *[FILLER] * 40),
}
SHORT_WRAPS = sorted({*WRAPS} - {"very long list"})
# Only around what can be a member itself.
HASHABLE_WRAPS: dict[str, Callable[[Any], Any]] = {
    "frozenset": lambda value: frozenset({value}),
    "tuple": lambda value: (value, 1),
    "frozen": lambda value: Point(value, 1),
    "named tuple": lambda value: Message("m", value),
}


def nested(kinds: list[str], innermost: Any = 1) -> Any:
    """Return a value with one container for each of ``kinds``, the first one outermost."""
    value = innermost
    for kind in reversed(kinds):
        value = WRAPS[kind](value)
    return value


def deep_call(frames: int, work: Callable[[], Any]) -> Any:
    """Run ``work`` under so many frames of the caller's."""
    return work() if frames == 0 else deep_call(frames - 1, work)


def in_thread(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a thread."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def check_both_ways(memory: Memory, value: Any) -> None:
    root = memory.save(value)
    expected = portrait(value)
    for read in (memory.read, memory.read_by_link, memory.read_by_forms):
        assert portrait(read(root)) == expected


@pytest.fixture(autouse=True)
def room_for_comparison() -> Any:
    """Let the comparison recurse; what is tested must not depend on it (see the last tests)."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(3_000)
    yield
    sys.setrecursionlimit(limit)


@settings(max_examples=EXAMPLES // 10)
@given(
    st.lists(
        st.sampled_from(SHORT_WRAPS),
        min_size=MAX_DEPTH + 1,
        max_size=MAX_DEPTH + 1,
    )
)
def test_the_limit_is_the_same_both_ways(kinds: list[str]) -> None:
    memory = Memory(registry())
    check_both_ways(memory, nested(kinds[1:]))
    for state in (False, True):
        with pytest.raises(LimitError, match=f"deeper than {MAX_DEPTH}"):
            memory.save(nested(kinds), state=state)


@pytest.mark.parametrize("kind", SHORT_WRAPS)
def test_the_limit_is_the_same_for_every_container(kind: str) -> None:
    memory = Memory(registry())
    check_both_ways(memory, nested([kind] * MAX_DEPTH))
    with pytest.raises(LimitError) as caught:
        memory.save(nested([kind] * (MAX_DEPTH + 1)))
    assert caught.value.path is not None


@pytest.mark.parametrize("kind", HASHABLE_WRAPS)
@pytest.mark.parametrize("outside", [0, 40])
def test_the_limit_is_the_same_inside_keys(kind: str, outside: int) -> None:
    memory = Memory(registry())

    def make(depth: int) -> Any:
        key: Any = 1
        for _ in range(depth - outside - 1):
            key = HASHABLE_WRAPS[kind](key)
        value: Any = {key: "v"}
        for _ in range(outside):
            value = [value]
        return value

    check_both_ways(memory, make(MAX_DEPTH))
    with pytest.raises(LimitError):
        memory.save(make(MAX_DEPTH + 1))


def test_an_innermost_empty_container_counts() -> None:
    memory = Memory()
    empties: tuple[Any, ...] = ([], (), {}, set(), frozenset())
    for empty in empties:
        check_both_ways(memory, nested(["list"] * (MAX_DEPTH - 1), empty))
        with pytest.raises(LimitError):
            memory.save(nested(["list"] * MAX_DEPTH, empty))


def test_arrays_texts_and_scalars_are_no_containers() -> None:
    import numpy as np

    memory = Memory()
    for leaf in (np.zeros((2, 3)), "x" * 50_000, b"y" * 50_000, bytearray(5), 1j):
        check_both_ways(memory, nested(["list"] * MAX_DEPTH, leaf))


# Reading more deeply nested values than can be written


def nested_arrays(levels: int) -> bytes:
    return array_head(1) * levels + b"\x01"


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 150, 300, 307, 308, 309, 399, 400, 401, 10**5])
@pytest.mark.parametrize(
    "head", [b"\x81", b"\xa1\x61a", b"\xc7\x81", b"\xcc\x83\x61T\x01\xa1\x61a"]
)
def test_a_crafted_object_is_refused(levels: int, head: bytes) -> None:
    memory = Memory()
    root = memory.put(head * levels + b"\x01")
    for read in (memory.read, memory.read_by_link, memory.read_by_forms):
        with pytest.raises((LimitError, CorruptObjectError)):
            read(root)
        with pytest.raises((LimitError, CorruptObjectError)):
            deep_call(400, lambda read=read: read(root))  # type: ignore[misc]


@pytest.mark.parametrize("inside", [1, 5, 11, 12, 13, 50])
def test_depth_adds_up_over_links(inside: int) -> None:
    """Objects of ``inside`` lists each are chained until one list is too many."""

    def chain(depth: int) -> tuple[Memory, Any]:
        memory = Memory()
        first = depth % inside or inside
        root = memory.put(nested_arrays(first))
        for _ in range((depth - first) // inside):
            root = memory.put(array_head(1) * inside + tag_head(LINK) + b"\x00", root)
        return memory, root

    memory, root = chain(MAX_DEPTH)
    assert memory.read(root) == memory.read_by_forms(root) == nested(["list"] * MAX_DEPTH)
    memory, root = chain(MAX_DEPTH + 1)
    for read in (memory.read, memory.read_by_link, memory.read_by_forms):
        with pytest.raises(LimitError):
            read(root)


def chain_of_links(links: int) -> tuple[Memory, Any]:
    memory = Memory()
    root = memory.put(b"\x01")
    for _ in range(links):
        root = memory.put(tag_head(LINK) + b"\x00", root)
    return memory, root


def test_a_chain_of_links_has_a_limit() -> None:
    memory, root = chain_of_links(MAX_HEIGHT)
    assert memory.read(root) == memory.read_by_link(root) == memory.read_by_forms(root) == 1
    memory, root = chain_of_links(3 * MAX_HEIGHT)
    for read in (memory.read, memory.read_by_link):
        with pytest.raises(LimitError):
            read(root)


# The caller's stack


LARGEST = [
    ["very long list"] * MAX_DEPTH,
    ["dataclass"] * MAX_DEPTH,
    ["large dict"] * MAX_DEPTH,
    ["tuple"] * MAX_DEPTH,
    ["unregistered", "long list"] * (MAX_DEPTH // 2),
]


@pytest.mark.parametrize("kinds", LARGEST, ids=lambda kinds: kinds[0])
def test_the_callers_stack_does_not_matter(kinds: list[str]) -> None:
    """With Python's usual recursion limit, under 400 frames of the caller's, and in a thread."""
    memory = Memory(registry())
    value = nested(kinds)
    root = memory.save(value)
    for read in (memory.read, memory.read_by_link, memory.read_by_forms):
        for run in (in_thread, lambda work: deep_call(400, work)):
            sys.setrecursionlimit(1_000)
            try:
                restored = run(lambda read=read: read(root))  # type: ignore[misc]
            finally:
                sys.setrecursionlimit(3_000)
            assert restored == value
    sys.setrecursionlimit(1_000)
    assert deep_call(300, lambda: memory.save(value)) == root


SMALL_STACK = """
import sys, threading
from manifests.cbor import LINK, array_head, tag_head
from manifests.pieces import MAX_HEIGHT
from tests.manifests.memory import Memory
from cas.errors import LimitError

memory = Memory()
root = memory.put(b"\\x01")
for _ in range(MAX_HEIGHT):
    root = memory.put(tag_head(LINK) + b"\\x00", root)
results = []

def work():
    results.append(memory.read(root))
    try:
        memory.read(memory.put(array_head(1) * 300 + b"\\x01"))
    except LimitError:
        results.append("refused")

threading.stack_size(256 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(results)
"""


def test_a_thread_with_a_small_stack_is_enough() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_STACK], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[1, 'refused']\n"), done.stderr


def test_a_restored_value_is_not_walked_through_without_need() -> None:
    """A conversation of ordinary depth must not be encoded again to measure it."""
    from manifests.decoder import Decoder

    class Watched(Decoder):
        def check_depth(self, value: Any) -> None:
            raise AssertionError("measured")

    memory = Memory(registry())
    message = {
        "role": "user",
        "parts": [{"type": "text", "text": "t" * 20_000, "meta": {"a": [1]}}],
    }
    state = {"messages": [dict(message, n=n) for n in range(1_500)], "plan": Step("a", 1, [FILLER])}
    root = memory.save(state, state=True)
    assert_same(Watched(memory.registry, memory.load).value(memory.objects[root]), state)


@pytest.mark.parametrize("way", ["in_steps", "together"])
def test_only_errors_of_the_project_come_out_of_a_nearly_exhausted_stack(way: str) -> None:
    # One way alone: that one of them finds room where the other does not is no fault.
    memory, root = chain_of_links(50)
    read = memory.read_in_steps if way == "in_steps" else memory.read_together
    sys.setrecursionlimit(1_000)
    outcomes = set()
    for frames in range(600, 980, 7):
        try:
            outcomes.add(deep_call(frames, lambda: read(root)))
        except (HiveError, RecursionError) as error:
            outcomes.add(type(error).__name__)
    assert 1 in outcomes


def is_refused(work: Callable[[], object]) -> bool:
    """Whether something is nested too deeply."""
    try:
        work()
    except LimitError:
        return True
    return False


@pytest.mark.parametrize("within", [1, 2, 5])
@pytest.mark.parametrize("too_deep", [False, True])
def test_what_is_refused_beforehand_is_what_a_commit_refuses(
    home: Path, within: int, too_deep: bool
) -> None:
    """To the level: what a node gives stands inside containers of the executor."""
    fields: dict[str, Any] = {"given": nested(["list"] * (MAX_DEPTH - within + too_deep))}
    state = fields
    for _ in range(within - 1):
        state = {"held": state}
    with Repository.open(home) as repo:
        assert is_refused(lambda: repo.commit("run", state)) == too_deep
        assert is_refused(lambda: repo.refuse_unstorable(fields, within=within)) == too_deep
