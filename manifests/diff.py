"""Structural difference of two stored values. Subtrees with the same address are never read."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from cas.errors import CorruptObjectError
from manifests.cbor import NODE, PAIRS, REGISTERED, TREE_DICT, TUPLE
from manifests.forms import Form, Forms, LinkForm, Tagged, as_corruption, pairs
from manifests.paths import Field, Step, path_text
from manifests.trees import LIST_NODE

__all__ = [
    "Change",
    "Difference",
    "Kind",
    "Touched",
    "align_slowly",
    "changes",
    "differences",
    "touched",
]

# Aligning two lists compares every item with every other; beyond this many pairs, what lies
# between the equal beginning and the equal end is compared by position.
_MOST_PAIRS: Final = 4_000_000
# Every item that two lists have in common can split them, and each part is gone through again: all
# the places of equal items, so often. Lists of a few numbers, in any order, would take minutes.
_MOST_STEPS: Final = 20_000_000
_LEAVES: Final = 16
"""Leaves of a list read at once."""

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``before`` is None for what was added, ``after`` for what was removed.

    ``path`` is the place below the state, such as ``['messages'][3]['content']``; empty for the
    state as a whole. Positions in lists are those of the second value, of removed items those of
    the first.
    """

    kind: Kind
    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """A ``Change`` before its values are built. The form of what is not there is None."""

    kind: Kind
    steps: tuple[Step, ...]
    before: Form
    after: Form


@dataclass(frozen=True, slots=True)
class Touched:
    """What changed in one part of a state, counted.

    ``kind`` says what became of the part itself (a key of a state that is a dict, an item of one
    that is a list, else the whole state); of one that is ``changed``, the other fields count the
    places below it, and are 0 if the part was replaced as a whole.
    """

    kind: Kind
    path: str
    added: int = 0
    removed: int = 0
    changed: int = 0


def differences(forms: Forms, before: Form, after: Form) -> Iterator[Difference]:
    """Yield where two values of one store differ, reading no more than that takes.

    Raises:
        CorruptObjectError: One of them is no stored value.
        LimitError: They differ without end: a few objects stand for all of it.
    """
    with as_corruption(), forms.bounded():
        yield from _Differ(forms).compare(before, after, [])


def changes(forms: Forms, before: Form, after: Form) -> Iterator[Change]:
    """Yield the differences between two values of one store, with what stood and stands there."""
    for found in differences(forms, before, after):
        old = None if found.kind == "added" else forms.value(found.before)
        new = None if found.kind == "removed" else forms.value(found.after)
        yield Change(found.kind, path_text(found.steps, ""), old, new)


def touched(forms: Forms, before: Form, after: Form) -> list[Touched]:
    """Return which parts of a value differ and in how many places; builds none of them."""
    parts: dict[Hashable, Touched] = {}
    for found in differences(forms, before, after):
        first = found.steps[:1]
        path = path_text(first, "")
        is_whole = len(found.steps) <= 1
        # Not by their paths: long keys are cut in them. And in a list, what is removed and what is
        # changed may have the same position, each counted in its own value.
        part = first, found.kind if is_whole else None
        known = parts.setdefault(part, Touched(found.kind if is_whole else "changed", path))
        if not is_whole:
            count = getattr(known, found.kind) + 1
            parts[part] = replace(known, **{found.kind: count})
    return list(parts.values())


@dataclass(slots=True)
class _Level:
    """Part of one level of a tree: links to neighbouring nodes, what they count, and their height.

    ``start`` counts the items before the first of them; height 0 are the leaves.
    """

    height: int
    links: list[LinkForm]
    counts: list[int]
    start: int = 0


class _Trees:
    """Goes down two trees at once, dropping what is common before it is read."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms

    def top(self, node: Form) -> _Level:
        parts = self._forms.node(node)
        return _Level(parts.level - 1, parts.children, parts.counts)

    def descend(
        self, old: _Level, new: _Level, drop: Callable[[_Level, _Level], None]
    ) -> tuple[_Level, _Level]:
        """Return the leaves of both that ``drop`` leaves over, level by level."""
        while True:
            if old.height == new.height:
                drop(old, new)
            if old.height == new.height == 0:
                return old, new
            height = max(old.height, new.height)
            old, new = (
                self._below(level) if level.height == height else level for level in (old, new)
            )

    def _below(self, level: _Level) -> _Level:
        below = _Level(level.height - 1, [], [], level.start)
        for form in self._forms.follow_all(level.links):
            parts = self._forms.node(form)
            if parts.level != level.height:
                raise CorruptObjectError("a tree has a node of another level")
            below.links += parts.children
            below.counts += parts.counts
        return below


def _without_common_ends(old: _Level, new: _Level) -> None:
    """Drop the nodes that both lists begin with, and those that both end with."""
    least = min(len(old.links), len(new.links))
    same = 0
    while same < least and old.links[same] == new.links[same]:
        same += 1
    end = 0
    while end < least - same and old.links[-1 - end] == new.links[-1 - end]:
        end += 1
    for level in (old, new):
        level.start += sum(level.counts[:same])
        stop = len(level.links) - end
        level.links, level.counts = level.links[same:stop], level.counts[same:stop]


def _without_common(old: _Level, new: _Level) -> None:
    """Drop the nodes that both dicts have: their entries are the same in both."""
    common = set(old.links) & set(new.links)
    for level in (old, new):
        level.links = [link for link in level.links if link not in common]


class _Differ:
    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self._trees = _Trees(forms)

    def compare(self, before: Form, after: Form, steps: list[Step]) -> Iterator[Difference]:
        if _token(before) == _token(after):
            return
        before, after = self._forms.follow(before), self._forms.follow(after)
        if _token(before) == _token(after):
            return
        if _is_dict(before) and _is_dict(after):
            yield from self._dicts(before, after, steps, fields=False)
        elif _is_list(before) and _is_list(after):
            yield from self._lists(before, after, steps)
        elif _tag(before) == _tag(after) == TUPLE:
            yield from self.compare(before.content, after.content, steps)
        elif _tag(before) == _tag(after) == REGISTERED and (
            before.content[:2] == after.content[:2]
        ):
            one, other = self._forms.fields(before), self._forms.fields(after)
            if _is_dict(one) and _is_dict(other):
                yield from self._dicts(one, other, steps, fields=True)
            else:
                yield Difference("changed", tuple(steps), before, after)
        else:
            yield Difference("changed", tuple(steps), before, after)

    # Dicts

    def _dicts(
        self, before: Form, after: Form, steps: list[Step], *, fields: bool
    ) -> Iterator[Difference]:
        old, new = self._entries(before, after)
        for token, (key, form) in new.items():
            place = [*steps, self._step(key, fields)]
            if token in old:
                yield from self.compare(old[token][1], form, place)
            else:
                yield Difference("added", tuple(place), None, form)
        for token, (key, form) in old.items():
            if token not in new:
                yield Difference("removed", (*steps, self._step(key, fields)), form, None)

    def _step(self, key: Form, fields: bool) -> Step:
        if fields:
            return Field(key)
        step = self._forms.value(key)
        hash(step)  # no encoder writes a key without one; whoever counts places relies on it
        return step

    def _entries(
        self, before: Form, after: Form
    ) -> tuple[dict[Hashable, tuple[Form, Form]], dict[Hashable, tuple[Form, Form]]]:
        """Return the entries of both dicts by key; of two trees, only of leaves that differ."""
        if _tag(before) == _tag(after) == TREE_DICT:
            old, new = (self._trees.top(self._forms.tree(form)[0]) for form in (before, after))
            old, new = self._trees.descend(old, new, _without_common)
            return self._leaf_entries(old.links), self._leaf_entries(new.links)
        return self._all_entries(before), self._all_entries(after)

    def _leaf_entries(self, links: Sequence[LinkForm]) -> dict[Hashable, tuple[Form, Form]]:
        return {
            _token(key): (key, form)
            for leaf in self._forms.follow_all(links)
            for key, form in pairs(leaf)
        }

    def _all_entries(self, form: Form) -> dict[Hashable, tuple[Form, Form]]:
        if type(form) is dict:
            return {_token(key): (key, item) for key, item in form.items()}
        if form.tag == TREE_DICT:
            return self._leaf_entries(list(self._forms.leaf_links(self._forms.tree(form)[0])))
        return {_token(key): (key, item) for key, item in pairs(form.content)}

    # Lists

    def _lists(self, before: Form, after: Form, steps: list[Step]) -> Iterator[Difference]:
        start, old, new = self._differing_items(before, after)
        # Most lists only grow: then what is new is read as it is asked for, and nothing is aligned.
        shorter, longer = (old, new) if len(old) <= len(new) else (new, old)
        rest, common = iter(longer), list(shorter)
        if all(_token(one) == _token(other) for one, other in zip(common, rest, strict=False)):
            for at, item in enumerate(rest, start + len(common)):
                if longer is new:
                    yield Difference("added", (*steps, at), None, item)
                else:
                    yield Difference("removed", (*steps, at), item, None)
            return
        yield from self._aligned(start, list(old), list(new), steps)

    def _aligned(
        self, start: int, old: list[Form], new: list[Form], steps: list[Step]
    ) -> Iterator[Difference]:
        for kind, i, i_end, j, j_end in _alignment(old, new):
            if kind == "equal":
                continue
            both = min(i_end - i, j_end - j)
            for at in range(both):
                yield from self.compare(old[i + at], new[j + at], [*steps, start + j + at])
            for at in range(j + both, j_end):
                yield Difference("added", (*steps, start + at), None, new[at])
            for at in range(i + both, i_end):
                yield Difference("removed", (*steps, start + at), old[at], None)

    def _differing_items(self, before: Form, after: Form) -> tuple[int, _Items, _Items]:
        """Return (position, items, items) without the leaves that both begin and end with."""
        if type(before) is list or type(after) is list:
            return 0, self._items(before), self._items(after)
        tops = self._trees.top(before), self._trees.top(after)
        old, new = self._trees.descend(*tops, _without_common_ends)
        return new.start, _Items(self._forms, old), _Items(self._forms, new)

    def _items(self, form: Form) -> _Items:
        if type(form) is list:
            return _Items(self._forms, None, form)
        links, counts = [], []
        for link, count in self._forms.runs(form):
            links.append(link)
            counts.append(count)
        return _Items(self._forms, _Level(0, links, counts))


class _Items:
    """The items of some leaves of a list, read as they are looked at; or a list as it is."""

    def __init__(self, forms: Forms, leaves: _Level | None, items: Sequence[Form] = ()) -> None:
        self._forms = forms
        self._leaves = leaves
        self._plain = items

    def __len__(self) -> int:
        return len(self._plain) if self._leaves is None else sum(self._leaves.counts)

    def __iter__(self) -> Iterator[Form]:
        yield from self._plain
        links = [] if self._leaves is None else self._leaves.links
        for at in range(0, len(links), _LEAVES):
            for leaf in self._forms.follow_all(links[at : at + _LEAVES]):
                yield from leaf


def align_slowly(old: Sequence[Hashable], new: Sequence[Hashable]) -> bool:
    """Whether ``difflib`` may take more than a second or so, as few different items come often."""
    places = Counter(new)
    return sum(places[item] for item in old) * min(len(old), len(new)) > _MOST_STEPS


def _alignment(
    old: Sequence[Form], new: Sequence[Form]
) -> Sequence[tuple[str, int, int, int, int]]:
    one, other = [_token(item) for item in old], [_token(item) for item in new]
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    stops = len(one) - end, len(other) - end
    between = one[start : stops[0]], other[start : stops[1]]
    if len(between[0]) * len(between[1]) > _MOST_PAIRS or align_slowly(*between):
        return [("replace", start, stops[0], start, stops[1])]
    middle = difflib.SequenceMatcher(None, *between, autojunk=False).get_opcodes()
    return [
        (kind, start + i, start + i_end, start + j, start + j_end)
        for kind, i, i_end, j, j_end in middle
    ]


def _common(old: Sequence[Hashable], new: Sequence[Hashable]) -> int:
    """Return how many items both begin with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(old), len(new)))


def _tag(form: Form) -> int | None:
    return form.tag if isinstance(form, Tagged) else None


def _is_dict(form: Form) -> bool:
    return type(form) is dict or _tag(form) in (PAIRS, TREE_DICT)


def _is_list(form: Form) -> bool:
    return type(form) is list or (_tag(form) == NODE and form.content[0] == LIST_NODE)


def _token(form: Form) -> Hashable:
    """Return something that is equal for two forms exactly if their bytes are.

    Python's own equality would take 1, 1.0 and True for the same, and a NaN for another.
    """
    if isinstance(form, LinkForm):
        return form
    if isinstance(form, Tagged):
        return (Tagged, form.tag, _token(form.content))
    if type(form) is list:
        return (list, tuple([_token(item) for item in form]))
    if type(form) is dict:
        return (dict, tuple([(key, _token(item)) for key, item in form.items()]))
    return (type(form), repr(form) if type(form) is float else form)
