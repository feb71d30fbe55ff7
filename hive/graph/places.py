"""Where the execution records of the executors hold what users and their nodes put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["BESIDE_STATES", "LIKE_STATES", "Place", "changed_branch", "changed_record"]

Place = tuple[str, ...]
"""The keys that lead from a record to values; a star stands for every item."""

LIKE_STATES: Final[Mapping[str, tuple[Place, ...]]] = {
    "graph": (
        ("input_data",),
        ("inputs", "*"),
        ("finished", "output"),
        ("finished", "node_input"),
        ("section", "branches", "*", "given"),
        ("section", "branches", "*", "written"),
    ),
    "plan": (("given",), ("inputs", "*"), ("step_states", "*", "outputs")),
}
"""By executor: mappings with the keys of the state."""

BESIDE_STATES: Final[Mapping[str, tuple[Place, ...]]] = {
    "graph": (("node_state",),),
    "plan": (("step_states", "*", "inputs"), ("step_states", "*", "saved")),
}
"""By executor: what has keys of its own."""


def changed_record(
    record: dict[str, Any], places: tuple[Place, ...], change: Callable[[Any], Any]
) -> dict[str, Any]:
    """Return a record with what lies at some places in it, and in its branches, changed.

    Args:
        record: The record of a run or branch; it stays as it is.
        places: Of what to change. A place that a record has not, or where None stands, is left.
        change: Returns the new value for an old one.
    """
    for place in places:
        record = _at(record, place, change)
    section = record.get("section")
    if section is None:
        return record
    branches = {
        edge: {**branch, "progress": changed_record(branch["progress"], places, change)}
        for edge, branch in section["branches"].items()
    }
    return {**record, "section": {**section, "branches": branches}}


def changed_branch(
    branch: Mapping[str, Any], places: tuple[Place, ...], change: Callable[[Any], Any]
) -> dict[str, Any]:
    """Do for the record of one branch what ``changed_record`` does for those of a run."""
    whole = changed_record({"section": {"branches": {"": branch}}}, places, change)
    result: dict[str, Any] = whole["section"]["branches"][""]
    return result


def _at(value: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    """Return a value with what lies at a place in it changed, itself where that changes nothing."""
    if value is None:
        return None
    if not place:
        return change(value)
    word, rest = place[0], place[1:]
    if word != "*":
        if word not in value:
            return value
        inner = _at(value[word], rest, change)
        return value if inner is value[word] else {**value, word: inner}
    if isinstance(value, Mapping):
        items = {key: _at(item, rest, change) for key, item in value.items()}
        return value if all(items[key] is item for key, item in value.items()) else items
    return [_at(item, rest, change) for item in value]
