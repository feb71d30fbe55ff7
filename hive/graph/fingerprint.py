"""Digests of what must not change between a run and its resume.

A graph and a goal are compared by their **canonical text**: JSON with sorted keys, nodes in the
order of their ids, functions left out. The digest is BLAKE3 over the UTF-8 of that text. The
text itself is kept with each checkpoint (identical text is stored once), so that a refused resume
can say what changed and not only that something did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from hive import errors

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.spec import GraphSpec

__all__ = [
    "FREE_FIELDS",
    "canonical_text",
    "changes_of",
    "differences",
    "digest_of",
    "idempotency_key",
    "shortened",
    "text_of",
]

FREE_FIELDS: Final = frozenset({"context", "inputs", "settings", "target"})
"""The fields of graphs, goals and plans in which people put mappings of their own."""

_MOST_SHOWN: Final = 8
_SHOWN_CHARACTERS: Final = 60


def canonical_text(spec: GraphSpec | Goal) -> str:
    """Write a graph or a goal so that equal ones give equal text."""
    fields = spec.model_dump(mode="json")
    if "nodes" in fields:
        # Edges keep their order, which decides between equal priorities; the order of nodes
        # means nothing.
        fields["nodes"].sort(key=lambda node: node["id"])
    return text_of(fields)


def text_of(fields: Mapping[str, Any]) -> str:
    """Write plain data as canonical text."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(text: str) -> str:
    """Return the BLAKE3 digest of a canonical text as 64 hex digits."""
    try:
        return blake3(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise errors.InvalidInputError(
            "a graph or goal holds text that is not valid Unicode (a lone surrogate)"
        ) from error


def idempotency_key(run: str, node: str, visit: int, branch: Sequence[str] = ()) -> str:
    """Return the key of one visit of a node in a run, or in a branch of it, as 64 hex digits."""
    hasher = blake3(b"hive idempotency key 1")
    for part in (run, node, str(visit), *branch):
        encoded = part.encode()
        # With its length before each part, ("ab", "c") and ("a", "bc") do not meet.
        hasher.update(len(encoded).to_bytes(8, "big"))
        hasher.update(encoded)
    return hasher.hexdigest()


def differences(before: str, after: str, what: str) -> list[str]:
    """Say what differs between two canonical texts, one line a place; empty if nothing does."""
    if before == after:
        return []
    return _compare(json.loads(before), json.loads(after), what)


def changes_of(
    record: Mapping[str, Any], texts: Mapping[str, str], stored: Callable[[str], str] | None
) -> list[str]:
    """Say what differs between what a run was made with and what there is now, one line a place.

    Args:
        record: Holds the canonical texts that the run was made with, as they were stored.
        texts: Those there are now, by their names in the record.
        stored: Returns how a text would be stored; None for as it is.
    """
    found = []
    for what, text in texts.items():
        before = record[what]
        if before != text:
            after = text if stored is None else stored(text)
            found += differences(before, after, what)
    return found


def shortened(changed: list[str]) -> list[str]:
    """Return what an error shows of ``differences``: a few lines, and how many more there are."""
    more = len(changed) - _MOST_SHOWN
    return changed if more <= 0 else [*changed[:_MOST_SHOWN], f"and {more} more"]


def _compare(before: Any, after: Any, place: str, *, shows: bool = True) -> list[str]:
    if isinstance(before, list) and isinstance(after, list):
        by_id = [_by_id(before), _by_id(after)]
        if all(by_id):
            found = _compare(by_id[0], by_id[1], place, shows=shows)
            return found or ([f"{place}: other order"] if before != after else [])
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in [*before, *(key for key in after if key not in before)]:
            inner = f"{place}.{key}"
            if key not in after:
                found.append(f"{inner}: removed")
            elif key not in before:
                found.append(f"{inner}: added")
            else:
                free = key in FREE_FIELDS and dict in (type(before[key]), type(after[key]))
                found += _compare(before[key], after[key], inner, shows=shows and not free)
        return found
    if before == after:
        return []
    # What people put in may be secret, in the one of the two or in both.
    how = f"{_shown(before)} -> {_shown(after)}" if shows else "another value"
    return [f"{place}: {how}"]


def _by_id(items: list[Any]) -> dict[str, Any]:
    if not all(isinstance(item, dict) and "id" in item for item in items):
        return {}
    return {item["id"]: item for item in items}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
