"""Classes such as applications have in their states, and a registry that knows them."""

from __future__ import annotations

import copy
import dataclasses
import enum
import weakref
from typing import Any, NamedTuple

import pydantic

from manifests.registry import Registry

__all__ = [
    "Colour",
    "Described",
    "Document",
    "Handle",
    "Level",
    "Message",
    "Money",
    "Open",
    "Point",
    "Right",
    "Secretive",
    "Span",
    "Step",
    "Word",
    "registry",
]


class Colour(enum.Enum):
    """Plain members; one value that could not be encoded."""

    RED = 1
    GREEN = "green"
    ODD = object


class Word(enum.StrEnum):
    """Members that are texts as well."""

    YES = "yes"
    NO = "no"


class Level(enum.IntEnum):
    """Members that are integers as well."""

    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    """Members that combine."""

    READ = 1
    WRITE = 2
    RUN = 4


@dataclasses.dataclass
class Step:
    """A plain dataclass with defaults."""

    name: str
    attempts: int = 0
    notes: list[Any] = dataclasses.field(default_factory=list)
    parent: Step | None = None


@dataclasses.dataclass(eq=False)
class Handle:
    """As a key, each is another one, whatever it holds."""

    label: Any


@dataclasses.dataclass(frozen=True)
class Point:
    """A frozen dataclass, fit to be a key."""

    x: Any
    y: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A frozen dataclass with slots and no ``__dict__``."""

    start: Any
    stop: Any = None


class _Elsewhere:
    """A descriptor that keeps what it is set to in a place of its own."""

    def __init__(self) -> None:
        self._held: weakref.WeakKeyDictionary[object, Any] = weakref.WeakKeyDictionary()

    def __get__(self, instance: object, _owner: type | None = None) -> Any:
        return "" if instance is None else self._held[instance]

    def __set__(self, instance: object, value: Any) -> None:
        self._held[instance] = value


@dataclasses.dataclass(eq=False)
class Described:
    """A dataclass whose field is in no ``__dict__``."""

    text: Any = _Elsewhere()

    def __copy__(self) -> Described:
        return Described(self.text)

    def __deepcopy__(self, memo: dict[int, Any]) -> Described:
        return Described(copy.deepcopy(self.text, memo))


class Message(NamedTuple):
    """A named tuple with a default."""

    role: str
    content: Any = ""


class Document(pydantic.BaseModel):
    """A model with a default that may stay unset."""

    title: str
    body: Any = None
    tags: list[str] = []


class Open(pydantic.BaseModel, extra="allow"):
    """A model that takes any other attributes."""

    number: int = 0


class Secretive(pydantic.BaseModel):
    """A model with private attributes."""

    number: int = 0
    _token: Any = pydantic.PrivateAttr(default=None)


class Money:
    """A class that nothing is known about."""

    def __init__(self, amount: int, currency: str) -> None:
        self.amount = amount
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))


def registry() -> Registry:
    """Return a registry with all of them."""
    known = Registry()
    for cls in (
        Colour,
        Word,
        Level,
        Right,
        Step,
        Handle,
        Point,
        Span,
        Message,
        Document,
        Open,
        Secretive,
    ):
        known.register(cls)
    known.register(
        Money,
        to_fields=lambda money: [money.amount, money.currency],
        from_fields=lambda fields: Money(*fields),
    )
    return known
