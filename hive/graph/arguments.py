"""What callers of an executor pass, checked before anything happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hive import errors
from hive.graph.names import name_problem
from hive.text import kind_of, one

if TYPE_CHECKING:
    from hive.graph.checkpoint_manager import CheckpointManager

__all__ = ["check_instance", "check_resume", "check_services", "enabled", "run_name", "text_keyed"]


def check_services(runtime: object, checkpoint_manager: object) -> None:
    """Refuse what an executor cannot report to, or save with.

    By what they can do: an executor without a manager imports no store, and a program may have a
    runtime of its own.

    Raises:
        InvalidInputError: One of them is something else.
    """
    if isinstance(runtime, type) or not hasattr(runtime, "start_run"):
        raise errors.InvalidInputError(f"runtime is {_what(runtime)}: pass Runtime()")
    if checkpoint_manager is not None and (
        isinstance(checkpoint_manager, type) or not hasattr(checkpoint_manager, "writer")
    ):
        raise errors.InvalidInputError(
            f"checkpoint_manager is {_what(checkpoint_manager)}: pass a CheckpointManager, such as "
            "CheckpointManager(home), or None"
        )


def enabled(manager: CheckpointManager | None) -> CheckpointManager | None:
    """Return a manager that saves; None for one that is configured not to."""
    return manager if manager is not None and manager.config.enabled else None


def check_instance(value: object, kind: type, name: str) -> None:
    """Refuse an argument that is no instance of its class; ``name`` is the argument's.

    Raises:
        InvalidInputError: It is something else.
    """
    if not isinstance(value, kind):
        raise errors.InvalidInputError(f"{name} is {_what(value)}: pass {one(kind)}")


def _what(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else kind_of(value)


def check_resume(resume: object) -> None:
    """Refuse what says neither yes nor no: None was taken for yes, and continued the run.

    Raises:
        InvalidInputError: It is None, or a number.
    """
    if resume is None or type(resume) is int:
        raise errors.InvalidInputError(
            f"resume is True, False or a reference such as 'run@7', not {resume!r}"
        )


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
