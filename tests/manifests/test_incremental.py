"""Encoding on top of the last encoding: the objects are byte for byte those of encoding alone.

Here the changes are to large dicts and to lists whose items move; what is hidden inside an item is
for the tests of change detection.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.digest import Digest
from cas.objects import Object
from manifests import incremental, trees
from manifests.alignment import Edit
from manifests.earlier import Earlier
from manifests.encoder import Encoder
from manifests.entries import Entries
from manifests.incremental import Memory
from manifests.likeness import Likeness
from manifests.parameters import TreeParameters
from manifests.pieces import PieceSink
from manifests.registry import Registry
from manifests.watch import Watch

REGISTRY = Registry()
SMALL = TreeParameters(run_target=8, entry_target=4, short_items=8, run_most=24)
"""Several levels already over some hundred items."""

Step = tuple[str, int, int]


class Chain:
    """One state after the other, each encoded with the memory of the one before and without."""

    def __init__(self, parameters: TreeParameters = SMALL) -> None:
        self._parameters = parameters
        self.memory = Memory(likeness=Likeness(REGISTRY))
        self._stored: dict[Digest, Object] = {}

    def commit(self, state: Any, **options: Any) -> int:
        """Encode a state both ways, and return how many objects were sealed."""
        self.memory = Memory(self.memory.root, likeness=Likeness(REGISTRY), **options)
        found, objects = self._encoded(state, self.memory)
        expected, whole = self._encoded(state, None)
        assert found == expected
        # What the one before does not hold may have been collected.
        assert whole.items() <= {**self._stored, **objects}.items()
        self._stored = whole
        return len(objects)

    def _encoded(self, state: Any, memory: Memory | None) -> tuple[Any, dict[Digest, Object]]:
        sink = PieceSink()
        encoder = Encoder(REGISTRY, self._parameters, sink, memory=memory)
        return sink.seal(encoder.state(state)).parts, sink.objects


def key_of(number: int) -> Any:
    """Return a key: mostly a text, sometimes a long one, a number, or one that equals another."""
    kinds: list[Callable[[], Any]] = [
        lambda: f"key {number % 997}",
        lambda: f"key {number % 997}",
        lambda: "long " * 20 + str(number % 50),
        lambda: number % 300,
        lambda: [0, 1, 0.0, 1.0, False, True][number % 6],
    ]
    return kinds[number % len(kinds)]()


def value_of(number: int) -> Any:
    """Return a value, of any size."""
    leaves = [number, 1, 1.0, True, 0.0, -0.0, None, f"text {number}", "x" * (number % 200)]
    match number % 13:
        case 9:
            return {"role": "user", "text": f"{number} " * (number % 40), "calls": [{"n": number}]}
        case 10:
            return [{"n": number + at} for at in range(number % 7)]
        case 11:
            return {f"field {at}": at for at in range(number % 40)}
        case 12:
            return bytearray(b"opaque")
        case kind:
            return leaves[kind]


def change_dict(target: dict[Any, Any], name: str, at: int, number: int) -> None:
    """Change a dict in place."""
    keys = list(target)
    key = keys[at % len(keys)] if keys else None
    match name:
        case "add" | "append":
            target[key_of(number)] = value_of(number)
        case "many":
            target.update({f"key {at + more}": number + more for more in range(number % 300)})
        case _ if not keys:
            pass
        case "replace":
            target[key] = value_of(number)
        case "delete" | "first":
            del target[key]
        case "move":
            target[key] = target.pop(key)
        case "twin" if type(key) in (int, float, bool) and key in (0, 1):
            value = target.pop(key)
            target[[int, float, bool][number % 3](key)] = value
        case "rotate":
            items = list(target.items())
            target.clear()
            target.update(items[at % len(items) :] + items[: at % len(items)])
        case "half":
            for other in keys[::2]:
                del target[other]
        case "inside":
            change(target[key], at, number)
        case _:
            pass


def change_list(target: list[Any], name: str, at: int, number: int) -> None:
    """Change a list in place."""
    size = len(target)
    place = at % size if size else 0
    match name:
        case "append":
            target.append(value_of(number))
        case "add":
            target.insert(place, value_of(number))
        case "many":
            target.extend(value_of(number + more) for more in range(number % 100))
        case "rotate":
            target[:] = target[place:] + target[:place]
        case "half":
            del target[::2]
        case _ if not size:
            pass
        case "replace":
            target[place] = value_of(number)
        case "delete":
            del target[place]
        case "first":  # a window that slides
            del target[: 1 + number % 3]
            target.append(value_of(number))
        case "move":
            target.append(target.pop(place))
        case "twin":
            target.append(target[place])
        case "reverse":
            target.reverse()
        case "inside":
            change(target[place], at, number)
        case _:
            pass


def change(target: Any, at: int, number: int) -> None:
    """Change what stands inside an item."""
    if isinstance(target, dict):
        target["text"] = number
    elif isinstance(target, list):
        target.append(number)
    elif isinstance(target, bytearray):
        target.append(at % 256)


NAMES = ["add", "append", "many", "replace", "delete", "first", "move"]
NAMES += ["twin", "rotate", "half", "inside", "reverse"]
STEPS = st.tuples(st.sampled_from(NAMES), st.integers(0, 10_000), st.integers(0, 10_000))


@st.composite
def states(draw: st.DrawFn) -> dict[Any, Any]:
    """Return a state with a large dict and a long list, or one that is a large dict itself."""
    numbers = st.integers(0, 10_000)
    first, size = draw(numbers), draw(st.sampled_from([3, 20, 60, 400]))
    facts = {key_of(first + 7 * at): value_of(first + at) for at in range(size)}
    if draw(st.booleans()):
        facts = {f"key {at}": value for at, value in enumerate(facts.values())}
    if draw(st.integers(0, 4)) == 0:
        return facts
    return {"facts": facts, "items": [value_of(first + at) for at in range(size)], "n": 0}


def advance(state: dict[Any, Any], steps: list[Step]) -> None:
    """Change the parts of a state, or the state itself if it is a large dict."""
    parts = [state.get("facts"), state.get("items")] if "facts" in state else [state]
    for number, step in enumerate(steps):
        part: Any = parts[number % len(parts)]
        if isinstance(part, list):
            change_list(part, *step)
        else:
            change_dict(part, *step)


@given(states(), st.lists(st.tuples(st.lists(STEPS, max_size=6), st.integers(0, 5)), max_size=6))
def test_the_objects_are_those_of_an_encoding_that_remembers_nothing(
    state: dict[Any, Any], commits: list[tuple[list[Step], int]]
) -> None:
    chain = Chain()
    chain.commit(state)
    for steps, copied in commits:
        advance(state, steps)
        if copied == 0:
            state = copy.deepcopy(state)
        elif copied == 1:
            state = {
                key: copy.copy(value) if isinstance(value, list | dict) else value
                for key, value in state.items()
            }
        chain.commit(state)


def broken_alignment(old: list[Any], new: list[Any]) -> list[Edit]:
    """Say that only the end of a sequence has changed."""
    most = min(len(old), len(new))
    return [Edit(most, len(old), most, len(new))] if len(old) != len(new) else []


RENEW = Entries.renew


def broken_renewal(entries: Entries, removed: Any, put: Any) -> list[Edit]:
    """Put values into their places and say of the last one only."""
    return RENEW(entries, removed, put)[-1:]


CONTROLS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "differences": lambda patch: patch.setattr(incremental, "differences", broken_alignment),
    "what is inside": lambda patch: patch.setattr(Watch, "stale", lambda _watch: set()),
    "replaced values": lambda patch: patch.setattr(incremental, "entry_edits", lambda _a, _b, c: c),
    "keys that are equal": lambda patch: patch.setattr(
        incremental, "same_keys", lambda keys, before: list(keys) == list(before)
    ),
    "the end of a run": lambda patch: patch.setattr(
        trees, "_reached", lambda stops, _edit: (len(stops), stops[-1] if stops else 0)
    ),
    "sorted entries": lambda patch: patch.setattr(Entries, "renew", broken_renewal),
    "other objects": lambda patch: patch.setattr(
        Earlier, "_some", lambda self, places, _: [self._node.segments[place] for place in places]
    ),
}


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS.keys())
def test_a_mistake_would_be_noticed(
    control: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with any part of it broken, the test above would fail."""

    def commits() -> None:
        chain = Chain()
        facts: dict[Any, Any] = {
            **{f"key {at}": at for at in range(300)},
            1: "one",
            "calls": [1, 2],
        }
        items = [{"n": at, "text": str(at)} for at in range(300)]
        state = {"facts": facts, "items": items}
        chain.commit(state)
        for steps in (
            [("append", 0, 0), ("append", 0, 0)],
            [("replace", 7, 1), ("inside", 7, 7)],
            [("twin", 300, 2), ("first", 0, 0)],
            [("add", 0, 0), ("replace", 9, 9)],
        ):
            advance(state, steps)
            chain.commit(state)
        facts[True] = facts.pop(1, "one")
        chain.commit(state)

    commits()
    control(monkeypatch)
    with pytest.raises((AssertionError, IndexError, KeyError, ValueError)):
        commits()


def test_links_are_to_objects_of_the_checkpoint_before() -> None:
    """What a commit two steps back stored may have been collected since."""
    facts = {f"key {at}": f"{at} " * 50 for at in range(20)}
    large = facts | {"large": "text " * 500}
    changed = facts | {"other": "text " * 500}
    for states in (
        [large, facts, changed],  # as objects of their own, in the dict, and as objects again
        [{"facts": facts}, ["no dict"], {"facts": facts}],
        [{"facts": facts}, None, {"facts": facts}],
    ):
        memory = Memory(likeness=Likeness(REGISTRY))
        stored: dict[Digest, Object] = {}
        for state in states:
            memory = Memory(memory.root, likeness=Likeness(REGISTRY))
            value = {"facts": state} if type(state) is dict and "facts" not in state else state
            sink = PieceSink()
            encoder = Encoder(REGISTRY, TreeParameters(), sink, memory=memory)
            piece = sink.seal(encoder.state(value))
            stored |= sink.objects
            kept: dict[Digest, Object] = {}
            waiting = [part for part in piece.parts if isinstance(part, Digest)]
            while waiting:
                digest = waiting.pop()
                kept[digest] = stored[digest]
                waiting += kept[digest].links
            stored = kept


def window(messages: list[Any]) -> None:
    messages.pop(0)
    messages.append({"text": "one more " * 20})


def keep_last(messages: list[Any]) -> None:
    messages += [{"text": f"{at} more " * 20} for at in range(5)]
    del messages[:5]


SLIDES: dict[str, Callable[[list[Any]], None]] = {
    "a window": window,
    "the last ones kept": keep_last,
    "inserted": lambda messages: messages.insert(500, {"text": "inserted " * 20}),
    "deleted": lambda messages: messages.__delitem__(slice(500, 510)),
    "rotated": lambda messages: messages.append(messages.pop(0)),
    "reversed": lambda messages: messages.reverse(),
}


@pytest.mark.parametrize("slide", SLIDES.values(), ids=SLIDES.keys())
def test_items_that_moved_are_not_encoded_again(slide: Callable[[list[Any]], None]) -> None:
    """A history that is trimmed costs what came, not what stayed."""
    chain = Chain(TreeParameters())
    messages = [{"text": f"message {at} " * 20, "at": at} for at in range(1_000)]
    chain.commit({"messages": messages})
    slide(messages)
    runs = 40 if slide is SLIDES["reversed"] else 0  # every run is another one
    assert chain.commit({"messages": messages}) <= 12 + runs
    messages[500]["text"] = "changed after it moved " * 10
    assert chain.commit({"messages": messages}) <= 6


WIDE: dict[str, Callable[[dict[str, Any]], None]] = {
    "replaced": lambda facts: facts.update({f"key {at}": "new" for at in range(0, 10_000, 2_000)}),
    "added": lambda facts: facts.update({f"new {at}": at for at in range(5)}),
    "deleted": lambda facts: [facts.pop(f"key {at}") for at in range(0, 10_000, 2_000)].clear(),
    "moved": lambda facts: facts.update({"key 5000": facts.pop("key 5000")}),
}


@pytest.mark.parametrize("edit", WIDE.values(), ids=WIDE.keys())
@pytest.mark.parametrize("is_root", [False, True])
def test_changes_of_a_wide_dict_seal_little(
    edit: Callable[[dict[str, Any]], None], is_root: bool
) -> None:
    chain = Chain(TreeParameters())
    # Not in the order of the keys, or the first one added would have all of them listed.
    facts = {"the last of all": 0, **{f"key {at}": at for at in range(10_000)}}
    state = facts if is_root else {"facts": facts}
    chain.commit(state)
    edit(facts)
    assert chain.commit(state) <= 40


def test_what_changed_leaves_out_is_looked_at_by_the_next_commit() -> None:
    """A broken promise is kept to for one commit, and no longer."""
    chain = Chain()
    state = {"a": "1", "b": "1", **{f"key {at}": at for at in range(100)}}
    chain.commit(state)
    state |= {"a": "2", "b": "2"}
    with pytest.raises(AssertionError):
        chain.commit(state, changed=["a"])
    chain.commit(state)


@pytest.mark.parametrize("copied", [False, True])
def test_a_sliding_window_is_watched_in_constant_room(copied: bool) -> None:
    """What left the window is not watched any more, nor kept alive."""
    chain = Chain()
    messages = [{"text": str(at), "parts": [at]} for at in range(50)]
    chain.commit({"messages": messages})
    for at in range(200):
        window(messages)
        if copied and at == 100:  # then they are compared, and watched as one
            messages = copy.deepcopy(messages)
        chain.commit({"messages": messages})
    assert chain.memory.root is not None
    (node,) = chain.memory.root.segments[0].nodes
    assert len(node.watch._blocks) == 1
    assert len(node.watch._blocks[0].segments) == 50
