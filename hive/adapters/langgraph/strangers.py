"""Classes that nobody named: their values come back as plain data, which is said once of each."""

from __future__ import annotations

import dataclasses
import enum
import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

import pydantic
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from hive.adapters.langgraph.serializer import allows
from hive.errors import InvalidInputError
from manifests.fields import functions_for

__all__ = ["remedy", "warn_of_strangers"]

_MOST_WARNED: Final = 1_000
_warned: set[type] = set()


def warn_of_strangers(value: Any, serializer: JsonPlusSerializer) -> None:
    """Say once of each class, with those in its values, that it may come back as plain data."""
    cls = type(value)
    if cls in _warned or len(_warned) >= _MOST_WARNED:
        return
    _warned.add(cls)
    if strangers := _strangers_in(value, serializer):
        _warned.update(strangers)
        warnings.warn(
            f"values of {_name_of(strangers[0])} are stored with LangGraph's serializer and may "
            f"come back as plain data: {remedy(strangers)}, to get them back as they are",
            stacklevel=2,
        )


def remedy(classes: Sequence[type]) -> str:
    """Return what to do so that values of some classes are stored as what they are."""
    told = [cls for cls in classes if _tells_its_fields(cls)]
    others = [cls for cls in classes if cls not in told]
    advice = []
    if told:
        advice.append(f"pass types=[{_listed(told)}] to HiveSaver")
    if others:
        advice.append(
            f"keep plain data in place of {_listed(others)}, or say how it is stored, with "
            "saver.repository.registry.register(cls, to_fields=..., from_fields=...)"
        )
    return "; ".join(advice)


def _strangers_in(value: Any, serializer: JsonPlusSerializer) -> list[type]:
    """Return the classes in a value that the serializer does not give back, outermost first."""
    found: dict[type, None] = {}
    waiting = deque([value])
    if not isinstance(value, BaseException) and not allows(serializer, type(value)):
        found[type(value)] = None
    while waiting:
        item = waiting.popleft()
        fields = _fields_of(item)
        if fields is None:
            waiting.extend(_items_of(item))
            continue
        waiting.extend(fields)
        if not allows(serializer, type(item)):
            found[type(item)] = None
    return list(found)


def _fields_of(value: Any) -> Iterable[Any] | None:
    """Return the fields of a value that tells them, None of any other."""
    if isinstance(value, enum.Enum):
        return ()
    if isinstance(value, pydantic.BaseModel):
        return vars(value).values()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value
    return None


def _items_of(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple | Set) else ()


def _tells_its_fields(cls: type) -> bool:
    try:
        functions_for(cls)
    except InvalidInputError:
        return False
    return True


def _listed(classes: Iterable[type]) -> str:
    return ", ".join(cls.__qualname__ for cls in classes)


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
