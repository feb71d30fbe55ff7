"""Merging what parallel branches wrote into one memory: deterministic, and never by accident."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any, Final

from hive import errors
from hive.graph.equality import is_same_data
from hive.graph.parallel import MergeRule
from hive.text import kind_of, told

__all__ = ["merge"]

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Key:
    """A key, what it was before the branches, and what each branch that wrote it made of it."""

    name: str
    before: Any
    values: Sequence[tuple[str, Any]]


def merge(
    before: Mapping[str, Any],
    written: Mapping[str, Mapping[str, Any]],
    rules: Mapping[str, MergeRule],
) -> dict[str, Any]:
    """Return what branches changed, all together.

    Args:
        before: The memory when the branches began.
        written: What each wrote, by branch, in the order of merging.
        rules: What to do with keys that several branches wrote; without one they must agree.

    Raises:
        InvalidInputError: Branches are in conflict about keys, all of which are named.
    """
    merged: dict[str, Any] = {}
    conflicts = []
    for name in dict.fromkeys(key for values in written.values() for key in values):
        values = [(branch, keys[name]) for branch, keys in written.items() if name in keys]
        rule = rules.get(name, MergeRule.ERROR)
        if rule is MergeRule.DROP:
            continue
        if len(values) == 1 and rule is not MergeRule.COLLECT:
            merged[name] = values[0][1]
            continue
        try:
            merged[name] = _RULES[rule](_Key(name, before.get(name, _MISSING), values))
        except errors.InvalidInputError as error:
            conflicts.append(str(error))
        except Exception as error:  # any: objects of the user's are compared and added
            why = told(error)
            conflicts.append(f"memory key {name!r} cannot be merged by {str(rule)!r}: {why}")
    if conflicts:
        raise errors.InvalidInputError(f"branches are in conflict: {'; '.join(conflicts)}")
    return merged


def _agreed(key: _Key) -> Any:
    (first, value), *others = key.values
    for branch, other in others:
        if type(other) is not type(value) or not is_same_data(value, other):
            raise errors.InvalidInputError(
                f"{first!r} and {branch!r} wrote different values to memory key {key.name!r}; "
                "declare how to merge it, or let them write to different keys"
            )
    return value


def _appended(key: _Key) -> list[Any]:
    before = [] if key.before is _MISSING else key.before
    if not isinstance(before, list):
        raise _unfit(key, "append", "it was no list before the branches")
    result = list(before)
    for branch, value in key.values:
        if not isinstance(value, list):
            raise _unfit(key, "append", f"{branch!r} wrote {kind_of(value)}")
        if not is_same_data(value[: len(before)], before):
            raise _unfit(key, "append", f"{branch!r} changed what the list held before")
        result += value[len(before) :]
    return result


def _updated(key: _Key) -> dict[Any, Any]:
    before = {} if key.before is _MISSING else key.before
    if not isinstance(before, dict):
        raise _unfit(key, "update", "it was no dict before the branches")
    result = dict(before)
    changed: dict[Any, tuple[str, Any]] = {}
    for branch, value in key.values:
        if not isinstance(value, dict):
            raise _unfit(key, "update", f"{branch!r} wrote {kind_of(value)}")
        for entry in dict.fromkeys([*before, *value]):
            new = value.get(entry, _MISSING)
            if _same(before.get(entry, _MISSING), new):
                continue
            if entry in changed and not _same(changed[entry][1], new):
                first = changed[entry][0]
                raise _unfit(key, "update", f"{first!r} and {branch!r} changed the same entry")
            changed[entry] = branch, new
            if new is _MISSING:
                result.pop(entry, None)
            else:
                result[entry] = new
    return result


def _added(key: _Key) -> Any:
    before: Any = 0 if key.before is _MISSING else key.before
    for what, value in [("it", before), *key.values]:
        if not isinstance(value, Number) or isinstance(value, bool):
            raise _unfit(key, "add", f"{what} is no number")
    result = before
    for _, value in key.values:
        result += value - before
    return result


def _same(left: Any, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return left is right
    return type(left) is type(right) and is_same_data(left, right)


def _unfit(key: _Key, rule: str, reason: str) -> errors.InvalidInputError:
    return errors.InvalidInputError(
        f"memory key {key.name!r} cannot be merged by {rule!r}: {reason}"
    )


_RULES: Final[Mapping[MergeRule, Callable[[_Key], Any]]] = {
    MergeRule.ERROR: _agreed,
    MergeRule.FIRST: lambda key: key.values[0][1],
    MergeRule.LAST: lambda key: key.values[-1][1],
    MergeRule.COLLECT: lambda key: [value for _, value in key.values],
    MergeRule.APPEND: _appended,
    MergeRule.UPDATE: _updated,
    MergeRule.ADD: _added,
}
