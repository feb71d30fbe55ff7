"""The memory that the nodes of a run share: a flat mapping from names to values.

Values are copied on the way in and on the way out. What a node does to a value after it read or
wrote it changes nothing here; otherwise a run that continues in the same process would see changes
that a resumed one, which starts from what was saved, does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hive import errors
from hive.graph.copies import Copies

__all__ = ["SharedMemory"]


class SharedMemory:
    """Named values with read and write permissions; views share one set of values.

    The values lie in layers, of which upper ones hide lower ones. A write goes to the top layer;
    ``staged`` puts a new layer on top, whose owner decides what becomes of it.
    """

    __slots__ = ("_copies", "_layers", "_read_keys", "_write_keys")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """Start with a copy of ``values``."""
        self._layers: tuple[dict[str, Any], ...] = ({},)
        self._read_keys: frozenset[str] | None = None
        self._write_keys: frozenset[str] | None = None
        self._copies: Copies | None = None
        for key, value in (values or {}).items():
            self.write(key, value)

    def read(self, key: str, default: Any = None) -> Any:
        """Return a copy of the value of ``key``, or ``default`` if there is none.

        Raises:
            InvalidInputError: This view may not read ``key``.
        """
        if self._read_keys is not None and key not in self._read_keys:
            raise errors.InvalidInputError(
                f"memory key {key!r} is not among the declared keys {sorted(self._read_keys)}; "
                "add it to the node's input_keys"
            )
        for layer in reversed(self._layers):
            if key in layer:
                return self._own_copies().lend(layer[key], f"memory[{key!r}]")
        return default

    def write(self, key: str, value: Any) -> None:
        """Store a copy of ``value`` under ``key``.

        Raises:
            InvalidInputError: ``key`` is not text, this view may not write it, or the value cannot
                be copied.
        """
        if not isinstance(key, str):
            raise errors.InvalidInputError(f"a memory key is text, not {type(key).__name__}")
        self._refuse_key(key)
        copies = self._own_copies()
        copies.doubt_keys((key,))
        self.adopt({key: copies.take(value, f"memory[{key!r}]")})

    def adopt(self, values: Mapping[str, Any]) -> None:
        """Store values uncopied that nobody else changes from now on; permissions do not count."""
        self._layers[-1].update(values)

    def read_all(self) -> dict[str, Any]:
        """Return a deep copy of everything that this view may read."""
        copies = self._own_copies()
        return {
            key: copies.lend(value, f"memory[{key!r}]")
            for key, value in self.lend().items()
            if self._read_keys is None or key in self._read_keys
        }

    def __contains__(self, key: object) -> bool:
        """Tell whether ``key`` has a value, permitted or not."""
        return any(key in layer for layer in self._layers)

    def with_permissions(
        self, read_keys: Iterable[str] | None, write_keys: Iterable[str] | None
    ) -> SharedMemory:
        """Return a view of the same values that is limited to some keys; None means all keys."""
        view = SharedMemory()
        view._layers = self._layers
        view._copies = self._copies
        view._read_keys = None if read_keys is None else frozenset(read_keys)
        view._write_keys = None if write_keys is None else frozenset(write_keys)
        return view

    def staged(self, copies: Copies | None = None) -> SharedMemory:
        """Return a view without limits whose writes nobody else sees; ``written`` gives them.

        Args:
            copies: Recognizes what was read through this view when it is written back unchanged.
        """
        view = SharedMemory()
        view._layers = (*self._layers, {})
        view._copies = copies
        return view

    def written(self) -> dict[str, Any]:
        """Return what was written through this staged view, uncopied."""
        return dict(self._layers[-1])

    def lend(self) -> dict[str, Any]:
        """Return all values uncopied, for a reader that is done with them before anything runs."""
        if len(self._layers) == 1:
            return self._layers[0]
        merged: dict[str, Any] = {}
        for layer in self._layers:
            merged.update(layer)
        return merged

    def _refuse_key(self, key: str) -> None:
        if self._write_keys is not None and key not in self._write_keys:
            raise errors.InvalidInputError(
                f"memory key {key!r} is not among the declared keys {sorted(self._write_keys)}; "
                "add it to the node's output_keys"
            )

    def _own_copies(self) -> Copies:
        return Copies() if self._copies is None else self._copies
