"""Copies of values: what a node may change without changing the memory of its run.

A node gets copies and gives back values that are copied again. What it gives back is mostly what it
got, with something added. ``Copies`` recognizes the parts that are unchanged and puts the originals
in their place, so that they remain the same objects for as long as a run does. A checkpoint then
encodes only what is new: one message, not the hundred before it.

Unlike ``copy.deepcopy``, a list that occurs twice in a value becomes two lists. A checkpoint holds
two as well, so a run that continues and a run that is resumed see the same.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection, Iterable
from typing import Any, Final

from hive import errors
from hive.graph.futile import futile
from hive.text import kind_of, told

__all__ = ["Copies", "copy_value"]

_CONSTANT: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_SURE_KEYS: Final = frozenset({type(None), bool, int, bytes})
_LONG_KEY: Final = 16_000
"""Characters of a key from which on its bytes may be too many (exclusive)."""
_DEEP: Final = 50
"""Containers around a value from which on they may be too many (exclusive)."""


def copy_value(value: Any, place: str) -> Any:
    """Return a deep copy of ``value``.

    Raises:
        InvalidInputError: The value cannot be copied (an open file, a lock, a client); ``place``
            says which one it was.
    """
    return Copies().lend(value, place)


class Copies:
    """The copies handed to one attempt of a node, and the way back from them to the originals."""

    __slots__ = ("_lent", "has_doubts")

    def __init__(self) -> None:
        """Start without copies."""
        # Keeps the copies alive as well: else another object could get the id of one.
        self._lent: dict[int, tuple[Any, Any]] = {}
        # Whether anything was taken that perhaps cannot be stored, as plain data mostly can.
        self.has_doubts = False

    def lend(self, value: Any, place: str) -> Any:
        """Return a deep copy of ``value``, which nobody may change while this object is used.

        Raises:
            InvalidInputError: The value cannot be copied; ``place`` says which one it was.
        """
        try:
            return self._lend(value)
        except (TypeError, RecursionError) as error:
            raise _not_copied(value, place, error) from error

    def take(self, value: Any, place: str) -> Any:
        """Return a deep copy of ``value`` in which unchanged lent copies are their originals.

        Raises:
            InvalidInputError: The value cannot be copied; ``place`` says which one it was.
        """
        try:
            if type(value) is str:
                self._doubt_texts((value,))
            return self._take(value, 1)
        except (TypeError, RecursionError) as error:
            raise _not_copied(value, place, error) from error

    def doubt_keys(self, keys: Collection[Any]) -> None:
        """Look at keys that were taken, or under which something was."""
        self._doubt_texts(keys)
        for key in keys:
            # Two NaNs, or a tuple that holds one, cannot be told apart.
            if len(key) > _LONG_KEY if type(key) is str else type(key) not in _SURE_KEYS:
                self.has_doubts = True

    def _doubt_texts(self, parts: Iterable[Any]) -> None:
        for text in [part for part in parts if type(part) is str and not part.isascii()]:
            try:
                text.encode()
            except UnicodeEncodeError:
                self.has_doubts = True

    def _lend(self, value: Any) -> Any:
        kind = type(value)
        result: Any
        if kind in _CONSTANT:
            return value
        if kind is list or kind is tuple:
            result = [part if type(part) in _CONSTANT else self._lend(part) for part in value]
            if kind is tuple:
                result = value if _same(result, value) else tuple(result)
        elif kind is dict:
            result = {
                key if type(key) in _CONSTANT else self._lend(key): part
                if type(part) in _CONSTANT
                else self._lend(part)
                for key, part in value.items()
            }
        else:
            return copy.deepcopy(value)
        self._lent[id(result)] = result, value
        return result

    def _take(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _CONSTANT:
            return value
        if kind is not list and kind is not tuple and kind is not dict:
            self.has_doubts = True
            return copy.deepcopy(value)
        if depth > _DEEP:
            self.has_doubts = True
        depth += 1
        _, original = self._lent.get(id(value), (None, None))
        parts = value.values() if kind is dict else value
        taken = [part if type(part) in _CONSTANT else self._take(part, depth) for part in parts]
        if kind is not dict:
            if original is not None and _same(taken, original):
                return original
            self._doubt_texts(taken)
            return taken if kind is list else tuple(taken)
        keys = [key if type(key) in _CONSTANT else self._take(key, depth) for key in value]
        if original is not None and _same(keys, original) and _same(taken, original.values()):
            return original
        self._doubt_texts(taken)
        self.doubt_keys(keys)
        return dict(zip(keys, taken, strict=True))


def _same(parts: Any, original: Any) -> bool:
    return len(parts) == len(original) and all(map(operator.is_, parts, original))


def _not_copied(value: Any, place: str, error: Exception) -> Exception:
    return futile(
        errors.InvalidInputError(
            f"{kind_of(value)} here cannot be copied ({told(error)}); "
            "memory is for data that does not contain itself: give live objects to the node",
            path=place,
        )
    )
