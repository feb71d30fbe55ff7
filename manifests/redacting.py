"""Encoding with what a redaction puts in the places of values, so that these are never hashed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cas.errors import InvalidInputError
from manifests.cbor import TUPLE, tag_head
from manifests.encoder import Encoder
from manifests.entries import refuse_twins
from manifests.parameters import TreeParameters
from manifests.parts import Apart, Instead, Items, Structure, fields_of_stranger
from manifests.paths import Entry, Redaction, Step, path_text
from manifests.pieces import Piece, PieceSink, join
from manifests.registry import Registry, TypeEntry

__all__ = ["RedactingEncoder"]


class RedactingEncoder(Encoder):
    """Replaces the parts of values that a redaction names, whatever holds them.

    It has no memory: a redaction may replace the same object by another one each time.

    Attributes:
        replaced: How many values were replaced so far.
    """

    def __init__(
        self,
        registry: Registry,
        parameters: TreeParameters,
        sink: PieceSink,
        redaction: Redaction,
        *,
        root: str = "state",
    ) -> None:
        """Encode with these classes, sizes and rules; errors call the whole value ``root``."""
        super().__init__(registry, parameters, sink, root=root)
        self.replaced = 0
        self._redaction = redaction
        self._is_plain = False

    def _guarded(self, encode: Callable[[Any], Piece], value: Any) -> Piece:
        self._is_plain = False  # where encoding something else failed, it may have been left set
        return super()._guarded(encode, value)

    def child(self, step: Step, value: Any) -> Piece:
        """Encode an item of the container that is being encoded, or what takes its place."""
        if type(value) is Items:
            return self._value(value.content)
        self.steps.append(step)
        if type(value) is Structure:
            self._is_plain, before = True, self._is_plain
            piece = self._value(value.content)
            self._is_plain = before
        elif type(value) is Apart:
            inner = self._value(self._replaced(value.content))
            piece = join(tag_head(TUPLE), [self._run([inner])])
        else:
            piece = self._value(self._replaced(value))
        self.steps.pop()
        return piece

    def _replaced(self, value: Any) -> Any:
        """Return what is stored in the place of the value at the last step."""
        if self._is_plain or not self._redaction.matches(self.steps):
            return value
        self.replaced += 1
        replacement = self._redaction.replace(path_text(self.steps, self._name), value)
        if self._in_key:
            _refuse_unhashable(replacement)
        return replacement

    def _flat(self, items: dict[str, Any]) -> bytes | None:
        return None  # any of its values may be replaced

    def _fields(self, value: Any, entry: TypeEntry | None) -> Any:
        return fields_of_stranger(value.fields) if entry is None else entry.to_parts(value)

    def _named(
        self, value: Any, name: str, version: int, fields: Any, *, root: bool = False
    ) -> Piece:
        if type(fields) is Instead:
            return self._value(fields.content)
        return super()._named(value, name, version, fields, root=root)

    def _sorted_members(self, items: set[Any] | frozenset[Any]) -> list[bytes]:
        """Encode the members of a set. Those that a redaction makes equal become one."""
        self._is_plain, before = True, self._is_plain
        ordered = sorted((self._key(item), place, item) for place, item in enumerate(items))
        self._is_plain = before
        members: list[bytes] = []
        replaced: list[bytes] = []
        for at, (plain, _, item) in enumerate(ordered):
            self._in_key += 1
            self.steps.append(Entry(at))
            piece = self._key(self._replaced(item))
            self.steps.pop()
            self._in_key -= 1
            (members if piece == plain else replaced).append(piece)
        refuse_twins(members)
        return sorted({*members, *replaced})


def _refuse_unhashable(replacement: Any) -> None:
    try:
        hash(replacement)
    except TypeError as error:
        raise InvalidInputError(
            "what a redaction puts into a set or a key has to be hashable: a text, say"
        ) from error
