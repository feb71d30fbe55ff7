"""Segments: what can change in place below the items of a list or dict."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from manifests.registry import TypeEntry
from manifests.unregistered import UnregisteredValue

if TYPE_CHECKING:
    from manifests.memo import Node

__all__ = [
    "CONSTANT",
    "LEAST_ITEMS",
    "LEAST_LIST_ITEMS",
    "MOST_AS_ONE",
    "Segment",
    "beside",
    "extra_of",
    "fields_set",
    "private_of",
]

LEAST_ITEMS: Final = 16
"""A dict of so many items has a node of its own; a smaller one belongs to the node above it."""
LEAST_LIST_ITEMS: Final = 4
"""The same for a list or tuple: lists grow, and their items are larger."""
MOST_AS_ONE: Final = 64
"""Items of a list that were compared or copied at once are watched as one, so many of them at most:
if one changes in place, all are encoded again. 64 messages take 2 ms."""

fields_set: Final = operator.attrgetter("__pydantic_fields_set__")
"""Returns the set of the fields of a model that were given."""
beside: Final = operator.attrgetter("__pydantic_extra__", "__pydantic_private__")
"""Returns the extra and the private attributes of a model."""
extra_of: Final = operator.attrgetter("__pydantic_extra__")
private_of: Final = operator.attrgetter("__pydantic_private__")


class Segment:
    """The mutable containers below one item, or below several that are watched as one.

    ``opaque``: something there cannot be watched. ``items`` counts those of a node it is below.
    ``block`` is where a watch compares them: a weak reference, or whoever drops a watch would leave
    a cycle, and in it a whole state, to the garbage collector.
    """

    __slots__ = (
        "block",
        "dicts",
        "empties",
        "items",
        "lists",
        "models",
        "nodes",
        "objects",
        "opaque",
    )

    def __init__(self) -> None:
        self.block: ref[Any] | None = None
        self.items = 0
        self.empties: list[dict[Any, Any] | list[Any]] = []
        self.dicts: list[dict[Any, Any]] = []
        self.lists: list[list[Any]] = []
        self.objects: list[Any] = []
        self.models: list[Any] = []
        self.nodes: list[Node] = []
        self.opaque = False

    def is_mixed(self) -> bool:
        """Whether anything but dicts has to be watched below the item."""
        return bool(self.lists or self.objects or self.models or self.nodes or self.empties)

    def is_constant(self) -> bool:
        """Whether nothing below the item can change as long as it is the same object."""
        return not (self.dicts or self.opaque or self.is_mixed())

    def shared(self) -> Segment:
        """Return this segment, or the one that serves for all items below which nothing changes."""
        return CONSTANT if self.is_constant() else self

    def hold(self, containers: Sequence[dict[Any, Any]] | Sequence[list[Any]]) -> None:
        """Note some dicts, or some lists, of any size."""
        kept: list[Any] = self.dicts if containers and type(containers[0]) is dict else self.lists
        if all(containers):
            kept.extend(containers)
            return
        for container in containers:
            (kept if container else self.empties).append(container)

    def hold_models(self, models: Sequence[Any]) -> None:
        """Note some models. Of one with extra or private attributes nothing else is watched."""
        self.models.extend(models)
        if any(map(extra_of, models)) or any(map(private_of, models)):
            self.opaque = True

    def note(self, container: Any, entry: TypeEntry | None) -> None:
        """Note a container met while encoding. Those with a node of their own note themselves."""
        cls = type(container)
        if cls is tuple:
            return
        if cls is dict:
            if len(container) < LEAST_ITEMS:
                self.hold((container,))
        elif cls is list:
            if len(container) < LEAST_LIST_ITEMS:
                self.hold((container,))
        elif cls is UnregisteredValue and type(container.fields) is dict:
            self.dicts.append(container.fields)
        elif entry is None or entry.content == "unknown":
            self.opaque = True
        elif entry.content == "attributes":
            self.objects.append(container)
            self._hold_empties(container)
        elif entry.content == "model":
            self.hold_models((container,))
            self._hold_empties(container)

    def note_in_key(self, container: Any, entry: TypeEntry | None) -> None:
        """Note a container met in a key or member. Keys hold others of any size without nodes.

        Mostly there is none that can change: classes made to be keys are frozen.
        """
        cls = type(container)
        if cls is dict or cls is list:
            self.hold((container,))
        elif cls is not frozenset and cls is not UnregisteredValue and not _is_frozen(cls):
            self.note(container, entry)

    def _hold_empties(self, holder: Any) -> None:
        # A codec may leave out an attribute that is empty, so nothing else would note it.
        for value in vars(holder).values():
            if (type(value) is dict or type(value) is list) and not value:
                self.empties.append(value)


def _is_frozen(cls: type) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


CONSTANT: Final = Segment()
