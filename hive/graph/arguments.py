"""What callers of an executor pass, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from hive import errors
from hive.graph.names import name_problem

__all__ = ["run_name", "text_keyed"]


def text_keyed(name: str, given: object) -> dict[str, Any]:
    """Return an optional mapping as a dict of its own; ``name`` is the argument's.

    Raises:
        InvalidInputError: It is no mapping, or a key is not text.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise errors.InvalidInputError(f"{name} is a mapping whose keys are text, or None")
    return dict(given)


def run_name(run: object, prefix: str) -> str:
    """Return the name of a run; a fresh one that begins with ``prefix`` if None is asked for.

    Raises:
        InvalidInputError: It cannot be a name.
    """
    if run is None:
        return f"{prefix}-{uuid4().hex[:12]}"
    if not isinstance(run, str):
        raise errors.InvalidInputError(f"a run name is text, not {type(run).__name__}")
    problem = name_problem(run)
    if problem:
        raise errors.InvalidInputError(f"run name {run!r}: {problem}")
    return run
