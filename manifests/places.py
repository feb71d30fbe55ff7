"""Places inside a state: paths as people type them, and reading no more than they lead to.

``messages[-1].content``, ``['a key'].x``, ``plan.steps[2:5]``. A name, first or behind a dot, is a
key that is a text, or a field of a registered type. Brackets hold an index of a list or tuple, a
slice, or any key of a dict as Python writes it; ``[#3]`` is the fourth entry of a dict or member of
a set, in the order in which outlines list them. What ``Change.path`` says can be read as well.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cas.errors import CorruptObjectError, InvalidInputError, NotFoundError
from manifests.cbor import FROZENSET, NODE, PAIRS, SET, TREE_DICT, TUPLE
from manifests.forms import Form, Forms, LinkForm, Tagged, as_corruption, pairs
from manifests.paths import Entry, Field, Step, path_text
from manifests.portion import portion
from manifests.trees import LIST_NODE

__all__ = ["PathLike", "Places", "is_written", "parse_path", "path_of", "step_to"]

PathLike = str | Sequence[Step]
"""A path as text, or its steps: names, indices, keys and slices."""

_LONGEST: Final = 4_096
"""Most characters of a path (inclusive)."""
_MOST_KEYS: Final = 12
"""Most keys that an error lists of a dict that has not the one asked for (inclusive)."""
_LONGEST_SHOWN: Final = 60
"""Most characters of such a key (inclusive); longer ones are cut."""
_NAME: Final = re.compile(r"[^.\[\]]+")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ENTRY: Final = re.compile(r"#([0-9]{1,12})")
_SLICE: Final = re.compile(r"\s*(-?\d{1,18})?\s*:\s*(-?\d{1,18})?\s*")
_EXAMPLES: Final = "write messages[-1].content, ['a key'] or items[2:5]"


def parse_path(text: str) -> list[Step]:
    """Return the steps of a path: ``Field`` for a name, else an index, a key or a ``slice``.

    Raises:
        InvalidInputError: It is no path, or has over 4,096 characters.
    """
    if len(text) > _LONGEST:
        raise InvalidInputError(f"a path has at most {_LONGEST} characters")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            step, at = _bracket(text, at + 1)
        else:
            # A dot stands between names only; the first name has none.
            start = at + 1 if text[at] == "." and steps else at
            match = _NAME.match(text, start)
            if match is None or (steps and start == at):
                raise InvalidInputError(f"{text!r} is no path; {_EXAMPLES}")
            step, at = Field(match[0]), match.end()
        steps.append(step)
    return steps


def path_of(steps: Sequence[Step]) -> str:
    """Return the text of a path, from which ``parse_path`` makes steps to the same place.

    Nothing is cut, so it is for use and not for messages; see ``path_text``.
    """
    return "".join(map(_written, steps)).removeprefix(".")


def _written(step: Step) -> str:
    if isinstance(step, str) and _PLAIN_NAME.fullmatch(step):
        return f".{step}"
    return f"[{str(step)!r}]" if isinstance(step, Field) else f"[{_literal(step)}]"


def step_to(key: Any, at: int) -> Step:
    """Return the step to the entry of a dict that has this key and stands at this position."""
    return key if _is_literal(key) and len(_literal(key)) <= _LONGEST // 2 else Entry(at)


def is_written(steps: Sequence[Step]) -> bool:
    """Tell whether ``path_of`` can say these steps."""
    return all(isinstance(step, Field | Entry) or _is_literal(step) for step in steps)


def _is_literal(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(_is_literal, key))
    return type(key) in (str, bytes, int, bool, type(None)) or (
        type(key) is float and math.isfinite(key)
    )


def _literal(key: Any) -> str:
    if type(key) is tuple:
        return f"({', '.join(map(_literal, key))}{',' if len(key) == 1 else ''})"
    # Python writes integers of more digits than anybody reads in base 16 only.
    return hex(key) if type(key) is int and key.bit_length() > 64 else repr(key)


def _bracket(text: str, start: int) -> tuple[Step, int]:
    """Return what stands in brackets, and the position behind them.

    A text in there may hold brackets itself: the first closing one that ends a literal counts.
    """
    end = start
    while (end := text.find("]", end)) >= 0:
        inside = text[start:end]
        end += 1
        if match := _ENTRY.fullmatch(inside):
            return Entry(int(match[1])), end
        if match := _SLICE.fullmatch(inside):
            first, last = (None if part is None else int(part) for part in match.groups())
            return slice(first, last), end
        try:
            with warnings.catch_warnings(action="ignore"):  # of odd escapes
                return _hashable(ast.literal_eval(inside.strip())), end
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise InvalidInputError(f"{text!r} is no path: brackets hold a number or a key; {_EXAMPLES}")


def _hashable(key: Any) -> Any:
    hash(key)
    return key


def _check_step(step: Step) -> None:
    """Refuse what is no step of a path: looking it up would pass for damage."""
    if isinstance(step, slice):
        _check_slice(step)
        return
    try:
        hash(step)
    except TypeError:
        raise InvalidInputError(
            f"a step of a path is a name, an index, a key or a slice, not {step!r}"
        ) from None


def _check_slice(part: slice) -> None:
    """Refuse what only a whole list could be cut by: a path leads to items that stand together."""
    bounds = {*map(type, (part.start, part.stop))}
    if not bounds <= {int, type(None)} or part.step not in (None, 1):
        raise InvalidInputError(
            "a slice in a path has whole numbers, and takes every item between them; "
            "take others from what it gives"
        )


class Places:
    """Finds what stands at a place of a stored value, reading only the way there."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms

    def steps(self, root: Form, path: PathLike) -> list[Step]:
        """Return the steps of a path below ``root``.

        A text that is exactly a key of the root is that key, dots and brackets or not.
        """
        if not isinstance(path, str):
            if not isinstance(path, Sequence):
                raise InvalidInputError(f"a path is a text or a list of steps; {_EXAMPLES}")
            steps = list(path)
            for step in steps:
                _check_step(step)
            return steps
        if not path:
            return []
        try:
            self._forms.field(root, path)
        except (KeyError, InvalidInputError):
            return parse_path(path)
        return [Field(path)]

    def value(self, root: Form, steps: Sequence[Step]) -> Any:
        """Return the value at a place. Behind a slice, the rest is read of each of its items.

        Raises:
            NotFoundError: There is nothing there; says how far the path leads.
        """
        with as_corruption(), self._forms.bounded():
            return self._value(root, list(steps), 0)

    def _value(self, form: Form, steps: list[Step], done: int) -> Any:
        for at in range(done, len(steps)):
            if isinstance(steps[at], slice):
                return self._values(form, steps, at)
            form = self._child(form, steps, at)
        return self._forms.value(form)

    def _values(self, form: Form, steps: list[Step], at: int) -> Any:
        found = self._forms.follow(form)
        listed = self.sequence(found)
        part = steps[at]
        if listed is None:
            return self._part(found, steps, at)
        start, stop, _ = part.indices(self.length(listed))
        items = [self._value(item, steps, at + 1) for item in self.items(listed, start, stop)]
        return tuple(items) if _is_tuple(found) else items

    def _part(self, form: Form, steps: list[Step], at: int) -> Any:
        """Return the slice at the end of the steps of what is no list."""
        if at + 1 == len(steps):
            part: Any = steps[at]
            found = portion(self._forms, form, part)
            if found is not None:
                return found
            whole = self._forms.value(form)
            if isinstance(whole, str | bytes | bytearray):
                return whole[part]
        raise NotFoundError(f"{_shown(steps, at)} is no list to take a part of")

    def find(self, root: Form, steps: Sequence[Step]) -> Form:
        """Return the form at a place.

        Raises:
            NotFoundError: There is nothing there.
            InvalidInputError: There is a slice among the steps, which leads to several places.
        """
        if any(isinstance(step, slice) for step in steps):
            raise InvalidInputError(
                "a slice leads to several places, and one is asked for here; write items[2]"
            )
        form = root
        for at in range(len(steps)):
            form = self._child(form, list(steps), at)
        return form

    def _child(self, form: Form, steps: list[Step], at: int) -> Form:
        step = steps[at]
        form = self._forms.follow(form)
        if isinstance(step, Entry):
            found = self.window(form, step.at, step.at + 1)
            if not found:
                raise NotFoundError(f"{_shown(steps, at)} has no {_shown_step(step)}")
            return found[0][1]
        listed = self.sequence(form)
        if listed is None:
            try:
                # A name is a text; where it stands, only its characters count.
                return self._forms.field(form, str(step) if isinstance(step, Field) else step)
            except (KeyError, InvalidInputError):
                raise NotFoundError(
                    f"{_shown(steps, at)} has no {_shown_step(step)}{self._keys_of(form)}"
                ) from None
        if type(step) is not int:
            raise NotFoundError(
                f"{_shown(steps, at)} is a list; what is in it is called [0], [1] and so on, or "
                "[-1] from its end"
            )
        count = self.length(listed)
        if not -count <= step < count:
            raise NotFoundError(
                f"{_shown(steps, at)} has {count:,} items; there is none at {path_text([step], '')}"
            )
        return next(self.items(listed, step % count, step % count + 1))

    def _keys_of(self, form: Form) -> str:
        """Say which keys or fields there are, the first ones of many; nothing if there are none."""
        keys = [step for step, _ in itertools.islice(self.entries(form), _MOST_KEYS + 1)]
        if not keys:
            return ""
        shown = ", ".join(
            str(step)
            if isinstance(step, str) and _PLAIN_NAME.fullmatch(step) and len(step) <= _LONGEST_SHOWN
            else path_text([step], "")
            for step in keys[:_MOST_KEYS]
        )
        return f"; there is {shown}{' and more' if len(keys) > _MOST_KEYS else ''}"

    # Lists

    def sequence(self, form: Form) -> Form | None:
        """Return the list behind a form; None if it is something else.

        A tuple has one, and a registered value that is stored as a list.
        """
        form = self._forms.fields(form)
        if _is_tuple(form):
            form = self._forms.follow(form.content)
        if type(form) is list or (
            isinstance(form, Tagged) and form.tag == NODE and form.content[0] == LIST_NODE
        ):
            return form
        return None

    def length(self, listed: Form) -> int:
        """Return how many items a list has that ``sequence`` returned."""
        return len(listed) if type(listed) is list else sum(self._forms.node(listed).counts)

    def items(self, listed: Form, start: int, stop: int) -> Iterator[Form]:
        """Yield the items from ``start`` to before ``stop``, reading only their leaves."""
        if type(listed) is list:
            yield from listed[start:stop]
            return
        parts = self._forms.node(listed)
        first = 0
        for child, count in zip(parts.children, parts.counts, strict=True):
            if first < stop and first + count > start:
                below = self._leaf(child) if parts.level == 1 else self._forms.below(parts, child)
                yield from self.items(below, max(start - first, 0), min(stop - first, count))
            first += count

    def _leaf(self, child: LinkForm) -> list[Form]:
        leaf = self._forms.follow(child)
        if type(leaf) is not list:
            raise CorruptObjectError("a list's tree has something else where items should be")
        return leaf

    def members(self, form: Form) -> Form | None:
        """Return the list of a set's members, in the order of their bytes; None if it is no set."""
        form = self._forms.fields(form)
        if isinstance(form, Tagged) and form.tag in (SET, FROZENSET):
            return self.sequence(form.content)
        return None

    def window(self, form: Form, start: int, stop: int) -> list[tuple[Step, Form]]:
        """Return the parts of any value from ``start`` to before ``stop``, with steps to them.

        Only the leaves that hold them are read.
        """
        listed = self.sequence(form)
        if listed is not None:
            return list(enumerate(self.items(listed, start, stop), start))
        members = self.members(form)
        if members is not None:
            found = enumerate(self.items(members, start, stop), start)
            return [(Entry(at), item) for at, item in found]
        inner = self._forms.fields(form)
        if not isinstance(inner, Tagged) or inner.tag != TREE_DICT:
            return list(itertools.islice(self.entries(form), start, max(start, stop)))
        node, order = self._forms.tree(inner)
        if order is not None:
            wanted = self.items(self._forms.follow(order), start, stop)
            keys = [self._forms.value(key) for key in wanted]
            return [(key, self._forms.field(inner, key)) for key in keys]
        return [
            (self._forms.value(key), item)
            for leaf in self._leaves(node, start, stop)
            for key, item in leaf
        ]

    def _leaves(self, node: Form, start: int, stop: int) -> Iterator[list[tuple[Form, Form]]]:
        """Yield what the leaves of a dict's tree hold from ``start`` to before ``stop``."""
        parts = self._forms.node(node)
        first = 0
        for child, count in zip(parts.children, parts.counts, strict=True):
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high and parts.level == 1:
                yield list(pairs(self._forms.follow(child)))[low:high]
            elif low < high:
                yield from self._leaves(self._forms.below(parts, child), low, high)
            first += count

    # Dicts

    def entries(self, form: Form) -> Iterator[tuple[Step, Form]]:
        """Yield the keys of a dict, or the fields of a registered value, each with its form.

        In order, and nothing for other values. Leaves of large dicts are read as they come.
        """
        form = self._forms.follow(form)
        found = self._forms.fields(form)
        registered = found is not form
        if type(found) is dict:
            for key, item in found.items():
                yield (Field(key) if registered else key), item
        elif isinstance(found, Tagged) and found.tag == PAIRS:
            for name, item in pairs(found.content):
                yield self._forms.value(name), item
        elif isinstance(found, Tagged) and found.tag == TREE_DICT:
            yield from self._tree_entries(found)

    def _tree_entries(self, form: Tagged) -> Iterator[tuple[Step, Form]]:
        node, order = self._forms.tree(form)
        if order is not None:
            for key in self._forms.value(order):
                yield key, self._forms.field(form, key)
            return
        for leaf in self._forms.leaves(node):
            for name, item in pairs(leaf):
                yield self._forms.value(name), item


def _is_tuple(form: Form) -> bool:
    return isinstance(form, Tagged) and form.tag == TUPLE


def _shown(steps: Sequence[Step], end: int) -> str:
    return path_text(steps[:end])


def _shown_step(step: Step) -> str:
    return path_text([step], "") if isinstance(step, Field) else path_text([step], "key ")
