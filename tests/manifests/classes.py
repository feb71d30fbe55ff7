"""Classes such as applications have in their states, and a registry that knows them."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NamedTuple

import pydantic

from manifests.registry import Registry

__all__ = [
    "Colour",
    "Document",
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
