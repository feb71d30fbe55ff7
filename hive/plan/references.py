"""References in the inputs of a step: ``$key``, ``$key.part``, ``$steps.ID``, ``$steps.ID.key``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hive import errors

__all__ = ["STEPS", "references_in", "resolve"]

STEPS: Final = "steps"
"""The first word of a reference to the result of a step."""


def references_in(value: Any) -> Iterator[list[str]]:
    """Yield the words of every reference in a value."""
    if isinstance(value, str):
        if value.startswith("$") and not value.startswith("$$"):
            yield value[1:].split(".")
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from references_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from references_in(part)


def resolve(value: Any, context: Mapping[str, Any], results: Mapping[str, Any]) -> Any:
    """Return a value with what its references stand for. What they stand for is not copied.

    Raises:
        InvalidInputError: A reference leads nowhere.
    """
    if isinstance(value, str) and value.startswith("$"):
        if value.startswith("$$"):
            return value[1:]
        words = value[1:].split(".")
        found: Any = {**context, STEPS: results} if words[0] == STEPS else context
        for number, word in enumerate(words, start=1):
            if not isinstance(found, Mapping) or word not in found:
                missing = ".".join(words[:number])
                raise errors.InvalidInputError(
                    f"the input {value!r} leads nowhere: there is no {missing!r} in what this "
                    "step sees, which is the given context (--input on the command line) and the "
                    "steps it depends on"
                )
            found = found[word]
        return found
    if isinstance(value, dict):
        return {key: resolve(part, context, results) for key, part in value.items()}
    if isinstance(value, list):
        return [resolve(part, context, results) for part in value]
    return value
