"""States of all kinds, and what happens to them between two commits, drawn with dice.

Long histories with many kinds of changes: Hypothesis draws short ones, and shrinks them.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import math
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pydantic

from manifests.registry import Registry
from tests.manifests import classes
from tests.manifests.classes import (
    Colour,
    Described,
    Document,
    Level,
    Message,
    Open,
    Point,
    Secretive,
    Span,
    Step,
    Word,
)

__all__ = ["Agent", "Wild", "registry"]


@dataclasses.dataclass(eq=False)
class Agent:
    """A key that can change: only the object itself is equal to it."""

    name: Any
    log: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Stage(Step):
    """What a step can become without being another object."""


@dataclasses.dataclass(slots=True)
class Slotted:
    """Its fields are in no ``__dict__``."""

    text: Any = ""


class Draft(Document):
    """What a document can become without being another object."""


class Sealed(pydantic.BaseModel, extra="allow"):
    """A model that may have more attributes, and a private one that may be unset."""

    text: Any = ""
    _token: Any


def registry() -> Registry:
    """Return a registry with all classes that occur."""
    known = classes.registry()
    known.register(Agent)
    for cls in (Stage, Slotted, Described, Draft):
        known.register(cls)
    known.register(Sealed)
    known.register(
        OrderedDict,
        to_fields=lambda value: [*map(list, value.items())],
        from_fields=OrderedDict,
    )
    known.register(
        defaultdict,
        to_fields=lambda value: [value.default_factory is list, dict(value)],
        from_fields=lambda fields: defaultdict(list if fields[0] else None, fields[1]),
    )
    known.register(deque, to_fields=lambda value: [*value], from_fields=deque)
    return known


LEAVES: tuple[Any, ...] = (
    *(0, 1, 2, True, False, 0.0, -0.0, 1.0, math.nan, math.inf, None, (), (1,), (True,)),
    *("", "a", "1", "yes", b"", b"a", b"1", 1 << 70, "words " * 30, "long text " * 150),
    *(decimal.Decimal("1.0"), decimal.Decimal("1.00"), complex(0.0, -0.0), complex(0, 0)),
    *(dt.date(2030, 1, 1), dt.datetime(2030, 1, 1), dt.datetime(2030, 1, 1, fold=1)),
    *(np.int64(1), np.float32(1), Colour.RED, Level.LOW, Word.YES, Span(1), Point(1, 2)),
    *(frozenset({1}), frozenset({True}), frozenset(), Message("a"), Message("a", (1,))),
)
KEYS: tuple[Any, ...] = (
    *(0, 1, 2, True, 0.0, 1.0, -0.0, None, "", "a", b"a", "long key " * 20, (1, "a"), (True, "a")),
    *(Point(1, 2), Span(1), Message("a"), Colour.RED, Level.LOW, frozenset({1}), np.int64(7)),
)


@contextmanager
def may_be_deprecated() -> Iterator[None]:
    """Change what newer versions of NumPy warn of, and still change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


class Wild:
    """Draws values and changes."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice

    def leaf(self) -> Any:
        """Draw what has no parts, or is small."""
        dice = self.dice
        match dice.randrange(6):
            case 0:
                return "".join(dice.choices("abcé ", k=dice.randrange(80)))
            case 1:
                return dice.random()
            case _:
                return dice.choice(LEAVES)

    def key(self) -> Any:
        """Draw a key of a dict."""
        dice = self.dice
        match dice.randrange(12):
            case 0 | 1 | 2:
                return dice.choice(KEYS)
            case 3:
                return dice.randrange(90)
            case 4 if dice.random() < 0.2:
                return dice.choice((Agent(1, [1] * 5), (Agent("a"), 1)))
            case _:
                return f"key {dice.randrange(200)}"

    def value(self, depth: int = 3) -> Any:
        """Draw a value."""
        dice = self.dice
        if depth <= 0 or dice.random() < 0.3:
            return self.leaf() if dice.random() < 0.9 else Message("a", [self.leaf()])
        few, many = dice.randrange(6), dice.choice((5, 16, 17, 33, 60))
        match dice.randrange(14):
            case 0 | 1:
                return [self.value(depth - 1) for _ in range(few)]
            case 2:
                return [self.value(depth - 2) for _ in range(many)]
            case 3:
                return tuple(self.value(depth - 1) for _ in range(dice.choice((few, 20))))
            case 4 | 5:
                return {self.key(): self.value(depth - 1) for _ in range(few)}
            case 6 | 7:
                return {self.key(): self.value(depth - 2) for _ in range(many)}
            case 8:
                return {f"key {at}": self.value(depth - 2) for at in range(many)}
            case 9:
                return dice.choice(
                    (
                        *(set(range(few)), bytearray(few), bytearray(2_000), Slotted(few)),
                        *(
                            Described(few),
                            OrderedDict({few: 1, "a": 2}),
                            defaultdict(list, a=["b"]),
                        ),
                    )
                )
            case 10:
                return dice.choice((deque, tuple, np.array))([1.0] * few)
            case 11:
                parent = Step("parent") if few > 4 else None
                return Step("a", few, [self.value(depth - 1)] * (few % 3), parent)
            case 12:
                return Document(title="a", body=self.value(depth - 1))
            case _:
                return self._odd_model(depth - 1)

    def _odd_model(self, depth: int) -> Any:
        match self.dice.randrange(5):
            case 0:
                return Open(number=1)
            case 1:
                return Open(number=1, **{"more": self.value(depth)})
            case 2:
                return Secretive(number=1)
            case 3:
                return Sealed(text=self.value(depth))
            case _:
                return Sealed()

    def state(self) -> Any:
        """Draw a state: mostly a dict of lists and dicts."""
        dice = self.dice
        match dice.randrange(12):
            case 0:
                return {self.key(): self.value(2) for _ in range(dice.choice((20, 60)))}
            case 1:
                return Sealed(text=self.value(4))
            case 2:
                return dice.choice((None, [self.leaf() for _ in range(9)], 7))
            case _:
                messages = [self.value(dice.choice((1, 3))) for _ in range(dice.choice((5, 60)))]
                facts = {self.key(): self.value(2) for _ in range(dice.choice((5, 80)))}
                return {"messages": messages, "facts": facts, "plan": self.value(4), "n": 0}

    def twin(self, value: Any) -> Any:
        """Return what is easily taken for a value: equal, or of the same items, or a copy."""
        dice = self.dice
        cls = type(value)
        if cls in (int, float, bool) and value in (0, 1):
            return dice.choice((int(value), float(value), bool(value), -0.0, Level.LOW))
        if cls is str:
            return Word.YES if value == "yes" else dice.choice((value.encode(), f"{value}"))
        if cls is bytes:
            return dice.choice((bytearray(value), value.decode("latin-1")))
        if cls is list or cls is tuple or cls is deque:
            return dice.choice((list, tuple, deque))(value)
        if cls is set or cls is frozenset:
            return dice.choice((set, frozenset))(value)
        if cls is dict:
            return dict(dice.sample([*value.items()], len(value)))
        if isinstance(value, np.ndarray):
            return dice.choice((value.astype("f4"), value.tolist(), value.copy()))
        return copy.deepcopy(value)

    def change(self, state: Any) -> None:
        """Change something in place, anywhere in a state."""
        dice = self.dice
        found = _mutable(state)
        if not found:
            return
        target = dice.choice(found)
        if dice.random() < 0.3:  # where there is much
            target = max(found, key=lambda one: len(one) if isinstance(one, dict | list) else 0)
        other = dice.choice(found)
        new = self.value(dice.randrange(4))
        if dice.random() < 0.1 and other is not state and _size(other) < 200:
            # Once more, or a copy of it, in another place.
            new = other if target not in _Identities(other) else new
        match target:
            case dict() if type(target) is dict:
                self._change_dict(target, new)
            case list():
                self._change_list(target, new)
            case deque():
                target.rotate(1)
                target.append(new)
            case set():
                target.symmetric_difference_update({dice.randrange(9)})
            case bytearray():
                target += b"a"
            case OrderedDict():
                target.move_to_end(next(iter(target)))
            case defaultdict():
                target.default_factory = dice.choice((list, None))
            case np.ndarray():
                self._change_array(target)
            case pydantic.BaseModel():
                self._change_model(target, new)
            case _:
                name = dice.choice([field.name for field in dataclasses.fields(target)])
                put = dice.choice((new, self.twin(getattr(target, name))))
                setattr(target, name, put)
                if dice.random() < 0.1 and type(target) is not Slotted:
                    target.__dict__ = dict(vars(target))
                if dice.random() < 0.2 and isinstance(target, Step):
                    target.__class__ = dice.choice((Step, Stage))

    def _change_array(self, target: np.ndarray[Any, Any]) -> None:
        dice = self.dice
        match dice.randrange(5):
            case 0:
                with may_be_deprecated():
                    target.shape = dice.choice(((-1,), (1, -1), (-1, 1)))
            case 1:
                kind = dice.choice(("f", "i", "u"))
                with may_be_deprecated():
                    target.dtype = np.dtype(f"{kind}{target.itemsize}")  # type: ignore[misc]
            case 2 if target.base is None:
                target.resize(target.size + 1, refcheck=False)
            case 3:
                target.reshape(-1).view("u1")[0] = dice.randrange(9)  # through shared memory
            case _:
                target[...] = dice.randrange(9)

    def _change_model(self, model: Any, new: Any) -> None:
        name = self.dice.choice([*type(model).model_fields])
        held, put = vars(model), partial(object.__setattr__, model)
        changes: list[Callable[[], object]] = [
            lambda: held.update({name: new}),
            lambda: held.update({name: self.twin(held[name])}),
            lambda: setattr(model, name, held[name]),
            lambda: model.__pydantic_fields_set__.discard(name),
            lambda: put("__pydantic_fields_set__", {name}),
            lambda: put("__dict__", {**held, name: new}),
        ]
        if model.__pydantic_extra__ is not None:
            changes.append(lambda: model.__pydantic_extra__.update(more=new))
            changes.append(model.__pydantic_extra__.clear)
            changes.append(lambda: put("__pydantic_extra__", {"more": new}))
            changes.append(lambda: put("__pydantic_extra__", {}))
        for private in type(model).__private_attributes__:
            changes.append(partial(setattr, model, private, new))
            changes.append(partial(put, "__pydantic_private__", {private: new}))
        if isinstance(model, Document):
            changes.append(lambda: put("__class__", self.dice.choice((Document, Draft))))
        self.dice.choice(changes)()

    def _change_dict(self, target: dict[Any, Any], new: Any) -> None:
        dice = self.dice
        if not target:
            target[self.key()] = new
            return
        keys = [*target]
        key, other = dice.choice(keys), dice.choice(keys)
        some = dice.sample(keys, min(len(keys), dice.choice((2, 30))))
        turned = dice.sample([*target.items()], len(target))
        match dice.randrange(14):
            case 0:
                target[key] = new
            case 1 | 2:
                target[key] = self.twin(target[key])
            case 3:
                target[key] = target.pop(key)
            case 4:
                del target[key]
            case 5:
                target[key], target[other] = target[other], target[key]
            case 6 if type(key) in (int, float, bool) and key in (0, 1):
                target[dice.choice((int, float, bool))(key)] = target.pop(key)
            case 7:
                target.clear()
                target.update(turned)
            case 8:  # the same place under another name
                items = [("new" if one is key else one, value) for one, value in target.items()]
                target.clear()
                target.update(items)
            case 9:
                target.update({one: copy.deepcopy(target[one]) for one in some})
            case 10 if len(target) > 60 or dice.random() < 0.2:
                for one in some:
                    del target[one]
            case 11 if len(target) < 100:
                target.update({self.key(): self.leaf() for _ in range(20)})
            case 12:
                target.update({one: "x" * dice.choice((1, 70, 400)) for one in some})
            case _:
                target[self.key()] = new

    def _change_list(self, target: list[Any], new: Any) -> None:
        dice = self.dice
        if not target:
            target.append(new)
            return
        at, to = dice.randrange(len(target)), dice.randrange(len(target))
        match dice.randrange(15):
            case 0:
                target[at] = new
            case 1 | 2:
                target[at] = self.twin(target[at])
            case 3:
                del target[at : at + dice.choice((1, 1, 9))]
            case 4:  # a window that slides
                target[:] = [*target[1:], new]
            case 5:
                target[:] = target[at:] + target[:at]
            case 6:
                target.reverse()
            case 7:
                target.insert(to, target[at])
            case 8:
                target[at], target[to] = target[to], target[at]
            case 9:
                target.insert(to, target.pop(at))
            case 10:
                target[at : at + 30] = [copy.deepcopy(item) for item in target[at : at + 30]]
            case 11 if len(target) > 60 or dice.random() < 0.2:
                del target[::2]
            case 12 if len(target) < 100:
                target.extend(self.leaf() for _ in range(dice.choice((3, 20, 40))))
            case 13:
                target.insert(0, new)
            case _:
                target.append(new)

    def handed_over(self, state: Any) -> Any:
        """Return a state with more or less of it replaced by copies."""
        dice = self.dice
        match dice.randrange(6):
            case 0 | 1:
                return state
            case 2:
                return copy.deepcopy(state)
            case _ if type(state) is not dict:
                return copy.copy(state)
            case 3:
                return {key: copy.copy(value) for key, value in state.items()}
            case _:
                return {key: self._partly_copied(value) for key, value in state.items()}

    def _partly_copied(self, value: Any) -> Any:
        chance = self.dice.random()
        if type(value) is list:
            return [copy.deepcopy(v) if self.dice.random() < chance else v for v in value]
        if type(value) is dict:
            return {
                key: copy.deepcopy(v) if self.dice.random() < chance else v
                for key, v in value.items()
            }
        return copy.deepcopy(value) if self.dice.random() < chance else value


class _Identities:
    """What a value contains, itself included, by identity."""

    def __init__(self, value: Any) -> None:
        self._ids = set(map(id, _mutable(value)))

    def __contains__(self, item: object) -> bool:
        return id(item) in self._ids


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list | tuple | deque):
        return [*value]
    if isinstance(value, pydantic.BaseModel):
        beside = value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}
        return [*vars(value).values(), *beside[0].values(), *beside[1].values()]
    if isinstance(value, Step | Agent | Point | Slotted | Described):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return []


def _size(value: Any) -> int:
    return 1 + sum(map(_size, _parts(value)))


def _mutable(value: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(
            one,
            dict
            | list
            | set
            | bytearray
            | deque
            | Step
            | Agent
            | pydantic.BaseModel
            | Slotted
            | Described,
        ) or (isinstance(one, np.ndarray) and one.size):
            found.append(one)
        waiting += _parts(one)
    return found
