"""Searching the texts of states. Each distinct object is read and searched once.

What is found below an object is remembered as places relative to it, so the states of a run, which
share nearly everything, cost what they do not share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from manifests.cbor import FROZENSET, NODE, PAIRS, REGISTERED, SCALAR, SET, TREE_DICT, TUPLE
from manifests.forms import Form, Forms, LinkForm, Tagged, as_corruption, pairs
from manifests.manifest import Checkpoint
from manifests.paths import Field, Step, path_text
from manifests.pending import PendingBody
from manifests.reading import StoreReader
from manifests.registry import Registry
from manifests.scalars import TEXT
from manifests.searched import Searched, pending_forms
from manifests.trees import DICT_NODE, LIST_NODE

__all__ = ["Match", "OnSearched", "search"]

_AROUND: Final = 200
"""Characters of a line kept on both sides of what matched."""

_LOOKS_AROUND: Final = re.compile(r"[\^$]|\\[AZz]|\(\?<?[=!]")
"""What in an expression may match in a line alone and not in the text: ``^``, ``$``, lookaheads."""

OnSearched = Callable[[int], None]
"""Is told how many checkpoints were searched so far."""


@dataclass(frozen=True, slots=True)
class Match:
    """A line of a text in a state that matches, seen alone: ``^`` and ``$`` are its ends.

    ``checkpoint`` is the first one searched that has it at this ``path``. ``text`` is the line, cut
    to 200 characters before and behind what matched, which stands at ``start`` to ``end`` in it. A
    key of a dict that matches is found at the path of its value.

    ``pending`` is None if the state has it. Else it is the name of a pending write beside the
    checkpoint, by the task ``task``; ``path`` then leads to a place in the value written.
    """

    checkpoint: Checkpoint
    path: str
    text: str
    start: int
    end: int
    pending: str | None = None
    task: str | None = None


_Place = tuple[tuple[type, Step], ...]
"""The way to a form, each step with its type: 1 and True are different keys."""
_Root = tuple[str, str | None]
"""Where ways begin: in the states of a run, or in what is pending there under a name."""
_Line = tuple[str, int, int]
"""A line that matches, cut, and where in it the match stands."""


def search(
    reader: StoreReader,
    registry: Registry,
    checkpoints: Iterable[Searched],
    pattern: re.Pattern[str],
    limit: int | None,
    searched: OnSearched,
    *,
    pending: bool,
) -> list[Match]:
    """Return what matches in some states, and with ``pending`` beside them, in order.

    The same line at the same place of a run counts once. At most ``limit`` matches.
    """
    forms = Forms(registry, reader.load)
    searcher = _Searcher(forms, pattern)

    def roots() -> Iterator[tuple[Checkpoint, PendingBody | None, Form]]:
        for count, each in enumerate(checkpoints, 1):
            yield each.checkpoint, None, each.state
            for write, form in pending_forms(reader, forms, each) if pending else ():
                yield each.checkpoint, write, form
            searched(count)

    with as_corruption():
        return list(islice(_matches(searcher, roots()), limit))


def _matches(
    searcher: _Searcher, roots: Iterable[tuple[Checkpoint, PendingBody | None, Form]]
) -> Iterator[Match]:
    seen: set[tuple[_Root, _Place, _Line]] = set()
    for checkpoint, write, root in roots:
        name, task = (None, None) if write is None else (write.name, write.task)
        for place, line in searcher.new_lines((checkpoint.run, name), root):
            token = (checkpoint.run, name), place, line
            if token not in seen:
                seen.add(token)
                path = path_text([step for _kind, step in place], "")
                yield Match(checkpoint, path, *line, name, task)


class _Searcher:
    """Walks states, but for what it knows to hold no match, or has walked at that place before."""

    def __init__(self, forms: Forms, pattern: re.Pattern[str]) -> None:
        self._forms = forms
        self._pattern = pattern
        self._looks_around = _LOOKS_AROUND.search(pattern.pattern) is not None
        # Entries of a dict are stored like a list of twice as many items: the same object may
        # stand for both, with other places in it.
        self._empty: set[tuple[Any, bool]] = set()
        self._texts: dict[Any, tuple[_Line, ...]] = {}
        self._walked: dict[_Root, set[tuple[Any, bool, _Place]]] = {}
        self._passed = 0

    def new_lines(self, root: _Root, form: Form) -> Iterator[tuple[_Place, _Line]]:
        """Yield the lines of a value that match, without those in parts met at its root before."""
        with self._forms.bounded():
            yield from self._walk(form, (), self._walked.setdefault(root, set()))

    def _walk(
        self,
        form: Form,
        place: _Place,
        walked: set[tuple[Any, bool, _Place]],
        *,
        entries: bool = False,
    ) -> Iterator[tuple[_Place, _Line]]:
        if not isinstance(form, LinkForm):
            yield from self._parts(form, place, walked, entries)
            return
        known = form.name, entries
        if known in self._empty:
            return
        if (*known, place) in walked:
            self._passed += 1
            return
        walked.add((*known, place))
        lines = self._texts.get(form.name)
        opened = self._forms.follow(form) if lines is None else None
        if lines is None and _is_text(opened):
            lines = self._texts[form.name] = tuple(self._lines(self._forms.value(opened)))
        if lines is not None:
            yield from ((place, line) for line in lines)
            return
        passed, found = self._passed, False
        for each in self._parts(opened, place, walked, entries):
            found = True
            yield each
        if not found and passed == self._passed:
            self._empty.add(known)

    def _parts(
        self, form: Form, place: _Place, walked: set[Any], entries: bool
    ) -> Iterator[tuple[_Place, _Line]]:
        if _is_text(form):
            yield from ((place, line) for line in self._lines(self._forms.value(form)))
        elif type(form) is list:
            if entries:
                yield from self._entries(pairs(form), place, walked, str)
            else:
                for index, item in enumerate(form):
                    yield from self._walk(item, _at(place, index), walked)
        elif type(form) is dict:
            yield from self._entries(form.items(), place, walked, str)
        elif isinstance(form, Tagged):
            yield from self._tagged(form, place, walked, entries)

    def _tagged(
        self, form: Tagged, place: _Place, walked: set[Any], entries: bool
    ) -> Iterator[tuple[_Place, _Line]]:
        content = form.content
        if form.tag == TUPLE:
            yield from self._walk(content, place, walked)
        elif form.tag in (SET, FROZENSET):
            # A member of a set has no place of its own.
            yield from ((place, line) for _at, line in self._walk(content, place, walked))
        elif form.tag == PAIRS:
            yield from self._entries(pairs(content), place, walked, str)
        elif form.tag == TREE_DICT:
            yield from self._walk(self._forms.tree(form)[0], place, walked, entries=True)
        elif form.tag == REGISTERED:
            fields = self._forms.fields(form)
            if type(fields) is dict:
                yield from self._entries(fields.items(), place, walked, Field)
            else:
                yield from self._walk(fields, place, walked)
        elif form.tag == NODE and content[0] in (LIST_NODE, DICT_NODE):
            yield from self._node(form, place, walked, entries)

    def _node(
        self, form: Tagged, place: _Place, walked: set[Any], entries: bool
    ) -> Iterator[tuple[_Place, _Line]]:
        """Walk what is below a tree's node. The place of an item counts those before the node."""
        parts = self._forms.node(form, inline=True)
        if entries:
            for child in parts.children:
                yield from self._walk(child, place, walked, entries=True)
            return
        *above, (kind, first) = place if place and place[-1][0] is _Offset else (*place, _START)
        for child, count in zip(parts.children, parts.counts, strict=True):
            yield from self._walk(child, (*above, (kind, first)), walked)
            first += count

    def _entries(
        self,
        items: Iterable[tuple[Form, Form]],
        place: _Place,
        walked: set[Any],
        kind: Callable[[str], Step],
    ) -> Iterator[tuple[_Place, _Line]]:
        for key, item in items:
            name = self._forms.value(key)
            if isinstance(name, str):
                step = kind(name)
                yield from ((_at(place, step), line) for line in self._lines(name))
                yield from self._walk(item, _at(place, step), walked)
            else:
                yield from self._walk(item, _at(place, name), walked)

    def _lines(self, text: str) -> Iterator[_Line]:
        # Mostly nothing matches, and one search of the whole is far quicker than one of each line.
        if not self._looks_around and self._pattern.search(text) is None:
            return
        for line in text.splitlines():
            match = self._pattern.search(line)
            if match is not None:
                first = max(match.start() - _AROUND, 0)
                cut = line[first : match.end() + _AROUND]
                yield cut, match.start() - first, match.end() - first


class _Offset:
    """Stands in a place for the items of a long list before a node of its tree."""


_START: Final = (_Offset, 0)


def _at(place: _Place, step: Step) -> _Place:
    if place and place[-1][0] is _Offset:
        return (*place[:-1], (int, place[-1][1] + step))
    return (*place, (type(step), step))


def _is_text(form: Form) -> bool:
    return isinstance(form, str) or (
        isinstance(form, Tagged) and form.tag == SCALAR and form.content[0] == TEXT
    )
